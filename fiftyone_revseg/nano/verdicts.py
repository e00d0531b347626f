"""Turn 3 as training dialogues: tracks as a chain would have found them, and which are meant.

What a chain proposes is made up, of true masks: tracks of the right body, of others, tracks that go
over from one body to another, frames without a mask. The facts are measured on them, and the
prompts made, by the very code that does so for a real chain. There are no pictures: a vision tower
of 96 pixels does not see outlines, and what was measured is enough.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fiftyone_revseg.masks.boxes import box_around, box_iou
from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.masks.rle import RLE, encode_masks
from fiftyone_revseg.nano.dialogues import (
    DialogueMaker,
    Example,
    Snapshot,
    box_answer,
    choice_answer,
    choose_queries,
    in_words,
    key_frame,
    snapshot,
)
from fiftyone_revseg.reasoning.backend import Conversation, Image
from fiftyone_revseg.reasoning.object_facts import facts_of
from fiftyone_revseg.reasoning.prompts import fill
from fiftyone_revseg.reasoning.verdict import verdict_dialogue
from fiftyone_revseg.synthetic.queries import Query
from fiftyone_revseg.synthetic.shapes import COLORS, SHAPES
from fiftyone_revseg.synthetic.world import World
from fiftyone_revseg.types import FrameTable

_COUNTS = ((1, 2, 3, 4), (0.35, 0.35, 0.2, 0.1))  # of objects, and how often
_CANDIDATES = (1, 3, 5, 5)  # how many dialogues proposed them
_MISNAMED = 0.15  # of the objects, about as the embedded model does
_DRIFTS = 0.12  # of the tracks
_GONE = 0.02  # of the frames of a track


@dataclass(frozen=True)
class Proposal:
    """An object as a chain found it.

    Attributes:
        description: what turn 1 said it looks like
        bodies: which body its mask is on, for each frame; -1 for none of them
        track: its masks
    """

    description: str
    bodies: np.ndarray
    track: MaskTrack

    @property
    def body(self) -> int:
        """The body that it is on most of the time."""
        there = self.bodies[self.bodies >= 0]
        return int(np.bincount(there).argmax()) if len(there) else -1


@dataclass(frozen=True)
class Film:
    """All frames of a world as they are needed for tracks.

    Attributes:
        world: the world
        table: the frames that turn 1 is shown
        shots: all its frames
        rles: of each body, a mask for each frame; None where it is not visible
    """

    world: World
    table: FrameTable
    shots: tuple[Snapshot, ...]
    rles: tuple[tuple[RLE | None, ...], ...]

    def track(self, bodies: np.ndarray, description: str) -> Proposal:
        """A track that is on a given body in each frame."""
        rles = tuple(None if b < 0 else self.rles[b][k] for k, b in enumerate(bodies))
        size = (self.world.width, self.world.height)
        scores = (1.0,) * len(rles)
        return Proposal(description, bodies, MaskTrack(0, len(rles), size, rles, scores))


def film(world: World, frames: int) -> Film:
    """Draws a world once and keeps its masks."""
    count = world.frame_count
    shots = tuple(snapshot(world, k) for k in range(count))
    masks = [encode_masks(shot.masks) for shot in shots]
    indices = np.linspace(0, count - 1, frames).round().astype(int).tolist()
    table = FrameTable(
        tuple(indices), tuple(k / world.fps for k in indices), count, count / world.fps
    )
    return Film(world, table, shots, tuple(zip(*masks, strict=True)))


class VerdictMaker(DialogueMaker):
    """Turns worlds into turn-3 dialogues, and into what goes with them."""

    def verdicts(
        self, world: World, rng: np.random.Generator, questions: int, count: int
    ) -> list[Example]:
        """Questions about what a chain might have found in a world, several times over."""
        seen = film(world, self.spec.frames)
        made = [propose(seen, rng) for _ in range(count)]
        return [
            example
            for one in made
            for example in self.judged(seen, one, self.questions(seen, one, rng, questions))
        ]

    def questions(
        self, seen: Film, proposals: Sequence[Proposal], rng: np.random.Generator, count: int
    ) -> list[tuple[Query, Sequence[int], int]]:
        """Questions about proposals, with made-up votes; see :meth:`judged`."""
        world = seen.world
        queries = _balanced(choose_queries(world, rng, 3 * count), proposals, rng, count)
        names = {body.name for body in world.bodies}
        for one in proposals:  # found for something that does not exist
            if one.description not in names:
                queries.append(Query("no_target", f"the {one.description}", (), ""))
        return [(query, *_votes(proposals, query, rng)) for query in queries]

    def judged(
        self,
        seen: Film,
        proposals: Sequence[Proposal],
        asked: Sequence[tuple[Query, Sequence[int], int]],
    ) -> list[Example]:
        """Questions about proposals, each with the votes and how many candidates there were."""
        examples = []
        for query, votes, candidates in asked:
            facts = [
                facts_of(n, one.description, one.track, seen.table, (), vote, candidates)
                for n, (one, vote) in enumerate(zip(proposals, votes, strict=True), 1)
            ]
            asking = verdict_dialogue(query.text, self.spec, (), facts).conversation
            ids = self._render([*_parts(asking), (verdict_answer(query, proposals),)], [])
            example = in_words(ids, self._reply_labels(ids, [False, True]))
            self._tell_at_once(example, fits(query, proposals))
            examples.append(example)
        return examples

    def _tell_at_once(self, example: Example, fitting: Sequence[bool]) -> None:
        """Has the number at the end of each object's line foretell whether it fits, as thoughts do.

        Nothing of it is ever written: it only says early what the answer is made of.
        """
        ids: Any = self.tokenizer.convert_tokens_to_ids
        point, told = ids("."), ids("\u0120fits")
        ends = np.flatnonzero(example.tokens == point)[: len(fitting)]
        for end, one in zip(ends, fitting, strict=True):
            example.labels[end] = told if one else point

    def again(self, world: World, rng: np.random.Generator, questions: int) -> Example:
        """Turn 1 goes on after its answer was rejected, and turn 2 where the object is not seen."""
        table = np.linspace(0, world.frame_count - 1, self.spec.frames).round().astype(int)
        shots = [snapshot(world, int(k)) for k in table]
        frames = [(shot, self.spec.frame_size) for shot in shots]
        dialogues: list[list] = []
        pictures: list[list] = []
        for query in choose_queries(world, rng, questions):
            right = [(i, key_frame(shots, i, rng)) for i in query.targets]
            others = [i for i in range(len(world.bodies)) if i not in query.targets]
            if not others:
                continue
            if len(query.targets) > 1:
                continue
            wrong = int(rng.choice(others))
            mistaken = Query(query.kind, query.text, (wrong,), _mistaken(world, query, wrong))
            reply = choice_answer(world, mistaken, [(wrong, key_frame(shots, wrong, rng))])
            rejected = fill(self.spec.template("again"), {"rejected": world.bodies[wrong].name})
            asked = self._turn1(query, rng)
            corrected = choice_answer(world, query, right)
            # What was wrong is context: only what follows is learned
            dialogues.append([*asked, (reply, False), [rejected], (corrected,)])
            pictures.append(list(frames))
        for i, body in enumerate(world.bodies):
            hidden = [t for t, shot in enumerate(shots) if not shot.masks[i].any()]
            seen = [t for t, shot in enumerate(shots) if shot.areas[i] >= 12]
            if not hidden or not seen or len(dialogues) > questions + 1:
                continue
            t = int(rng.choice(hidden if rng.random() < 0.6 else seen))
            query = Query("attribute", f"the {body.name}", (i,), "")
            named = next((q for q in choose_queries(world, rng, 8) if q.targets == (i,)), query)
            chosen = choice_answer(world, named, [(i, t)])
            found = box_answer([(body.name, shots[t], i)])
            dialogues.append(
                [*self._turn1(named, rng), (chosen, False), *self._turn2(body.name), (found,)]
            )
            pictures.append([*frames, (shots[t], self.spec.key_frame_size)])
        if not dialogues:
            return self.chains(world, rng, questions)
        return self._tree(dialogues, pictures, world)


def propose(seen: Film, rng: np.random.Generator) -> list[Proposal]:
    """Makes up what a chain might have found in a world, in random order."""
    world, count = seen.world, seen.world.frame_count
    wanted = int(rng.choice(_COUNTS[0], p=_COUNTS[1]))
    proposals = []
    for body in rng.permutation(len(world.bodies))[:wanted]:
        bodies = np.full(count, body)
        if rng.random() < _DRIFTS and len(world.bodies) > 1:
            other = int(rng.choice([i for i in range(len(world.bodies)) if i != body]))
            turn = int(count * rng.uniform(0.3, 0.8))
            bodies[turn:] = other
            if rng.random() < 0.5:
                bodies = bodies[::-1].copy()
        bodies[rng.random(count) < _GONE] = -1
        one = seen.track(bodies, description(world, int(body), rng))
        if one.track.visible_frames:
            proposals.append(one)
    return proposals or propose(seen, rng)


def _balanced(
    queries: Sequence[Query], proposals: Sequence[Proposal], rng: np.random.Generator, count: int
) -> list[Query]:
    """Some of the queries, such that most of them mean one of the proposals."""
    found = {one.body for one in proposals}
    ranks = [rng.random() - 0.45 * bool(found & set(query.targets)) for query in queries]
    return [queries[i] for i in np.argsort(ranks)[:count]]


def _mistaken(world: World, query: Query, wrong: int) -> str:
    """A thought that takes another body for the right one: their names change places."""
    name = world.bodies[wrong].name
    if not query.targets:
        told = query.thought.replace("So nothing fits", f"So the {name} fits")
        return told.replace(f"The {name} is there", f"The {name} fits")
    right = world.bodies[query.targets[0]].name
    told = query.thought.replace(right, "\0").replace(name, right)
    return told.replace("\0", name)


def description(world: World, body: int, rng: np.random.Generator) -> str:
    """What turn 1 may have called a body: mostly its name, sometimes another's, or half of it."""
    right = world.bodies[body]
    if rng.random() >= _MISNAMED:
        return right.name
    if rng.random() < 0.5 and len(world.bodies) > 1:
        others = [b.name for b in world.bodies if b is not right]
        return str(rng.choice(others))
    if rng.random() < 0.5:
        return f"{rng.choice(list(COLORS))} {right.shape}"
    return f"{right.color} {rng.choice(list(SHAPES))}"


def _parts(conversation: Conversation) -> list:
    """A conversation as a dialogue that is learned from; nothing of it is learned."""
    parts: list = []
    for message in conversation.messages:
        if message.role == "assistant":
            parts.append((message.text, False))
        else:
            parts.append([None if isinstance(p, Image) else p for p in message.content])
    return parts


def fits(query: Query, proposals: Sequence[Proposal]) -> list[bool]:
    """Which proposals the query means."""
    return [one.body in query.targets for one in proposals]


def verdict_answer(query: Query, proposals: Sequence[Proposal]) -> str:
    """The right verdict, as short as can be read. A track is the body's that it is on longest."""
    return json.dumps([n for n, one in enumerate(fits(query, proposals), 1) if one])


def _votes(
    proposals: Sequence[Proposal], query: Query, rng: np.random.Generator
) -> tuple[list[int], int]:
    """How many candidates named each proposal: the first one is of the first candidate."""
    candidates = int(rng.choice(_CANDIDATES))
    votes = []
    for n, one in enumerate(proposals):
        likely = rng.beta(3, 2) if one.body in query.targets else rng.beta(2, 3)
        votes.append(
            max(int(rng.binomial(candidates, likely)), 1 if n == 0 or candidates > 1 else 0)
        )
    return votes, candidates


def recorded(
    seen: Film, record: dict[str, Any], candidates: int
) -> tuple[list[Proposal], list[int], list[frozenset[int] | None]]:
    """What a checkpoint did propose for a query, as tracks on the bodies that its boxes hit.

    Args:
        seen: the world of the record
        record: one line of what :mod:`~fiftyone_revseg.nano.proposals` wrote
        candidates: how many of its dialogues count

    Returns:
        the proposals; how many candidates named each; and which numbers each candidate named,
        None where it gave no answer
    """
    world = seen.world
    numbers: dict[int, int] = {}
    descriptions: list[str] = []
    named: list[frozenset[int] | None] = []
    for answer in record["cands"][:candidates]:
        if answer is None:
            named.append(None)
            continue
        these = set()
        for frame, name, grounding in answer:
            body = -1 if grounding is None else _hit(seen, frame, grounding[0])
            if body < 0:
                continue
            if body not in numbers:
                numbers[body] = len(numbers) + 1
                descriptions.append(name)
            these.add(numbers[body])
        named.append(frozenset(these))
    proposals = [
        seen.track(np.full(world.frame_count, body), name)
        for body, name in zip(numbers, descriptions, strict=True)
    ]
    votes = [sum(n in these for these in named if these) for n in numbers.values()]
    return proposals, votes, named


def _hit(seen: Film, frame: int, box: Sequence[float]) -> int:
    """The body that a box in a sampled frame is on; -1 if it is on none."""
    masks = seen.shots[seen.table.indices[frame]].masks
    overlaps = [box_iou(box, around) if (around := box_around(m)) else 0.0 for m in masks]
    best = int(np.argmax(overlaps))
    return best if overlaps[best] >= 0.2 else -1
