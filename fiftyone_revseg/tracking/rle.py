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
    from pycocotools import mask as coco

    # COCO counts down the columns. This memory order needs one copy of the masks, not two.
    columns = np.ascontiguousarray(np.asarray(masks, np.uint8).transpose(0, 2, 1))
    return [
        {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")}
        if mask.any()
        else None
        for rle, mask in zip(coco.encode(columns.transpose(2, 1, 0)), columns, strict=True)
    ]


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
