"""J, F and J&F, the measures of video object segmentation.

The definitions are those of the DAVIS 2017 evaluation (Perazzi et al., "A Benchmark Dataset and
Evaluation Methodology for Video Object Segmentation", CVPR 2016; Pont-Tuset et al., "The 2017
DAVIS Challenge", arXiv 1704.00675). All frames count, as is usual for referring expressions:
a mask left on a frame without the object costs both measures.
"""

from __future__ import annotations

import numpy as np

from fiftyone_revseg.masks.rle import encode_masks
from fiftyone_revseg.measures.scoring import score_rles


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
    return score_rles(encode_masks(pred), encode_masks(gt), pred.shape[:0:-1], tolerance).f


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


def _masks(pred: np.ndarray, gt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pred, gt = np.asarray(pred, dtype=bool), np.asarray(gt, dtype=bool)
    if pred.ndim != 3 or pred.shape != gt.shape:
        raise ValueError(
            "predicted and true masks must have the same shape (T, H, W), "
            f"but have {pred.shape} and {gt.shape}"
        )
    return pred, gt
