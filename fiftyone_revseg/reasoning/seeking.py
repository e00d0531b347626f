"""The talk that looks for objects in other frames, after their tracks broke."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fiftyone_revseg.reasoning.backend import Conversation
from fiftyone_revseg.reasoning.chain import ChainRequest, Pair, grounding_of
from fiftyone_revseg.reasoning.dialogue import Dialogue
from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.reasoning.trajectory import Grounding, Turn

logger = logging.getLogger(__name__)

MOST_FRAMES = 3  # in which an object is looked for after one break


@dataclass(frozen=True)
class Sought:
    """An object that is looked for.

    Attributes:
        position: of the object among the answer's, 0-based
        description: of the object
        frames: the frames of the source video, 0-based, to look at one after the other, until it
            is found in one
        history: the dialogue that ends with the reply that has the object
        candidate (0): which of several dialogues about the query that is
    """

    position: int
    description: str
    frames: tuple[int, ...]
    history: Conversation
    candidate: int = 0


@dataclass(frozen=True)
class Sighting:
    """Where an object was found.

    Attributes:
        frame: the frame of the source video, 0-based
        grounding: where in it
    """

    frame: int
    grounding: Grounding


@dataclass(frozen=True)
class Sightings:
    """What came of looking for objects.

    Attributes:
        found: one for each object; None where the model found it in none of the frames, said
            nothing usable, or could not be asked
        turns: every prompt and reply
    """

    found: tuple[Sighting | None, ...]
    turns: tuple[Turn, ...] = ()


class Seeking:
    """The talk that ends with :class:`Sightings`.

    Each object is asked about in one frame at a time: mostly, the first one is enough.

    Args:
        request: the (video, query) pair; its sampled frames are not needed
        spec: how to ask
        sought: what to look for
    """

    def __init__(self, request: ChainRequest, spec: ChainSpec, sought: Sequence[Sought]):
        self.sought = sought
        self._pairs = [Pair(replace(request, sample=one.candidate), spec) for one in sought]
        self._looked: list[dict[int, Dialogue]] = [{} for _ in sought]  # frame -> dialogue
        self._left = [list(one.frames) for one in sought]

    def start(self) -> list[Dialogue]:
        """Asks about each object in its first frame."""
        return [dialogue for i in range(len(self.sought)) for dialogue in self._next(i)]

    def after(self, dialogue: Dialogue) -> list[Dialogue]:
        """Asks about the object in its next frame, if it was not found."""
        if _is_found(dialogue):
            return []
        return next(
            (self._next(i) for i, seen in enumerate(self._looked) if dialogue in seen.values()), []
        )

    def finish(self, model: str) -> Sightings:
        """Puts together what came of it."""
        found = [
            next((Sighting(k, grounding_of(d)) for k, d in seen.items() if _is_found(d)), None)
            for seen in self._looked
        ]
        turns = tuple(t for seen in self._looked for d in seen.values() for t in d.turns)
        return Sightings(tuple(found), turns)

    def _next(self, i: int) -> list[Dialogue]:
        one = self.sought[i]
        while self._left[i]:
            k = self._left[i].pop(0)
            try:
                dialogue = self._pairs[i].turn2_again(one.history, one.position, one.description, k)
            except Exception:  # a frame that does not decode, say: the next one may
                logger.warning("%r could not be looked for", one.description, exc_info=True)
                continue
            self._looked[i][k] = dialogue
            return [dialogue]
        return []


def _is_found(dialogue: Dialogue) -> bool:
    return dialogue.history is not None and dialogue.result != [None]
