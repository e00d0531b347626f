"""The distinct objects that the candidates for an answer found, and their tracks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fiftyone_revseg.masks.boxes import box_iou
from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.masks.overlap import video_iou
from fiftyone_revseg.reasoning.looking_again import Candidate
from fiftyone_revseg.reasoning.trajectory import Grounding, KeyframeChoice, Trajectory
from fiftyone_revseg.tracking.both_ways import Within
from fiftyone_revseg.tracking.known import Known
from fiftyone_revseg.tracking.prompts import object_prompt
from fiftyone_revseg.types import Status

_SAME_BOX = 0.7  # IoU of a box with the box of a mask that is there already
_SAME_TRACK = 0.7  # IoU of two tracks


@dataclass(eq=False)
class FoundObject:
    """An object that a candidate found.

    Attributes:
        choice: what turn 1 said of it
        grounding: where turn 2 found it
        key_frame: in which frame of the source video, 0-based
        candidate: which candidate found it first
        track: its track; None before it was tracked, and if that failed
        error: why it failed
        same_as: the object whose track is the same; None if there is none
        known: other frames in which it is known, with their prompts; for a repair
        within: the first and last frame to track it in; None for all
    """

    choice: KeyframeChoice
    grounding: Grounding
    key_frame: int
    candidate: int = 0
    track: MaskTrack | None = None
    error: Exception | None = None
    same_as: FoundObject | None = None
    known: tuple[Known, ...] = ()
    within: Within | None = None

    @property
    def prompt(self) -> Any:
        """``(4,)`` or ``(P, 3)``, as trackers take it, see :mod:`..tracking.prompts`."""
        box, points = self.grounding.box_xyxy_px, self.grounding.points
        return object_prompt(box, points) if points else box

    @property
    def own(self) -> FoundObject:
        """This object, or the one that was found before and is the same."""
        return self if self.same_as is None else self.same_as

    @property
    def is_seen(self) -> bool:
        """Whether it has a mask in any frame."""
        return self.track is not None and bool(self.track.visible_frames)

    def is_at(self, key_frame: int, grounding: Grounding) -> bool:
        """Whether this is the object that a grounding means."""
        box = grounding.box_xyxy_px
        mine: Any
        if self.track is None:
            mine = self.grounding.box_xyxy_px if key_frame == self.key_frame else None
        else:
            mine = self.track.box_xyxy_px(key_frame)
        if mine is None:
            return False
        if box is not None:
            return box_iou(mine, box) >= _SAME_BOX
        if self.track is None:
            return False
        mask = self.track.mask(key_frame)
        height, width = mask.shape
        inside = [0 <= x < width and 0 <= y < height for x, y in grounding.points]
        return all(inside) and all(mask[int(y), int(x)] for x, y in grounding.points)


@dataclass(eq=False)
class FoundObjects:
    """What candidates found, the greedy one first."""

    trajectories: list[Trajectory] = field(default_factory=list)
    objects: list[FoundObject] = field(default_factory=list)
    _by_choice: list[dict[int, FoundObject]] = field(default_factory=list)
    _ious: dict[frozenset[frozenset[int]], float] = field(default_factory=dict)

    def add(self, trajectory: Trajectory) -> list[FoundObject]:
        """Adds what a candidate found.

        Returns:
            the objects that no candidate before it found; they are to be tracked
        """
        candidate, new = len(self.trajectories), []
        self.trajectories.append(trajectory)
        found: dict[int, FoundObject] = {}
        self._by_choice.append(found)
        before = list(self.objects)
        for i, (choice, grounding) in enumerate(
            zip(trajectory.choices, trajectory.groundings, strict=True)
        ):
            if grounding is None:
                continue
            key_frame = trajectory.key_frames[i]
            known = next((one for one in before if one.is_at(key_frame, grounding)), None)
            if known is None:
                known = FoundObject(choice, grounding, key_frame, candidate)
                new.append(known)
            found[i] = known
        self.objects += new
        return new

    def compare(self) -> None:
        """Finds out which of the tracked objects are the same, found in different frames."""
        seen: list[FoundObject] = []
        for one in self.objects:
            if not one.is_seen or one.same_as is not None:
                continue
            one.same_as = next((o for o in seen if _are_same(o, one)), None)
            if one.same_as is None:
                seen.append(one)

    @property
    def distinct(self) -> list[FoundObject]:
        """Those that are seen and differ: number 1 is the first."""
        return [one for one in self.objects if one.is_seen and one.same_as is None]

    def of(self, candidate: int) -> dict[int, FoundObject]:
        """What a candidate found: the position of its choice -> the object."""
        return self._by_choice[candidate]

    def seen_by(self, candidate: int) -> list[FoundObject]:
        """The distinct objects that a candidate found."""
        found = {id(one.own): one.own for one in self.of(candidate).values() if one.own.is_seen}
        return list(found.values())

    def has_answered(self, candidate: int) -> bool:
        """Whether it is known what a candidate is for: no failure says anything of masks."""
        if self.trajectories[candidate].status is Status.NO_TARGET:
            return True
        found = self.of(candidate).values()
        return bool(found) and not any(one.error for one in found)

    def candidates(self) -> tuple[Candidate, ...]:
        """Puts together what each dialogue answered, and how far they agree."""
        numbers = {id(one): number for number, one in enumerate(self.distinct, 1)}
        count = range(len(self.trajectories))
        seen = [self.seen_by(c) for c in count]
        answered = [c for c in count if self.has_answered(c)]
        candidates = []
        for c, trajectory in enumerate(self.trajectories):
            found = self.of(c)
            own = {i: id(one.own) for i, one in found.items()}
            candidates.append(
                Candidate(
                    trajectory.status,
                    trajectory.reason,
                    trajectory.think,
                    trajectory.choices,
                    trajectory.groundings,
                    tuple(numbers.get(own.get(i, 0)) for i in range(len(trajectory.choices))),
                    self.mean_iou(seen[c], [seen[o] for o in answered if o != c])
                    if c in answered
                    else None,
                )
            )
        return tuple(candidates)

    def mean_iou(
        self, one: Sequence[FoundObject], others: Iterable[Sequence[FoundObject]]
    ) -> float | None:
        """Returns the mean IoU of some objects with each of other groups; None without others."""
        ious = [self._iou(one, other) for other in others]
        return sum(ious) / len(ious) if ious else None

    def _iou(self, one: Sequence[FoundObject], other: Sequence[FoundObject]) -> float:
        """The IoU of two groups of tracked objects, which is counted once."""
        groups = frozenset(frozenset(map(id, some)) for some in (one, other))
        if len(groups) == 1:  # of one group with itself
            return 1.0
        if groups not in self._ious:
            tracks = ([found.track for found in some if found.track] for some in (one, other))
            self._ious[groups] = video_iou(*tracks)
        return self._ious[groups]


def _are_same(one: FoundObject, other: FoundObject) -> bool:
    assert one.track is not None
    assert other.track is not None
    # Two objects of one answer are two, however alike they look
    return one.candidate != other.candidate and video_iou([one.track], [other.track]) >= _SAME_TRACK
