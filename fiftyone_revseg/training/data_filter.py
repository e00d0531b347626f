"""The data filter of ReVSeg (arXiv 2512.02835): does a tracker find what the masks say is true?

A video is worth learning from only if its ground truth can be reached: the tracker is started at
the true box of each frame and goes both ways, and what it finds is compared with the true masks.
Where that is far off, the object cannot be tracked or the annotation is wrong. One error of
annotations is recognized: masks that are early or late by a few frames (as some of ReVOS are) fit
better once they are moved back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fiftyone_revseg.masks.rle import rle_box
from fiftyone_revseg.tracking import RLE, Tracker, track_both_ways
from fiftyone_revseg.tracking.both_ways import VideoLike

#: Videos with a lower mean IoU are dropped, as in the paper
THRESHOLD = 0.6
#: Masks may be early or late by this many frames
MAX_OFFSET = 3
#: By how much another offset than 0 must be better: masks of slow objects fit nearly as well there
CLEARLY_BETTER = 0.05

#: One object's true masks: the frame, counted from 0 -> its mask, or None where it is not visible.
#: Frames that nobody annotated are left out
Truth = Mapping[int, RLE | None]


@dataclass(frozen=True)
class FilterResult:
    """How well a tracker finds the true masks of a video.

    Attributes:
        iou: the mean IoU, 0 to 1: over the frames on which the object is or is found, then over
            the frames that the tracker started from, then over the objects
        offset: how many frames the true masks are early (late if negative): the masks of frame k
            fit what is seen in frame ``k + offset``. 0 unless another offset is clearly better
        by_offset: the mean IoU with the true masks moved by each offset
        starts: how many times the tracker was started
    """

    iou: float
    offset: int
    by_offset: Mapping[int, float]
    starts: int


def measure_video(
    video: VideoLike,
    objects: Sequence[Truth],
    tracker: Tracker,
    starts: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FilterResult:
    """Tracks the objects of a video from their true boxes, and compares with their true masks.

    The tracker is started once for each frame on which an object is visible, with the boxes of
    all that are visible there, and walks over the whole video: the time grows with the square of
    the number of frames, unless ``starts`` limits it.

    Args:
        video: has ``walk``, ``size`` and a length
        objects: the true masks of every object, at the size of the video
        tracker: the tracker
        starts (None): start at no more than this many frames, evenly spread over those with an
            object. By default, at all of them, as in the paper
        progress (None): called with the number of starts that are done, and of all

    Returns:
        a :class:`FilterResult`

    Raises:
        ValueError: if no object is visible anywhere, masks are not of the size of the video, or
            ``starts`` is less than 1
    """
    width, height = video.size
    for rle in (rle for truth in objects for rle in truth.values() if rle is not None):
        if list(rle["size"]) != [height, width]:
            raise ValueError(
                f"The true masks are of {list(rle['size'])} (h, w), and the video of "
                f"{[height, width]}"
            )
    frames = _start_frames(objects, len(video), starts)
    # Sums over the starts of each object, for each offset, and how many there were
    sums = np.zeros((len(objects), 2 * MAX_OFFSET + 1))
    counts = np.zeros(len(objects), int)
    for done, frame in enumerate(frames):
        if progress is not None:
            progress(done, len(frames))
        seen = [n for n, truth in enumerate(objects) if truth.get(frame) is not None]
        boxes = np.array([rle_box(objects[n][frame]) for n in seen])  # type: ignore[arg-type]
        for n, track in zip(seen, track_both_ways(tracker, video, frame, boxes), strict=True):
            sums[n] += _ious_by_offset(track.rles, objects[n])
            counts[n] += 1
    if progress is not None:
        progress(len(frames), len(frames))
    tracked = counts > 0
    means = (sums[tracked] / counts[tracked, None]).mean(axis=0)
    best = int(means.argmax()) - MAX_OFFSET
    clear = means.max() > means[MAX_OFFSET] + CLEARLY_BETTER
    return FilterResult(
        iou=float(means[MAX_OFFSET]),
        offset=best if clear else 0,
        by_offset={o - MAX_OFFSET: float(mean) for o, mean in enumerate(means)},
        starts=len(frames),
    )


def _start_frames(objects: Sequence[Truth], count: int, starts: int | None) -> list[int]:
    if starts is not None and starts < 1:
        raise ValueError(f"The tracker must be started at least once, so starts cannot be {starts}")
    frames = sorted({k for truth in objects for k, rle in truth.items() if rle is not None})
    frames = [k for k in frames if k < count]
    if not frames:
        raise ValueError("There is no true mask in this video")
    if starts is None or starts >= len(frames):
        return frames
    # The middle of each of as many equal parts
    return [frames[int((n + 0.5) * len(frames) / starts)] for n in range(starts)]


def _ious_by_offset(tracked: Sequence[RLE | None], truth: Truth) -> np.ndarray:
    """The mean IoU with the truth moved by each offset, over the frames where there is a mask."""
    sums = np.zeros(2 * MAX_OFFSET + 1)
    counts = np.zeros(2 * MAX_OFFSET + 1, int)
    for k, true_mask in truth.items():
        for column, seen in enumerate(range(k - MAX_OFFSET, k + MAX_OFFSET + 1)):
            if not 0 <= seen < len(tracked):
                continue
            found = tracked[seen]
            if found is None and true_mask is None:
                continue
            counts[column] += 1
            if found is not None and true_mask is not None:
                sums[column] += _iou(found, true_mask)
    return sums / np.maximum(counts, 1)


def _iou(a: RLE, b: RLE) -> float:
    from pycocotools import mask as coco

    return float(coco.iou([a], [b], [0])[0, 0])
