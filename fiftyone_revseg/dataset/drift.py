"""Where a tracker may have gone over to something else: sudden jumps from one frame to the next.

The one definition of a suspected drift, for the reasoning panel and for views alike. Things in
videos change size and are lost from sight little by little; a tracker that lets go of its object
does not. So a frame is suspected if, against the frame before it,

* the area has changed by more than half, relative to the larger of the two, or to the object's
  usual area where that is larger still (what enters or leaves the picture is small, and doubles
  from one frame to the next, without anything being wrong), or
* the score has changed by more than half.

Frames in which the object is not visible say nothing: hiding behind something is no drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

#: A larger jump, of those in [0, 1] that :func:`frame_jumps` gives, is suspected to be a drift
SUSPECTED = 0.5


def frame_jumps(
    areas: Sequence[float | None], scores: Sequence[float | None] | None = None
) -> list[float]:
    """Measures how much an object changes from each frame to the next.

    Args:
        areas: the object's area in each frame, in order and in any unit; None or 0 where it is
            not visible
        scores (None): the score in each frame, in [0, 1], or None

    Returns:
        for each frame, the jump from the frame before it, in [0, 1]; 0 where there is none to
        compare with

    Raises:
        ValueError: if there are scores, but not one for each area
    """
    if scores is None:
        scores = [None] * len(areas)
    if len(scores) != len(areas):
        raise ValueError(f"there are {len(areas)} areas but {len(scores)} scores")
    usual = median([area for area in areas if area] or [0.0])
    jumps = [0.0] * len(areas)
    for k in range(1, len(areas)):
        before, after = areas[k - 1], areas[k]
        if not before or not after:
            continue
        jumps[k] = abs(after - before) / max(after, before, usual)
        one, other = scores[k - 1], scores[k]
        if one is not None and other is not None:
            jumps[k] = max(jumps[k], min(1.0, abs(other - one)))
    return jumps


def drift_score(
    areas: Sequence[float | None], scores: Sequence[float | None] | None = None
) -> float:
    """Measures how much the tracking of an object is suspected to have drifted.

    Args:
        areas: see :func:`frame_jumps`
        scores (None): see :func:`frame_jumps`

    Returns:
        the largest jump between two neighbouring frames, in [0, 1]; more than
        :data:`SUSPECTED` is suspected to be a drift
    """
    return max(frame_jumps(areas, scores), default=0.0)


def suspected_frames(
    areas: Sequence[float | None],
    scores: Sequence[float | None] | None = None,
    threshold: float = SUSPECTED,
) -> list[int]:
    """Finds the frames at which the tracking of an object is suspected to have drifted.

    Args:
        areas: see :func:`frame_jumps`
        scores (None): see :func:`frame_jumps`
        threshold (SUSPECTED): the jump above which a frame is suspected

    Returns:
        their positions in ``areas``, counted from 0, each the first frame after a jump
    """
    return [k for k, jump in enumerate(frame_jumps(areas, scores)) if jump > threshold]
