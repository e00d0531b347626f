"""The two-turn chain over videos that come and go.

:func:`~fiftyone_revseg.reasoning.chain.run_chain` asks all first turns of what it is given, then
all second ones. Here, every batch is made of whatever waits: second turns of some videos go
together with first turns of others, those of similar length, as a batch is as slow as its longest
member.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fiftyone_revseg.models.batch_size import BatchSize, is_out_of_memory
from fiftyone_revseg.reasoning.backend import Conversation
from fiftyone_revseg.reasoning.chain import ChainRequest, _Dialogue, _Pair

if TYPE_CHECKING:
    from fiftyone_revseg.reasoning.backend import Reasoner
    from fiftyone_revseg.reasoning.spec import ChainSpec
    from fiftyone_revseg.reasoning.trajectory import Trajectory

logger = logging.getLogger(__name__)

_PADDED = 1.25  # a batch's size with its padding, at most, over that without


@dataclass(eq=False)
class _Asked:
    """All queries about one video."""

    key: Hashable
    pairs: list[_Pair]
    open: int = 0  # dialogues without an end


@dataclass(eq=False)
class _Waiting:
    """A dialogue that waits for a reply."""

    asked: _Asked
    pair: _Pair
    dialogue: _Dialogue
    length: int = field(init=False)

    def __post_init__(self) -> None:
        self.length = _length(self.conversation)

    @property
    def conversation(self) -> Conversation:
        return self.dialogue.pending or self.dialogue.conversation


class RollingChain:
    """Runs both turns for the queries about many videos, a batch at a time.

    Args:
        reasoner: what runs the model
        spec: how to ask it
        batch: how many conversations the model continues at a time
    """

    def __init__(self, reasoner: Reasoner, spec: ChainSpec, batch: BatchSize):
        self._reasoner = reasoner
        self._spec = spec
        self._batch = batch
        self._waiting: list[_Waiting] = []
        self._finished: list[_Asked] = []

    @property
    def waiting(self) -> int:
        """How many dialogues wait for a reply."""
        return len(self._waiting)

    def add(self, key: Hashable, requests: Sequence[ChainRequest]) -> None:
        """Adds the queries about one video.

        Args:
            key: what :meth:`step` calls it
            requests: the (video, query) pairs
        """
        asked = _Asked(key, [_Pair(request, self._spec) for request in requests])
        for pair in asked.pairs:
            first = pair.start()
            if first is not None:
                self._wait(_Waiting(asked, pair, first))
        if not asked.open:
            self._finished.append(asked)

    def step(self) -> list[tuple[Hashable, list[Trajectory]]]:
        """Lets the model continue one batch of what waits.

        Returns:
            the key and the trajectories, in the order of its requests, of each video that is done
            now. No failure of a model, a frame or a reply is raised: it is a status with a reason
        """
        batch = self._choose()
        self._ask(batch)
        for one in batch:
            if one.dialogue.pending is not None:
                one.length = _length(one.conversation)
                self._waiting.append(one)
                continue
            if one.dialogue is one.pair.first:
                for branch in one.pair.branch(one.dialogue):
                    self._wait(_Waiting(one.asked, one.pair, branch))
            one.asked.open -= 1
            if not one.asked.open:
                self._finished.append(one.asked)
        return self.take_finished()

    def take_finished(self) -> list[tuple[Hashable, list[Trajectory]]]:
        """As :meth:`step`, without one: some are done before anything is asked."""
        name = getattr(self._reasoner, "name", "")
        finished, self._finished = self._finished, []
        return [(asked.key, [pair.finish(name) for pair in asked.pairs]) for asked in finished]

    def _wait(self, one: _Waiting) -> None:
        one.asked.open += 1
        self._waiting.append(one)

    def _choose(self) -> list[_Waiting]:
        """Takes the longest, which are second turns and finish videos, with their like."""
        self._waiting.sort(key=lambda one: -one.length)  # stable: the first asked first
        chosen: list[_Waiting] = []
        total = 0
        for one in self._waiting[: self._batch.size]:
            total += one.length
            if chosen and chosen[0].length * (len(chosen) + 1) > _PADDED * total:
                break
            chosen.append(one)
        del self._waiting[: len(chosen)]
        return chosen

    def _ask(self, batch: list[_Waiting]) -> None:
        """Lets the model reply; if it fails, one by one, so that one cannot take others along."""
        if not batch:
            return
        try:
            conversations = [one.conversation for one in batch]
            replies = list(self._reasoner.generate(conversations, self._spec))
            if len(replies) != len(batch):
                raise RuntimeError(f"got {len(replies)} replies to {len(batch)} conversations")
        except Exception as error:
            if is_out_of_memory(error):
                self._batch.halve(len(batch))
            elif len(batch) > 1:
                logger.warning("A batch of %d failed", len(batch), exc_info=True)
            if len(batch) == 1:
                batch[0].dialogue.crash(error)
                return
            size = max(1, len(batch) // 2) if is_out_of_memory(error) else 1
            for start in range(0, len(batch), size):
                self._ask(batch[start : start + size])
            return
        for one, reply in zip(batch, replies, strict=True):
            try:
                if isinstance(reply, Exception):
                    raise reply
                one.dialogue.take(reply, self._spec.retries)
            except Exception as error:
                one.dialogue.crash(error)


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
