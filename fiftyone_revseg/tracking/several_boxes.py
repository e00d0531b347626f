"""One object from boxes in several frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.masks.rle import RLE
from fiftyone_revseg.tracking.both_ways import VideoLike, Within, track_both_ways
from fiftyone_revseg.tracking.tracker import Tracker


def track_prompts(
    tracker: Tracker, video: VideoLike, boxes: Mapping[int, Sequence[float]]
) -> MaskTrack:
    """Tracks one object from its boxes in one or several frames.

    Each box governs the frames that are nearest to its own; of two that are equally near, the
    earlier one. From each, tracking goes both ways and stops halfway to the next box, so
    many boxes take hardly longer than one.

    Args:
        tracker: the tracker
        video: has ``walk``, ``size`` and a length
        boxes: frame number (0-based) -> the ``(x1, y1, x2, y2)`` box in pixels

    Returns:
        the track over all frames of the video; with one box, that of
        :func:`fiftyone_revseg.tracking.track_both_ways`

    Raises:
        ValueError: if there is no box, no such frame, or the boxes are not as said
    """
    if not boxes:
        raise ValueError("there is no box to track from")
    rles: list[RLE | None] = []
    scores: list[float | None] = []
    for k, (first, last) in stretches(boxes, len(video)).items():
        box = np.array([boxes[k]], float)
        (track,) = track_both_ways(tracker, video, k, box, within=(first, last))
        rles += track.rles[first : last + 1]
        scores += track.scores[first : last + 1]
    return MaskTrack(0, len(video), video.size, tuple(rles), tuple(scores))


def stretches(keys: Iterable[int], count: int) -> dict[int, Within]:
    """Returns the first and last frame that each key frame of a video governs, in their order.

    Args:
        keys: the key frames, in any order
        count: how many frames the video has

    Raises:
        ValueError: if there is no such frame
    """
    ordered = sorted(keys)
    for k in ordered:
        if not 0 <= k < count:
            raise ValueError(f"no frame {k} in a video of {count} frames")
    starts = [0, *((k + following) // 2 + 1 for k, following in pairwise(ordered)), count]
    return {k: (starts[i], starts[i + 1] - 1) for i, k in enumerate(ordered)}
