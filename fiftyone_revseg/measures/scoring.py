"""J and F of many expressions, from run-length encoded masks.

The numbers are those of :mod:`fiftyone_revseg.measures.metrics`, to the last bit. What makes it
quick is what is left out: J comes from the runs, and F looks only at frames on which both masks
are there, and of these only at the part of the frame around both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from fiftyone_revseg.masks.rle import RLE, rle_areas
from fiftyone_revseg.measures.bit_masks import (
    Part,
    checked_runs,
    f_of_bits,
    mask_bits,
    tolerance_radius,
)
from fiftyone_revseg.measures.score_workers import Workers, usable_cores

_FRAMES_WORTH_WORKERS = 2000  # below this, starting them takes longer than the work
_PAIRS_AHEAD = 4  # per worker, so that none waits for the next one


@dataclass(frozen=True)
class Pair:
    """What is measured together: the masks of one expression and the true ones.

    Attributes:
        key: whatever the caller knows it by; it stays in the caller's process
        pred: T predicted masks, see :func:`score_rles`
        gt: T true masks
        size: the (width, height) of the truth in pixels
    """

    key: Hashable
    pred: Sequence[RLE | None]
    gt: Sequence[RLE | None]
    size: tuple[int, int]


@dataclass(frozen=True)
class FrameScores:
    """How well the masks of one expression agree with the true ones, frame by frame.

    Attributes:
        j: (T,) float in [0, 1], the region similarity; 1 where both masks are empty
        f: (T,) float in [0, 1], the contour accuracy; 1 where both masks are empty
        accuracy: (T,) float in [0, 1], the share of the frame's pixels on which the masks agree
        intersection: (T,) int, the pixels of both masks
        pred_area: (T,) int, the pixels of the predicted mask, at the size of the truth
        gt_area: (T,) int, the pixels of the true mask
    """

    j: np.ndarray
    f: np.ndarray
    accuracy: np.ndarray
    intersection: np.ndarray
    pred_area: np.ndarray
    gt_area: np.ndarray

    @classmethod
    def of_nothing(cls, frames: int) -> FrameScores:
        """Returns zeros for what was not measured."""
        return cls(*np.zeros((3, frames)), *np.zeros((3, frames), np.int64))


def score_rles(
    pred: Sequence[RLE | None],
    gt: Sequence[RLE | None],
    size: tuple[int, int],
    tolerance: float = 0.008,
) -> FrameScores:
    """Measures the masks of one expression on every frame.

    A predicted mask of another size than the truth is scaled to the size of the truth, each pixel
    taking the value of the nearest one, before anything is measured: a benchmark is scored at the
    resolution of its annotations.

    Args:
        pred: T predicted masks; None, or an RLE without pixels, where there is none
        gt: T true masks, all of ``size``
        size: the (width, height) of the truth in pixels
        tolerance (0.008): the radius within which boundaries match, as a share of the diagonal

    Returns:
        a :class:`FrameScores`

    Raises:
        ValueError: if the numbers of frames differ, or a true mask is not of ``size``
    """
    from pycocotools import mask as coco

    if len(pred) != len(gt):
        raise ValueError(f"there are {len(pred)} predicted masks for {len(gt)} frames of truth")
    width, height = size = (int(size[0]), int(size[1]))
    for frame, rle in enumerate(gt):
        if rle is not None and list(rle["size"]) != [height, width]:
            raise ValueError(
                f"the true mask of frame {frame} is of {rle['size']} (h, w), but its video of "
                f"{[height, width]}"
            )
    pred = [rle and _scaled(rle, size) for rle in pred]
    pred_area, gt_area = rle_areas(pred), rle_areas(gt)
    intersection = np.zeros(len(gt), np.int64)
    # F is 1 where neither mask has a boundary, and 0 where one of them has none. A mask that
    # covers the whole frame has no boundary either
    nothing = np.array([0, width * height])
    f = (np.isin(pred_area, nothing) & np.isin(gt_area, nothing)).astype(float)
    radius = tolerance_radius(size, tolerance)
    for k in np.flatnonzero((pred_area > 0) & (gt_area > 0)).tolist():
        part = Part.around(coco.toBbox([pred[k], gt[k]]), size, radius)
        p, g = mask_bits(pred[k], part), mask_bits(gt[k], part)
        intersection[k] = (p & g).bit_count()
        if pred_area[k] < width * height and gt_area[k] < width * height:
            f[k] = f_of_bits(p, g, part, radius)
    union = pred_area + gt_area - intersection
    return FrameScores(
        j=np.where(union == 0, 1.0, intersection / np.maximum(union, 1)),
        f=f,
        accuracy=1 - (union - intersection) / (width * height),
        intersection=intersection,
        pred_area=pred_area,
        gt_area=gt_area,
    )


def score_many(
    pairs: Iterable[Pair], workers: int | None = None
) -> Iterator[tuple[Any, FrameScores | Exception]]:
    """Measures many expressions, on several cores where that is worth it.

    Pairs are taken as they are needed, a few per worker, so that memory does not grow with their
    number.

    Args:
        pairs: what to measure
        workers (None): how many processes to use besides this one; None for one per core that
            this process may use; 0 or 1 to measure in this process

    Yields:
        the key and the :class:`FrameScores` of every pair, in the order of the pairs; of a pair
        that cannot be measured, as its masks do not fit each other, the error in their place
    """
    workers = usable_cores() if workers is None else workers
    pairs = iter(pairs)
    first: list[Pair] = []
    frames = 0
    while workers > 1 and frames < _FRAMES_WORTH_WORKERS:
        pair = next(pairs, None)
        if pair is None:
            workers = 1
        else:
            first.append(pair)
            frames += len(pair.gt)
    pairs = chain(first, pairs)
    if workers <= 1:
        for pair in pairs:
            yield pair.key, _score(pair.pred, pair.gt, pair.size)
        return
    with Workers(_score, workers) as pool:
        waiting: deque[tuple[Pair, Future]] = deque()
        for pair in pairs:
            waiting.append((pair, pool.submit(pair.pred, pair.gt, pair.size)))
            if len(waiting) >= workers * _PAIRS_AHEAD:
                pair, future = waiting.popleft()
                yield pair.key, future.result()
        while waiting:
            pair, future = waiting.popleft()
            yield pair.key, future.result()


def union_rles(rles: Sequence[RLE]) -> RLE | None:
    """Joins masks of one frame without decoding them.

    Args:
        rles: masks of the same size

    Returns:
        their union; None if there are none, or none of them has a pixel

    Raises:
        ValueError: if the sizes differ, or runs do not add up to them
    """
    from pycocotools import mask as coco

    if len({tuple(rle["size"]) for rle in rles}) > 1:
        raise ValueError(
            f"masks of different sizes cannot be joined: {[list(rle['size']) for rle in rles]}"
        )
    if not rles:
        return None
    if len(rles) == 1:
        return rles[0] if rle_areas(rles).any() else None
    for rle in rles:
        checked_runs(rle)
    union = coco.merge(list(rles))
    return _as_rle(union) if coco.area(union) else None


def _score(
    pred: Sequence[RLE | None], gt: Sequence[RLE | None], size: tuple[int, int]
) -> FrameScores | Exception:
    try:
        return score_rles(pred, gt, size)
    except Exception as error:  # the others are to be measured, whatever is wrong with these
        return error


def _scaled(rle: RLE, size: tuple[int, int]) -> RLE:
    from pycocotools import mask as coco

    width, height = size
    if list(rle["size"]) == [height, width]:
        return rle
    mask = coco.decode(rle)
    rows = (np.arange(height) * mask.shape[0]) // height
    columns = (np.arange(width) * mask.shape[1]) // width
    return _as_rle(coco.encode(np.asfortranarray(mask[rows][:, columns])))


def _as_rle(rle: dict) -> RLE:
    return {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")}
