"""Finds lists and objects in a text: JSON, and what models write in its place.

One pass over the text, in time linear in its length, whatever it holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_MAX_DEPTH = 50  # no answer is nested as deep, and what reads values may walk them recursively

_OPENING = re.compile(r"[\[{(]")
_BLANKS = re.compile(r"\s*")
_STRINGS = {
    '"': re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL),
    "'": re.compile(r"'[^'\\]*(?:\\.[^'\\]*)*'", re.DOTALL),
}
_NUMBER = re.compile(
    r"[-+]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][-+]?[0-9]{1,9})?"
)
_WHOLE_NUMBER = re.compile(r"[-+]?[0-9]+")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_BARE_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,99})\s{0,9}(?=:)")
_LINE_COMMENT = re.compile(r"(?://|#)[^\n]*")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_CONSTANTS = {
    "true": True, "false": False, "null": None, "True": True, "False": False, "None": None,
    "NaN": float("nan"), "Infinity": float("inf"),
}  # fmt: skip
_CLOSING = {"[": "]", "{": "}", "(": ")"}
_ENDS = tuple(_CLOSING.values())


#: Stands where a number was of which nobody knows whether it is all of it
DOUBTFUL = float("nan")


class Items(list):
    """A list or a tuple.

    Attributes:
        whole: whether it was closed; what is left of a damaged or truncated one is not whole
        opening: "[", or "(" for a tuple
    """

    whole = True
    opening = "["


class Pairs(list):
    """An object, as ``(key, value)`` pairs: models repeat keys, and a dict would lose them.

    Attributes:
        whole: whether it was closed
    """

    whole = True


@dataclass(frozen=True)
class Found:
    """A list or an object, and where in the text it is.

    Attributes:
        value: :class:`Items` or :class:`Pairs`
        start: where it starts
        end: where it ends, or where it was found to be damaged
    """

    value: Items | Pairs
    start: int
    end: int


def find_values(text: str, strict: bool = False) -> list[Found]:
    """Finds the outermost lists, tuples and objects in a text.

    Beside JSON, this reads Python's literals, comments, keys without quotes, line breaks in
    strings and a comma behind the last item. Of what is damaged or truncated, the complete parts
    are kept, in a value that is not ``whole``; a number that may go on is :data:`DOUBTFUL` there.

    Args:
        text: any text
        strict (False): whether to take comments, keys without quotes and line breaks in strings
            for damage

    Returns:
        what was found, in order
    """
    return _Scanner(text, strict).scan()


def walk(value: Any) -> Iterator[Items | Pairs]:
    """Walks through nested lists and objects and yields them, outermost first."""
    if isinstance(value, (Items, Pairs)):
        yield value
        for item in value:
            yield from walk(item[1] if isinstance(value, Pairs) else item)


@dataclass(eq=False)
class _Open:
    """A container that is not closed yet."""

    value: Items | Pairs
    start: int
    closing: str
    expects: str = "item"  # or "comma", and in an object "colon" or "value"
    key: str = ""
    commented: bool = False

    def add(self, value: Any) -> None:
        if isinstance(self.value, Pairs):
            self.value.append((self.key, value))
        else:
            self.value.append(value)
        self.expects = "comma"


@dataclass(eq=False)
class _Scanner:
    text: str
    strict: bool
    found: list[Found] = field(default_factory=list)
    stack: list[_Open] = field(default_factory=list)
    position: int = 0
    last_string: tuple[int, int] = (0, 0)
    looked_into: int = 0  # strings that end up to here were looked into for brackets
    unclosed: set[str] = field(default_factory=set)  # what is never closed from here on

    def scan(self) -> list[Found]:
        while True:
            if not self.stack:
                opening = _OPENING.search(self.text, self.position)
                if opening is None:
                    return self.found
                self.last_string = (0, 0)
                self._open(opening[0], opening.start())
                continue
            self.position = _BLANKS.match(self.text, self.position).end()  # type: ignore[union-attr]
            if self.position >= len(self.text) or not self._token(self.text[self.position]):
                self._give_up()

    def _open(self, opening: str, start: int) -> None:
        value: Items | Pairs = Pairs() if opening == "{" else Items()
        if opening == "(":
            value.opening = "("  # type: ignore[union-attr]
        self.stack.append(_Open(value, start, _CLOSING[opening]))
        self.position = start + 1

    def _token(self, character: str) -> bool:
        """Takes the next token; False if it does not belong there."""
        top = self.stack[-1]
        if character == top.closing and top.expects in ("item", "comma"):
            self.stack.pop()
            self.position += 1
            top.value.whole = bool(top.value) or not top.commented  # what was it, else?
            if self.stack:
                self.stack[-1].add(top.value)
            else:
                self.found.append(Found(top.value, top.start, self.position))
            return True
        if character in "/#" and not self.strict:
            top.commented = True
            return self._comment()
        if top.expects == "comma" or top.expects == "colon":
            if character != ("," if top.expects == "comma" else ":"):
                return False
            self.position += 1
            top.expects = "item" if character == "," else "value"
            return True
        if isinstance(top.value, Pairs) and top.expects == "item":
            return self._key(top, character)
        if character in _CLOSING:
            if len(self.stack) >= _MAX_DEPTH:
                return False
            self._open(character, self.position)
            return True
        return self._scalar(top, character)

    def _key(self, top: _Open, character: str) -> bool:
        if character in _STRINGS:
            key = self._string(character)
        else:
            bare = None if self.strict else _BARE_KEY.match(self.text, self.position)
            key = bare and bare[1]
            self.position = bare.end() if bare else self.position
        top.key, top.expects = key or "", "colon"
        return key is not None

    def _scalar(self, top: _Open, character: str) -> bool:
        if character in _STRINGS:
            string = self._string(character)
            if string is None:
                return False
            top.add(string)
            return True
        if number := _NUMBER.match(self.text, self.position):
            whole = _WHOLE_NUMBER.fullmatch(number[0])
            top.add(int(number[0]) if whole else float(number[0]))
            self.position = number.end()
            return True
        word = _WORD.match(self.text, self.position)
        if word is None or word[0] not in _CONSTANTS:
            return False
        top.add(_CONSTANTS[word[0]])
        self.position = word.end()
        return True

    def _string(self, quote: str) -> str | None:
        match = None
        if quote not in self.unclosed:
            match = _STRINGS[quote].match(self.text, self.position)
        if match is None:
            self.unclosed.add(quote)  # nor will a later one be: looking again takes its time
            return None
        self.last_string = match.span()
        if self.strict and "\n" in match[0]:
            return None
        self.position = match.end()
        return _unescaped(match[0])

    def _comment(self) -> bool:
        if line := _LINE_COMMENT.match(self.text, self.position):
            self.position = line.end()
            return True
        end = -1
        if self.text.startswith("/*", self.position) and "/*" not in self.unclosed:
            end = self.text.find("*/", self.position + 2)
        if end < 0:
            self.unclosed.add("/*")
            return False
        self.position = end + 2
        return True

    def _doubt_last_number(self) -> None:
        """Takes a number back behind which neither a comma nor a bracket follows.

        It may go on, as the "40" of "400" that was cut off, or be one part of "4*100" or "40%".
        """
        value = self.stack[-1].value
        if self.stack[-1].expects != "comma" or self.text.startswith(_ENDS, self.position):
            return
        last = value[-1][1] if isinstance(value, Pairs) else value[-1]
        if isinstance(last, (int, float)):
            value[-1] = (value[-1][0], DOUBTFUL) if isinstance(value, Pairs) else DOUBTFUL

    def _give_up(self) -> None:
        """Closes what is open as not whole, and goes on behind what does not belong there."""
        self._doubt_last_number()
        outermost = self.stack[0]
        for outer, inner in zip(self.stack, self.stack[1:], strict=False):
            outer.add(inner.value)
        for one in self.stack:
            one.value.whole = False
        self.stack.clear()
        start, end = self.last_string
        look_inside = end > self.looked_into and _OPENING.search(self.text, start, end) is not None
        self.looked_into = max(self.looked_into, end)
        if outermost.value:
            until = start if look_inside else self.position
            self.found.append(Found(outermost.value, outermost.start, until))
        if look_inside:  # with a quote missing, strings and what is between them change places
            self.position = start + 1
        elif self.position < len(self.text) and self.text[self.position] not in _CLOSING:
            self.position += 1


def _unescaped(string: str) -> str:
    body = string[1:-1]
    if "\\" not in body:
        return body
    try:
        return str(json.loads(f'"{body}"', strict=False))  # joins the halves of a character, too
    except ValueError:
        return _ESCAPE.sub(_character, body)


def _character(escape: re.Match) -> str:
    code = escape[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPED.get(code, code)
