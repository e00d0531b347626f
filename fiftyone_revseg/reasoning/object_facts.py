"""What is measured on tracks, in numbers and in words: for the verdict, which sees them outlined.

Which frames are shown is decided here, too: it depends on the same measures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.masks.rle import rle_areas
from fiftyone_revseg.types import FrameTable

_STANDS = 0.05  # of the picture's side that a thing may move within a third of its time
_ASIDE = 0.5  # of the larger part of a movement, from which on the smaller one is said, too
_GROWN = 1.25  # times its width at first
_SIMILAR = 2.0  # times the area, up to which two frames show an object alike


@dataclass(frozen=True)
class ObjectFacts:
    """What was measured on one track. Shares are of the picture's sides, in [0, 1].

    Attributes:
        number: what the object is called, from 1
        description: what turn 1 said it looks like
        shown: the pictures, 0-based, in which it is visible
        times: the seconds at which it is first and last visible
        span: the same as shares of the video
        gaps: how often it is gone in between
        places: the centre ``(x, y)`` of its box, at first, at last, and on average
        areas: the share of the picture that it fills, at first and at last
        size: the longer side of its box, as a share of the picture's shorter side, at its median
        motion: how it moves, in words: "moves left", "stands still, then moves up"
        growth: "grows", "shrinks" or "keeps its size"
        votes: how many candidates named it; None if it is not known
        candidates: how many candidates there are; None if it is not known
    """

    number: int
    description: str
    shown: tuple[int, ...]
    times: tuple[float, float]
    span: tuple[float, float]
    gaps: int
    places: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    areas: tuple[float, float]
    size: float
    motion: str
    growth: str
    votes: int | None = None
    candidates: int | None = None

    def words(self) -> dict[str, Any]:
        """Returns the placeholders of the ``object`` template, by name.

        Shares are in percent: ``x``, ``y``, ``comes`` and ``goes`` in steps of ten, ``size`` of 2.
        """
        first, last = ([_percent(v) for v in place] for place in self.places[:2])
        votes = "" if self.votes is None else f"named by {self.votes} of {self.candidates}"
        return {
            "number": self.number,
            "description": self.description,
            "first": self.shown[0] if self.shown else "-",
            "last": self.shown[-1] if self.shown else "-",
            "first_time": f"{self.times[0]:.1f}",
            "last_time": f"{self.times[1]:.1f}",
            "comes": _tens(self.span[0]),
            "goes": _tens(self.span[1]),
            "life": self._life(),
            "gaps": self.gaps,
            "first_x": first[0],
            "first_y": first[1],
            "first_size": _percent(self.areas[0]),
            "last_x": last[0],
            "last_y": last[1],
            "last_size": _percent(self.areas[1]),
            "x": _tens(self.places[2][0]),
            "y": _tens(self.places[2][1]),
            "size": 2 * _percent(self.size / 2),
            "motion": self.motion,
            "growth": self.growth,
            "named": votes,
            "votes": "" if self.votes is None else self.votes,
            "candidates": "" if self.candidates is None else self.candidates,
        }

    def _life(self) -> str:
        """When it comes and goes, in percent of the video."""
        comes = f"comes at {_tens(self.span[0])}" if self.span[0] > 0 else ""
        goes = f"goes at {_tens(self.span[1])}" if self.span[1] < 1 else ""
        return " and ".join(filter(None, (comes, goes))) or "is always there"


def facts_of(
    number: int,
    description: str,
    track: MaskTrack,
    table: FrameTable,
    shown: Sequence[int],
    votes: int | None = None,
    candidates: int | None = None,
    time: Callable[[int], float] | None = None,
) -> ObjectFacts:
    """Measures what the verdict is told of a track.

    Args:
        number: what the object is called, from 1
        description: what turn 1 said it looks like
        track: its masks
        table: of the video
        shown: the frames of the source video, 0-based, that are shown
        votes (None): how many candidates named it
        candidates (None): how many candidates there are
        time (None): returns at which second a frame of the source video is shown; by default, the
            table is of the whole video, whose frames are spread evenly over its seconds

    Raises:
        ValueError: if the track has no mask at all
    """
    frames = np.array(track.visible_frames)
    if not len(frames):
        raise ValueError(f"object {number} is not visible in any frame: there is nothing to judge")
    boxes = np.array([track.box_xyxy_px(int(k)) for k in frames])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / np.array(track.size)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / min(track.size)
    areas = rle_areas([track.rles[k] for k in (frames[0], frames[-1])])
    shares = areas / (track.size[0] * track.size[1])
    end = max(track.frame_count - 1, 1)
    visible = set(frames.tolist())
    step = table.duration / max(table.frame_count, 1)
    time = time or (lambda k: k * step)
    first, last = int(frames[0]), int(frames[-1])
    places = (centres[0], centres[-1], centres.mean(axis=0))
    return ObjectFacts(
        number=number,
        description=description,
        shown=tuple(i for i, k in enumerate(shown) if k in visible),
        times=(time(first), time(last)),
        # One frame alone may be the tracker's, before the object is there or after it is gone
        span=(first / end if first > 1 else 0.0, last / end if last < end - 1 else 1.0),
        gaps=int((np.diff(frames) > 1).sum()),
        places=tuple((float(x), float(y)) for x, y in places),  # type: ignore[arg-type]
        areas=(float(shares[0]), float(shares[1])),
        size=float(np.median(sides)),
        motion=_motion(centres),
        growth=_growth(sides),
        votes=votes,
        candidates=candidates,
    )


def choose_frames(tracks: Sequence[MaskTrack], table: FrameTable, count: int) -> tuple[int, ...]:
    """Chooses which frames the verdict is shown.

    They are spread over the video like those of turn 1. Where none of them shows what matters
    about a track (that it is largest, begins, ends, or where it was lost and found), the nearest
    one is exchanged for the frame that does.

    Args:
        tracks: the tracks that are to be judged
        table: the frames that turn 1 was shown
        count: how many frames, at most; none is chosen for 0

    Returns:
        frames of the source video, 0-based, in ascending order

    Raises:
        ValueError: if ``count`` is negative, or no frame was sampled
    """
    if count < 0 or not len(table):
        raise ValueError(f"cannot choose {count} of {len(table)} frames")
    if not count:
        return ()
    picked = np.linspace(0, len(table) - 1, min(count, len(table))).round().astype(int)
    chosen = dict.fromkeys((table.indices[i] for i in picked), False)  # frame -> whether it stays
    areas = [rle_areas(track.rles) for track in tracks]
    wanted = [_telling(of_track) for of_track in areas]
    for rank in range(max(map(len, wanted), default=0)):
        for of_track, telling in zip(areas, wanted, strict=True):
            if rank < len(telling):
                _exchange(chosen, telling[rank], of_track)
    return tuple(sorted(chosen))


def _telling(areas: np.ndarray) -> list[int]:
    """The frames that tell most about a track: the most important one first."""
    visible = np.flatnonzero(areas)
    if not len(visible):
        return []
    telling = [int(areas.argmax()), int(visible[0]), int(visible[-1])]
    gaps = [(b - a, int(a), int(b)) for a, b in pairwise(visible.tolist()) if b - a > 1]
    if gaps:
        _, before, after = max(gaps)
        telling += [before, (before + after) // 2, after]
    return list(dict.fromkeys(telling))


def _exchange(chosen: dict[int, bool], frame: int, areas: np.ndarray) -> None:
    """Has a frame among the chosen ones, unless the nearest of them shows the track alike."""
    nearest = min(chosen, key=lambda k: (abs(k - frame), k))
    a, b = sorted((int(areas[nearest]), int(areas[frame])))
    if nearest == frame or b <= _SIMILAR * a or (a == b == 0):
        chosen[nearest] = True
        return
    free = [k for k, stays in chosen.items() if not stays]
    if free:
        del chosen[min(free, key=lambda k: (abs(k - frame), k))]
        chosen[frame] = True


def _motion(centres: np.ndarray) -> str:
    """How the centres move, by their first and their last third."""
    count = len(centres)
    third = max(count // 3, 1)
    whole = _way(centres[-1] - centres[0], 2 * _STANDS)
    early, late = (
        _way(part[-1] - part[0], _STANDS * len(part) / max(third, 1))
        for part in (centres[: third + 1], centres[-third - 1 :])
    )
    if count >= 3 and whole and bool(early) != bool(late):
        return f"stands still, then moves {whole}" if late else f"moves {whole}, then stands still"
    if not whole and early and late:
        return "moves to and fro"
    return f"moves {whole}" if whole else "stands still"


def _way(shift: np.ndarray, least: float) -> str:
    """Where a shift leads, in words; "" if it is too small to count."""
    across, down = float(shift[0]), float(shift[1])
    parts = [(abs(down), "down" if down > 0 else "up"), (abs(across), "right")]
    parts[1] = (abs(across), "right" if across > 0 else "left")
    most = max(parts)[0]
    if most < least:
        return ""
    return " and ".join(word for size, word in parts if size >= _ASIDE * most)


def _growth(sides: np.ndarray) -> str:
    """Whether the width at first and at last differ; each is a median, as masks flicker."""
    part = max(len(sides) // 5, 1)
    ratio = float(np.median(sides[-part:]) / np.median(sides[:part]))
    if ratio >= _GROWN:
        return "grows"
    return "shrinks" if ratio <= 1 / _GROWN else "keeps its size"


def _percent(share: float) -> int:
    return round(100 * share)


def _tens(share: float) -> int:
    return round(10 * share) * 10
