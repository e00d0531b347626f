"""The two-turn chain over a batch of (video, query) pairs, or over videos that come and go.

Every batch is made of whatever waits: second turns of some videos go together with first turns of
others, those of similar length, as a batch is as slow as its longest member.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fiftyone_revseg.models.batch_size import BatchSize, is_out_of_memory
from fiftyone_revseg.reasoning.backend import Conversation
from fiftyone_revseg.reasoning.chain import ChainRequest, Pair, grounding_of
from fiftyone_revseg.reasoning.dialogue import Dialogue, in_words, plain
from fiftyone_revseg.reasoning.trajectory import Grounding

if TYPE_CHECKING:
    from fiftyone_revseg.reasoning.backend import Reasoner
    from fiftyone_revseg.reasoning.spec import ChainSpec
    from fiftyone_revseg.reasoning.trajectory import KeyframeChoice, Trajectory, Turn

logger = logging.getLogger(__name__)

_PADDED = 1.25  # a batch's size with its padding, at most, over that without
_AT_A_TIME = 8


class Talk(Protocol):
    """Dialogues that lead to one result, such as the two turns about one (video, query) pair."""

    def start(self) -> list[Dialogue]:
        """Makes those that are asked first."""
        ...

    def after(self, dialogue: Dialogue) -> list[Dialogue]:
        """Makes those that follow on one that has ended; none is raised for what it lacks."""
        ...

    def finish(self, model: str) -> Any:
        """Puts together what came of all of them.

        Args:
            model: the checkpoint's name, for the record
        """
        ...


@dataclass(eq=False)
class _Asked:
    """All talks about one video."""

    key: Hashable
    talks: Sequence[Talk]
    open: int = 0  # dialogues without an end


@dataclass(eq=False)
class _Waiting:
    """A dialogue that waits for a reply."""

    asked: _Asked
    talk: Talk
    dialogue: Dialogue
    length: int


class RollingChain:
    """Leads the talks about many videos, a batch at a time.

    Args:
        reasoner: what runs the model
        spec: how to ask it
        batch: how many conversations the model continues at a time
    """

    def __init__(self, reasoner: Reasoner, spec: ChainSpec, batch: BatchSize):
        self._reasoner = reasoner
        self._spec = spec
        self._batch = batch
        # A server makes its own batches, in which nothing is padded
        self._pads = getattr(reasoner, "concurrency", None) is None
        self._waiting: list[_Waiting] = []
        self._finished: list[_Asked] = []

    @property
    def waiting(self) -> int:
        """How many dialogues wait for a reply."""
        return len(self._waiting)

    def add(self, key: Hashable, talks: Sequence[Talk]) -> None:
        """Adds the talks about one video.

        Args:
            key: what :meth:`step` calls it
            talks: the talks
        """
        asked = _Asked(key, talks)
        for talk in talks:
            self._wait(asked, talk, talk.start())
        if not asked.open:
            self._finished.append(asked)

    def step(self) -> list[tuple[Hashable, list[Any]]]:
        """Lets the model continue one batch of what waits.

        Returns:
            the key and the results, in the order of its talks, of each video that is done now. No
            failure of a model, a frame or a reply is raised: it is part of a result
        """
        batch = self._choose()
        if batch:
            ask(self._reasoner, self._spec, [one.dialogue for one in batch], self._batch)
        for one in batch:
            one.asked.open -= 1
            ended = one.dialogue.pending is None
            following = one.talk.after(one.dialogue) if ended else [one.dialogue]
            self._wait(one.asked, one.talk, following)
            if not one.asked.open:
                self._finished.append(one.asked)
        return self.take_finished()

    def take_finished(self) -> list[tuple[Hashable, list[Any]]]:
        """As :meth:`step`, without one: some are done before anything is asked."""
        name = getattr(self._reasoner, "name", "")
        finished, self._finished = self._finished, []
        return [(asked.key, [talk.finish(name) for talk in asked.talks]) for asked in finished]

    def _wait(self, asked: _Asked, talk: Talk, dialogues: Sequence[Dialogue]) -> None:
        """Has dialogues wait for a reply."""
        for dialogue in dialogues:
            if dialogue.pending is not None:
                asked.open += 1
                self._waiting.append(_Waiting(asked, talk, dialogue, _length(dialogue.pending)))

    def _choose(self) -> list[_Waiting]:
        """Takes the longest, which are second turns and finish videos, with their like."""
        self._waiting.sort(key=lambda one: -one.length)  # stable: the first asked first
        chosen: list[_Waiting] = []
        total = 0
        for one in self._waiting[: self._batch.size]:
            total += one.length
            if self._pads and chosen and chosen[0].length * (len(chosen) + 1) > _PADDED * total:
                break
            chosen.append(one)
        del self._waiting[: len(chosen)]
        return chosen


def run_chain(
    reasoner: Reasoner,
    spec: ChainSpec,
    requests: Sequence[ChainRequest],
    batch_size: int | None = None,
) -> list[Trajectory]:
    """Runs both turns for every request.

    Args:
        reasoner: what runs the model
        spec: how to ask it
        requests: the (video, query) pairs
        batch_size (None): how many conversations the model continues at a time, at most; fewer
            once that many did not fit into memory. By default 8, or as many as a server is asked
            at a time

    Returns:
        one :class:`Trajectory` for each request, in their order. No failure of a model, a frame
        or a reply is raised: it is a status with a reason
    """
    return run_talks(reasoner, spec, [Pair(request, spec) for request in requests], batch_size)


def run_talks(
    reasoner: Reasoner, spec: ChainSpec, talks: Sequence[Talk], batch_size: int | None = None
) -> list[Any]:
    """Leads talks to their ends, as :func:`run_chain` does both turns.

    Returns:
        one result for each talk, in their order
    """
    at_a_time = _AT_A_TIME * (1 + spec.samples)  # which share what they were read into
    size = batch_size or getattr(reasoner, "concurrency", None) or at_a_time
    chain = RollingChain(reasoner, spec, BatchSize("reasoning", size))
    chain.add(None, talks)
    finished = chain.take_finished()
    while chain.waiting:
        finished += chain.step()
    ((_, results),) = finished
    return results


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
        pair = Pair(request, spec)
        history = pair.turn1().conversation.say("assistant", plain(reply))
        dialogue = pair.turn2(history, position, choices[position])
    except Exception as e:
        logger.warning("Turn 2 of %r could not be asked", choices[position], exc_info=True)
        return None, (), in_words(e)
    while dialogue.pending is not None:
        ask(reasoner, spec, [dialogue], BatchSize("reasoning", 1))
    turns = tuple(dialogue.turns)
    if dialogue.history is None:
        return None, turns, dialogue.error or ""
    return grounding_of(dialogue), turns, ""


def ask(
    reasoner: Reasoner, spec: ChainSpec, dialogues: Sequence[Dialogue], batch: BatchSize
) -> None:
    """Lets the model reply once to each of some dialogues.

    If that fails, they are asked one by one, so that one cannot take the others along; or half of
    them at a time, if it was too much for the memory.

    Args:
        reasoner: what runs the model
        spec: how to ask it
        dialogues: what to ask, all of which wait for a reply
        batch: is made smaller if they do not fit into memory
    """
    try:
        conversations = [dialogue.pending for dialogue in dialogues if dialogue.pending]
        replies = list(reasoner.generate(conversations, spec))
        if len(replies) != len(dialogues):
            raise RuntimeError(f"got {len(replies)} replies to {len(dialogues)} conversations")
    except Exception as error:
        too_large = is_out_of_memory(error)
        if not (too_large and batch.halve(len(dialogues))):
            logger.warning("A batch of %d failed", len(dialogues), exc_info=True)
        if len(dialogues) == 1:
            dialogues[0].crash(error)
            return
        size = len(dialogues) // 2 if too_large else 1
        for start in range(0, len(dialogues), size):
            ask(reasoner, spec, dialogues[start : start + size], batch)
        return
    for dialogue, reply in zip(dialogues, replies, strict=True):
        try:
            if isinstance(reply, Exception):
                raise reply
            dialogue.take(reply, spec.retries)
        except Exception as error:
            dialogue.crash(error)


def _length(conversation: Conversation) -> int:
    """About how many tokens a conversation takes: enough to tell long from short."""
    pixels = texts = 0
    for message in conversation.messages:
        for part in message.content:
            if isinstance(part, str):
                texts += len(part)
                continue
            frames = getattr(part, "frames", None) or (part.pixels,)  # type: ignore[union-attr]
            pixels += sum(frame.shape[0] * frame.shape[1] for frame in frames)
    return pixels // 256 + texts // 4 + 1
