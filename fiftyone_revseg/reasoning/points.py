"""Points as models write them beside a box: where the object itself is, not what is around it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fiftyone_revseg.reasoning.conventions import BoxConvention
from fiftyone_revseg.reasoning.corners import POINT_KEYS, check_scale
from fiftyone_revseg.reasoning.regions import ParseError
from fiftyone_revseg.reasoning.trajectory import Box, Point

_MOST = 20  # points of one object
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
    value = next((keys[name] for name in POINT_KEYS if keys.get(name) is not None), None)
    if value is None:
        return ()
    points = []
    for first, second in _pairs(value):
        x, y = (second, first) if convention.y_first else (first, second)
        check_scale((x, y, x, y), convention, side, source_size)
        point = (x * source_size[0] / side, y * source_size[1] / side)
        x1, y1, x2, y2 = box
        if not (x1 <= point[0] <= x2 and y1 <= point[1] <= y2):
            raise ParseError("its point is not within its box")
        points.append(point)
    if not points:
        raise ParseError("its point does not hold two numbers")
    return tuple(dict.fromkeys(points))[:_MOST]


def _pairs(value: Any) -> Iterator[tuple[float, float]]:
    """Two numbers, or several times two; nothing if there is anything else."""
    if isinstance(value, str) and len(value) < 200:
        value = _NUMBERS.split(value.strip(" []()"))
    if not isinstance(value, list):
        return
    if len(value) == 2 and not any(isinstance(v, list) for v in value):
        value = [value]
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            return
        try:
            x, y = (float(v) for v in pair)
        except (TypeError, ValueError, OverflowError):
            return
        if not (abs(x) < 1e9 and abs(y) < 1e9):  # NaN is not either
            return
        yield x, y
