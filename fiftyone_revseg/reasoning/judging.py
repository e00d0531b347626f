"""Talks about finished tracks: the verdict, and turn 1 once more after "none of these"."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.reasoning.backend import Conversation
from fiftyone_revseg.reasoning.chain import ChainRequest, Pair
from fiftyone_revseg.reasoning.dialogue import Dialogue, in_words
from fiftyone_revseg.reasoning.looking_again import Verdict
from fiftyone_revseg.reasoning.object_facts import choose_frames, facts_of
from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.reasoning.trajectory import Turn
from fiftyone_revseg.reasoning.verdict import Shown, ask_again, show, verdict_dialogue

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """An object that the model is to judge.

    Attributes:
        description: what turn 1 said it looks like
        track: its masks
        votes: how many candidates found it
    """

    description: str
    track: MaskTrack
    votes: int = 1


@dataclass(frozen=True)
class Judgement:
    """What came of a verdict.

    Attributes:
        verdict: the verdict; None if there was no usable one
        turns: every prompt and reply
        error: why there is no verdict, in words
    """

    verdict: Verdict | None
    turns: tuple[Turn, ...] = ()
    error: str = ""


class Judging:
    """The talk that ends with a :class:`Judgement`.

    Args:
        request: the (video, query) pair
        spec: how to ask
        objects: what is to be judged, in the order of their numbers
        candidates: how many candidates there are
    """

    def __init__(
        self, request: ChainRequest, spec: ChainSpec, objects: Sequence[Judged], candidates: int
    ):
        self._request, self._spec = request, spec
        self._objects, self._candidates = objects, candidates
        self._dialogue: Dialogue | None = None
        self._error = ""

    def start(self) -> list[Dialogue]:
        """Makes turn 3."""
        try:
            self._dialogue = self._make()
        except Exception as e:
            logger.warning("Turn 3 of %r could not be asked", self._request.query, exc_info=True)
            self._error = in_words(e)
            return []
        return [self._dialogue]

    def after(self, dialogue: Dialogue) -> list[Dialogue]:
        """Makes nothing more."""
        return []

    def finish(self, model: str) -> Judgement:
        """Puts together what came of it."""
        dialogue = self._dialogue
        if dialogue is None:
            return Judgement(None, error=self._error)
        turns = tuple(dialogue.turns)
        if dialogue.history is None:
            return Judgement(None, turns, dialogue.error or "")
        return Judgement(dialogue.result, turns)

    def _make(self) -> Dialogue:
        request, spec, table = self._request, self._spec, self._request.frame_table
        tracks = [one.track for one in self._objects]
        frames = choose_frames(tracks, table, spec.judged_frames)
        count, time = self._candidates, request.time_of
        facts = [
            facts_of(n, one.description, one.track, table, frames, one.votes, count, time)
            for n, one in enumerate(self._objects, 1)
        ]
        shown = [self._show(k, tracks) for k in frames]
        return verdict_dialogue(request.query, spec, shown, facts)

    def _show(self, k: int, tracks: Sequence[MaskTrack]) -> Shown:
        request, size = self._request, self._spec.frame_size
        masks = [None if track.rles[k] is None else track.mask(k) for track in tracks]
        look = request.look or request.read_frame
        return show(k, request.time(k), look(k), masks, size)


@dataclass(eq=False)
class LookAgain(Pair):
    """Both turns once more, going on from the greedy turn 1, as none of its objects is meant."""

    history: Conversation = field(default_factory=Conversation)
    rejected: Sequence[str] = ()
    why: str = ""

    def turn1(self) -> Dialogue:
        """Asks for other key frames."""
        dialogue = ask_again(
            self.request.query,
            self.spec,
            self.history,
            len(self.request.frame_table),
            self.rejected,
            self.why,
        )
        return replace(dialogue, candidate=self.request.sample)
