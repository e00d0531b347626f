"""Boxes around masks, and how much two boxes have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def box_around(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Finds the box around a mask.

    Args:
        mask: ``(H, W)`` bool

    Returns:
        ``(x1, y1, x2, y2)`` in pixels, its far ends exclusive; None if the mask is empty
    """
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def box_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Returns the intersection over union of two ``(x1, y1, x2, y2)`` boxes of any one space."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    intersection = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection
    return float(intersection / union) if union > 0 else 0.0


def relative_xywh(
    box_xyxy_px: Sequence[float], size: Sequence[float]
) -> tuple[float, float, float, float]:
    """Turns pixels of a frame of ``size`` (width, height) into ``x, y, width, height``, 0 to 1."""
    (x1, y1, x2, y2), (width, height) = box_xyxy_px, size
    return x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height


def corners_px(
    box_xywh_rel: Sequence[float], size: Sequence[float]
) -> tuple[float, float, float, float]:
    """Turns what :func:`relative_xywh` gives back into pixels, ``x1, y1, x2, y2``."""
    (x, y, w, h), (width, height) = box_xywh_rel, size
    return x * width, y * height, (x + w) * width, (y + h) * height
