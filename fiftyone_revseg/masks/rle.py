"""Run-length encoded masks: COCO's compressed form, a JSON-safe dict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np


class RLE(TypedDict):
    """A mask as COCO writes it: ``size`` is [height, width], ``counts`` the compressed runs."""

    size: list[int]
    counts: str


def encode_masks(masks: np.ndarray) -> list[RLE | None]:
    """Encodes the masks of one frame.

    Args:
        masks: (N, H, W) bool

    Returns:
        N RLEs; None where a mask is empty
    """
    return [_encode(mask) for mask in np.asarray(masks, bool)]


def _encode(mask: np.ndarray) -> RLE | None:
    from pycocotools import mask as coco

    height, width = mask.shape
    filled = np.flatnonzero(mask.any(axis=0))
    if not len(filled):
        return None
    # COCO counts down the columns. Most are empty, and only the others are looked at: turning
    # and going through a whole frame takes several times as long
    first, last = int(filled[0]), int(filled[-1])
    inside = np.zeros((last - first + 1) * height + 2, bool)
    inside[1:-1].reshape(-1, height)[:] = mask[:, first : last + 1].T
    changes = np.flatnonzero(inside[1:] != inside[:-1]) + first * height
    runs = np.diff(changes, prepend=0, append=height * width)
    if not runs[-1]:  # the last pixel is of the mask
        runs = runs[:-1]
    size = [height, width]
    packed = coco.frPyObjects({"size": size, "counts": runs.tolist()}, height, width)
    return {"size": size, "counts": packed["counts"].decode("ascii")}


def decode_masks(rles: Sequence[RLE | None], size: tuple[int, int]) -> np.ndarray:
    """Decodes masks of one size.

    Args:
        rles: N RLEs or None
        size: (width, height), needed for the empty ones

    Returns:
        (N, H, W) bool

    Raises:
        ValueError: if an RLE is of another size
    """
    from pycocotools import mask as coco

    width, height = size
    masks = np.zeros((len(rles), height, width), bool)
    for i, rle in enumerate(rles):
        if rle is None:
            continue
        if list(rle["size"]) != [height, width]:
            raise ValueError(f"a mask of {rle['size']} (h, w) in a video of {[height, width]}")
        masks[i] = coco.decode(rle)
    return masks


def rle_areas(rles: Sequence[RLE | None]) -> np.ndarray:
    """Counts the pixels of masks.

    Args:
        rles: N RLEs or None

    Returns:
        (N,) int64; 0 where there is no mask
    """
    from pycocotools import mask as coco

    areas = np.zeros(len(rles), np.int64)
    there = [k for k, rle in enumerate(rles) if rle is not None]
    # With numpy 2, pycocotools cannot count more than 255 masks in one call
    for start in range(0, len(there), 255):
        part = there[start : start + 255]
        areas[part] = coco.area([rles[k] for k in part])
    return areas


def rle_box(rle: RLE) -> np.ndarray:
    """The box around a mask.

    Args:
        rle: a mask that is not empty

    Returns:
        (4,) float: x0, y0, x1, y1 in pixels, the far ends exclusive
    """
    from pycocotools import mask as coco

    x, y, width, height = coco.toBbox(rle)
    return np.array([x, y, x + width, y + height], float)
