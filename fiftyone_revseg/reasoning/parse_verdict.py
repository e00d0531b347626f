"""Reads what the model says of the finished tracks in turn 3: which objects are meant, if any.

The rules are those of :mod:`~fiftyone_revseg.reasoning.parse`: every form that has one meaning is
accepted, nothing is guessed, and what cannot be read is never mistaken for "none of them".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fiftyone_revseg.reasoning.candidates import Candidate, choose, find_candidates
from fiftyone_revseg.reasoning.corners import normalized
from fiftyone_revseg.reasoning.looking_again import Verdict
from fiftyone_revseg.reasoning.parse import (
    NO_OBJECT,
    first_of,
    one_line,
    parse_think,
    whole_number,
)
from fiftyone_revseg.reasoning.regions import ParseError, answer_region
from fiftyone_revseg.reasoning.values import Items, Pairs

_OBJECT_KEYS = ("objects", "object", "objectnumbers", "numbers", "number", "chosen", "answer")
_ITEM_KEYS = ("number", "object", "id", "index")  # of an object in a list of objects
_FRAME_KEYS = ("wrongframes", "wrongpictures", "wrong")
_REASON_KEYS = ("why", "reason", "explanation", "reasoning")
# As objects are named to the model: "Object 2", "#2"
_NUMBER = re.compile(r"(?:object|number|no\.?)?[ #]{0,3}([0-9]{1,9})", re.I)
_NEITHER = ("", "none of them", "none of these", "neither", "neither of them")
_FORM = '{"objects": [...], "wrong_frames": [...], "why": "..."}'


def parse_verdict(reply: str, objects: int, pictures: int, complete: bool = True) -> Verdict:
    """Reads a turn-3 reply.

    The list of objects may stand alone, hold numbers or strings, or be the word "none"; a single
    number is a list of one. Of a reply that was cut off, it counts if it was closed.

    Args:
        reply: the model's text
        objects: how many objects were shown; they are numbered from 1
        pictures: how many pictures were shown; they are numbered from 0
        complete (True): whether the model ended the reply; if it was cut off, what it says before
            a thought is finished is a draft

    Returns:
        a :class:`~fiftyone_revseg.reasoning.looking_again.Verdict`, without its probability and
        what was shown

    Raises:
        ParseError: if it has no list of objects, names an object or a picture that does not
            exist, or contradicts itself

    Example::

        parse_verdict('{"objects": [2], "wrong_frames": [5, 6]}', objects=3, pictures=8)
        # Verdict(objects=(2,), wrong_frames=(5, 6))
    """
    start, end = answer_region(reply, complete)
    read = choose(
        find_candidates(reply[start:end]), lambda candidate: _read(candidate, objects, pictures)
    )
    if read is None:
        raise ParseError(f"it has no JSON with the numbers of the objects: {_FORM}")
    chosen, wrong, why = read
    if chosen and wrong and len(wrong) == pictures:
        raise ParseError("it chooses an object whose outline it calls wrong in every picture")
    # Where no object is chosen, there is no outline of a chosen one that could be wrong
    return Verdict(chosen, wrong if chosen else (), why or one_line(parse_think(reply)))


def objects_span(reply: str) -> tuple[int, int]:
    """Returns where the list of objects is: ``reply[start:end]``; all of it if it is not found.

    This is the span whose token probabilities make the verdict's.
    """
    try:
        start, end = answer_region(reply)
    except ParseError:
        return 0, len(reply)
    found = find_candidates(reply[start:end])
    if not found:
        return 0, len(reply)
    first, last = start + found[-1].start, start + found[-1].end
    for match in _SAID.finditer(reply, first, last):
        if match[1].replace("_", "").replace(" ", "").lower() in _OBJECT_KEYS:
            return match.span(2)
    return first, last


# A key and a list of numbers, a number or a word
_SAID = re.compile(
    r"""["']?([A-Za-z][A-Za-z_ ]{0,30})["']?\s{0,9}:\s{0,9}"""
    r"""(\[[^\[\]{}]{0,400}\]|"[^"]{0,60}"|[0-9]{1,9}|null|None)"""
)

_Read = tuple[tuple[int, ...], tuple[int, ...], str]


def _read(candidate: Candidate, objects: int, pictures: int) -> _Read | None:
    """What one candidate says; None if it has nothing to do with an answer."""
    told = [keys for found in candidate.values for keys in _told(found.value)]
    if not told:
        return _bare(candidate, objects)
    if len(told) > 1:
        raise ParseError(f"it has several answers: give only one, {_FORM}")
    (keys,) = told
    names = [name for name in _OBJECT_KEYS if name in keys]
    chosen = _numbers(keys[names[0]], "object", 1, objects)
    for name in names[1:]:
        if _is_number_or_list(keys[name]) and _numbers(keys[name], "object", 1, objects) != chosen:
            raise ParseError("it names its objects twice, and differently: name them once")
    wrong = _numbers(first_of(keys, _FRAME_KEYS), "picture", 0, pictures)
    why = first_of(keys, _REASON_KEYS)
    return chosen, wrong, one_line(why) if isinstance(why, str) else ""


def _told(value: Any) -> Iterator[dict[str, Any]]:
    """The keys of each object that names numbers of objects, however deep it lies in others."""
    if isinstance(value, Pairs):
        told = [keys for keys in normalized(value) if any(name in keys for name in _OBJECT_KEYS)]
        if told and not any(isinstance(keys.get("answer"), Pairs) for keys in told):
            yield from told
            return
    for item in value if isinstance(value, (Items, Pairs)) else ():
        yield from _told(item[1] if isinstance(value, Pairs) else item)


def _is_number_or_list(value: Any) -> bool:
    return isinstance(value, Items) or _number(value) is not None


def _bare(candidate: Candidate, objects: int) -> _Read | None:
    """A list of numbers that stands by itself."""
    if candidate.is_empty_list:
        return (), (), ""
    if len(candidate.values) != 1 or not (candidate.alone or candidate.ends_sentence):
        return None
    value = candidate.values[0].value
    if not isinstance(value, Items) or value.opening != "[" or not value:
        return None
    if any(_number(item) is None for item in value):
        return None
    return _numbers(value, "object", 1, objects), (), ""


def _numbers(value: Any, what: str, first: int, count: int) -> tuple[int, ...]:
    """The numbers that a value names, in ascending order and without repetition."""
    if isinstance(value, Items) and not value.whole:
        raise ParseError(f"its list of {what}s was not finished")
    if isinstance(value, Items) and len(value) == 1 and isinstance(value[0], str):
        (value,) = value
    if value is None or (isinstance(value, str) and _says_none(value)):
        return ()
    items = value if isinstance(value, Items) else [value]
    if isinstance(value, str) and "," in value and len(value) < 200:
        items = Items(value.strip("[] ").split(","))
    found = set()
    for item in items:
        number = _number(item)
        if number is None:
            raise ParseError(f"its list of {what}s has something in it that is not a number")
        if not count:
            raise ParseError(f"there is no {what}, and it names one")
        if not first <= number < first + count:
            shown = str(number) if abs(number) < 10**9 else "that large"
            raise ParseError(
                f"{what} {shown} does not exist, the {what}s are {first} to {first + count - 1}"
            )
        found.add(number)
    return tuple(sorted(found))


def _number(value: Any) -> int | None:
    if isinstance(value, Pairs):  # {"number": 2, "why": "it is red"}
        named = [first_of(keys, _ITEM_KEYS) for keys in normalized(value)]
        value = named[0] if len(named) == 1 else None
    if isinstance(value, str) and len(value) < 50:
        match = _NUMBER.fullmatch(value.strip())
        return int(match[1]) if match else None
    return whole_number(value)


def _says_none(text: str) -> bool:
    words = re.sub(r"[\W_]+", " ", text).strip().lower()
    return words in NO_OBJECT or words in _NEITHER
