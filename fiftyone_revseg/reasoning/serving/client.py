"""The connections to a server: one request, and what can be wrong with it, in words."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import textwrap
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .backoff import Backoff, retry_after
from .event_loop import LoopThread
from .served import KEY_NAME

logger = logging.getLogger(__name__)

# Statuses that may heal; every other one from 400 to 499 will be the same next time
_PASSING = (408, 409, 425, 429)


@dataclass(frozen=True)
class Failure:
    """Why a request got no answer.

    Attributes:
        reason: one sentence, without any secret
        passing: whether another attempt may succeed
        wait: the seconds that the server asks to wait before it; None if it does not say
        status: the HTTP status; 0 if it did not come to that
    """

    reason: str
    passing: bool = False
    wait: float | None = None
    status: int = 0


class Client:
    """The connections from this process to one server, and the thread that they live in.

    Args:
        url: the server's address
        key: its key; None to send none that means anything
        concurrency: how many may ask at the same time; see ``places``
        connect_timeout: the seconds that connecting may take

    Attributes:
        process: the process that the connections are of: a fork has none
        loop: the :class:`LoopThread`
        places: the semaphore that who asks has to hold
    """

    def __init__(self, url: str, key: str | None, concurrency: int, connect_timeout: float):
        import openai

        self.url = url
        self.process = os.getpid()
        self.loop = LoopThread()
        self.places = asyncio.Semaphore(concurrency)
        self._key = key
        self._connect_timeout = connect_timeout
        # Left to itself, the client would send what the environment has for another service
        self._openai = openai.AsyncOpenAI(base_url=url, api_key=key or "none", max_retries=0)
        self._openai.organization = self._openai.project = None

    def close(self) -> None:
        """Ends the connections and the thread."""
        try:
            self.loop.run(self._openai.close())
        finally:
            self.loop.close()

    async def models(self, seconds: float) -> Any | Failure:
        """Asks for the list of models."""
        return await self._request(self._openai.models.with_raw_response.list, seconds, {})

    async def complete(self, seconds: float, body: Mapping[str, Any]) -> Any | Failure:
        """Asks for a chat completion.

        Args:
            seconds: how long it may take, until the last byte of the answer
            body: the arguments of the client's ``chat.completions.create``

        Returns:
            the answer as decoded JSON, whatever that is; or the failure
        """
        create = self._openai.chat.completions.with_raw_response.create
        return await self._request(create, seconds, body)

    async def _request(self, call: Any, seconds: float, body: Mapping[str, Any]) -> Any | Failure:
        import openai

        limits = openai.Timeout(seconds, connect=min(self._connect_timeout, seconds))
        try:
            # The client's own limits are between two bytes; slow ones could drip for ever
            answer = await asyncio.wait_for(call(**body, timeout=limits), seconds)
            text = answer.http_response.text
        except (asyncio.TimeoutError, openai.APITimeoutError):
            return Failure(
                f"The server at {self.url} gave no complete answer within {seconds:.3g} s: allow "
                "more with timeout=, or ask for less at the same time with concurrency=",
                passing=True,
            )
        except openai.APIConnectionError as error:
            return Failure(self._broken(error), passing=True)
        except openai.APIStatusError as error:
            status = error.status_code
            passing = status in _PASSING or status >= 500
            wait = retry_after(error.response.headers) if passing else None
            return Failure(self._refused(status, error.body), passing, wait, status)
        try:
            return json.loads(text)
        except ValueError:
            return Failure(
                f"The server at {self.url} answered with something that is no JSON: "
                f"'{self.safe(text, 60)}'",
                passing=True,
            )

    def _broken(self, error: Exception) -> str:
        """Says how a connection failed."""
        cause = error.__cause__ or error
        kind = type(cause).__name__
        if kind.startswith("Connect"):
            return (
                f"No server answers at {self.url}: start it, or check the address and that it can "
                f"be reached from here ({self.safe(cause, 100)})"
            )
        return (
            f"The server at {self.url} cut the connection before its answer was complete ({kind})"
        )

    def _refused(self, status: int, body: Any) -> str:
        """Says why a server answered with an error."""
        server = f"The server at {self.url}"
        if status in (401, 403):
            if self._key is None:
                return f"{server} asks for a key ({status}): put it into {KEY_NAME}"
            return f"{server} does not accept the key in {KEY_NAME} ({status})"
        if status == 413:
            return (
                f"{server} takes no request of this size ({status}): send JPEG of a lower "
                "image_quality, or fewer or smaller frames"
            )
        if isinstance(body, Mapping):
            inner = body.get("error", body)
            body = inner.get("message", inner) if isinstance(inner, Mapping) else inner
        said = self.safe(body or "it does not say why", 300)
        if status == 404:
            return f"{server} has no such model, or is at another path ({status}): {said}"
        if status == 429:
            return f"{server} is too busy ({status}): {said}"
        what = "failed" if status >= 500 else "refuses the request"
        return f"{server} {what} ({status}): {said}"

    def safe(self, text: Any, width: int = 300) -> str:
        """Makes a text of the server's one short line, without the key: some repeat it."""
        text = str(text)
        text = text.replace(self._key, "***") if self._key else text
        return textwrap.shorten(text[: 10 * width], width, placeholder=" ...")


async def persist(
    ask: Callable[[float], Awaitable[Any | Failure]],
    backoff: Backoff,
    timeout: float,
    deadline: float,
) -> Any | Failure:
    """Asks until there is an answer, no hope for one, or no time left.

    Args:
        ask: makes one attempt within the seconds that it is given
        backoff: how often and when to ask again
        timeout: the seconds that one attempt may take
        deadline: the seconds that all attempts and pauses together may take

    Returns:
        the answer, or the last attempt's failure
    """
    ends = time.monotonic() + deadline
    for attempt in range(backoff.retries + 1):
        found = await ask(min(timeout, max(ends - time.monotonic(), 0.001)))
        if not isinstance(found, Failure) or not found.passing or attempt == backoff.retries:
            break
        pause = backoff.pause(attempt, found.wait)
        if time.monotonic() + pause >= ends:
            asked = f", and asks to wait {found.wait:.0f} s" if found.wait else ""
            late = f"{found.reason}{asked}; the deadline of {deadline:g} s leaves no time for that"
            return Failure(late, status=found.status)
        logger.info("Attempt %d failed, next in %.1f s: %s", attempt + 1, pause, found.reason)
        await asyncio.sleep(pause)
    return found
