"""One object from prompts in several frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.masks.rle import RLE
from fiftyone_revseg.tracking.both_ways import VideoLike, Within, track_both_ways
from fiftyone_revseg.tracking.tracker import Tracker


def track_prompts(
    tracker: Tracker, video: VideoLike, prompts: Mapping[int, Sequence[float] | np.ndarray]
) -> MaskTrack:
    """Tracks one object from its prompts in one or several frames.

    Each prompt governs the frames that are nearest to its own; of two that are equally near, the
    earlier one. From each, tracking goes both ways and stops halfway to the next prompt, and looks
    back at those on either side from its first step on. So many prompts take hardly longer than
    one.

    Args:
        tracker: the tracker
        video: has ``walk``, ``size`` and a length
        prompts: frame number (0-based) -> the ``(x1, y1, x2, y2)`` box in pixels; or whatever
            :mod:`fiftyone_revseg.tracking.prompts` has, of one object

    Returns:
        the track over all frames of the video; with one prompt, that of
        :func:`fiftyone_revseg.tracking.track_both_ways`

    Raises:
        ValueError: if there is no prompt, no such frame, or the prompts are not as said
    """
    if not prompts:
        raise ValueError("there is no box to track from")
    given = {k: _of_one(prompt) for k, prompt in prompts.items()}
    rles: list[RLE | None] = []
    scores: list[float | None] = []
    governed = stretches(prompts, len(video))
    keys = list(governed)
    for i, (k, within) in enumerate(governed.items()):
        known = [(n, given[n]) for n in (*keys[max(i - 1, 0) : i], *keys[i + 1 : i + 2])]
        (track,) = track_both_ways(tracker, video, k, given[k], known, within)
        first, last = within
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


def _of_one(prompt: Any) -> np.ndarray:
    """A box becomes an array of one box; all else is one already."""
    return np.array([prompt], float) if np.ndim(prompt) == 1 else np.asarray(prompt)
