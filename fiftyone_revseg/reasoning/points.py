"""Points as models write them, alone or beside a box."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fiftyone_revseg.reasoning.conventions import BoxConvention
from fiftyone_revseg.reasoning.corners import (
    POINT_KEYS,
    ConventionError,
    check_scale,
    normalized,
)
from fiftyone_revseg.reasoning.regions import ParseError
from fiftyone_revseg.reasoning.trajectory import Box, Point
from fiftyone_revseg.reasoning.values import Pairs

_MOST = 20  # points of one object
_X_FIRST_KEYS = ("point2d", "points2d")  # as bbox_2d has
_OF_A_POINT = {"x", "y", "label", "name", "description"}
_TAG = re.compile(r"<points?\s[^<>]{0,99}?\bcoords=\"([0-9\t:;, .]{1,999})\"", re.IGNORECASE)
_PERCENT_TAG = re.compile(r"<points?\s[^<>]{0,99}?\bx1?=\"", re.IGNORECASE)
_NUMBERS = re.compile(r"[\s,;]+")


def read_points(
    keys: Mapping[str, Any],
    box: Box,
    convention: BoxConvention,
    side: int,
    source_size: tuple[int, int],
) -> tuple[Point, ...]:
    """Reads the points that stand beside a box.

    Args:
        keys: the object with the box, its keys normalized
        box: the box in source pixels
        convention: how the model was asked to write
        side: how far the model's space reaches
        source_size: the ``(width, height)`` of the source frame, in pixels

    Returns:
        ``(x, y)`` in source pixels; () if the object has no points

    Raises:
        ParseError: if a point is none, or is not within the box: then nobody knows which is wrong
    """
    pairs = points_in(keys, convention)
    if pairs is None:
        return ()
    if not pairs:
        raise ParseError("its point does not hold two numbers")
    points = [to_point(*pair, convention, side, source_size) for pair in pairs]
    x1, y1, x2, y2 = box
    if not all(x1 <= x <= x2 and y1 <= y <= y2 for x, y in points):
        raise ParseError("its point is not within its box")
    return tuple(dict.fromkeys(points))


def points_in(
    keys: Mapping[str, Any], convention: BoxConvention
) -> tuple[tuple[float, float], ...] | None:
    """Reads what is under a key for points.

    Args:
        keys: an object, its keys normalized
        convention: how the model was asked to write

    Returns:
        pairs of numbers in the convention's order; () if there is anything else; None if there is
        no such key, or an empty list

    Raises:
        ConventionError: if the key says that the order is another one
    """
    given = [name for name in POINT_KEYS if keys.get(name) not in (None, [])]
    if not given:
        return None
    value = keys[given[0]]
    named = isinstance(value, Pairs) or (
        isinstance(value, list) and all(isinstance(one, Pairs) for one in value)
    )
    if convention.y_first and given[0] in _X_FIRST_KEYS and not named:
        raise ConventionError(f'point_2d has x first: write "{convention.point_key}": [y, x]')
    return tuple(_pairs(value, convention))[:_MOST]


def tagged_points(answer: str) -> tuple[tuple[float, float], ...] | None:
    """Reads a tag of Molmo 2: ``<points coords="1 1 500 250">``, picture, point, x, y.

    Returns:
        the pairs of numbers; None if there is no such tag

    Raises:
        ParseError: if the points are in several pictures, or in a tag of the first Molmo, which
            counts in percent
    """
    tags = _TAG.findall(answer)
    if not tags:
        if _PERCENT_TAG.search(answer):
            raise ParseError("its point is in percent, as the first Molmo writes it")
        return None
    pictures = [part.split() for part in re.split(r"[\t:,;]", tags[-1]) if part.strip()]
    if len(pictures) != 1 or len(pictures[0]) < 4 or (len(pictures[0]) - 1) % 3:
        raise ParseError("its points are not those of one picture")
    numbers = [float(text) for text in pictures[0][1:]]
    return tuple(zip(numbers[1::3], numbers[2::3], strict=True))[:_MOST]


def to_point(
    first: float,
    second: float,
    convention: BoxConvention,
    side: int,
    source_size: tuple[int, int],
) -> Point:
    """Scales a point.

    Args:
        first: x, or y where the convention has it first, in the model's space
        second: the other one
        convention: how the model was asked to write
        side: how far the model's space reaches
        source_size: the ``(width, height)`` of the source frame, in pixels

    Returns:
        ``(x, y)`` in source pixels

    Raises:
        ParseError: if the point is outside the image, or in another scale
    """
    x, y = (second, first) if convention.y_first else (first, second)
    check_scale((x, y, x, y), convention, side, source_size)
    if not (0 <= x <= side and 0 <= y <= side):
        raise ParseError("the point is outside the image")
    return (x * source_size[0] / side, y * source_size[1] / side)


def _pairs(value: Any, convention: BoxConvention) -> Iterator[tuple[float, float]]:
    """Two numbers, or several times two; nothing if there is anything else."""
    if isinstance(value, Pairs):
        value = [value]
    if isinstance(value, str) and len(value) < 200:
        value = _NUMBERS.split(value.strip(" []()"))
    if not isinstance(value, list):
        return
    if not any(isinstance(v, list) for v in value):
        value = [value]
    for pair in value:
        if isinstance(pair, Pairs):
            pair = _of_names(pair, convention)
        if not isinstance(pair, list) or not (len(pair) == 2 or _is_labelled(pair)):
            return
        if any(isinstance(v, bool) for v in pair):
            return
        try:
            x, y = (float(v) for v in pair[:2])
        except (TypeError, ValueError, OverflowError):
            return
        if not (abs(x) < 1e9 and abs(y) < 1e9):  # NaN is not either
            return
        yield x, y


def _of_names(pairs: Pairs, convention: BoxConvention) -> list[Any]:
    """The two numbers of ``{"x": 200, "y": 300}``, in the convention's order."""
    (keys, *more) = normalized(pairs)
    names = ("y", "x") if convention.y_first else ("x", "y")
    if more or not keys.keys() <= _OF_A_POINT:  # a width, say: then it is the place of a box
        return []
    return [keys[name] for name in names if name in keys]


def _is_labelled(point: list[Any]) -> bool:
    """Whether a point has a 1 behind it: on the object, as SAM says it."""
    return len(point) == 3 and point[2] in (1, "1")
