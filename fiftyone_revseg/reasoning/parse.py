"""Reads the model's replies: key frames and descriptions in turn 1, boxes in turn 2.

Models are free to write anything, so the rules are: accept every form that has one meaning, never
guess, and never mistake an unreadable answer for the answer "no such object".
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from .trajectory import Box, KeyframeChoice

MAX_OBJECTS = 20  # a model caught in a loop lists objects without end; no real answer has more

_FRAME_KEYS = ("frameidx", "frameid", "frameindex", "framenumber", "frame", "keyframe")
_TEXT_KEYS = ("objectdescription", "description", "label", "object")
_BOX_KEYS = ("bbox2d", "bbox", "box2d", "box", "boundingbox", "boxcoordinates", "coordinates")
_CORNERS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"))

_WHOLE = re.compile(r"[0-9]{1,9}(\.0{1,9})?")
_DECIMAL = re.compile(r"\s*[-+]?[0-9]+(\.[0-9]*)?\s*")
_NUMBER = r"\s*(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)\s*"
_CORNER_PAIRS = re.compile(rf"\({_NUMBER},{_NUMBER}\)\s*,?\s*\({_NUMBER},{_NUMBER}\)")
_FENCE = re.compile(r"```[a-zA-Z0-9]*")
_MAX_STARTS = 1000  # how many brackets are tried, which bounds the time spent on a hostile reply


class ParseError(ValueError):
    """A reply that cannot be used; the message says why, in words that a model can act on."""


def parse_choices(reply: str, frame_count: int) -> list[KeyframeChoice]:
    """Reads the key frames and descriptions from a turn-1 reply.

    A list or a single dict is accepted, in or without ``<answer>`` tags and code fences, with
    several spellings of the keys. Of a damaged or truncated list the complete items are kept,
    duplicates are dropped, and at most :data:`MAX_OBJECTS` are returned. A frame number may be
    written ``3``, ``3.0`` or ``"3"``; one outside the sampled frames is never clamped.

    Args:
        reply: the model's text
        frame_count: the number of frames that were shown

    Returns:
        one :class:`KeyframeChoice` for each object, empty if the model answered with an empty
        list, which means that no such object exists

    Raises:
        ParseError: if there is no usable answer

    Example::

        parse_choices('<answer>[{"frame_idx": 3, "object description": "a cat"}]</answer>', 16)
        # [KeyframeChoice(frame=3, description='a cat')]
    """
    start, end = _answer_region(reply)
    answer = reply[start:end]
    if _is_empty_list(answer):
        return []
    choices: list[KeyframeChoice] = []
    problem = "it has no JSON list of frame_idx and object description"
    for item in _dicts(_values(answer)):
        keys = _normalized(item)
        frame = _first(keys, _FRAME_KEYS)
        text = _first(keys, _TEXT_KEYS)
        k = _whole_number(frame)
        if frame is None:
            continue
        if k is None:
            problem = "frame_idx is not a whole number"
        elif not 0 <= k < frame_count:
            shown = str(k) if abs(k) < 10**9 else "that large"
            problem = f"frame_idx {shown} does not exist, the frames are 0 to {frame_count - 1}"
        elif not isinstance(text, str) or not _clean(text):
            problem = "the object description is missing"
        else:
            choice = KeyframeChoice(k, _clean(text))
            if choice not in choices:
                choices.append(choice)
    if not choices:
        raise ParseError(problem)
    return choices[:MAX_OBJECTS]


def parse_boxes(
    reply: str, convention: str, key_frame_size: int, source_size: tuple[int, int]
) -> list[Box]:
    """Reads the boxes from a turn-2 reply.

    Boxes are brought from the model's space to source pixels (the square resize of the key frame
    does not keep the aspect ratio, so x and y scale apart), their corners put in order, and
    clipped to the frame; those with a side under one source pixel are rejected.

    Args:
        reply: the model's text
        convention: "pixels" of the resized key frame, or "relative-1000"
        key_frame_size: the side of the resized, square key frame, in pixels
        source_size: the ``(width, height)`` of the source frame, in pixels

    Returns:
        a list of ``(x1, y1, x2, y2)`` tuples in source pixels, in the reply's order, without
        duplicates, at most :data:`MAX_OBJECTS`; empty if the model answered with an empty list

    Raises:
        ParseError: if there is no usable answer

    Example::

        parse_boxes('[{"bbox_2d": [420, 0, 840, 210]}]', "pixels", 840, (1280, 720))
        # [(640.0, 0.0, 1280.0, 180.0)]
    """
    if convention not in ("pixels", "relative-1000"):
        raise ValueError(f"Unknown box convention {convention!r}: use 'pixels' or 'relative-1000'")
    side = 1000 if convention == "relative-1000" else key_frame_size
    start, end = _answer_region(reply)
    answer = reply[start:end]
    if _is_empty_list(answer):
        return []
    boxes: list[Box] = []
    problem = "it has no JSON list of bbox_2d with four numbers"
    for corners in _corner_lists(answer):
        box = _to_source(corners, side, source_size)
        if box is None:
            problem = "the box is empty or outside the image"
        elif box not in boxes:
            boxes.append(box)
    if not boxes:
        raise ParseError(problem)
    return boxes[:MAX_OBJECTS]


def parse_think(reply: str) -> str:
    """Returns the thought in a reply, whether or not its tags are complete; "" if there is none."""
    head, closed, _ = reply.rpartition("</think>")
    _, opened, inside = (head if closed else reply).partition("<think>")
    if not closed and not opened:
        return reply.partition("<answer>")[0].strip() if "<answer>" in reply else ""
    thought = inside if opened else head
    if not closed:  # cut off, or the closing tag was forgotten
        thought = thought.partition("<answer>")[0]
    return thought.strip()


def answer_span(reply: str) -> tuple[int, int]:
    """Returns where the answer is: ``reply[start:end]``, without tags, prose or fences around it.

    This is the span over which token probabilities are averaged for a confidence.
    """
    try:
        start, end = _answer_region(reply)
    except ParseError:
        return 0, len(reply)
    brackets = [i for i in range(start, end) if reply[i] in "[]{}()"]
    if brackets:
        return brackets[0], brackets[-1] + 1
    inside = reply[start:end]
    if not inside.strip():
        return start, end
    return end - len(inside.lstrip()), start + len(inside.rstrip())


def _answer_region(reply: str) -> tuple[int, int]:
    """Finds the part of the reply that may hold the answer: behind the thought, inside the tags."""
    closed = reply.rfind("</think>")
    start = closed + len("</think>") if closed >= 0 else 0
    # a thought may mention the tags; behind it the first <answer> counts, without it the last
    tag = reply.find("<answer>", start) if closed >= 0 else reply.rfind("<answer>")
    if tag < 0:
        if closed < 0 and "<think>" in reply:
            raise ParseError("the thought was never finished and no answer follows it")
        return start, len(reply)
    start = tag + len("<answer>")
    end = reply.rfind("</answer>", start)
    if end < 0 and closed < 0 and "<think>" in reply:
        raise ParseError("neither the thought nor the answer was finished")
    return start, end if end >= 0 else len(reply)


def _is_empty_list(answer: str) -> bool:
    # only a list that is the whole answer: an empty list inside something else says nothing
    return re.fullmatch(r"\s*\[\s*\]\s*", _FENCE.sub("", answer)) is not None


def _values(answer: str) -> list[Any]:
    """Decodes every complete JSON list or object in a text, outermost first.

    Where an outer one is damaged or truncated, its complete parts are found instead.
    """
    decoder = json.JSONDecoder()
    values, position = [], 0
    for _ in range(_MAX_STARTS):
        match = re.compile(r"[\[{]").search(answer, position)
        if match is None:
            break
        try:
            value, position = decoder.raw_decode(answer, match.start())
            values.append(value)
        except (ValueError, RecursionError):  # ValueError: also an integer of too many digits
            position = match.start() + 1
    if not any(True for _ in _dicts(values)):
        values.extend(_python_literal(answer))
    return values


def _python_literal(answer: str) -> list[Any]:
    """Reads an answer written as Python instead of JSON, with single quotes, safely."""
    text = _FENCE.sub("", answer).strip()
    if not text.startswith(("[", "{")) or len(text) > 20_000:
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [ast.literal_eval(text)]
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return []


def _dicts(value: Any, depth: int = 0) -> Iterator[Mapping]:
    """Walks through nested lists and dicts and yields the dicts, in order."""
    if depth > 20:
        return
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _dicts(item, depth + 1)


def _lists(value: Any, depth: int = 0) -> Iterator[list]:
    """Walks through nested lists, but not dicts, and yields them, outermost first."""
    if depth <= 20 and isinstance(value, (list, tuple)):
        yield list(value)
        for item in value:
            yield from _lists(item, depth + 1)


def _corner_lists(answer: str) -> list[tuple[float, float, float, float]]:
    """Finds four-number boxes in the model's space: named ones, else bare lists, else pairs."""
    values = _values(answer)
    named = [_corners_of(item) for item in _dicts(values)]
    found = [corners for corners in named if corners is not None]
    if not found:
        bare = [_four_numbers(item) for item in _lists(values)]
        found = [corners for corners in bare if corners is not None]
    if not found:  # Qwen2-VL's own "(x1,y1),(x2,y2)"
        pairs = [_four_numbers(list(m)) for m in _CORNER_PAIRS.findall(answer)]
        found = [corners for corners in pairs if corners is not None]
    return found


def _corners_of(item: Mapping) -> tuple[float, float, float, float] | None:
    keys = _normalized(item)
    value = _first(keys, _BOX_KEYS)
    if isinstance(value, str):
        value = re.split(r"[\s,]+", value.strip(" []()"))
    if isinstance(value, (list, tuple)):
        return _four_numbers(list(value))
    corners = _normalized(value) if isinstance(value, Mapping) else keys
    for names in _CORNERS:
        if all(name in corners for name in names):
            return _four_numbers([corners[name] for name in names])
    return None


def _four_numbers(values: list) -> tuple[float, float, float, float] | None:
    if len(values) == 1 and isinstance(values[0], (list, tuple)):  # [[x1, y1, x2, y2]]
        values = list(values[0])
    if len(values) == 2 and all(isinstance(v, (list, tuple)) and len(v) == 2 for v in values):
        values = [*values[0], *values[1]]  # [[x1, y1], [x2, y2]]
    if len(values) != 4:
        return None
    numbers = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            return None
        if isinstance(value, str) and not _DECIMAL.fullmatch(value):
            return None
        try:
            number = float(value)
        except OverflowError:  # an integer beyond every float
            return None
        if not math.isfinite(number):
            return None
        numbers.append(number)
    x1, y1, x2, y2 = numbers
    return x1, y1, x2, y2


def _to_source(
    corners: tuple[float, float, float, float], side: int, source_size: tuple[int, int]
) -> Box | None:
    """Orders, clips and scales a box; None if less than one source pixel of it is left."""
    # clip first: the product of a huge coordinate and the frame's size might overflow
    xa, ya, xb, yb = (min(max(c, 0.0), float(side)) for c in corners)
    width, height = source_size
    x1, x2 = sorted((xa * width / side, xb * width / side))
    y1, y2 = sorted((ya * height / side, yb * height / side))
    return (x1, y1, x2, y2) if x2 - x1 >= 1 and y2 - y1 >= 1 else None


def _whole_number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(float(value))
    return None


def _normalized(item: Mapping) -> dict[str, Any]:
    """Spells keys alike: "frame_idx", "Frame Idx" and "frame-idx" are one."""
    return {re.sub(r"[\s_-]", "", str(key)).lower(): value for key, value in item.items()}


def _first(keys: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((keys[name] for name in names if keys.get(name) is not None), None)


def _clean(text: str) -> str:
    # a lone surrogate from "\ud800" can be neither tokenized nor stored
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
