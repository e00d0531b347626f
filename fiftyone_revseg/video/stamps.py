"""Times that are missing, repeated or wrong: what is good is kept, and the rest mended."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, median_low

import numpy as np

# So many stamps in a row on either side make a clock that was set back, not stray stamps
_NO_STRAYS = 4
_FAR_OFF = 2**50  # units from most others: no time, and too large to count with
_EXACT = 2.0**52  # up to here, every whole number is one


@dataclass(frozen=True)
class MendedStamps:
    """The stamps of the frames of a video, in the order in which they are shown.

    Attributes:
        stamps: (N,) int64, strictly increasing
        scale: how many of their units make one of the original unit
        guessed: the number of stamps that were missing or stray, and put between their neighbours
        restarts: how often the clock was set back, and is taken to have gone on
    """

    stamps: np.ndarray
    scale: int
    guessed: int
    restarts: int


def mend_stamps(stamps: Sequence[int | None], step: float) -> MendedStamps:
    """Makes stamps increase, changing as few as can be.

    Stamps that are missing, repeat one or are out of order are put evenly between the good ones
    around them. Where a clock was set back for good (recordings joined end to end, the counter of a
    transport stream that overflows), what follows goes on one frame after what came before.

    Args:
        stamps: the stamp of each frame, None where there is none
        step: the units from one frame to the next, where the stamps do not tell

    Returns:
        the :class:`MendedStamps`
    """
    known = [stamp for stamp in stamps if stamp is not None]
    base = int(median_low(known)) if known else 0
    near = [None if s is None or abs(s - base) > _FAR_OFF else s - base for s in stamps]
    runs = [_longest_rise(run) for run in _runs(near)]
    # A few stamps between long runs are no recording of their own
    longest = max((len(run) for run in runs), default=0)
    runs = [run for run in runs if len(run) >= min(_NO_STRAYS, longest)]
    rises = [(late - early) / (j - i) for run in runs for (i, early), (j, late) in pairwise(run)]
    step = max(median(rises) if rises else step, 1e-9)

    kept: list[tuple[int, int]] = []
    for run in runs:
        shift = 0
        if kept:
            place, last = kept[-1]
            shift = round(last + step * (run[0][0] - place)) - run[0][1]
        kept += [(place, stamp + shift) for place, stamp in run]
    if not kept:
        kept = [(0, 0)]
    places = [place for place, _ in kept]
    gaps = np.diff([-1, *places, len(stamps)])
    # So finely that whatever falls between two stamps has one of its own, as far as can be counted
    first = kept[0][1]
    span = kept[-1][1] - first + step * len(stamps)
    scale = int(max(1, min(max(gaps.max(), np.ceil(1 / step)), _EXACT / span)))
    frames = np.arange(len(stamps))
    values = np.interp(frames, places, [scale * (stamp - first) for _, stamp in kept])
    before, after = frames < places[0], frames > places[-1]
    values[before] += scale * step * (frames[before] - places[0])
    values[after] += scale * step * (frames[after] - places[-1])
    whole = np.floor(values).astype(np.int64)
    whole = np.maximum.accumulate(whole - frames) + frames
    start = (base + first) * scale
    if abs(start) < 2**62:
        whole += start
    return MendedStamps(whole, scale, len(stamps) - len(kept), max(0, len(runs) - 1))


def _runs(stamps: Sequence[int | None]) -> list[list[tuple[int, int]]]:
    """The known stamps with their places, divided where the clock was set back."""
    known = [(place, stamp) for place, stamp in enumerate(stamps) if stamp is not None]
    runs: list[list[tuple[int, int]]] = [[]]
    for j, (place, stamp) in enumerate(known):
        earlier = [value for _, value in runs[-1][-_NO_STRAYS:]]
        if earlier and stamp < earlier[-1]:
            later = [value for _, value in known[j : j + _NO_STRAYS]]
            behind = all(value > stamp for value in earlier)
            ahead = all(value < earlier[-1] for value in later)
            goes_on = later == sorted(later) and later[-1] > later[0]
            if behind and ahead and goes_on and len(earlier) == len(later) == _NO_STRAYS:
                runs.append([])
        runs[-1].append((place, stamp))
    return [run for run in runs if run]


def _longest_rise(run: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The most stamps that can be kept so that each is larger than the one before."""
    ends: list[int] = []  # the smallest stamp at which a rise of each length ends, and where
    at: list[int] = []
    before: list[int] = []
    for i, (_, stamp) in enumerate(run):
        length = bisect_left(ends, stamp)
        before.append(at[length - 1] if length else -1)
        if length == len(ends):
            ends.append(stamp)
            at.append(i)
        elif stamp < ends[length]:
            ends[length], at[length] = stamp, i
    kept = []
    i = at[-1] if at else -1
    while i >= 0:
        kept.append(run[i])
        i = before[i]
    return kept[::-1]
