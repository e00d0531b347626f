"""Follows objects side by side, as the engine does, and gives their masks one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fiftyone_revseg.models.batch_size import BatchSize
from fiftyone_revseg.tracking import FrameMasks, Sam2Tracker
from fiftyone_revseg.tracking.lockstep import Ended, Pursuit


def follow(
    tracker: Sam2Tracker, pursuits: Sequence[Pursuit], objects: int
) -> Iterator[tuple[Pursuit, FrameMasks]]:
    """Follows pursuits to both ends of their videos.

    Args:
        tracker: the tracker
        pursuits: what to follow
        objects: how many objects to track in one step, at most

    Yields:
        whose masks were found, and the masks of one frame

    Raises:
        Exception: what ended a pursuit early
    """
    lockstep = tracker.lockstep(BatchSize("objects to track", objects))
    try:
        lockstep.add(pursuits)
        while lockstep.count:
            for found in lockstep.step():
                if not isinstance(found, Ended):
                    yield found.pursuit, found.encode()
                elif found.error is not None:
                    raise found.error
    finally:
        lockstep.close()
