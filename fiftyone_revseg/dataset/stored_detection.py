"""Detections as the database holds them, read without making documents of them."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import fiftyone.core.labels as fol
import fiftyone.core.utils as fou
import numpy as np

_DECLARED = frozenset(fol.Detection().field_names)


class StoredDetection:
    """A detection as the database holds it, of which only what is asked for is decoded.

    It reads like a :class:`fiftyone.core.labels.Detection`, which takes ten times as long to make:
    hours, for the frames of a benchmark. Whatever is not plain is left to such a one.
    """

    _PLAIN = ("label", "index", "bounding_box", "mask_path")

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name in self._PLAIN:
            return self._values.get(name)
        return getattr(self._whole, name)

    def __getitem__(self, name: str) -> Any:
        value = self._values.get(name)
        return value if isinstance(value, (str, int, float)) else self._whole[name]

    def has_field(self, name: str) -> bool:
        """Whether the detection has such a field."""
        # Asked of each detection, so without making a whole one
        return name in self._values or name in _DECLARED

    @property
    def confidence(self) -> float | None:
        """The confidence; None where there is none, or what is there is no number."""
        value = self._values.get("confidence")
        return value if isinstance(value, (int, float)) and math.isfinite(value) else None

    @cached_property
    def mask(self) -> np.ndarray | None:
        """The mask inside the box."""
        stored = self._values.get("mask")
        return None if stored is None else fou.deserialize_numpy_array(stored)

    @cached_property
    def _whole(self) -> fol.Detection:
        return fol.Detection.from_dict(self._values)


def check_detection(detection: Any) -> None:
    """Checks that a detection, whoever wrote it, can be drawn on its frame and told from others.

    A box may reach out of its frame, as those of some tools do, but not by more than a frame.

    Args:
        detection: a :class:`StoredDetection` or :class:`fiftyone.core.labels.Detection`

    Raises:
        ValueError: if it has no box, or one that is not relative to its frame; or an index that is
            no whole number
    """
    if not is_relative_box(detection.bounding_box):
        box = detection.bounding_box
        raise ValueError(
            f"the box {list(box) if isinstance(box, (list, tuple)) else box} is not relative to the"
            " frame: boxes are x, y, width, height from 0 to 1"
        )
    index = detection.index
    if not isinstance(index, (int, type(None))) or isinstance(index, bool):
        raise ValueError(f"the index {index!r} is no whole number, so it names no object")


def is_relative_box(box: Any) -> bool:
    """Returns whether a value is a box of numbers, not further than a frame away from its frame."""
    try:
        x, y, w, h = box
        return bool(-1 <= x <= x + w <= 2 and -1 <= y <= y + h <= 2)
    except (TypeError, ValueError):
        return False
