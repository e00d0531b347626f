"""From the key frame to both ends of a video."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.masks.rle import RLE
from fiftyone_revseg.tracking.tracker import FrameMasks, Tracker


class VideoLike(Protocol):
    """The part of a video that tracking needs."""

    @property
    def size(self) -> tuple[int, int]:
        """The (width, height) of the frames in pixels."""
        ...

    def __len__(self) -> int: ...

    def walk(self, start: int, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        """Iterates over (k, (H, W, 3) uint8 RGB) from ``start`` to that direction's end."""
        ...


class FoundMasks:
    """The masks of objects as they are found, frame by frame in any order.

    Of a frame that comes twice, as the key frame of both directions does, the first masks stay.

    Args:
        video: has ``size`` and a length
        count: how many objects there are
    """

    def __init__(self, video: VideoLike, count: int):
        self._size = video.size
        self._rles: list[list[RLE | None]] = [[None] * len(video) for _ in range(count)]
        self._scores: list[list[float | None]] = [[None] * len(video) for _ in range(count)]

    def add(self, found: FrameMasks) -> None:
        """Adds the masks of one frame."""
        for n, (rles, scores) in enumerate(zip(self._rles, self._scores, strict=True)):
            if scores[found.frame] is None:
                rles[found.frame] = found.rles[n]
                scores[found.frame] = float(found.scores[n])

    def tracks(self) -> list[MaskTrack]:
        """Returns one track for each object, over all frames of the video."""
        return [
            MaskTrack(n, len(rles), self._size, tuple(rles), tuple(scores))
            for n, (rles, scores) in enumerate(zip(self._rles, self._scores, strict=True))
        ]


def walk_both_ways(
    tracker: Tracker, video: VideoLike, key_frame: int, prompts: np.ndarray
) -> Iterator[FrameMasks]:
    """Tracks objects from the key frame to the end and, in a pass of its own, to the beginning.

    Two independent passes, never one from frame 0 with a prompt "from the future": that locks on
    to look-alikes before it has seen the object.

    Args:
        tracker: the tracker
        video: has ``walk``, ``size`` and a length
        key_frame: the number of the key frame, 0-based
        prompts: (N, 4) boxes in pixels of the key frame, or (N, P, 3) points with labels

    Yields:
        a :class:`~fiftyone_revseg.tracking.tracker.FrameMasks` for each frame that was walked
        through: twice for the key frame, unless it is the first

    Raises:
        ValueError: if there is no such frame, or the prompts are not as said
    """
    if not 0 <= key_frame < len(video):
        raise ValueError(f"no frame {key_frame} in a video of {len(video)} frames")
    if len(prompts):
        yield from tracker.track(video.walk(key_frame), prompts)
        if key_frame > 0:
            yield from tracker.track(video.walk(key_frame, -1), prompts)


def track_both_ways(
    tracker: Tracker, video: VideoLike, key_frame: int, prompts: np.ndarray
) -> list[MaskTrack]:
    """Tracks objects as :func:`walk_both_ways`, and puts their tracks together.

    The key frame's masks are the forward pass's.

    Returns:
        N tracks over all frames of the video
    """
    masks = FoundMasks(video, len(prompts))
    for found in walk_both_ways(tracker, video, key_frame, prompts):
        masks.add(found)
    return masks.tracks()
