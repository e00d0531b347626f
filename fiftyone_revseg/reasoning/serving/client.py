"""The connections to a server: one request, and what can be wrong with it, in words."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from fiftyone_revseg.reasoning.serving.backoff import Backoff, retry_after
from fiftyone_revseg.reasoning.serving.body_limit import AnswerTooLargeError, limit_body
from fiftyone_revseg.reasoning.serving.event_loop import LoopThread
from fiftyone_revseg.reasoning.serving.listening import StoppedError, while_listening
from fiftyone_revseg.reasoning.serving.secret import Secret
from fiftyone_revseg.reasoning.serving.served import KEY_NAME, is_here
from fiftyone_revseg.text.escape import one_line

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
        key: its key; without one, none that means anything is sent
        concurrency: how many may ask at the same time; see ``places``
        connect_timeout: the seconds that connecting may take

    Attributes:
        process: the process that the connections are of: a fork has none
        loop: the :class:`LoopThread`
        places: the semaphore that who asks has to hold
        finding_out: the lock of who finds out what the server refuses

    Raises:
        ValueError: if the environment names a proxy for the server that cannot be used
    """

    def __init__(self, url: str, key: Secret, concurrency: int, connect_timeout: float):
        import openai

        self.url = url
        self.process = os.getpid()
        self._key = key
        self._connect_timeout = connect_timeout
        # Left to itself, the client would send what the environment has for another service
        self._openai = openai.AsyncOpenAI(
            base_url=url,
            api_key=key.reveal() or "none",
            max_retries=0,
            http_client=_http_client(url),
        )
        self._openai.organization = self._openai.project = None
        self.loop = LoopThread(self._openai.close)
        self.places = asyncio.Semaphore(concurrency)
        self.finding_out = asyncio.Lock()

    def close(self) -> None:
        """Ends the connections and the thread."""
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
            asking = call(**body, timeout=limits)
            if not _proxies(self.url):
                asking = while_listening(asking, self.url)
            # The client's own limits are between two bytes; slow ones could drip for ever
            answer = await asyncio.wait_for(asking, seconds)
            text = answer.http_response.text
        except (asyncio.TimeoutError, openai.APITimeoutError):
            return Failure(
                f"The server at {self.url} gave no complete answer within {seconds:.3g} s: allow "
                "more with timeout=, or ask for less at the same time with concurrency= (on the "
                "command line --server-timeout and --server-concurrency)",
                passing=True,
            )
        except StoppedError:
            return Failure(
                f"The server at {self.url} was stopped while it worked on a request: it takes no "
                "more connections",
                passing=True,
            )
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, AnswerTooLargeError):
                return Failure(f"The answer of the server at {self.url} {error.__cause__}")
            return Failure(self._broken(error), passing=True)
        except openai.APIStatusError as error:
            status = error.status_code
            passing = status in _PASSING or status >= 500
            wait = retry_after(error.response.headers) if passing else None
            if 300 <= status < 400:
                where = error.response.headers.get("location", "")
                return Failure(self._redirected(status, where), status=status)
            return Failure(self._refused(status, error.body), passing, wait, status)
        try:
            found = self._key.hide(json.loads(text))
        except (ValueError, RecursionError):
            return Failure(
                f"The server at {self.url} answered with something that is no JSON: "
                f"'{self.safe(text, 60)}'",
                passing=True,
            )
        # Hosts that pass requests on, such as OpenRouter, tell of errors further on in this way
        if isinstance(found, Mapping) and found.get("error") and not found.get("choices"):
            status = _code(found["error"])
            passing = status in _PASSING or not 400 <= status < 500
            return Failure(self._refused(status, found), passing, status=status)
        return found

    def _broken(self, error: Exception) -> str:
        """Says how a connection failed."""
        cause = error.__cause__ or error
        kind = type(cause).__name__
        if kind == "ProxyError":
            return (
                f"The proxy that the environment names does not connect to {self.url}: "
                f"{self.safe(cause, 100)}. Name the server in NO_PROXY to do without it"
            )
        if kind.startswith("Connect"):
            through = " through the proxy that the environment names" if _proxies(self.url) else ""
            return (
                f"No server answers at {self.url}{through}: start it, or check the address and "
                f"that it can be reached from here ({self.safe(cause, 100)})"
            )
        return (
            f"The server at {self.url} cut the connection before its answer was complete ({kind})"
        )

    def _redirected(self, status: int, where: str) -> str:
        """Says where a server sends requests on to; they would take pictures and key along."""
        try:
            parts = urlsplit(urljoin(f"{self.url}/", where))
            host = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        except ValueError:
            host = "another address"
        return (
            f"The server at {self.url} sends requests on to {self.safe(host, 100)} ({status}), "
            "which would get the pictures and the key: give the address that the server itself has"
        )

    def _refused(self, status: int, body: Any) -> str:
        """Says why a server answered with an error."""
        server = f"The server at {self.url}"
        if status in (401, 403):
            if not self._key:
                return f"{server} asks for a key ({status}): put it into {KEY_NAME}"
            return f"{server} does not accept the key in {KEY_NAME} ({status})"
        if status == 413:
            return (
                f"{server} takes no request of this size ({status}): send JPEG of a lower "
                "image_quality, or fewer or smaller frames"
            )
        if isinstance(body, list) and body:  # as Google has it
            body = body[0]
        if isinstance(body, Mapping):
            inner = body.get("error", body)
            body = inner.get("message", inner) if isinstance(inner, Mapping) else inner
        said = self.safe(body or "it does not say why", 300)
        if status == 404:
            return f"{server} has no such model, or is at another path ({status}): {said}"
        if status == 429:
            return f"{server} is too busy ({status}): {said}"
        what = "refuses the request" if 400 <= status < 500 else "failed"
        return f"{server} {what} ({status}): {said}"

    def safe(self, text: Any, width: int = 300) -> str:
        """Makes a text of the server's one short line, without the key: some repeat it."""
        text = self._key.hide(str(text)[: 100 * width])[: 10 * width]
        return one_line(text, width)


def _code(error: Any) -> int:
    """The HTTP status within an error that came as if all were well; 200 if there is none."""
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 200


def _proxies(url: str) -> list[str]:
    """The variables of the environment that name a proxy for an address.

    In plain HTTP a proxy could read all that is sent, so none is used then, nor on one machine.
    Over HTTPS it sees the name of the server alone, and may be the only way to it.
    """
    host = urlsplit(url).hostname or ""
    if urlsplit(url).scheme == "http" or is_here(url) or urllib.request.proxy_bypass(host):
        return []
    proxies = urllib.request.getproxies()
    return [f"{name.upper()}_PROXY" for name in ("https", "all") if proxies.get(name)]


def _http_client(url: str) -> Any:
    """The connections below the client of the API, which follow no redirect to somewhere else."""
    import openai

    plain = urlsplit(url).scheme == "http"
    mounts = None if _proxies(url) else {"https://": None}
    try:
        return openai.DefaultAsyncHttpxClient(
            follow_redirects=False,
            trust_env=not plain,
            mounts=mounts,
            headers={"Accept-Encoding": "identity"},  # or a small body could be a large answer
            event_hooks={"response": [limit_body]},
        )
    except OSError as error:
        raise ValueError(
            f"The certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read: {error}"
        ) from None
    except Exception as error:  # of several kinds; their messages may repeat a proxy's password
        raise ValueError(
            "A proxy that the environment names (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) cannot be "
            f"used ({type(error).__name__}): correct it, or take it out of the environment"
        ) from None


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
