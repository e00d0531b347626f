"""Where a finished track is in doubt: what was followed may be lost, or may be something else.

Tracks are looked at in the direction in which they were walked, away from the frame with the box.
Whatever lies beyond a break is in doubt, so the first one in a direction is what matters: once it
is repaired, the track is walked again from there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.masks.rle import rle_areas, rle_box

KINDS = ("lost", "returns", "jump", "unsure", "cut", "outline")

GONE = 3  # frames without a mask that are no flicker
_STEP = 0.75  # of its size that an object's centre moves at most between two frames
_FASTER = 4.0  # times as far as it usually did
_OVERLAP = 0.2  # of the smaller box, that two neighbours have in common at least
_GROWS = 4.0  # times the area that it ever had
_UNSURE = 0.5  # of the usual score
_LONG = 5  # frames of it
_RECENT = 12  # frames that say what is usual
_SECONDS = (0.25, 1.0, 2.0, 4.0, 8.0, 16.0)  # after a break, when to ask for the object again


@dataclass(frozen=True)
class Break:
    """A stretch of a track that is in doubt.

    Attributes:
        kind: "lost" (no mask any more), "returns" (there is one again later), "jump" (the mask is
            elsewhere, or of another size, all at once), "unsure" (the tracker's score fell), "cut"
            (another scene) or "outline" (the model says so)
        frame: the frame, 0-based, where it begins in the direction of the walk
        end: where it ends in that direction
        step: 1 or -1, the direction
    """

    kind: str
    frame: int
    end: int
    step: int

    @property
    def within(self) -> tuple[int, int]:
        """Its first and its last frame in the order of time."""
        return min(self.frame, self.end), max(self.frame, self.end)

    def in_words(self) -> str:
        """Why it is looked at again."""
        return f"{_WORDS[self.kind]} {self.frame}"


_WORDS = {
    "lost": "the track is lost from frame",
    "returns": "the track is lost and comes back, from frame",
    "jump": "the track jumps at frame",
    "unsure": "the tracker is unsure from frame",
    "cut": "there is a scene cut at frame",
    "outline": "the verdict says that the outline is wrong, from frame",
}


def find_break(
    track: MaskTrack, start: int, step: int, cuts: Collection[int] = (), gone: int = GONE
) -> Break | None:
    """Finds the first break of a track in one direction.

    Args:
        track: the track
        start: the frame, 0-based, whose mask is right, such as the key frame
        step: 1 or -1, where to look from there
        cuts (()): the first frame of each scene but the first
        gone (3): how many frames without a mask are no flicker

    Returns:
        the break, up to that end of the track; None if there is none
    """
    end = track.frame_count - 1 if step > 0 else 0
    order = [k for k in range(start, end + step, step) if track.scores[k] is not None]
    seen = track.rles[start]
    if len(order) < 2 or seen is None:
        return None
    end = order[-1]
    areas = rle_areas(track.rles)
    walk = _Usual()
    walk.see(rle_box(seen), float(areas[start]), float(track.scores[start] or 0))
    missing = unsure = 0
    for k in order[1:]:
        if (k if step > 0 else k + 1) in cuts:
            # What was lost before the cut has been lost there
            return Break("cut", k - step * missing, end, step)
        rle, score = track.rles[k], float(track.scores[k] or 0.0)
        if rle is None:
            missing += 1
            if missing >= gone:
                return _lost(track, k - step * (missing - 1), end, step)
            continue
        box, area = rle_box(rle), float(areas[k])
        if walk.is_jump(box, area, missing + 1):
            return Break("jump", k - step * missing, end, step)
        unsure = unsure + 1 if score < _UNSURE * walk.score else 0
        if unsure >= _LONG:
            return Break("unsure", k - step * (unsure - 1), end, step)
        walk.see(box, area, None if unsure else score, missing + 1)
        missing = 0
    return None


def wrong_outlines(
    key_frame: int, shown: Sequence[int], wrong: Collection[int], frame_count: int
) -> list[Break]:
    """Says which stretches are in doubt if the outline is wrong in some of the frames shown.

    A stretch goes as far as the frames between which it is known to be right.

    Args:
        key_frame: the frame with the box, 0-based
        shown: the frames that the model was shown
        wrong: those of them in which it says that the outline is wrong
        frame_count: how many frames there are

    Returns:
        the breaks, the nearest to the key frame first; none for the key frame itself
    """
    right = {k for k in shown if k not in wrong} | {key_frame}
    found = []
    for step in (1, -1):
        beyond = sorted((k for k in shown if (k - key_frame) * step > 0), key=lambda k: k * step)
        last = key_frame
        stretch: int | None = None
        for k in beyond:
            if k in right:
                if stretch is not None:
                    found.append(Break("outline", stretch + step, k - step, step))
                last, stretch = k, None
            elif stretch is None:
                stretch = last
        if stretch is not None:
            end = frame_count - 1 if step > 0 else 0
            found.append(Break("outline", stretch + step, end, step))
    return sorted(found, key=lambda one: abs(one.frame - key_frame))


def frames_to_ask(track: MaskTrack, broken: Break, fps: float, count: int = 3) -> tuple[int, ...]:
    """Says in which frames to ask for the object again, the nearest to the break first.

    Right after a break an object is often still hidden, and long after it, it may have gone: so
    the time to the break doubles from one frame to the next. What comes back is asked about from
    there on.

    Args:
        track: the broken track
        broken: the break
        fps: frames per second
        count (3): how many frames, at most

    Returns:
        frames inside the break, 0-based
    """
    start, step = broken.frame, broken.step
    if broken.kind == "returns":
        start = next(_visible_from(track, start, broken.end, step), start)
    left = abs(broken.end - start)
    seconds = _SECONDS[1:] if broken.kind == "lost" else _SECONDS
    away = dict.fromkeys(round(s * fps) for s in seconds)  # none twice, in their order
    inside = [k for k in away if k < left][:count]
    if len(inside) < count:
        inside.append(left)
    return tuple(dict.fromkeys(start + step * k for k in inside))


class _Usual:
    """What an object has been like so far."""

    def __init__(self) -> None:
        self._box = np.zeros(4)
        self._area = self._most = 0.0
        self._speeds: list[float] = []
        self._scores: list[float] = []

    @property
    def score(self) -> float:
        return float(np.median(self._scores[-_RECENT:])) if self._scores else 0.0

    def see(self, box: np.ndarray, area: float, score: float | None, steps: int = 1) -> None:
        if self._area:
            self._speeds.append(_distance(self._box, box) / steps)
        self._box, self._area, self._most = box, area, max(self._most, area)
        if score is not None:
            self._scores.append(score)

    def is_jump(self, box: np.ndarray, area: float, steps: int) -> bool:
        """Whether the object, as it was, cannot be the next one ``steps`` frames later."""
        # It comes out from behind something bit by bit, but nothing was ever that large
        if area > _GROWS * self._most:
            return True
        size = np.sqrt(max(area, self._area))
        speed = float(np.median(self._speeds[-_RECENT:])) if self._speeds else size
        moved = _distance(self._box, box)
        # A stray pixel moves the box around a mask far, but not off its place
        elsewhere = _overlap(self._box, box) < _OVERLAP
        return elsewhere and moved > _STEP * size and moved > _FASTER * speed * steps


def _lost(track: MaskTrack, frame: int, end: int, step: int) -> Break:
    again = next(_visible_from(track, frame, end, step), None)
    return Break("lost" if again is None else "returns", frame, end, step)


def _visible_from(track: MaskTrack, start: int, end: int, step: int) -> Iterator[int]:
    return (k for k in range(start, end + step, step) if track.rles[k] is not None)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between the centres of two boxes."""
    return float(np.hypot(*((a[:2] + a[2:]) - (b[:2] + b[2:])) / 2))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """The part of the smaller of two boxes that is in the other."""
    width, height = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    smaller = min(float(np.prod(box[2:] - box[:2])) for box in (a, b))
    return float(width * height) / smaller if smaller else 0.0
