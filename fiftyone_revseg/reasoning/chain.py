"""The two-turn chain of ReVSeg (arXiv 2512.02835) for one (video, query) pair.

Turn 1 shows the sampled frames and asks for a key frame and a description of each object. Turn 2
goes on with the same dialogue, shows the key frame larger, and asks for the object's box. Every
object gets a turn 2 of its own, a branch of the dialogue in which only its own key frame is shown.

A reply that cannot be used is answered with a short correction and asked for again; once it can
be used, the dialogue goes on as if it had been the first one. Whatever fails for one pair is
recorded with that pair and never touches the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fiftyone_revseg.reasoning.backend import Conversation, Image, VideoFrames
from fiftyone_revseg.reasoning.conventions import find_convention
from fiftyone_revseg.reasoning.dialogue import Dialogue, in_words, plain
from fiftyone_revseg.reasoning.parse import (
    parse_choices,
    parse_prompt,
    parse_prompt_or_none,
    parse_think,
)
from fiftyone_revseg.reasoning.patterns import box_pattern, choices_pattern, longest_thought
from fiftyone_revseg.reasoning.prompts import fill, split_at
from fiftyone_revseg.reasoning.queries import refusal
from fiftyone_revseg.reasoning.resize import resize_square
from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.reasoning.trajectory import Grounding, KeyframeChoice, Trajectory
from fiftyone_revseg.types import FrameTable, Status

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ChainRequest:
    """One (video, query) pair.

    Attributes:
        query: what to look for
        frame_table: which source frames ``images`` are
        images: the sampled frames, (H, W, 3) uint8 RGB arrays at source size
        read_frame: a function that returns source frame ``k`` as a (H, W, 3) uint8 RGB array
        source_size: the ``(width, height)`` of the source frames in pixels
        look (None): returns source frame ``k`` at the size of sampled frames, ``frame_size``; by
            default, what ``read_frame`` returns is made smaller
        time_of (None): returns at which second source frame ``k`` is shown; by default, it is
            told from the frame table
        sample (0): which of several dialogues about the query it is; 0 for the one that is decoded
            as the chain spec says, the others are sampled
    """

    query: str
    frame_table: FrameTable
    images: Sequence[np.ndarray]
    read_frame: Callable[[int], np.ndarray]
    source_size: tuple[int, int]
    look: Callable[[int], np.ndarray] | None = None
    time_of: Callable[[int], float] | None = None
    sample: int = 0

    def time(self, k: int) -> float:
        """Returns at which second source frame ``k`` is shown."""
        if self.time_of is not None:
            return self.time_of(k)
        table = self.frame_table
        nearest = min(max(k, table.indices[0]), table.indices[-1])
        time = float(np.interp(nearest, table.indices, table.times))
        return time + (k - nearest) / table.fps


def first_turn(request: ChainRequest, spec: ChainSpec) -> Conversation:
    """Returns the dialogue that the model continues in turn 1.

    Raises:
        ValueError: if there is no such dialogue: the images are not those of the frame table
    """
    return Pair(request, spec).turn1().conversation


def second_turn(
    request: ChainRequest, spec: ChainSpec, history: Conversation, choice: KeyframeChoice
) -> Conversation:
    """Returns the dialogue that the model continues in turn 2.

    Args:
        request: the (video, query) pair
        spec: how to ask
        history: the dialogue so far, which ends with the reply that has the choice
        choice: the object that is asked for
    """
    return Pair(request, spec).turn2(history, 0, choice).conversation


def can_deny(spec: ChainSpec) -> bool:
    """Returns whether turn 2 can be asked in words that allow for "not there".

    A checkpoint that was trained on words of its own for turn 2 alone answers with a box, whatever
    the picture shows.
    """
    form = "_point" if spec.prompt == "point" else ""
    return f"turn2{form}" not in spec.prompts or f"turn2_again{form}" in spec.prompts


def grounding_of(dialogue: Dialogue) -> Grounding:
    """Returns where turn 2 found its object."""
    ((box, points),) = dialogue.result
    return Grounding(box, dialogue.turns[-1].confidence, points)


@dataclass(eq=False)
class Pair:
    """One request on its way to a trajectory."""

    request: ChainRequest
    spec: ChainSpec
    first: Dialogue | None = None
    branches: dict[int, Dialogue] = field(default_factory=dict)  # by object
    failures: dict[int, str] = field(default_factory=dict)  # object -> why it was never asked for
    error: str | None = None

    def start(self) -> list[Dialogue]:
        """Makes turn 1's dialogue."""
        self.error = refusal(self.request.query)
        if self.error:  # the user's to mend: nothing to trace
            return []
        try:
            self.first = self.turn1()
        except Exception as e:
            logger.warning("Turn 1 of %r could not be asked", self.request.query, exc_info=True)
            self.error = in_words(e)
            return []
        return [self.first]

    def after(
        self, dialogue: Dialogue, asked: dict[KeyframeChoice, Dialogue] | None = None
    ) -> list[Dialogue]:
        """Makes a turn-2 dialogue for every object that turn 1 found.

        Args:
            dialogue: what has ended
            asked (None): dialogues of other pairs with the same query, by the choices that they
                ask about, to be used again; new ones are added to them
        """
        first = self.first
        if first is not dialogue or first.history is None:
            return []
        new = []
        for position, choice in enumerate(first.result):
            known = None if asked is None else asked.get(choice)
            try:
                sample = self.request.sample
                # What is not sampled is asked as it would be alone, whichever ends first
                if known is None or not sample or known.candidate == sample:
                    known = self.turn2(first.history, position, choice)
                    new.append(known)
                self.branches[position] = known
                if asked is not None:
                    asked[choice] = known
            except Exception as e:
                logger.warning("Turn 2 of %r could not be asked", choice, exc_info=True)
                self.failures[position] = in_words(e)
        return new

    def finish(self, model: str) -> Trajectory:
        """Puts together what came of both turns."""
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
            turns=tuple(first.turns + [turn for b in self._own_branches() for turn in b.turns]),
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
        groundings: list[Grounding | None] = []
        reasons, crashes = [], 0
        for position in range(len(first.result)):
            branch = self.branches.get(position)
            if branch is not None and branch.history is not None:
                groundings.append(grounding_of(branch))
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

    def _own_branches(self) -> list[Dialogue]:
        """Those that were made for this pair; others are told of by the pairs that made them."""
        return [b for b in self.branches.values() if b.candidate == self.request.sample]

    def turn1(self) -> Dialogue:
        """Asks for key frames.

        Raises:
            ValueError: if the images are not those of the frame table
        """
        request, spec, table = self.request, self.spec, self.request.frame_table
        if len(table) == 0:
            raise ValueError("No frames were sampled from the video")
        if len(request.images) != len(table):
            raise ValueError(f"{len(request.images)} images for {len(table)} sampled frames")
        values = {
            "query": plain(request.query.strip()),
            "frame_count": len(table),
            "last_index": len(table) - 1,
            "seconds": f"{table.duration:.1f}",
        }
        before, after = split_at(spec.template("turn1"), "frames")
        conversation = Conversation(thinking=spec.thinking)
        if request.sample:
            conversation = conversation.sampled(spec.sample_temperature, request.sample)
        if system := spec.template("system"):
            conversation = conversation.say("system", system)
        conversation = conversation.say(
            "user", fill(before, values), *self._frames(), fill(after, values)
        )
        # Prompts of a checkpoint's own may ask for replies of another form
        pattern = None if "turn1" in spec.prompts else choices_pattern(len(table), self._thought)
        return Dialogue(
            conversation.expect(pattern),
            parse=lambda text, complete: parse_choices(text, len(table), complete),
            correction=lambda why: fill(spec.template("correction1"), {**values, "reason": why}),
            turn=1,
            candidate=request.sample,
        )

    @property
    def _thought(self) -> int:
        return longest_thought(self.spec.max_new_tokens + self.spec.thinking_tokens)

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

    def turn2(self, history: Conversation, position: int, choice: KeyframeChoice) -> Dialogue:
        """Asks for the box of one object."""
        table, index = self.request.frame_table, choice.frame
        frame, time = table.source_frame(index), table.times[index]
        return self._ask_where(history, position, choice.description, frame, index, time)

    def turn2_again(
        self, history: Conversation, position: int, description: str, frame: int
    ) -> Dialogue:
        """Asks for the box of one object in another frame, in which it may not be.

        Args:
            history: the dialogue so far, which ends with the reply that has the object
            position: of the object among the answer's
            description: of the object
            frame: the frame of the source video, 0-based, sampled or not

        Returns:
            a dialogue whose result is ``[None]`` if the object is not there
        """
        table = self.request.frame_table
        index = min(range(len(table)), key=lambda i: abs(table.indices[i] - frame))
        time = self.request.time(frame)
        return self._ask_where(history, position, description, frame, index, time, again=True)

    def _ask_where(
        self,
        history: Conversation,
        position: int,
        description: str,
        frame: int,
        index: int,
        time: float,
        again: bool = False,
    ) -> Dialogue:
        request, spec = self.request, self.spec
        image = resize_square(request.read_frame(frame), spec.key_frame_size)
        convention = find_convention(spec.box_convention)
        form = "_point" if spec.prompt == "point" else ""
        values = {
            "query": plain(request.query.strip()),
            "description": plain(description),
            "index": index,
            "time": f"{time:.1f}",
            "coordinates": fill(spec.template(convention.template), {"size": spec.key_frame_size}),
            "size": spec.key_frame_size,
            "example": convention.example(spec.prompt),
            "top_left": convention.corner(1),
            "bottom_right": convention.corner(2),
        }

        def parse(text: str, complete: bool) -> list:
            read = parse_prompt_or_none if again else parse_prompt
            return [read(text, spec, request.source_size, complete)]

        def correct(why: str) -> str:
            words = spec.template(f"correction2{form}")
            if again:
                words = f"{words}\n{spec.template('absent')}"
            return fill(words, {**values, "reason": why})

        # A checkpoint that learned its own words is asked in those that it knows
        name = f"turn2_again{form}" if again and can_deny(spec) else f"turn2{form}"
        before, after = split_at(spec.template(name), "image")
        if spec.prompt == "box+point":
            after = f"{after}\n{spec.template('point')}"
        # A box is not drawn by chance: of a guess where the object is, the best is asked for
        conversation = history.sampled(0.0 if request.sample else None)
        conversation = conversation.say(
            "user", fill(before, values), Image(image), fill(after, values)
        )
        pattern = box_pattern(convention, self._thought, spec.prompt, again)
        return Dialogue(
            conversation.expect(None if name in spec.prompts else pattern),
            parse=parse,
            correction=correct,
            turn=2,
            object=position,
            candidate=request.sample,
        )
