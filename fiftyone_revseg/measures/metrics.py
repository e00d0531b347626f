"""J, F and J&F, the measures of video object segmentation.

The definitions are those of the DAVIS 2017 evaluation (Perazzi et al., "A Benchmark Dataset and
Evaluation Methodology for Video Object Segmentation", CVPR 2016; Pont-Tuset et al., "The 2017
DAVIS Challenge", arXiv 1704.00675). All frames count, as is usual for referring expressions:
a mask left on a frame without the object costs both measures.
"""

from __future__ import annotations

import math

import numpy as np

# Frames are measured a few at a time, so that long videos do not need long intermediate arrays
_PIXELS_AT_ONCE = 2**24


def region_similarity(pred: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Computes J, the intersection over union of the masks of every frame.

    Where both masks are empty, the prediction is right and J is 1.

    Args:
        pred: a (T, H, W) boolean array of predicted masks
        gt: a (T, H, W) boolean array of true masks

    Returns:
        a (T,) float array in [0, 1]

    Raises:
        ValueError: if the shapes differ or are not (T, H, W)
    """
    pred, gt = _masks(pred, gt)
    intersection = np.count_nonzero(pred & gt, axis=(1, 2))
    union = np.count_nonzero(pred | gt, axis=(1, 2))
    return np.where(union == 0, 1.0, intersection / np.maximum(union, 1))


def contour_accuracy(pred: np.ndarray, gt: np.ndarray, tolerance: float = 0.008) -> np.ndarray:
    """Computes F, the harmonic mean of the boundaries' precision and recall, of every frame.

    A boundary pixel is right if a pixel of the other boundary lies within a disk whose radius is
    ``ceil(tolerance * diagonal)`` pixels. Where both boundaries are empty F is 1, where only one
    is empty F is 0. As in the reference code, a mask that covers the whole frame has no boundary.

    Args:
        pred: a (T, H, W) boolean array of predicted masks
        gt: a (T, H, W) boolean array of true masks
        tolerance (0.008): the disk's radius as a share of the frame's diagonal

    Returns:
        a (T,) float array in [0, 1]

    Raises:
        ValueError: if the shapes differ or are not (T, H, W)
    """
    pred, gt = _masks(pred, gt)
    frames, height, width = pred.shape
    radius = tolerance_radius((width, height), tolerance)
    step = max(1, _PIXELS_AT_ONCE // max(height * width, 1))
    f = np.empty(frames)
    for start in range(0, frames, step):
        part = slice(start, start + step)
        f[part] = _f_of_boundaries(boundaries(pred[part]), boundaries(gt[part]), radius)
    return f


def j_and_f(pred: np.ndarray, gt: np.ndarray) -> float:
    """Computes J&F of one expression: the mean of its mean J and its mean F over all frames.

    Args:
        pred: a (T, H, W) boolean array of predicted masks
        gt: a (T, H, W) boolean array of true masks

    Returns:
        a float in [0, 1]

    Raises:
        ValueError: if the shapes differ, are not (T, H, W), or there is no frame
    """
    pred, gt = _masks(pred, gt)
    if len(pred) == 0:
        raise ValueError("J&F needs at least one frame, but the masks have none")
    j, f = region_similarity(pred, gt), contour_accuracy(pred, gt)
    return float((j.mean() + f.mean()) / 2)


def boundaries(masks: np.ndarray) -> np.ndarray:
    """Marks the one-pixel-wide boundaries of masks, as DAVIS 2017's ``seg2bmap`` does.

    A pixel is marked if it differs from its neighbour to the right, below, or below right. The
    last row and column compare with the neighbours they have; a mask that runs to the frame's
    edge has no boundary there.

    Args:
        masks: a (T, H, W) boolean array

    Returns:
        a (T, H, W) boolean array
    """
    edges = np.zeros_like(masks, dtype=bool)
    right = masks[:, :, :-1] ^ masks[:, :, 1:]
    below = masks[:, :-1, :] ^ masks[:, 1:, :]
    edges[:, :, :-1] |= right
    edges[:, :-1, :] |= below
    edges[:, :-1, :-1] |= masks[:, :-1, :-1] ^ masks[:, 1:, 1:]
    return edges


def tolerance_radius(size: tuple[int, int], tolerance: float = 0.008) -> int:
    """Returns within how many pixels boundaries match, in frames of ``size`` (width, height)."""
    return int(np.ceil(tolerance * np.linalg.norm(size[::-1])))


def _f_of_boundaries(pred: np.ndarray, gt: np.ndarray, radius: int) -> np.ndarray:
    """F of boundary maps, (T, H, W) bool x 2 -> (T,) float."""
    pred_count = np.count_nonzero(pred, axis=(1, 2))
    gt_count = np.count_nonzero(gt, axis=(1, 2))
    precision = _count_near(pred, gt, radius) / np.maximum(pred_count, 1)
    recall = _count_near(gt, pred, radius) / np.maximum(gt_count, 1)
    total = precision + recall
    f = 2 * precision * recall / np.where(total == 0, 1, total)
    f[(pred_count == 0) & (gt_count == 0)] = 1
    return f


def _count_near(points: np.ndarray, targets: np.ndarray, radius: int) -> np.ndarray:
    """Counts, per frame, the pixels of ``points`` with a pixel of ``targets`` within ``radius``.

    This asks the dilation of ``targets`` by a disk only where it is needed: each of the disk's
    rows is an interval, and a running sum along x tells whether an interval holds a pixel.
    """
    frames, height, width = points.shape
    t, y, x = np.nonzero(points)
    sums = np.zeros((frames, height, width + 1), np.int32)
    np.cumsum(targets, axis=2, out=sums[:, :, 1:])
    near = np.zeros(len(t), bool)
    for dy in range(-radius, radius + 1):
        half = math.isqrt(radius**2 - dy**2)
        row = y + dy
        inside = (row >= 0) & (row < height) & ~near
        ti, yi, xi = t[inside], row[inside], x[inside]
        stop, start = np.minimum(xi + half + 1, width), np.maximum(xi - half, 0)
        near[inside] = sums[ti, yi, stop] > sums[ti, yi, start]
    return np.bincount(t[near], minlength=frames)


def _masks(pred: np.ndarray, gt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pred, gt = np.asarray(pred, dtype=bool), np.asarray(gt, dtype=bool)
    if pred.ndim != 3 or pred.shape != gt.shape:
        raise ValueError(
            "predicted and true masks must have the same shape (T, H, W), "
            f"but have {pred.shape} and {gt.shape}"
        )
    return pred, gt
