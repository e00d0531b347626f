"""Detections as the database holds them, read without making documents of them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import fiftyone.core.labels as fol
import fiftyone.core.utils as fou
import numpy as np


class StoredDetection:
    """A detection as the database holds it, of which only what is asked for is decoded.

    It reads like a :class:`fiftyone.core.labels.Detection`, which takes ten times as long to make:
    hours, for the frames of a benchmark. Whatever is not plain is left to such a one.
    """

    _PLAIN = ("label", "index", "confidence", "bounding_box", "mask_path")

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
        return name in self._values or name in fol.Detection._fields_ordered

    @cached_property
    def mask(self) -> np.ndarray | None:
        """The mask inside the box."""
        stored = self._values.get("mask")
        return None if stored is None else fou.deserialize_numpy_array(stored)

    @cached_property
    def _whole(self) -> fol.Detection:
        return fol.Detection.from_dict(self._values)
