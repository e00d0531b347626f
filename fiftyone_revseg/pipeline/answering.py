"""How one query is answered: what is asked and tracked, one thing after the other.

A query is answered by a generator: it yields what it wants next, :class:`Ask` or :class:`Track`,
is sent what came of it, and returns the :class:`Answer`. Who runs it brings together what the
queries of a video, or of many videos, want at the same time.

Where nothing is to be looked at again, that is the chain of the paper: ask both turns, track the
boxes. Otherwise several dialogues make several candidates; the distinct objects that any of them
found are tracked; and the model is shown the tracks, and says which of them the query means. At
last, the answer's tracks are repaired where they broke.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.pipeline.found_objects import FoundObject, FoundObjects
from fiftyone_revseg.pipeline.repairing import Repaired, repairing
from fiftyone_revseg.pipeline.steps import Ask, Track
from fiftyone_revseg.reasoning import ChainRequest, ChainSpec, Trajectory
from fiftyone_revseg.reasoning.backend import Conversation
from fiftyone_revseg.reasoning.closer import (
    CloserLook,
    FirstTurn,
    Windows,
    compared,
    part_of,
    stretch_of,
)
from fiftyone_revseg.reasoning.judging import Judged, Judgement, Judging, LookAgain
from fiftyone_revseg.reasoning.looking_again import Look, Verdict
from fiftyone_revseg.reasoning.queries import refusal
from fiftyone_revseg.reasoning.sampled import Sampled
from fiftyone_revseg.reasoning.trajectory import Turn
from fiftyone_revseg.types import Status

_MOST_JUDGED = 9  # objects that a picture can be outlined with, and a reader tell apart


@dataclass(frozen=True)
class Answer:
    """The end of it.

    Attributes:
        trajectory: how the model came to its answer
        tracks: one for each of its choices; None where there is no box, or tracking failed
        error: why tracking failed, where it did
        objects: those that were tracked, likewise
    """

    trajectory: Trajectory
    tracks: Sequence[MaskTrack | None]
    error: Exception | None = None
    objects: Sequence[FoundObject | None] = ()


Steps = Generator[Ask | Track, Any, Answer]


@dataclass(eq=False)
class _Said:
    """What was found and said so far."""

    found: FoundObjects = field(default_factory=FoundObjects)
    turns: list[Turn] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)

    def look(self, found: Sequence[FirstTurn]) -> None:
        self.looks += [one.look for one in found]
        self.turns += [turn for one in found for turn in one.turns]

    def add(self, trajectory: Trajectory) -> list[FoundObject]:
        self.turns += trajectory.turns
        return self.found.add(trajectory)


def answering(
    request: ChainRequest, spec: ChainSpec, cuts: Callable[[], Collection[int]] = tuple
) -> Steps:
    """Answers one query.

    Args:
        request: the (video, query) pair
        spec: how to ask
        cuts (tuple): returns the first frame of each scene but the first, as far as frames were
            walked; by default, none
    """
    said = _Said()
    if spec.max_gap or spec.looks:
        request = yield from _closer(request, spec, said)
    talk = Sampled(request, spec)
    greedy, *samples = yield Ask(talk)
    history = talk.history if spec.verdict and spec.rounds else None
    histories = talk.histories if spec.anchors else {}
    # What they show is large, and they are over
    del talk
    request = replace(request, images=())
    # The greedy one first: what it found need not be tracked again for the others
    if new := said.add(greedy):
        yield Track(new)
    if new := [one for trajectory in samples for one in said.add(trajectory)]:
        yield Track(new)
    said.found.compare()
    verdict = None
    if spec.verdict:
        verdict = yield from _judge(request, spec, said, history)
    answer = _answer(said, verdict)
    if spec.anchors:
        repaired = yield from repairing(request, spec, answer.objects, histories, cuts, verdict)
        answer = _with_repairs(answer, repaired)
    return answer


def _closer(
    request: ChainRequest, spec: ChainSpec, said: _Said
) -> Generator[Ask | Track, Any, ChainRequest]:
    """Finds out which frames turn 1 is to see."""
    table = request.frame_table
    if refusal(request.query):  # as the chain will say
        return request
    if len(table) > spec.frames:
        windows: list[FirstTurn] = yield Ask(Windows(request, spec))
        said.look(windows)
        request = part_of(request, compared(windows, table, spec.frames))
    for _ in range(spec.looks):
        first: FirstTurn = yield Ask(CloserLook(request, spec))
        said.look([first])
        if first.stretch is None:
            break
        request = stretch_of(request, first.stretch, spec.frames)
    return request


def _judge(
    request: ChainRequest, spec: ChainSpec, said: _Said, history: Conversation | None
) -> Generator[Ask | Track, Any, Verdict | None]:
    """Has the model say which objects are meant, and look for others where none is."""
    for n in range(spec.rounds + 1):
        objects = _to_judge(said.found)
        if not objects:
            return None
        candidates = len(said.found.trajectories)
        judgement: Judgement = yield Ask(Judging(request, spec, objects, candidates))
        said.turns += judgement.turns
        verdict = judgement.verdict
        if verdict is None:  # that of an earlier round was about fewer objects
            return None
        said.verdicts.append(verdict)
        if verdict.objects or n == spec.rounds or history is None:
            return verdict
        again = LookAgain(
            replace(request, sample=candidates),
            spec,
            history=history,
            rejected=[one.description for one in objects],
            why=verdict.why,
        )
        new = said.add((yield Ask(again)))
        if new:
            yield Track(new)
        said.found.compare()
        if len(_to_judge(said.found)) == len(objects):
            return verdict
    return None


def _to_judge(found: FoundObjects) -> list[Judged]:
    votes = [{id(one) for one in found.seen_by(c)} for c in range(len(found.trajectories))]
    return [
        Judged(one.choice.description, one.track, sum(id(one) in seen for seen in votes))
        for one in found.distinct[:_MOST_JUDGED]
        if one.track is not None
    ]


def _answer(said: _Said, verdict: Verdict | None) -> Answer:
    """Puts the answer together: the greedy one, unless the verdict is for another."""
    found = said.found
    chosen, certainty = _chosen(found, verdict)
    if isinstance(chosen, int):
        answer = _of_candidate(found, chosen)
        objects = found.seen_by(chosen)
    else:
        answer = _of_objects(found, chosen)
        objects = chosen
    count = len(found.trajectories)
    seen = [found.seen_by(c) for c in range(count)]
    mine = {id(one) for one in objects}
    # Those that answered the same stand for the answer, and one of them is not "another"
    same = [c for c in range(count) if {id(one) for one in seen[c]} == mine]
    others = [seen[c] for c in range(count) if c not in same[:1] and found.has_answered(c)]
    trajectory = replace(
        answer.trajectory,
        turns=tuple(said.turns),
        certainty=certainty,
        agreement=found.mean_iou(objects, others),
        candidates=found.candidates() if count > 1 else (),
        verdicts=tuple(said.verdicts),
        looks=tuple(said.looks),
    )
    return replace(answer, trajectory=_without_doubt(trajectory))


def _without_doubt(trajectory: Trajectory) -> Trajectory:
    """What is not there is not known where a part of the video was not looked at."""
    failed = [look.error for look in trajectory.looks if look.kind == "window" and look.error]
    if trajectory.status is not Status.NO_TARGET or not failed:
        return trajectory
    count = sum(look.kind == "window" for look in trajectory.looks)
    reason = f"{len(failed)} of {count} parts of the video have no usable reply: {failed[0]}"
    return replace(trajectory, status=Status.BAD_KEYFRAME, reason=reason, certainty=None)


def _chosen(
    found: FoundObjects, verdict: Verdict | None
) -> tuple[int | list[FoundObject], float | None]:
    """Which candidate is the answer, or which objects are, and how likely that is right."""
    if verdict is None:
        return 0, None
    probability = verdict.probability
    count = range(len(found.trajectories))
    if verdict.objects:
        objects = [found.distinct[number - 1] for number in verdict.objects]
        wanted = {id(one) for one in objects}
        same = (c for c in count if {id(one) for one in found.seen_by(c)} == wanted)
        return next(same, objects), probability
    none = [c for c in count if found.trajectories[c].status is Status.NO_TARGET]
    if none:
        return none[0], probability
    # Nothing was found that is meant: the best of what there is stays, and is not trusted
    with_objects = [c for c in count if found.seen_by(c)]
    return with_objects[0], None if probability is None else 1 - probability


def _of_candidate(found: FoundObjects, candidate: int) -> Answer:
    """The answer of one dialogue, as it is."""
    trajectory, objects = found.trajectories[candidate], found.of(candidate)
    tracks = {i: one.own.track for i, one in objects.items()}
    error = next((one.error for one in objects.values() if one.error), None)
    positions = range(len(trajectory.choices))
    return Answer(
        trajectory,
        [tracks.get(i) for i in positions],
        error,
        [objects[i].own if i in objects else None for i in positions],
    )


def _of_objects(found: FoundObjects, objects: Sequence[FoundObject]) -> Answer:
    """An answer of objects that no single dialogue found."""
    trajectory = replace(
        found.trajectories[objects[0].candidate],
        status=Status.OK,
        reason="",
        choices=tuple(one.choice for one in objects),
        groundings=tuple(one.grounding for one in objects),
    )
    return Answer(trajectory, [one.track for one in objects], None, objects)


def _with_repairs(answer: Answer, repaired: Repaired) -> Answer:
    trajectory = replace(
        answer.trajectory,
        turns=answer.trajectory.turns + repaired.turns,
        repairs=repaired.repairs,
    )
    return replace(answer, trajectory=trajectory, tracks=repaired.tracks)
