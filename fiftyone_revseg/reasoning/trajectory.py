"""The record of one chain: everything that was asked, answered and understood."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fiftyone_revseg.files import to_json
from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.text.clean import storable
from fiftyone_revseg.types import FrameTable, Status

if TYPE_CHECKING:
    from fiftyone_revseg.reasoning.looking_again import Candidate, Look, Repair, Verdict

Box = tuple[float, float, float, float]
Point = tuple[float, float]

_LISTS = ("candidates", "verdicts", "repairs", "looks")


@dataclass(frozen=True)
class KeyframeChoice:
    """An object that turn 1 found.

    Attributes:
        frame: the key frame, as an index into the *sampled* frames; see
            :meth:`fiftyone_revseg.types.FrameTable.source_frame`
        description: what the object looks like in that frame
    """

    frame: int
    description: str


@dataclass(frozen=True)
class Grounding:
    """Where turn 2 found an object in its key frame.

    Attributes:
        box_xyxy_px: ``(x1, y1, x2, y2)`` in source pixels; None if points alone were asked for
        confidence: the mean token probability of the box's JSON, in [0, 1]; None if the backend
            gives no probabilities
        points (()): ``(x, y)`` points on the object in source pixels, if they were asked for
    """

    box_xyxy_px: Box | None
    confidence: float | None
    points: tuple[Point, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-serializable dict."""
        box = None if self.box_xyxy_px is None else list(self.box_xyxy_px)
        found: dict[str, Any] = {"box_xyxy_px": box, "confidence": self.confidence}
        return {**found, "points": [list(p) for p in self.points]} if self.points else found

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Grounding:
        """Loads a grounding from :meth:`to_dict`'s output."""
        points = tuple((x, y) for x, y in d.get("points", ()))
        return cls(d["box_xyxy_px"] and tuple(d["box_xyxy_px"]), d["confidence"], points)


@dataclass(frozen=True)
class Turn:
    """One prompt and the reply to it, whether or not the reply could be used.

    Attributes:
        prompt: the text of the user's message, with a mark in place of each picture
        reply: the model's text, unchanged
        tokens: the number of tokens in the reply
        seconds: the time it took; in a batch, the batch's time shared out evenly
        turn: 1, 2 or 3
        object: the position of the object that turn 2 asked for; None in the other turns
        attempt: 0 for the first reply, then 1, 2, ...
        error: why the reply could not be used; None if it was
        confidence: the mean token probability of the reply's answer; None if unknown
        prompt_tokens: the number of tokens read, pictures included
        candidate: which of several dialogues about the same query it belongs to; 0 is the greedy
            one, and turn 3
    """

    prompt: str
    reply: str
    tokens: int
    seconds: float
    turn: int = 1
    object: int | None = None
    attempt: int = 0
    error: str | None = None
    confidence: float | None = None
    prompt_tokens: int = 0
    candidate: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-serializable dict."""
        d = asdict(self)
        if not self.candidate:  # as what was stored before there were several
            del d["candidate"]
        return d


@dataclass(frozen=True)
class Trajectory:
    """How the chain came from a query to boxes; survives JSON without loss.

    Its texts can be stored, see :func:`fiftyone_revseg.text.clean.storable`.

    Attributes:
        query: the user's query
        frame_table: which source frames were shown
        source_size: the ``(width, height)`` of the source frames in pixels
        status: how it ended
        reason: why, in words; "" where all is well
        think: the thought of turn 1
        choices: one for each object that turn 1 found
        groundings: one for each choice, at the same position; None where its turn 2 failed
        turns: every prompt and reply, retries included, in the order in which they were made
        model: the name of the checkpoint
        spec: the settings that were used
        certainty: how likely the answer is what the query means, in [0, 1], by the verdict; None
            if there is none
        agreement: the mean IoU, in [0, 1], of the answer's masks with those of each other
            candidate; None if there is no other
        candidates: what each dialogue answered, the greedy one first; empty if there is only that
        verdicts: one for each time that the model judged the tracks
        repairs: the stretches that were tracked again
        looks: what turn 1 was shown before the frames of ``frame_table`` were chosen
    """

    query: str
    frame_table: FrameTable
    source_size: tuple[int, int]
    status: Status
    reason: str = ""
    think: str = ""
    choices: tuple[KeyframeChoice, ...] = ()
    groundings: tuple[Grounding | None, ...] = ()
    turns: tuple[Turn, ...] = ()
    model: str = ""
    spec: ChainSpec | None = None
    certainty: float | None = None
    agreement: float | None = None
    candidates: tuple[Candidate, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    repairs: tuple[Repair, ...] = ()
    looks: tuple[Look, ...] = ()

    def __post_init__(self) -> None:
        if len(self.choices) != len(self.groundings):
            raise ValueError(f"{len(self.choices)} choices but {len(self.groundings)} groundings")
        for name in ("query", "reason", "think", "model"):
            if text := getattr(self, name):
                object.__setattr__(self, name, storable(text))

    @property
    def attempts(self) -> int:
        """The number of replies that were asked for."""
        return len(self.turns)

    @property
    def key_frames(self) -> tuple[int, ...]:
        """The key frame of each choice, as a frame number of the source video."""
        return tuple(self.frame_table.source_frame(choice.frame) for choice in self.choices)

    @property
    def tokens(self) -> int:
        """The number of tokens that were written."""
        return sum(turn.tokens for turn in self.turns)

    @property
    def seconds(self) -> float:
        """The time that the model took."""
        return sum(turn.seconds for turn in self.turns)

    def to_dict(self) -> dict:
        """Returns a JSON-serializable dict."""
        return {
            "query": self.query,
            "status": str(self.status),
            "reason": self.reason,
            "think": self.think,
            "choices": [asdict(choice) for choice in self.choices],
            "groundings": [g and g.to_dict() for g in self.groundings],
            "frame_table": self.frame_table.to_dict(),
            "source_size": list(self.source_size),
            "turns": [turn.to_dict() for turn in self.turns],
            "attempts": self.attempts,
            "model": self.model,
            "spec": self.spec and self.spec.to_dict(),
            **self._looked_again(),
        }

    def _looked_again(self) -> dict[str, Any]:
        """What there is beyond the two turns; nothing for a chain that did not look again."""
        numbers = {"certainty": self.certainty, "agreement": self.agreement}
        lists = {name: [one.to_dict() for one in getattr(self, name)] for name in _LISTS}
        return {
            **{name: value for name, value in numbers.items() if value is not None},
            **{name: value for name, value in lists.items() if value},
        }

    @classmethod
    def from_dict(cls, d: dict) -> Trajectory:
        """Loads a trajectory from :meth:`to_dict`'s output."""
        from fiftyone_revseg.reasoning import looking_again  # which is made of what is here

        kinds: tuple[Any, ...] = (
            looking_again.Candidate,
            looking_again.Verdict,
            looking_again.Repair,
            looking_again.Look,
        )
        lists: dict[str, Any] = {
            name: tuple(kind.from_dict(one) for one in d.get(name, ()))
            for name, kind in zip(_LISTS, kinds, strict=True)
        }
        return cls(
            query=d["query"],
            frame_table=FrameTable.from_dict(d["frame_table"]),
            source_size=tuple(d["source_size"]),
            status=Status(d["status"]),
            reason=d["reason"],
            think=thought_of(d),
            choices=tuple(KeyframeChoice(**choice) for choice in d["choices"]),
            groundings=tuple(g and Grounding.from_dict(g) for g in d["groundings"]),
            turns=tuple(Turn(**turn) for turn in d["turns"]),
            model=d["model"],
            spec=None if d["spec"] is None else ChainSpec.from_dict(d["spec"]),
            certainty=d.get("certainty"),
            agreement=d.get("agreement"),
            **lists,
        )

    def to_json(self) -> str:
        """Returns the trajectory as a JSON string."""
        return to_json(self.to_dict())

    @classmethod
    def from_json(cls, s: str) -> Trajectory:
        """Loads a trajectory from :meth:`to_json`'s output."""
        return cls.from_dict(json.loads(s))


def thought_of(d: Mapping[str, Any]) -> str:
    """Returns the thought of turn 1 from :meth:`Trajectory.to_dict`'s output.

    Where room is short, it is stored in the reply only, and "think" is None.
    """
    if d["think"] is not None:
        return str(d["think"])
    from fiftyone_revseg.reasoning.parse import parse_think  # which makes parts of a trajectory

    turns = [turn for turn in d["turns"] if turn.get("turn", 1) == 1][-1:]
    if (position := d.get("think_turn")) is not None:  # of several dialogues
        turns = [d["turns"][position]]
    return parse_think(turns[0]["reply"]) if turns else ""


def leave_thought_in_reply(d: dict[str, Any]) -> None:
    """Takes the thought out of :meth:`Trajectory.to_dict`'s output, where a reply has it, too.

    Args:
        d: the output, changed in place; :func:`thought_of` still finds the thought. Where several
            dialogues were held and none of their replies has it, it stays
    """
    from fiftyone_revseg.reasoning.parse import parse_think  # which makes parts of a trajectory

    if "candidates" in d and d["think"] is not None:
        found = [
            k
            for k, turn in enumerate(d["turns"])
            if turn.get("turn", 1) == 1 and parse_think(turn["reply"]) == d["think"]
        ]
        if not found:
            return
        d["think_turn"] = found[-1]
    d["think"] = None
