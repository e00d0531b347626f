"""A model on a server that speaks the OpenAI API, such as vLLM or SGLang."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fiftyone_revseg.reasoning.backend import Conversation, Message, Reply, VideoFrames
from fiftyone_revseg.reasoning.serving.backoff import Backoff
from fiftyone_revseg.reasoning.serving.client import Client, Failure, persist
from fiftyone_revseg.reasoning.serving.data_uri import DataUris, ImageEncoding
from fiftyone_revseg.reasoning.serving.extras import PATTERN_FIELDS, Extras, is_refusal
from fiftyone_revseg.reasoning.serving.replies import (
    has_probabilities,
    read_models,
    read_reply,
    thought_apart,
)
from fiftyone_revseg.reasoning.serving.secret import Secret
from fiftyone_revseg.reasoning.serving.served import (
    ServedModel,
    ServerError,
    check_url,
    choose_model,
    find_key,
    sends_key_in_clear,
    served_spec,
)
from fiftyone_revseg.reasoning.spec import ChainSpec

logger = logging.getLogger(__name__)

_AT_A_TIME = 16  # requests
_SPLITS_THOUGHTS = "takes thoughts apart from answers: replies are free text"


class ServerReasoner:
    """Asks a model on a server; a :class:`fiftyone_revseg.reasoning.Reasoner`.

    Requests are made at the same time, up to a limit that holds for all threads together. One that
    fails in a way that may pass is made again after a pause; one that fails for good is an
    exception in the place of its reply, and never touches the others.

    The key is sent to the server and goes nowhere else: it is in no message, log, record or pickle.

    Example::

        from fiftyone_revseg import load_pipeline
        from fiftyone_revseg.reasoning.server import ServerReasoner

        reasoner = ServerReasoner.connect(
            "http://localhost:8000/v1", "Qwen/Qwen2.5-VL-7B-Instruct", concurrency=32
        )
        pipeline = load_pipeline(reasoner)

    Args:
        url: the server's address, such as "http://localhost:8000/v1"
        model: the model
        spec: how the model wants to be asked
        key (None): the server's key. By default, that in the environment variable
            ``REVSEG_SERVER_KEY``, if there is one
        concurrency (None): how many requests are made at the same time. By default 16, and 1 where
            more would only wait for each other (``transformers serve``)
        timeout (300.0): the seconds that one attempt may take, the server's queue included
        connect_timeout (10.0): the seconds that connecting may take
        deadline (None): the seconds that one reply may take, all attempts and pauses included. By
            default 900, or three attempts' if that is more
        backoff (None): how often and when to ask again, a
            :class:`fiftyone_revseg.reasoning.serving.backoff.Backoff`
        image_format ("jpeg"): "png" loses nothing, "jpeg" is several times smaller
        image_quality (95): of JPEG, 1 to 100
        structured (None): whether to let the model write nothing but what can be read, where the
            prompts are the default ones. By default, on vLLM and SGLang, unless they refuse it

    Attributes:
        name: the model's name on the server
        settings: what is recorded of the server: its address and how pictures are sent

    Raises:
        ValueError: if an argument is not valid
        ImportError: if the ``openai`` client is not installed
    """

    def __init__(
        self,
        url: str,
        model: ServedModel,
        spec: ChainSpec,
        key: str | None = None,
        concurrency: int | None = None,
        timeout: float = 300.0,
        connect_timeout: float = 10.0,
        deadline: float | None = None,
        backoff: Backoff | None = None,
        image_format: str = "jpeg",
        image_quality: int = 95,
        structured: bool | None = None,
    ) -> None:
        if concurrency is None:
            concurrency = 1 if model.owner == "transformers" else _AT_A_TIME
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise ValueError(f"concurrency must be a whole number >= 1, got {concurrency!r}")
        _check_seconds("timeout", timeout)
        _check_seconds("connect_timeout", connect_timeout)
        deadline = max(900.0, 3 * timeout) if deadline is None else deadline
        _check_seconds("deadline", deadline)
        encoding = ImageEncoding(image_format, image_quality)
        self.url = check_url(url)
        self.model = model
        self.name = model.id
        self.spec = spec
        self.concurrency = concurrency
        self.timeout, self.connect_timeout, self.deadline = timeout, connect_timeout, deadline
        self.backoff = backoff or Backoff()
        self.settings = {"server": self.url, "images": str(encoding)}
        self._encode = DataUris(encoding)
        if structured and model.owner not in PATTERN_FIELDS:
            raise ValueError(
                "structured=True needs vLLM or SGLang, and the server at "
                f"{self.url} says of itself that it is neither: leave it out"
            )
        self._extras = Extras(self.url, model.owner, structured is not False)
        self._key = Secret(find_key(key))
        self._lock = threading.Lock()
        self._client: Client | None = None
        _require_openai()

    @classmethod
    def connect(
        cls,
        url: str,
        model: str,
        spec: ChainSpec | Mapping[str, Any] | str | Path | None = None,
        key: str | None = None,
        **options: Any,
    ) -> ServerReasoner:
        """Asks a server for its models and chooses one.

        Args:
            url: the server's address, such as "http://localhost:8000/v1"
            model: the model's name on the server, or a preset
            spec (None): how to ask it, see
                :func:`fiftyone_revseg.reasoning.serving.served.served_spec`
            key (None): as for the class
            **options: as for the class

        Returns:
            a :class:`ServerReasoner`

        Raises:
            ValueError: if there is no such server or model, the key is refused, or an argument is
                not valid; the message says what to do
            ImportError: if the ``openai`` client is not installed
        """
        # What is wrong with the arguments is found out before the network is asked
        probe = cls(url, ServedModel(model), ChainSpec(), key, **{**options, "structured": None})
        try:
            models = probe.models()
        except ServerError as error:
            raise ValueError(str(error)) from None
        finally:
            probe.close()
        chosen = choose_model(models, model, probe.url)
        reasoner = cls(url, chosen, served_spec(chosen, spec), key, **options)
        if reasoner._key and sends_key_in_clear(reasoner.url):
            logger.warning(
                "The key and all pictures go unencrypted to %s: who is on the way can read them, "
                "unless the server has an https address",
                reasoner.url,
            )
        return reasoner

    def models(self) -> list[ServedModel]:
        """Lists the models of the server.

        Raises:
            ServerError: if it does not tell
        """
        client = self._connection()
        answer = client.loop.run(client.models(self.connect_timeout))
        if isinstance(answer, Failure):
            raise ServerError(answer.reason)
        return read_models(answer, self.url)

    def generate(
        self, conversations: Sequence[Conversation], spec: ChainSpec
    ) -> list[Reply | Exception]:
        """Continues each conversation by one assistant message.

        Args:
            conversations: the conversations, each ending with a user's message
            spec: the decoding settings: ``max_new_tokens``, ``thinking_tokens`` and
                ``temperature``

        Returns:
            one :class:`Reply` for each conversation; in the place of one that failed for good, a
            :class:`ServerError`
        """
        if not conversations:
            return []
        started = time.perf_counter()
        client = self._connection()
        replies = client.loop.run(self._generate(client, conversations, spec))
        seconds = (time.perf_counter() - started) / len(conversations)
        return [
            replace(reply, seconds=seconds) if isinstance(reply, Reply) else reply
            for reply in replies
        ]

    def close(self) -> None:
        """Ends the connections; they are made again when they are needed."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None and client.process == os.getpid():
            client.close()

    def __repr__(self) -> str:
        return f"ServerReasoner({self.url!r}, {self.name!r})"

    def __getstate__(self) -> dict[str, Any]:
        # Another process has the key in its own environment
        left_out = {"_key": None, "_lock": None, "_client": None, "_encode": self._encode.encoding}
        return {**self.__dict__, **left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._encode = DataUris(state["_encode"])
        self._key, self._lock = Secret(find_key()), threading.Lock()

    def _connection(self) -> Client:
        with self._lock:
            if self._client is None or self._client.process != os.getpid():
                self._client = Client(self.url, self._key, self.concurrency, self.connect_timeout)
            return self._client

    async def _generate(
        self, client: Client, conversations: Sequence[Conversation], spec: ChainSpec
    ) -> list[Reply | Exception]:
        return list(await asyncio.gather(*(self._one(client, c, spec) for c in conversations)))

    async def _one(
        self, client: Client, conversation: Conversation, spec: ChainSpec
    ) -> Reply | Exception:
        # The place is kept during pauses: a server that is busy is not asked by others instead
        async with client.places:
            try:
                # Pictures are compressed beside the loop, which goes on with other requests
                body = await asyncio.to_thread(self._body, conversation, spec)

                async def ask(seconds: float) -> Reply | Failure:
                    return await self._ask(client, body, conversation, spec, seconds)

                found = await persist(ask, self.backoff, self.timeout, self.deadline)
            except Exception as error:
                return ServerError(client.safe(f"{type(error).__name__}: {error}"))
        return ServerError(found.reason) if isinstance(found, Failure) else found

    async def _ask(
        self,
        client: Client,
        body: dict[str, Any],
        conversation: Conversation,
        spec: ChainSpec,
        seconds: float,
    ) -> Reply | Failure:
        """Makes one attempt: with all that may be asked for on top, and without what is refused."""
        ends = time.monotonic() + seconds

        async def complete(body: dict[str, Any], extras: Sequence[str]) -> Any | Failure:
            left = max(ends - time.monotonic(), 0.001)
            return await client.complete(left, self._extras.added(body, conversation, extras))

        while True:
            extras = self._extras.wanted(conversation)
            # A model that cannot be told not to think needs the room for its thought
            thought = 0 if "no thinking" in extras else spec.thinking_tokens
            limit = {"max_tokens": spec.max_new_tokens + thought}
            answer = await complete({**body, **limit}, extras)
            if is_refusal(answer):
                async with client.finding_out:  # one for all that are refused together
                    if extras == self._extras.wanted(conversation):
                        small = partial(complete, _without_pictures(body))
                        await self._extras.find_out(extras, small)
                if extras == self._extras.wanted(conversation):
                    return answer
            elif isinstance(answer, Failure):
                return answer
            elif "structure" in extras and thought_apart(answer):
                # Its grammar starts behind a thought of its own, so the model thought twice
                self._extras.give_up("structure", _SPLITS_THOUGHTS)
            else:
                break
        reply = read_reply(answer, self.url, self.model.owner)
        if isinstance(reply, Failure):
            return reply
        if "logprobs" in extras and not has_probabilities(answer):
            self._extras.give_up("logprobs")
        return reply

    def _body(self, conversation: Conversation, spec: ChainSpec) -> dict[str, Any]:
        chance: dict[str, Any] = {}
        if conversation.temperature is not None:
            chance = {"temperature": float(conversation.temperature)}
            if chance["temperature"]:
                chance["seed"] = conversation.seed
        return {
            "model": self.model.id,
            "messages": [self._message(message) for message in conversation.messages],
            "temperature": float(spec.temperature),
            "top_p": 1.0,
            **chance,
        }

    def _message(self, message: Message) -> dict[str, Any]:
        if all(isinstance(part, str) for part in message.content):
            return {"role": message.role, "content": message.text}
        content: list[dict[str, Any]] = []
        for part in message.content:
            if isinstance(part, VideoFrames):
                raise ValueError("a server is sent images, not videos: set frame_encoding=images")
            if not isinstance(part, str):
                content.append({"type": "image_url", "image_url": {"url": self._encode(part)}})
            elif content and content[-1]["type"] == "text":  # some servers break the line between
                content[-1]["text"] += part
            else:
                content.append({"type": "text", "text": part})
        return {"role": message.role, "content": content}


def _check_seconds(what: str, seconds: Any) -> None:
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not number or not 0 < seconds < math.inf:
        raise ValueError(f"{what} must be a number of seconds > 0, got {seconds!r:.50}")


def _without_pictures(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request with the same settings that costs next to nothing."""
    return {**body, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 16}


def _require_openai() -> None:
    try:
        import openai  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "A model on a server needs the openai client: pip install 'fiftyone-revseg[server]'"
        ) from error
