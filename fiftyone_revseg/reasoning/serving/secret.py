"""A server's key: sent to the server, and hidden wherever the server or a library repeats it."""

from __future__ import annotations

import base64
import html
import json
import logging
import re
import weakref
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

HIDDEN = "***"

# A key of this length is hidden wherever it stands, a shorter one only as a word of its own
_LONG = 8
# Of a key that is at least twice as long as this, parts of this length are hidden, too
_PART = 8
# What the client is made of, and what of it speaks; in newer versions its parts end with a 2
_LOGGERS = (
    *("openai", "openai._base_client", "openai._response", "openai._legacy_response"),
    *(f"httpx{version}" for version in ("", "2")),
    *(
        f"httpcore{version}.{part}"
        for version in ("", "2")
        for part in ("connection", "http11", "http2", "proxy", "socks")
    ),
)


class Secret:
    """A key that may be absent.

    Libraries that log what a server sent them log it without the key, as long as this lives.

    Args:
        key (None): the key
    """

    def __init__(self, key: str | None = None) -> None:
        self._key = key
        self._pattern = _pattern(key) if key else None
        self._parts: frozenset[str] = frozenset()
        if key and len(key) >= 2 * _PART:
            folded = key.lower()
            self._parts = frozenset(folded[i : i + _PART] for i in range(len(folded) - _PART + 1))
        if key:
            _secrets.add(self)
            for name in _LOGGERS:  # adding a filter twice does nothing
                logging.getLogger(name).addFilter(_FILTER)

    def reveal(self) -> str | None:
        """Returns the key, to be sent and for nothing else."""
        return self._key

    def hide(self, value: Any) -> Any:
        """Replaces the key in a text, or in all texts of decoded JSON.

        The key is found as it is, in the ways in which headers, addresses, pages and JSON quote
        it, and in parts of eight characters and more.

        Args:
            value: a string, or dicts and lists of anything

        Returns:
            the same with ``***`` in the place of the key
        """
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self._without_parts(self._pattern.sub(HIDDEN, value))
        if isinstance(value, Mapping):
            return {self.hide(name): self.hide(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.hide(inner) for inner in value]
        return value

    def __bool__(self) -> bool:
        return self._key is not None

    def __repr__(self) -> str:
        return f"Secret({HIDDEN if self else ''})"

    def __reduce__(self) -> Any:
        raise TypeError("a key is never stored")

    def _without_parts(self, text: str) -> str:
        folded = text.lower()
        if not self._parts or len(folded) != len(text):  # a few letters are longer in lower case
            return text
        found = [i for i in range(len(text) - _PART + 1) if folded[i : i + _PART] in self._parts]
        if not found:
            return text
        pieces: list[str] = []
        end = 0
        for i in found:
            if i > end or not pieces:
                pieces += [text[end:i], HIDDEN]
            end = i + _PART
        return "".join(pieces) + text[end:]


def _pattern(key: str) -> re.Pattern[str]:
    forms = sorted({*_forms(key)}, key=len, reverse=True)
    pattern = "|".join(re.escape(form) for form in forms)
    if len(key) < _LONG:
        pattern = rf"(?<![^\W_])(?:{pattern})(?![^\W_])"
    return re.compile(pattern, re.IGNORECASE)


def _forms(key: str) -> Iterator[str]:
    """The ways in which a key may be written."""
    yield from (key, quote(key, safe=""), html.escape(key), json.dumps(key)[1:-1])
    if len(key) < _LONG:
        return
    data = key.encode()
    yield data.hex()
    for before in range(3):  # in the middle of a longer text, it begins at any of three places
        code = base64.b64encode(bytes(before) + data).decode()
        first, last = -(-before * 8 // 6), (before + len(data)) * 8 // 6
        yield code[first:last]
        yield code[first:last].translate(str.maketrans("+/", "-_"))


class _HidesKeys(logging.Filter):
    """Hides the keys that are in use in what a library logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = said = record.getMessage()
        trace = raised = ""
        if record.exc_info:
            trace = raised = logging.Formatter().formatException(record.exc_info)
        for secret in list(_secrets):
            message, trace = secret.hide(message), secret.hide(trace)
        if message != said:
            record.msg, record.args = message, None
        if trace != raised:
            record.exc_text, record.exc_info = trace, None
        return True


_secrets: weakref.WeakSet[Secret] = weakref.WeakSet()
_FILTER = _HidesKeys()
