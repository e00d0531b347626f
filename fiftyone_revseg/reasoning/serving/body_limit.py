"""A limit on the size of what a server answers, held while it is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

MOST = 64 * 2**20  # bytes; a thought of 32,000 tokens with their probabilities has about 5 million


class AnswerTooLargeError(Exception):
    """An answer is larger than what is read, or nobody can tell how large it will be."""


async def limit_body(response: Any) -> None:
    """Has the reading of a response's body end with an error where it is too large.

    This is a hook for the responses of the ``openai`` client's asynchronous connections, which are
    to ask for no compression.

    Raises:
        AnswerTooLargeError: if its headers say already that it is too large
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise AnswerTooLargeError(f"is compressed ({encoding}) although that was not asked for")
    length = response.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 12 or int(length) > MOST):
        raise AnswerTooLargeError(f"has {length[:30]} bytes, and more than {MOST} are not read")
    response.stream = _limited(response.stream)


def _limited(stream: Any) -> Any:
    # Of the stream's own type, as the client asks for one of its library, whichever that is
    class Limited(type(stream)):  # type: ignore[misc]
        def __init__(self) -> None:
            pass

        async def __aiter__(self) -> AsyncIterator[bytes]:
            count = 0
            async for part in stream:
                count += len(part)
                if count > MOST:
                    raise AnswerTooLargeError(f"has more than {MOST} bytes, which are not read")
                yield part

        async def aclose(self) -> None:
            await stream.aclose()

    return Limited()
