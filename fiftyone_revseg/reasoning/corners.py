"""Boxes as models write them, and what they mean in pixels.

A box is read where it can mean one thing only. What speaks against the order or the scale that the
model was asked for is refused in words: a box at another place looks as good as the right one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fiftyone_revseg.reasoning.conventions import BoxConvention
from fiftyone_revseg.reasoning.regions import ParseError
from fiftyone_revseg.reasoning.trajectory import Box
from fiftyone_revseg.reasoning.values import DOUBTFUL, Items, Pairs

Corners = tuple[float, float, float, float]

# Normalized keys, see :func:`normalized`; in the order that the model was asked for
_ANY_BOX_KEYS = (
    "bbox", "box", "boundingbox", "boxcoordinates", "coordinates", "bboxes", "boxes",
    "boundingboxes",
)  # fmt: skip
_BOX_KEYS = {  # y_first -> those that say so themselves, and those that do not say
    False: ("bbox2d", "bboxes2d", "bboxxyxy", "boxxyxy", "xyxy", *_ANY_BOX_KEYS),
    True: ("box2d", "boxes2d", "yxyx", "bboxyxyx", "boxyxyx", *_ANY_BOX_KEYS),
}
_CORNER_KEYS = (
    ("x1", "y1", "x2", "y2"), ("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
)  # fmt: skip
_TWO_CORNER_KEYS = ("topleft", "bottomright")
_SIZED_KEYS = ({"width", "height"}, {"w", "h"})
_PLACED_KEYS = {"x", "y", "left", "top", "cx", "cy", "xmin", "ymin", "xcenter", "ycenter"}
_SIZED = "it gives a width and a height"
_SIZED_BOX_KEYS = dict.fromkeys(
    ("xywh", "bboxxywh", "boxxywh", "cxcywh", "bboxcxcywh", "boxcxcywh"), _SIZED
)
_OTHER_ORDERS = {  # y_first -> the keys of no box in that order, and why
    False: {
        **dict.fromkeys(("box2d", "boxes2d"), "box_2d has y first with some models, x with others"),
        **dict.fromkeys(("yxyx", "bboxyxyx", "boxyxyx"), "yxyx has y first"),
        **_SIZED_BOX_KEYS,
    },
    True: {
        **dict.fromkeys(("bbox2d", "bboxes2d"), "bbox_2d has x first"),
        **dict.fromkeys(("bboxxyxy", "boxxyxy", "xyxy"), "xyxy has x first"),
        **_SIZED_BOX_KEYS,
    },
}
#: Normalized keys of points
POINT_KEYS = ("point2d", "point", "points", "points2d", "positivepoints", "pointcoordinates")


def _in_words(*names: str) -> str:
    """A pattern of names in a row, as models write them: "[x1, y1, x2, y2]"."""
    return r"\b" + r"\W{1,8}".join(f"(?:{name})" for name in names) + r"\b"


_X1, _Y1, _X2, _Y2 = "x_?(?:min|1|0)", "y_?(?:min|1|0)", "x_?(?:max|2|1)", "y_?(?:max|2|1)"
_SAYS_ALL = {  # y_first -> all four corners in words, in that order
    True: (
        r"\b(?:b?box_?)?(?:yxyx|y1x1y2x2)n?\b", _in_words("y", "x", "y", "x"),
        _in_words("top", "left", "bottom"), _in_words(_Y1, _X1, _Y2, _X2),
    ),
    False: (
        r"\b(?:b?box_?)?(?:xyxy|x1y1x2y2|ltrb)n?\b", _in_words("x", "y", "x", "y"),
        _in_words("left", "top", "right"), _in_words(_X1, _Y1, _X2, _Y2),
    ),
}  # fmt: skip
_SAYS = {  # or one of them, as far as that says it
    True: re.compile("|".join((*_SAYS_ALL[True], _in_words(_Y1, _X1))), re.IGNORECASE),
    False: re.compile("|".join((*_SAYS_ALL[False], _in_words(_X1, _Y1))), re.IGNORECASE),
}
_SAYS_ALL_X_FIRST = re.compile("|".join(_SAYS_ALL[False]), re.IGNORECASE)
_SIDES = (
    r"\W{1,8}(?:w(?:idth)?\W{1,8}(?:and\W)?h(?:eight)?|h(?:eight)?\W{1,8}(?:and\W)?w(?:idth)?)\b"
)
_PLACE = r"(?:c?[xy]|[xy]_?(?:min|1|0|c|center)|(?:c|center)[_ ]?[xy]|left|top)"
_SAYS_SIZED = re.compile(
    r"\b(?:b?box_?)?(?:c?xc?y|lt|tl)whn?\b"
    rf"|\b{_PLACE}\W{{1,8}}{_PLACE}{_SIDES}"
    r"|format\W{1,8}(?:coco|yolo)\b|\b(?:coco|yolo)\W{1,3}format\b",
    re.IGNORECASE,
)
_POINT_TAG = re.compile(r"<points?\s", re.IGNORECASE)
_DECIMAL = re.compile(r"\s{0,9}[-+]?(?:[0-9]{1,99}(?:\.[0-9]{0,99})?|\.[0-9]{1,99})\s{0,9}")
_BARE_NUMBERS = re.compile(
    r"(?:\W{0,9}(?:bbox|box|bounding[ _]box)\W{0,9}[:=])?\s*"
    + r"[,\s]\s*".join([r"([-+]?(?:[0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}))"] * 4)
    + r"\s*\.?\s*",
    re.IGNORECASE,
)
_BRACES = re.compile(r"\s*\{([^{}]*)\}\s*")  # what is left of \boxed{...}
_SLACK = 1.05  # how far a box may reach beyond the image before another scale is thought of


class ConventionError(ParseError):
    """A box that speaks against the order or the scale that was asked for."""


def normalized(pairs: Pairs) -> Iterator[dict[str, Any]]:
    """Yields the objects in pairs of keys and values, several where the keys repeat.

    Keys are spelled alike: "frame_idx", "Frame Idx" and "frame-idx" are one.
    """
    objects: list[dict[str, Any]] = [{}]
    merged: dict[str, Any] = {}
    said_twice = True
    for key, value in pairs:
        name = re.sub(r"[\s_-]", "", str(key)).lower()
        if name in objects[-1]:
            objects.append({})
        objects[-1][name] = value
        said_twice = said_twice and merged.setdefault(name, value) == value
    yield from [merged] if said_twice else objects


def named_boxes(item: Pairs, convention: BoxConvention) -> Iterator[Corners]:
    """Yields the boxes that the keys of one object name, x first, in the model's space.

    Raises:
        ConventionError: if a key says that the order is another one
    """
    for keys in normalized(item):
        yield from boxes_of(keys, convention)


def boxes_of(keys: Mapping[str, Any], convention: BoxConvention) -> Iterator[Corners]:
    """As :func:`named_boxes`, of one of the objects that :func:`normalized` yields."""
    of_box = (name for name in _BOX_KEYS[convention.y_first] if keys.get(name) is not None)
    value = next((keys[name] for name in of_box), None)
    if value is not None:
        yield from (_x_first(box, convention) for box in _boxes_in(value))
        return
    for name, why in _OTHER_ORDERS[convention.y_first].items():
        if isinstance(keys.get(name), (Items, str)):  # what names its corners is walked into
            raise ConventionError(f"{why}: {convention.asked}")
    for names in _CORNER_KEYS:
        if all(name in keys for name in names):
            yield from _four_numbers([keys[name] for name in names])
            return
    if all(isinstance(keys.get(name), Items) for name in _TWO_CORNER_KEYS):
        two = _four_numbers([keys[name] for name in _TWO_CORNER_KEYS])
        yield from (_x_first(box, convention) for box in two)
    sized = any(names <= keys.keys() for names in _SIZED_KEYS)
    if sized and _PLACED_KEYS & keys.keys():
        raise ConventionError(f"{_SIZED}: {convention.asked}")


def bare_boxes(item: Items, convention: BoxConvention) -> Iterator[Corners]:
    """Yields the box that a list without a key is, x first, in the model's space."""
    if item.whole:
        yield from (_x_first(box, convention) for box in _four_numbers(item))


def paired_boxes(
    items: list[Items], between: Sequence[str], convention: BoxConvention
) -> Iterator[Corners]:
    """Yields the boxes in a row of corners, as in Qwen2-VL's "(x1,y1),(x2,y2)"; x first.

    Four corners with the same between all of them are those of one shape, not of two boxes.

    Args:
        items: the corners
        between: what is written between one and the next
        convention: the one that was asked for
    """
    gaps = [gap.strip() or gap.strip(" \t") for gap in between]
    if set(gaps[::2]) & set(gaps[1::2]):
        return
    if items and len(items) % 2 == 0 and all(len(item) == 2 and item.whole for item in items):
        for first, second in zip(items[::2], items[1::2], strict=True):
            yield from (_x_first(box, convention) for box in _four_numbers([*first, *second]))


def box_of_text(text: str, convention: BoxConvention) -> Corners | None:
    """Reads an answer that is nothing but four numbers; x first."""
    if len(text) >= 200:
        return None
    if braces := _BRACES.fullmatch(text):
        text = braces[1]
    match = _BARE_NUMBERS.fullmatch(re.sub(rf"\b{convention.key}\b", "box", text))
    box = next(_four_numbers(list(match.groups())), None) if match else None
    return box and _x_first(box, convention)


def check_order(answer: str, convention: BoxConvention) -> None:
    """Raises a ConventionError if the words of an answer say that the order is another one.

    A key that has y first by its name says more than "(x1, y1)", which may name a corner.
    """
    says, other = _SAYS[not convention.y_first], "x" if convention.y_first else "y"
    if convention.y_first and re.search(rf"\b{convention.key}\b", answer):
        says = _SAYS_ALL_X_FIRST
    if says.search(answer):
        raise ConventionError(f"it says that {other} comes first: {convention.asked}")
    if _SAYS_SIZED.search(answer):
        raise ConventionError(f"{_SIZED}: {convention.asked}")


def without_doubtful(boxes: Sequence[Corners]) -> list[Corners]:
    """Returns the boxes whose numbers are all known, as of a list that was cut off.

    Raises:
        ConventionError: if the first one is not among them: the next is another object's
    """
    known = [box for box in boxes if not any(number is DOUBTFUL for number in box)]
    if boxes and boxes[0] not in known:
        raise ConventionError("a number of its box was cut off, or has something behind it")
    return known


def check_corners(corners: Corners, convention: BoxConvention) -> None:
    """Raises a ConventionError if the corners are turned around along one side only.

    So look a place and a size. Two corners in the other order are turned around along both.
    """
    x1, y1, x2, y2 = corners
    if (x1 - x2) * (y1 - y2) < 0:
        what = "its corners are turned around along one side only, as a place and a size look"
        raise ConventionError(f"{what}: {convention.asked}")


def without_box(
    answer: str, objects: Sequence[Mapping[str, Any]], convention: BoxConvention
) -> str:
    """Says of an answer without any box what it has instead."""
    if _POINT_TAG.search(answer) or any(name in keys for keys in objects for name in POINT_KEYS):
        return f"it has a point where a box was asked for: {convention.asked}"
    if any(name in keys for keys in objects for name in _BOX_KEYS[convention.y_first]):
        return f"its {convention.key} does not hold four numbers"
    return f"it has no JSON list of {convention.key} with four numbers"


def check_scale(
    corners: Corners, convention: BoxConvention, side: int, source_size: tuple[int, int]
) -> None:
    """Raises a ConventionError if a box is in another scale than the one that was asked for.

    Args:
        corners: in the model's space
        convention: the one that was asked for
        side: how far the model's space reaches
        source_size: the ``(width, height)`` of the source frame, in pixels
    """
    in_pixels = convention.reach is None
    asked = f"pixels of the {side} x {side} image" if in_pixels else f"0 to {side}"
    highest = max(corners)
    if convention.reach == 1:
        if highest > _SLACK:
            raise ConventionError(f"its corners seem to be in pixels, or 0 to 1000, not {asked}")
    elif 0 < highest <= (2 if side >= 400 else 1) and min(corners) >= -1:
        raise ConventionError(f"its corners seem to be shares of the image, not {asked}")
    x, y = max(corners[0], corners[2]), max(corners[1], corners[3])
    others = {"pixels of the video": source_size}
    if in_pixels:
        others["0 to 1000"] = (1000, 1000)
    for name, (width, height) in others.items() if convention.reach != 1 else ():
        if highest > _SLACK * side and x <= width and y <= height:
            raise ConventionError(f"its corners seem to be in {name}, not in {asked}")
    if highest > _SLACK * side or min(corners) < (1 - _SLACK) * side:
        raise ConventionError(f"its corners go beyond {asked}: they are outside the image")


def to_source(corners: Corners, side: int, source_size: tuple[int, int]) -> Box | None:
    """Orders, clips and scales a box; None if less than one source pixel of it is left.

    Args:
        corners: in the model's space
        side: how far that reaches
        source_size: the ``(width, height)`` of the source frame, in pixels
    """
    # clip first: the product of a huge coordinate and the frame's size might overflow
    xa, ya, xb, yb = (min(max(c, 0.0), float(side)) for c in corners)
    width, height = source_size
    x1, x2 = sorted((xa * width / side, xb * width / side))
    y1, y2 = sorted((ya * height / side, yb * height / side))
    return (x1, y1, x2, y2) if x2 - x1 >= 1 and y2 - y1 >= 1 else None


def is_whole_image(corners: Corners, side: int, source_size: tuple[int, int]) -> bool:
    """Whether a box is the whole image, as prose names it: "the image spans [0, 0, 1000, 1000]"."""
    x1, y1, x2, y2 = corners
    sizes = ((side, side), (1000, 1000), source_size)
    return (x1, y1) == (0, 0) and any(
        x2 in (width - 1, width) and y2 in (height - 1, height) for width, height in sizes
    )


def _x_first(corners: Corners, convention: BoxConvention) -> Corners:
    """Corners in the order that was asked for, with x first."""
    first, second, third, fourth = corners
    return (second, first, fourth, third) if convention.y_first else corners


def _boxes_in(value: Any) -> Iterator[Corners]:
    """The boxes in the value of a key: four numbers, or several times four."""
    if isinstance(value, str) and len(value) < 200:
        value = re.split(r"[\s,]+", value.strip(" []()"))
    if isinstance(value, Pairs):
        return  # it is walked into
    if not isinstance(value, list):
        return
    found = list(_four_numbers(value))
    if not found and len(value) > 1:
        found = [box for item in value if isinstance(item, Items) for box in _four_numbers(item)]
    yield from found


def _four_numbers(values: list) -> Iterator[Corners]:
    if len(values) == 1 and isinstance(values[0], list):  # [[x1, y1, x2, y2]]
        values = list(values[0])
    if len(values) == 2 and all(isinstance(v, list) and len(v) == 2 for v in values):
        values = [*values[0], *values[1]]  # [[x1, y1], [x2, y2]]
    if len(values) > 4:  # ["dog", x1, y1, x2, y2, "red"]
        values = [v for v in values if not _is_word(v)]
    if len(values) != 4:
        return
    numbers = []
    for value in values:
        if value is DOUBTFUL:
            numbers.append(value)
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            return
        if isinstance(value, str) and not _DECIMAL.fullmatch(value):
            return
        try:
            number = float(value)
        except OverflowError:  # an integer beyond every float
            return
        if not math.isfinite(number):
            return
        numbers.append(number)
    x1, y1, x2, y2 = numbers
    yield x1, y1, x2, y2


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and not any(character.isdigit() for character in value)
