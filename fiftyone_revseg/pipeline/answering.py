"""How one query is answered: what is asked and tracked, one thing after the other.

A query is answered by a generator: it yields what it wants next, :class:`Ask` or :class:`Track`,
is sent what came of it, and returns the :class:`Answer`. Who runs it brings together what the
queries of a video, or of many videos, want at the same time.

Where nothing is to be looked at again, that is the chain of the paper: ask both turns, track the
boxes. Otherwise several dialogues make several candidates; the distinct objects that any of them
found are tracked; and the model is shown the tracks, and says which of them the query means.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.pipeline.found_objects import FoundObject, FoundObjects, mean_iou
from fiftyone_revseg.reasoning import ChainRequest, ChainSpec, Trajectory
from fiftyone_revseg.reasoning.rolling import Talk
from fiftyone_revseg.reasoning.sampled import Sampled


@dataclass(frozen=True)
class Ask:
    """A talk to lead; its result is sent back."""

    talk: Talk


@dataclass(frozen=True)
class Track:
    """Objects to track: their ``track`` or ``error`` is set then, and nothing is sent back."""

    objects: Sequence[FoundObject]


@dataclass(frozen=True)
class Answer:
    """The end of it.

    Attributes:
        trajectory: how the model came to its answer
        tracks: one for each of its choices; None where there is no box, or tracking failed
        error: why tracking failed, where it did
    """

    trajectory: Trajectory
    tracks: Sequence[MaskTrack | None]
    error: Exception | None = None


Steps = Generator[Ask | Track, Any, Answer]


def answering(request: ChainRequest, spec: ChainSpec) -> Steps:
    """Answers one query.

    Args:
        request: the (video, query) pair
        spec: how to ask
    """
    greedy, *samples = yield Ask(Sampled(request, spec))
    request = replace(request, images=())  # they are large, and the dialogues that show them over
    found = FoundObjects()
    # The greedy one first: what it found need not be tracked again for the others
    if new := found.add(greedy):
        yield Track(new)
    if new := [one for trajectory in samples for one in found.add(trajectory)]:
        yield Track(new)
    found.compare()
    return _answer(found)


def _answer(found: FoundObjects) -> Answer:
    """The greedy answer, with what the others make of it."""
    greedy = found.trajectories[0]
    objects = found.of(0)
    tracks = {i: one.track for i, one in objects.items()}
    error = next((one.error for one in objects.values() if one.error), None)
    if len(found.trajectories) > 1:
        others = [found.seen_by(c) for c in range(1, len(found.trajectories))]
        greedy = replace(
            greedy,
            turns=tuple(turn for trajectory in found.trajectories for turn in trajectory.turns),
            candidates=found.candidates(),
            agreement=mean_iou(found.seen_by(0), others),
        )
    return Answer(greedy, [tracks.get(i) for i in range(len(greedy.choices))], error)
