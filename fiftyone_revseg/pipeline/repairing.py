"""Tracks that broke are mended: the model looks for the object after the break, and it is tracked
again from there.

The new box joins what is known of the object, which the tracker looks back at from then on: the
key frame's box and those of earlier repairs. Of the track, only the stretch in doubt is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fiftyone_revseg.masks.boxes import box_iou
from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.pipeline.found_objects import FoundObject
from fiftyone_revseg.pipeline.steps import Ask, Track
from fiftyone_revseg.reasoning import ChainRequest, ChainSpec
from fiftyone_revseg.reasoning.backend import Conversation
from fiftyone_revseg.reasoning.chain import can_deny
from fiftyone_revseg.reasoning.looking_again import Repair, Verdict
from fiftyone_revseg.reasoning.seeking import MOST_FRAMES, Seeking, Sighting, Sightings, Sought
from fiftyone_revseg.reasoning.trajectory import Turn
from fiftyone_revseg.tracking.breaks import (
    GONE,
    Break,
    find_break,
    frames_to_ask,
    wrong_outlines,
)

_SAME_PLACE = 0.5  # IoU of a box and a mask's box from which on the track was right after all


@dataclass(frozen=True)
class Repaired:
    """What came of it.

    Attributes:
        tracks: one for each object
        repairs: what was replaced
        turns: every prompt and reply
    """

    tracks: list[MaskTrack | None]
    repairs: tuple[Repair, ...]
    turns: tuple[Turn, ...]


def repairing(
    request: ChainRequest,
    spec: ChainSpec,
    objects: Sequence[FoundObject | None],
    histories: Mapping[int, Conversation],
    cuts: Callable[[], Collection[int]],
    verdict: Verdict | None = None,
) -> Generator[Ask | Track, Any, Repaired]:
    """Looks at each object's track, and repairs it where it broke, up to ``spec.anchors`` times.

    Args:
        request: the (video, query) pair
        spec: how to ask
        objects: the answer's, tracked; None where there is none
        histories: candidate -> the dialogue that its objects were found in
        cuts: returns the first frame of each scene, of the frames tracked so far
        verdict (None): in which frames the model says that outlines are wrong
    """
    mended = [
        _Mended(position, one, one.track, histories[candidate], candidate)
        for position, one in enumerate(objects)
        if one is not None and one.track is not None
        for candidate in [one.candidate if one.candidate in histories else 0]
        if candidate in histories
    ]
    turns: list[Turn] = []
    denies = can_deny(spec)
    for one in mended:
        one.doubt(verdict)
    for _ in range(spec.anchors):
        broken = [(one, found) for one in mended if (found := one.next_break(cuts(), denies))]
        if not broken:
            break
        sought = [one.sought(found, request.frame_table.fps) for one, found in broken]
        sightings: Sightings = yield Ask(Seeking(request, spec, sought))
        turns += sightings.turns
        new = []
        for (one, found), sighting in zip(broken, sightings.found, strict=True):
            if (again := one.look(found, sighting)) is not None:
                new.append((one, found, again))
        if new:
            yield Track([again for _, _, again in new])
        for one, found, again in new:
            one.replace(found, again)
    tracks = [None if one is None else one.track for one in objects]
    for one in mended:
        tracks[one.position] = one.track
    repairs = tuple(repair for one in mended for repair in one.repairs)
    return Repaired(tracks, repairs, tuple(turns))


@dataclass(eq=False)
class _Mended:
    """An object whose track is looked at."""

    position: int
    object: FoundObject
    track: MaskTrack
    history: Conversation
    candidate: int
    repairs: list[Repair] = field(default_factory=list)

    def __post_init__(self) -> None:
        key = self.object.key_frame
        self._known = [(key, _prompts(self.object))]
        # How far the track was looked at; None where no more can be done
        self._reached: dict[int, int | None] = {1: key, -1: key}
        self._doubts: list[Break] = []

    def doubt(self, verdict: Verdict | None) -> None:
        """Takes over what the verdict says of outlines."""
        if verdict is None or not verdict.wrong_frames:
            return
        wrong = {verdict.shown[i] for i in verdict.wrong_frames if i < len(verdict.shown)}
        key, count = self.object.key_frame, self.track.frame_count
        self._doubts = wrong_outlines(key, verdict.shown, wrong, count)

    def next_break(self, cuts: Collection[int], denies: bool) -> Break | None:
        """Where to look next: where the verdict says so, else where it broke first."""
        if self._doubts:
            return self._doubts.pop(0)
        found = [
            broken
            for step, start in self._reached.items()
            if start is not None and (broken := find_break(self.track, start, step, cuts))
            # Who cannot say that an object is gone would find another one in its place
            if denies or broken.kind != "lost"
        ]
        return min(found, key=lambda one: abs(one.frame - self.object.key_frame), default=None)

    def sought(self, broken: Break, fps: float) -> Sought:
        """What to ask."""
        frames = frames_to_ask(self.track, broken, fps, MOST_FRAMES)
        description = self.object.choice.description
        return Sought(self.position, description, frames, self.history, self.candidate)

    def look(self, broken: Break, sighting: Sighting | None) -> FoundObject | None:
        """Takes where the object was seen; returns what to track if the track is not there."""
        if sighting is None:  # gone, as far as anybody can tell
            self._reached[broken.step] = None
            return None
        self._reach(broken, sighting.frame)
        box, mine = sighting.grounding.box_xyxy_px, self.track.box_xyxy_px(sighting.frame)
        if box is not None and mine is not None and box_iou(tuple(mine), box) >= _SAME_PLACE:
            return None
        # A box from which the object was lost at once does not show much of it
        self._known[1:] = [one for one in self._known[1:] if abs(one[0] - broken.frame) > GONE]
        return FoundObject(
            self.object.choice,
            sighting.grounding,
            sighting.frame,
            self.candidate,
            known=tuple(self._known),
            within=broken.within,
        )

    def replace(self, broken: Break, again: FoundObject) -> None:
        """Takes the new track of a stretch, if there is one."""
        track, frame = again.track, again.key_frame
        box = None if track is None else again.grounding.box_xyxy_px or track.box_xyxy_px(frame)
        if track is None or box is None or track.rles[frame] is None:
            self._reached[broken.step] = None  # the tracker finds nothing there
            return
        first, last = broken.within
        rles, scores = list(self.track.rles), list(self.track.scores)
        rles[first : last + 1] = track.rles[first : last + 1]
        scores[first : last + 1] = track.scores[first : last + 1]
        self.track = replace(self.track, rles=tuple(rles), scores=tuple(scores))
        self._known.append((frame, _prompts(again)))
        x1, y1, x2, y2 = map(float, box)
        why = broken.in_words()
        self.repairs.append(Repair(self.position, frame, (x1, y1, x2, y2), why, first, last))

    def _reach(self, broken: Break, frame: int) -> None:
        before = self._reached[broken.step]
        if before is not None and (frame - before) * broken.step > 0:
            self._reached[broken.step] = frame


def _prompts(one: FoundObject) -> np.ndarray:
    return np.array([one.prompt], float)
