"""Rows of turn 3: a query, and tracks of which some, all or none are what it means.

The tracks are made up of a synthetic world's true masks: of the right body, of others, and some
that go over from one body to another, as a chain might have found them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.masks.rle import RLE, encode_masks
from fiftyone_revseg.reasoning.judging import Judged
from fiftyone_revseg.reasoning.object_facts import choose_frames
from fiftyone_revseg.synthetic.world import World, make_world
from fiftyone_revseg.training.data import Row, Scene, WorldRow

MOST_TRACKS = 4

_COUNTS = (0.3, 0.35, 0.25, 0.1)  # of the rows, those with 1, 2, ... tracks
_FOUND = 0.75  # of the rows with a target, those where it is surely among the tracks
_DRIFTS = 0.12  # of the tracks
_MISNAMED = 0.2  # of the tracks: often enough that it pays to look
_CANDIDATES = (1, 3, 5)  # how many dialogues proposed them
_NAMED = (0.4, 0.6)  # by which share of these a wrong and a right one is named


@dataclass(frozen=True, eq=False, kw_only=True)
class JudgedScene(Scene):
    """A loaded row of turn 3.

    Attributes:
        objects: what is to be judged, in the order of their numbers
        right: the numbers, from 1, of those that the query means
        truth: the true masks of what the query means, through the whole video
        candidates: how many candidates there are
        shown: the source frames, 0-based, that turn 3 shows
        read: returns source frame ``k``, ``(H, W, 3)`` uint8 RGB
    """

    objects: tuple[Judged, ...]
    right: frozenset[int]
    truth: tuple[MaskTrack, ...]
    candidates: int
    shown: tuple[int, ...]
    read: Callable[[int], np.ndarray]


@dataclass(frozen=True)
class VerdictRow:
    """A question about made-up tracks through a synthetic world.

    Attributes:
        row: the question; its world's seed fixes the tracks
        pictures: how many pictures are shown; by default, as many as of turn 1
    """

    row: WorldRow
    pictures: int | None = None

    has_masks: ClassVar[bool] = True

    @property
    def id(self) -> str:
        """The name that the world's video would have."""
        return self.row.id

    @property
    def query(self) -> str:
        """The question."""
        return self.row.query

    @property
    def kind(self) -> str:
        """The kind of the query."""
        return self.row.kind

    def load(self, frames: int) -> JudgedScene:
        """Draws the whole world and makes up the tracks."""
        scene, targets = self.row.load(frames), self.row.targets
        world = make_world(self.row.seed, self.row.split)
        rng = np.random.default_rng([self.row.seed, 13])
        pictures, masks = world.render()
        by_frame = [encode_masks(masks[:, k]) for k in range(world.frame_count)]
        bodies = tuple(zip(*by_frame, strict=True))
        candidates = int(rng.choice(_CANDIDATES))
        count = frames if self.pictures is None else self.pictures
        objects: list[Judged] = []
        right = set()
        for body in _choose(world, targets, rng):
            track = _track(len(objects), _follow(body, bodies, rng), world)
            votes = max(int(rng.binomial(candidates, _NAMED[body in targets])), 1)
            objects.append(Judged(_describe(world, body, rng), track, votes))
            if body in targets:
                right.add(len(objects))
        return JudgedScene(
            scene.frame_table,
            scene.frames,
            scene.boxes,
            scene.source_size,
            masks=scene.masks,
            objects=tuple(objects),
            right=frozenset(right),
            truth=tuple(_track(n, bodies[body], world) for n, body in enumerate(targets)),
            candidates=candidates,
            shown=choose_frames([one.track for one in objects], scene.frame_table, count),
            read=pictures.__getitem__,
        )


def judged_rows(rows: Sequence[Row], share: float, pictures: int | None = None) -> list[Row]:
    """Makes a share of rows, evenly spread, into rows of turn 3.

    Args:
        rows: of both turns
        share: in [0, 1]
        pictures (None): how many are shown; by default, as many as of turn 1

    Raises:
        ValueError: if some of those rows are not of the synthetic world
    """
    made: list[Row] = []
    for i, row in enumerate(rows):
        if int((i + 1) * share + 1e-9) == int(i * share + 1e-9):
            made.append(row)
            continue
        if not isinstance(row, WorldRow):
            raise ValueError(
                "verdicts are learned on made-up worlds only, as nothing else has tracks to choose "
                "from: set verdict_share to 0, or train without a dataset"
            )
        made.append(VerdictRow(row, pictures))
    return made


def _choose(world: World, targets: Sequence[int], rng: np.random.Generator) -> list[int]:
    """The bodies that were found, in the order of their numbers."""
    order = [int(body) for body in rng.permutation(len(world.bodies))]
    if targets and rng.random() < _FOUND:
        order.sort(key=lambda body: body not in targets)
    count = 1 + int(rng.choice(MOST_TRACKS, p=_COUNTS))
    return [int(body) for body in rng.permutation(order[:count])]


def _follow(
    body: int, bodies: Sequence[Sequence[RLE | None]], rng: np.random.Generator
) -> list[RLE | None]:
    """A body's masks; in some tracks another's stand in for the first or the last ones."""
    masks, others = list(bodies[body]), [i for i in range(len(bodies)) if i != body]
    if others and rng.random() < _DRIFTS:
        seen = [k for k, mask in enumerate(masks) if mask is not None]
        other, count = bodies[int(rng.choice(others))], int(len(seen) * rng.uniform(0.1, 0.4))
        for k in seen[:count] if rng.random() < 0.5 else seen[len(seen) - count :]:
            masks[k] = other[k]
    return masks


def _track(number: int, masks: Sequence[RLE | None], world: World) -> MaskTrack:
    size, count = (world.width, world.height), len(masks)
    return MaskTrack(number, count, size, tuple(masks), (1.0,) * count)


def _describe(world: World, body: int, rng: np.random.Generator) -> str:
    """What turn 1 may have called a body: sometimes another's name."""
    if rng.random() < _MISNAMED:
        body = int(rng.integers(len(world.bodies)))
    return world.bodies[body].name
