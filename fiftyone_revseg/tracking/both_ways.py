"""From the key frame to both ends of a video."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from typing import Protocol

import numpy as np

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.masks.rle import RLE
from fiftyone_revseg.tracking.known import Known, KnownFrame, check_known
from fiftyone_revseg.tracking.tracker import FrameMasks, Tracker

Within = tuple[int, int]  # the first and the last frame, 0-based


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
    tracker: Tracker,
    video: VideoLike,
    key_frame: int,
    prompts: np.ndarray,
    known: Sequence[Known] = (),
    within: Within | None = None,
) -> Iterator[FrameMasks]:
    """Tracks objects from the key frame to the end and, in a pass of its own, to the beginning.

    Two independent passes, never one from frame 0 with a prompt "from the future": that locks on
    to look-alikes before it has seen the object.

    Args:
        tracker: the tracker
        video: has ``walk``, ``size`` and a length
        key_frame: the number of the key frame, 0-based
        prompts: (N, 4) boxes in pixels of the key frame, or (N, P, 3) points with labels
        known (()): other frames in which the same objects are known, with their prompts: both
            passes look back at them as they do at the key frame
        within (None): the first and the last frame to walk to, by default those of the video;
            known frames may lie outside

    Yields:
        a :class:`~fiftyone_revseg.tracking.tracker.FrameMasks` for each frame that was walked
        through: twice for the key frame, unless it is the first

    Raises:
        ValueError: if there is no such frame, or the prompts are not as said
    """
    if not 0 <= key_frame < len(video):
        raise ValueError(f"no frame {key_frame} in a video of {len(video)} frames")
    check_known(known, key_frame, prompts)
    first, _ = checked_within(video, key_frame, known, within)
    if not len(prompts):
        return
    pictures = [
        KnownFrame(k, image, given)
        for (_, given), (k, image) in zip(known, read_known(video, known), strict=True)
    ]
    # Only a walk that knows more asks a tracker to know more
    also = (pictures,) if pictures else ()
    yield from tracker.track(walk_within(video, key_frame, 1, within), prompts, *also)
    if key_frame > first:
        yield from tracker.track(walk_within(video, key_frame, -1, within), prompts, *also)


def checked_within(
    video: VideoLike, key_frame: int, known: Sequence[Known], within: Within | None
) -> Within:
    """Returns the first and the last frame of a walk, once it is known that there are such.

    Raises:
        ValueError: that says what is wrong with them, or with a known frame's number
    """
    count = len(video)
    for frame, _ in known:
        if not 0 <= frame < count:
            raise ValueError(f"no frame {frame} in a video of {count} frames")
    first, last = within or (0, count - 1)
    if within and not 0 <= first <= key_frame <= last < count:
        raise ValueError(
            f"frames {first} to {last} of a video of {count} frames are no stretch around the key "
            f"frame {key_frame}: give its first and last frame, 0-based"
        )
    return first, last


def walk_within(
    video: VideoLike, start: int, step: int, within: Within | None
) -> Iterator[tuple[int, np.ndarray]]:
    """Walks as a video does, but no further than ``within`` says."""
    walk = video.walk(start, step)
    if within is None:
        return walk
    first, last = within
    return _up_to(walk, last - start + 1 if step > 0 else start - first + 1)


def _up_to(walk: Iterator[tuple[int, np.ndarray]], count: int) -> Iterator[tuple[int, np.ndarray]]:
    try:
        yield from islice(walk, count)
    finally:
        if isinstance(walk, Generator):
            walk.close()  # or its file stays open


def read_known(video: VideoLike, known: Sequence[Known]) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the numbers and pictures of known frames.

    Raises:
        ValueError: if the video does not give one
    """
    for k, _ in known:
        found = list(walk_within(video, k, 1, (k, k)))
        if not found:
            raise ValueError(f"the video gives no frame {k}, though it should have it")
        yield found[0]


def track_both_ways(
    tracker: Tracker,
    video: VideoLike,
    key_frame: int,
    prompts: np.ndarray,
    known: Sequence[Known] = (),
    within: Within | None = None,
) -> list[MaskTrack]:
    """Tracks objects as :func:`walk_both_ways`, and puts their tracks together.

    The key frame's masks are the forward pass's.

    Returns:
        N tracks over all frames of the video, with neither mask nor score outside ``within``
    """
    masks = FoundMasks(video, len(prompts))
    for found in walk_both_ways(tracker, video, key_frame, prompts, known, within):
        masks.add(found)
    return masks.tracks()
