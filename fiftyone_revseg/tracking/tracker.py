"""What a tracker is: it starts at the key frame and goes on to whatever frame it is given next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from fiftyone_revseg.masks.rle import RLE
from fiftyone_revseg.tracking.known import KnownFrame


@dataclass(frozen=True)
class FrameMasks:
    """What a tracker found in one frame.

    Attributes:
        frame: the frame's number in its video, 0-based
        rles: one mask per object at the frame's own size; None where it is not visible
        scores: (N,) float in [0, 1], how sure the tracker is of each mask; low where the object
            is not visible
    """

    frame: int
    rles: list[RLE | None]
    scores: np.ndarray


@runtime_checkable
class Tracker(Protocol):
    """Follows objects from their prompts in one frame."""

    def track(
        self,
        frames: Iterable[tuple[int, np.ndarray]],
        prompts: np.ndarray,
        known: Sequence[KnownFrame] = (),
    ) -> Iterator[FrameMasks]:
        """Tracks objects through frames in the order given.

        Direction is the video's business: backward is the same walk over frames in reverse. The
        tracker looks back only, and what it keeps does not grow with the number of frames.

        Args:
            frames: (number, (H, W, 3) uint8 RGB) pairs of one size, the key frame first
            prompts: (N, 4) boxes in pixels of the key frame, or (N, P, 3) points with labels, see
                :mod:`fiftyone_revseg.tracking.prompts`
            known (()): other frames in which the objects are known: they are looked back at like
                the key frame, from the walk's first step on

        Yields:
            a :class:`FrameMasks` for every frame, in the same order

        Raises:
            ValueError: if prompts or frames are not as said
        """
        ...
