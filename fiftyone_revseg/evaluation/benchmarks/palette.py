"""Ref-YouTube-VOS and Ref-DAVIS17: objects as the values of the pixels of palette images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fiftyone_revseg.dataset.expressions import Expression
from fiftyone_revseg.evaluation.benchmarks.layout import (
    META,
    Benchmark,
    BenchmarkVideo,
    BrokenVideoError,
    Contents,
    Entries,
    FrameTruth,
    number_of,
    read_json,
    text_of,
)
from fiftyone_revseg.masks.rle import encode_masks

ANNOTATIONS = "Annotations"
_CATEGORIES = "meta.json"
_VOID = 255  # pixels that belong to nobody knows what


class PaletteBenchmark(Benchmark):
    """A benchmark with a palette image of all objects for each frame.

    The number of an object is its pixels' value, and the ``obj_id`` of the expressions.
    """

    meta = f"meta_expressions/{{split}}/{META}"
    truth = f"{{split}}/{ANNOTATIONS}"

    def _read(self, video: BenchmarkVideo, entries: Entries) -> Contents:
        name, expressions = video.name, []
        for key, entry in entries:
            where = self._where(name, key)
            objects = (_number(entry.get("obj_id"), where),) if self.has_truth else None
            expressions.append(Expression(key, text_of(entry.get("exp"), where), objects))
        if self.has_truth and self.masks and not (self.masks_path / name).is_dir():
            raise BrokenVideoError(f"There is no folder '{self.masks_path / name}' with masks")
        labels = self._labels(name, expressions)
        return self._complete(name, expressions), labels, lambda: self._masks_of(video)

    def _complete(self, name: str, expressions: list[Expression]) -> tuple[Expression, ...]:
        """Adds what a benchmark knows beyond text and object."""
        return tuple(expressions)

    def _labels(self, name: str, expressions: Sequence[Expression]) -> dict[int, str]:
        labels = {number: "object" for e in expressions for number in e.objects or ()}
        for number, entry in self._categories(name).items():
            if (known := number_of(number)) is not None and isinstance(entry, dict):
                labels[known] = str(entry.get("category") or "object")
        return labels

    def _categories(self, name: str) -> Mapping[str, Any]:
        if not hasattr(self, "_by_video"):
            path = self.root / self.split / _CATEGORIES
            meta = read_json(path) if path.is_file() else {}
            self._by_video = meta.get("videos") or {} if isinstance(meta, dict) else {}
        objects = (self._by_video.get(name) or {}).get("objects")
        return objects if isinstance(objects, dict) else {}

    def _masks_of(self, video: BenchmarkVideo) -> Iterator[FrameTruth | None]:
        for stem in video.frame_names:
            path = self.masks_path / video.name / f"{stem}.png"
            if not path.is_file():
                raise BrokenVideoError(f"The image '{path}' with masks is missing")
            values = read_values(path, video.size)
            numbers = [int(n) for n in np.unique(values) if n]
            masks = dict(zip(numbers, encode_masks(split_values(values, numbers)), strict=True))
            void = masks.pop(_VOID, None)
            yield FrameTruth({n: m for n, m in masks.items() if m is not None}, void)


def split_values(values: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """Returns (N, H, W) bool: where each of N values is in an (H, W) image."""
    if not numbers:
        return np.zeros((0, *values.shape), bool)
    return np.asarray(values[None] == np.array(numbers, values.dtype)[:, None, None])


def read_values(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Reads the values of the pixels of a palette or gray image, without applying a palette.

    Args:
        path: the path of the image
        size: the (width, height) that it must have

    Returns:
        (H, W) uint8

    Raises:
        BrokenVideoError: if it cannot be read, or is of another size or kind
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.size != size:
                raise BrokenVideoError(
                    f"The image '{path}' is {image.width} x {image.height} pixels, but its video"
                    f" {size[0]} x {size[1]}"
                )
            if image.mode == "1":
                image = image.convert("L")
            values = np.array(image)
    except BrokenVideoError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BrokenVideoError(f"The image '{path}' cannot be read ({error})") from error
    if values.ndim != 2 or values.dtype != np.uint8:
        raise BrokenVideoError(f"The image '{path}' has colors: it must have a palette, or be gray")
    return values


def _number(value: Any, where: str) -> int:
    number = number_of(value)
    if number is None or not 0 < number < _VOID:
        raise BrokenVideoError(f"{where} has obj_id {value!r}: it must be a number from 1 to 254")
    return number
