"""From the key frame to both ends of a video."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.masks.rle import RLE
from fiftyone_revseg.tracking.tracker import Tracker


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


def track_both_ways(
    tracker: Tracker, video: VideoLike, key_frame: int, boxes_xyxy_px: np.ndarray
) -> list[MaskTrack]:
    """Tracks objects from the key frame to the end and, in a pass of its own, to the beginning.

    Two independent passes, never one from frame 0 with a prompt "from the future": that locks on
    to look-alikes before it has seen the object. The key frame's masks are the forward pass's.

    Args:
        tracker: the tracker
        video: has ``walk``, ``size`` and a length
        key_frame: the number of the key frame, 0-based
        boxes_xyxy_px: (N, 4) boxes in pixels of the key frame

    Returns:
        N tracks over all frames of the video

    Raises:
        ValueError: if there is no such frame, or the boxes are not as said
    """
    frame_count = len(video)
    if not 0 <= key_frame < frame_count:
        raise ValueError(f"no frame {key_frame} in a video of {frame_count} frames")
    count = len(boxes_xyxy_px)
    rles: list[list[RLE | None]] = [[None] * frame_count for _ in range(count)]
    scores: list[list[float | None]] = [[None] * frame_count for _ in range(count)]
    if count:
        for step in (1, -1):
            if step < 0 and key_frame == 0:
                break
            for found in tracker.track(video.walk(key_frame, step), boxes_xyxy_px):
                if step < 0 and found.frame == key_frame:
                    continue
                for n in range(count):
                    rles[n][found.frame] = found.rles[n]
                    scores[n][found.frame] = float(found.scores[n])
    return [
        MaskTrack(n, frame_count, video.size, tuple(rles[n]), tuple(scores[n]))
        for n in range(count)
    ]
