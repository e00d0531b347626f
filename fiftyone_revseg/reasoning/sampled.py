"""Several dialogues about one query: the one that is decoded as the spec says, and samples."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fiftyone_revseg.reasoning.chain import ChainRequest, Pair
from fiftyone_revseg.reasoning.resize import resize_square

if TYPE_CHECKING:
    from fiftyone_revseg.reasoning.backend import Conversation
    from fiftyone_revseg.reasoning.dialogue import Dialogue
    from fiftyone_revseg.reasoning.spec import ChainSpec
    from fiftyone_revseg.reasoning.trajectory import KeyframeChoice, Trajectory


class Sampled:
    """A talk that ends with a trajectory for each candidate, the greedy one first.

    All of them begin alike, which a model reads once. A choice that an earlier turn 1 made, too,
    is not asked about again in turn 2.

    Args:
        request: the (video, query) pair
        spec: how to ask, and how many samples there are
    """

    def __init__(self, request: ChainRequest, spec: ChainSpec):
        # As large as they are shown: one copy of each picture for all
        images = [resize_square(image, spec.frame_size) for image in request.images]
        request = replace(request, images=images)
        self.pairs = [Pair(replace(request, sample=n), spec) for n in range(spec.samples + 1)]
        self._asked: dict[KeyframeChoice, Dialogue] = {}

    @property
    def history(self) -> Conversation | None:
        """The greedy dialogue up to its answer; None if it has none."""
        first = self.pairs[0].first
        return None if first is None else first.history

    @property
    def histories(self) -> dict[int, Conversation]:
        """Each candidate's dialogue up to the answer of turn 1, of those that have one."""
        return {
            n: pair.first.history
            for n, pair in enumerate(self.pairs)
            if pair.first is not None and pair.first.history is not None
        }

    def start(self) -> list[Dialogue]:
        """Makes the first turns."""
        return [dialogue for pair in self.pairs for dialogue in pair.start()]

    def after(self, dialogue: Dialogue) -> list[Dialogue]:
        """Makes the second turns that follow on one of the first."""
        pair = self.pairs[dialogue.candidate]
        if dialogue is not pair.first:
            return []
        return pair.after(dialogue, self._asked)

    def finish(self, model: str) -> list[Trajectory]:
        """Puts together what came of each dialogue."""
        return [pair.finish(model) for pair in self.pairs]
