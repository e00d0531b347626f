"""What is known of an answer that was looked at again: its rivals, the verdict, its repairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fiftyone_revseg.reasoning.trajectory import Box, Grounding, KeyframeChoice
from fiftyone_revseg.text.clean import storable
from fiftyone_revseg.types import Status


@dataclass(frozen=True)
class Candidate:
    """What one dialogue answered, of several about the same query.

    Attributes:
        status: how the dialogue ended
        reason: why, in words; "" where all is well
        think: the thought of its turn 1
        choices: one for each object that its turn 1 found
        groundings: one for each choice; None where its turn 2 failed
        objects: one for each choice: the number, from 1, that the object has among all objects
            that any candidate found; None where there is no box
        agreement: the mean IoU, in [0, 1], of its masks with those of each other candidate, over
            all frames together; None if it, or every other, has no answer
    """

    status: Status
    reason: str = ""
    think: str = ""
    choices: tuple[KeyframeChoice, ...] = ()
    groundings: tuple[Grounding | None, ...] = ()
    objects: tuple[int | None, ...] = ()
    agreement: float | None = None

    def __post_init__(self) -> None:
        for name in ("reason", "think"):
            object.__setattr__(self, name, storable(getattr(self, name)))

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers of the objects that it found and boxed; empty for "no such object"."""
        return frozenset(number for number in self.objects if number is not None)

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-serializable dict."""
        return {
            "status": str(self.status),
            "reason": self.reason,
            "think": self.think,
            "choices": [asdict(choice) for choice in self.choices],
            "groundings": [g and g.to_dict() for g in self.groundings],
            "objects": list(self.objects),
            "agreement": self.agreement,
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Candidate:
        """Loads a candidate from :meth:`to_dict`'s output."""
        return cls(
            status=Status(d["status"]),
            reason=d["reason"],
            think=d["think"],
            choices=tuple(KeyframeChoice(**choice) for choice in d["choices"]),
            groundings=tuple(g and Grounding.from_dict(g) for g in d["groundings"]),
            objects=tuple(d["objects"]),
            agreement=d["agreement"],
        )


@dataclass(frozen=True)
class Look:
    """What turn 1 was shown before the frames of the trajectory, and what it found there.

    Attributes:
        kind: "window" for one of several parts of the video; "stretch" where the model was free to
            ask for a closer look
        frames: the frames of the source video, 0-based, that were shown
        choices: what it found; their frames are positions in ``frames``
        error: why there was no usable reply, in words; "" if there was
        stretch: the first and the last position in ``frames`` of what the model then wanted to
            see closer; None if it did not
    """

    kind: str
    frames: tuple[int, ...]
    choices: tuple[KeyframeChoice, ...] = ()
    error: str = ""
    stretch: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", storable(self.error))

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-serializable dict."""
        return {
            "kind": self.kind,
            "frames": list(self.frames),
            "choices": [asdict(choice) for choice in self.choices],
            "error": self.error,
            "stretch": self.stretch and list(self.stretch),
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Look:
        """Loads a look from :meth:`to_dict`'s output."""
        return cls(
            kind=d["kind"],
            frames=tuple(d["frames"]),
            choices=tuple(KeyframeChoice(**choice) for choice in d["choices"]),
            error=d["error"],
            stretch=d["stretch"] and tuple(d["stretch"]),
        )


@dataclass(frozen=True)
class Verdict:
    """What the model said of the finished tracks, in turn 3.

    Attributes:
        objects: the numbers, from 1, of the objects that the query means; empty for none of them
        wrong_frames: the shown pictures, 0-based, in which the outline of such an object is not
            right
        why: in the model's words; "" if it gave none
        probability: of the list of objects, the product of its tokens' probabilities, in [0, 1];
            None if the backend gives none
        shown: the frames of the source video, 0-based, that the pictures were
        count: how many objects were shown
    """

    objects: tuple[int, ...]
    wrong_frames: tuple[int, ...] = ()
    why: str = ""
    probability: float | None = None
    shown: tuple[int, ...] = ()
    count: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "why", storable(self.why))

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-serializable dict."""
        lists = {name: list(getattr(self, name)) for name in ("objects", "wrong_frames", "shown")}
        return {**asdict(self), **lists}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Verdict:
        """Loads a verdict from :meth:`to_dict`'s output."""
        lists = {name: tuple(d[name]) for name in ("objects", "wrong_frames", "shown")}
        return cls(**{**d, **lists})


@dataclass(frozen=True)
class Repair:
    """A stretch of a track that was tracked again from a box of its own.

    Attributes:
        object: the position of the object among the answer's, 0-based
        frame: the frame of the source video, 0-based, that has the box
        box_xyxy_px: ``(x1, y1, x2, y2)`` in source pixels
        why: what was wrong with the track, in words
        first: the first frame, 0-based, whose mask was replaced
        last: the last one
    """

    object: int
    frame: int
    box_xyxy_px: Box
    why: str
    first: int
    last: int

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-serializable dict."""
        return {**asdict(self), "box_xyxy_px": list(self.box_xyxy_px)}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Repair:
        """Loads a repair from :meth:`to_dict`'s output."""
        x1, y1, x2, y2 = d["box_xyxy_px"]
        return cls(**{**d, "box_xyxy_px": (x1, y1, x2, y2)})
