"""The two-turn chain of ReVSeg (arXiv 2512.02835) over a batch of (video, query) pairs.

Turn 1 shows the sampled frames and asks for a key frame and a description of each object. Turn 2
goes on with the same dialogue, shows the key frame larger, and asks for the object's box. Every
object gets a turn 2 of its own, a branch of the dialogue in which only its own key frame is shown.

A reply that cannot be used is answered with a short correction and asked for again; once it can
be used, the dialogue goes on as if it had been the first one. Whatever fails for one pair is
recorded with that pair and never touches the others.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fiftyone_revseg.reasoning.backend import Conversation, Image, Reasoner, Reply, VideoFrames
from fiftyone_revseg.reasoning.parse import (
    ParseError,
    answer_span,
    parse_boxes,
    parse_choices,
    parse_think,
)
from fiftyone_revseg.reasoning.patterns import box_pattern, choices_pattern
from fiftyone_revseg.reasoning.prompts import fill, split_at
from fiftyone_revseg.reasoning.queries import refusal
from fiftyone_revseg.reasoning.regions import MAX_REPLY
from fiftyone_revseg.reasoning.resize import resize_square
from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.reasoning.trajectory import Grounding, KeyframeChoice, Trajectory, Turn
from fiftyone_revseg.text.clean import storable
from fiftyone_revseg.types import FrameTable, Status

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

_KEPT = 10_000  # characters of a reply that is too long to be read


@dataclass(frozen=True, eq=False)
class ChainRequest:
    """One (video, query) pair.

    Attributes:
        query: what to look for
        frame_table: which source frames ``images`` are
        images: the sampled frames, (H, W, 3) uint8 RGB arrays at source size
        read_frame: a function that returns source frame ``k`` as a (H, W, 3) uint8 RGB array
        source_size: the ``(width, height)`` of the source frames in pixels
    """

    query: str
    frame_table: FrameTable
    images: Sequence[np.ndarray]
    read_frame: Callable[[int], np.ndarray]
    source_size: tuple[int, int]


def run_chain(
    reasoner: Reasoner, spec: ChainSpec, requests: Sequence[ChainRequest], batch_size: int = 8
) -> list[Trajectory]:
    """Runs both turns for every request.

    Args:
        reasoner: what runs the model
        spec: how to ask it
        requests: the (video, query) pairs
        batch_size (8): how many conversations the model continues at a time; all first turns come
            before all second ones, and objects of different requests share a batch

    Returns:
        one :class:`Trajectory` for each request, in their order. No failure of a model, a frame
        or a reply is raised: it is a status with a reason
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    pairs = [_Pair(request, spec) for request in requests]
    firsts = [pair.start() for pair in pairs]
    _dialogues(reasoner, spec, [first for first in firsts if first], batch_size)
    seconds = [
        branch for pair, first in zip(pairs, firsts, strict=True) for branch in pair.branch(first)
    ]
    _dialogues(reasoner, spec, seconds, batch_size)
    return [pair.finish(getattr(reasoner, "name", "")) for pair in pairs]


def first_turn(request: ChainRequest, spec: ChainSpec) -> Conversation:
    """Returns the dialogue that :func:`run_chain` has the model continue in turn 1.

    Raises:
        ValueError: if there is no such dialogue: the images are not those of the frame table
    """
    return _Pair(request, spec)._turn1().conversation


def second_turn(
    request: ChainRequest, spec: ChainSpec, history: Conversation, choice: KeyframeChoice
) -> Conversation:
    """Returns the dialogue that :func:`run_chain` has the model continue in turn 2.

    Args:
        request: the (video, query) pair
        spec: how to ask
        history: the dialogue so far, which ends with the reply that has the choice
        choice: the object that is asked for
    """
    return _Pair(request, spec)._turn2(history, 0, choice).conversation


def ground_again(
    reasoner: Reasoner,
    spec: ChainSpec,
    request: ChainRequest,
    choices: Sequence[KeyframeChoice],
    position: int,
    think: str = "",
) -> tuple[Grounding | None, tuple[Turn, ...], str]:
    """Asks turn 2 alone, after a turn 1 that is given.

    Args:
        reasoner: what runs the model
        spec: how to ask it
        request: the (video, query) pair; its frame table has the frame that is to be shown
        choices: what turn 1 is to have answered, with that frame for the object
        position: which of the choices is asked for
        think (""): what turn 1 is to have thought

    Returns:
        the grounding, None if there was no usable reply; every prompt and reply; and why there is
        no grounding, in words
    """
    items = [{"frame_idx": c.frame, "object description": c.description} for c in choices]
    reply = f"<think>{think}</think> <answer>{json.dumps(items, ensure_ascii=False)}</answer>"
    try:
        pair = _Pair(request, spec)
        history = pair._turn1().conversation.say("assistant", _plain(reply))
        dialogue = pair._turn2(history, position, choices[position])
    except Exception as e:
        logger.warning("Turn 2 of %r could not be asked", choices[position], exc_info=True)
        return None, (), _in_words(e)
    _dialogues(reasoner, spec, [dialogue], batch_size=1)
    turns = tuple(dialogue.turns)
    if dialogue.history is None:
        return None, turns, dialogue.error or ""
    return Grounding(dialogue.result[0], turns[-1].confidence), turns, ""


@dataclass(eq=False)
class _Dialogue:
    """One turn of one dialogue, with its retries."""

    conversation: Conversation
    parse: Callable[[str, bool], Any]  # of the text, and whether the model ended it
    correction: Callable[[str], str]
    turn: int
    object: int | None = None
    turns: list[Turn] = field(default_factory=list)
    result: Any = None  # what parse made of the accepted reply
    history: Conversation | None = None  # the dialogue with the accepted reply
    error: str | None = None
    crashed: bool = False  # the error is the backend's, not the reply's

    def __post_init__(self) -> None:
        self.pending: Conversation | None = self.conversation

    def take(self, reply: Reply, retries: int) -> None:
        """Uses the reply, or makes the correction that asks for another one."""
        asked = self.pending or self.conversation
        text = _bounded(reply.text)
        turn = Turn(
            prompt=asked.messages[-1].text,
            reply=text,
            tokens=reply.tokens,
            seconds=reply.seconds,
            turn=self.turn,
            object=self.object,
            attempt=len(self.turns),
            confidence=reply.confidence(*answer_span(reply.text)),
            prompt_tokens=reply.prompt_tokens,
        )
        try:
            self.result, self.error = self.parse(reply.text, not reply.cut), None
            self.history = self.conversation.say("assistant", _plain(text))
            self.pending = None
        except ParseError as e:
            self.error = str(e)
            answered = asked.say("assistant", _plain(text))
            again = len(self.turns) < retries
            self.pending = answered.say("user", self.correction(self.error)) if again else None
            # What follows is for people, as the model can do nothing about it
            if reply.cut:
                self.error += f"; it was cut off after {reply.tokens} tokens: allow more"
                self.error += " with max_new_tokens in the spec"
            if reply.remark:
                self.error += f"; {reply.remark}"
        self.turns.append(replace(turn, error=self.error))

    def crash(self, error: Exception) -> None:
        self.error, self.crashed, self.pending = _in_words(error), True, None


@dataclass(eq=False)
class _Pair:
    """One request on its way to a trajectory."""

    request: ChainRequest
    spec: ChainSpec
    first: _Dialogue | None = None
    branches: list[_Dialogue] = field(default_factory=list)
    failures: dict[int, str] = field(default_factory=dict)  # object -> why it was never asked for
    error: str | None = None

    def start(self) -> _Dialogue | None:
        """Makes turn 1's dialogue."""
        self.error = refusal(self.request.query)
        if self.error:  # the user's to mend: nothing to trace
            return None
        try:
            self.first = self._turn1()
        except Exception as e:
            logger.warning("Turn 1 of %r could not be asked", self.request.query, exc_info=True)
            self.error = _in_words(e)
        return self.first

    def branch(self, first: _Dialogue | None) -> list[_Dialogue]:
        """Makes a turn-2 dialogue for every object that turn 1 found."""
        if first is None or first.history is None:
            return []
        for position, choice in enumerate(first.result):
            try:
                self.branches.append(self._turn2(first.history, position, choice))
            except Exception as e:
                logger.warning("Turn 2 of %r could not be asked", choice, exc_info=True)
                self.failures[position] = _in_words(e)
        return self.branches

    def finish(self, model: str) -> Trajectory:
        request, first = self.request, self.first
        trajectory = Trajectory(
            query=request.query,
            frame_table=request.frame_table,
            source_size=(request.source_size[0], request.source_size[1]),
            status=Status.ERROR,
            reason=self.error or "",
            model=model,
            spec=self.spec,
        )
        if first is None:
            return trajectory
        trajectory = replace(
            trajectory,
            turns=tuple(first.turns + [turn for b in self.branches for turn in b.turns]),
            think=parse_think(first.turns[-1].reply) if first.turns else "",
        )
        if first.history is None:
            status = Status.ERROR if first.crashed else Status.BAD_KEYFRAME
            return replace(trajectory, status=status, reason=f"turn 1: {first.error}")
        if not first.result:
            return replace(
                trajectory,
                status=Status.NO_TARGET,
                reason="the model answered that no such object is in the video",
            )
        by_object = {branch.object: branch for branch in self.branches}
        groundings: list[Grounding | None] = []
        reasons, crashes = [], 0
        for position in range(len(first.result)):
            branch = by_object.get(position)
            if branch is not None and branch.history is not None:
                groundings.append(Grounding(branch.result[0], branch.turns[-1].confidence))
                continue
            groundings.append(None)
            crashes += branch is None or branch.crashed
            why = self.failures[position] if branch is None else branch.error
            reasons.append(f"turn 2, object {position + 1}: {why}")
        status = Status.OK
        if len(reasons) == len(groundings):  # some boxes are better than none
            status = Status.ERROR if crashes == len(reasons) else Status.BAD_BOX
        return replace(
            trajectory,
            status=status,
            reason="; ".join(reasons),
            choices=tuple(first.result),
            groundings=tuple(groundings),
        )

    def _turn1(self) -> _Dialogue:
        request, spec, table = self.request, self.spec, self.request.frame_table
        if len(table) == 0:
            raise ValueError("No frames were sampled from the video")
        if len(request.images) != len(table):
            raise ValueError(f"{len(request.images)} images for {len(table)} sampled frames")
        values = {
            "query": _plain(request.query.strip()),
            "frame_count": len(table),
            "last_index": len(table) - 1,
            "seconds": f"{table.duration:.1f}",
        }
        before, after = split_at(spec.template("turn1"), "frames")
        conversation = Conversation()
        if system := spec.template("system"):
            conversation = conversation.say("system", system)
        conversation = conversation.say(
            "user", fill(before, values), *self._frames(), fill(after, values)
        )
        # Prompts of a checkpoint's own may ask for replies of another form
        pattern = None if "turn1" in spec.prompts else choices_pattern(len(table))
        return _Dialogue(
            conversation.expect(pattern),
            parse=lambda text, complete: parse_choices(text, len(table), complete),
            correction=lambda why: fill(spec.template("correction1"), {**values, "reason": why}),
            turn=1,
        )

    def _frames(self) -> list[str | Image | VideoFrames]:
        table, spec = self.request.frame_table, self.spec
        images = [resize_square(image, spec.frame_size) for image in self.request.images]
        if spec.frame_encoding == "video":
            return [VideoFrames(tuple(images), tuple(table.times))]
        count = {"frame_count": len(table), "last_index": len(table) - 1}
        content: list[str | Image | VideoFrames] = []
        for index, (image, time) in enumerate(zip(images, table.times, strict=True)):
            values = {"index": index, "time": f"{time:.1f}", **count}
            content += [fill(spec.template("frame"), values), Image(image)]
        return content

    def _turn2(self, history: Conversation, position: int, choice: KeyframeChoice) -> _Dialogue:
        request, spec, table = self.request, self.spec, self.request.frame_table
        frame = request.read_frame(table.source_frame(choice.frame))
        image = resize_square(frame, spec.key_frame_size)
        name = "coordinates_pixels" if spec.box_convention == "pixels" else "coordinates_relative"
        values = {
            "query": _plain(request.query.strip()),
            "description": _plain(choice.description),
            "index": choice.frame,
            "time": f"{table.times[choice.frame]:.1f}",
            "coordinates": fill(spec.template(name), {"size": spec.key_frame_size}),
            "size": spec.key_frame_size,
        }

        def parse(text: str, complete: bool) -> list:
            boxes = parse_boxes(
                text, spec.box_convention, spec.key_frame_size, request.source_size, complete
            )
            if not boxes:
                raise ParseError("it has no box although the object was seen in this frame")
            return boxes  # the first one counts: one was asked for

        before, after = split_at(spec.template("turn2"), "image")
        conversation = history.say("user", fill(before, values), Image(image), fill(after, values))
        return _Dialogue(
            conversation.expect(None if "turn2" in spec.prompts else box_pattern()),
            parse=parse,
            correction=lambda why: fill(spec.template("correction2"), {**values, "reason": why}),
            turn=2,
            object=position,
        )


def _dialogues(
    reasoner: Reasoner, spec: ChainSpec, dialogues: Sequence[_Dialogue], batch_size: int
) -> None:
    """Asks, and asks again, until every dialogue has its reply or has run out of retries."""
    waiting = list(dialogues)
    while waiting:
        for start in range(0, len(waiting), batch_size):
            batch = waiting[start : start + batch_size]
            asked = [dialogue.pending or dialogue.conversation for dialogue in batch]
            replies = _generate(reasoner, spec, asked)
            for dialogue, reply in zip(batch, replies, strict=True):
                try:
                    if isinstance(reply, Exception):
                        raise reply
                    dialogue.take(reply, spec.retries)
                except Exception as e:
                    dialogue.crash(e)
        waiting = [dialogue for dialogue in waiting if dialogue.pending is not None]


def _generate(
    reasoner: Reasoner, spec: ChainSpec, conversations: Sequence[Conversation]
) -> list[Reply | Exception]:
    """Generates a batch; if that fails, one by one, so that one cannot take the others along."""
    try:
        replies: list[Reply | Exception] = list(reasoner.generate(conversations, spec))
        if len(replies) != len(conversations):
            raise RuntimeError(f"got {len(replies)} replies to {len(conversations)} conversations")
        return replies
    except Exception as e:
        logger.warning("A batch of %d failed", len(conversations), exc_info=True)
        if len(conversations) == 1:
            return [e]
    return [_generate(reasoner, spec, [conversation])[0] for conversation in conversations]


def _plain(text: str) -> str:
    """Breaks up control tokens such as ``<|im_end|>``, which users and models may not write."""
    return text.replace("<|", "< |")


def _bounded(reply: str) -> str:
    """What is kept of a reply: all of it, unless it is longer than what is read."""
    if len(reply) <= MAX_REPLY:
        return reply
    return f"{reply[:_KEPT]} ... [{len(reply) - _KEPT:,} characters left out]"


def _in_words(error: Exception) -> str:
    """An exception as one line that always names something."""
    text = storable(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
