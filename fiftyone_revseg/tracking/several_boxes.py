"""One object from boxes in several frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise

import numpy as np

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.masks.rle import RLE
from fiftyone_revseg.tracking.both_ways import VideoLike, track_both_ways
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
    count = len(video)
    if not boxes:
        raise ValueError("there is no box to track from")
    for k in boxes:
        if not 0 <= k < count:
            raise ValueError(f"no frame {k} in a video of {count} frames")
    keys = sorted(boxes)
    starts = [0, *((k + following) // 2 + 1 for k, following in pairwise(keys))]
    rles: list[RLE | None] = []
    scores: list[float | None] = []
    for k, start, stop in zip(keys, starts, [*starts[1:], count], strict=True):
        part = _Part(video, start, stop)
        (track,) = track_both_ways(tracker, part, k, np.array([boxes[k]], float))
        rles += track.rles[start:stop]
        scores += track.scores[start:stop]
    return MaskTrack(0, count, video.size, tuple(rles), tuple(scores))


class _Part:
    """A video of which walks never leave one part; its frames keep their numbers."""

    def __init__(self, video: VideoLike, start: int, stop: int):
        self._video, self._start, self._stop = video, start, stop

    @property
    def size(self) -> tuple[int, int]:
        return self._video.size

    def __len__(self) -> int:
        return len(self._video)

    def walk(self, start: int, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        count = self._stop - start if step > 0 else start - self._start + 1
        return islice(self._video.walk(start, step), count)
