"""Worlds of minutes in which something happens for seconds, drawn only where somebody looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from fiftyone_revseg.synthetic.world import FPS, Body, World, _generator, make_world
from fiftyone_revseg.types import FrameTable
from fiftyone_revseg.video.sampling import uniform_indices

_SHORTEST, _LONGEST = 2.0, 4.0  # seconds of the event


@dataclass(frozen=True)
class LongWorld:
    """A long world with one brief event: a body that is there for a few seconds only.

    Attributes:
        world: the world
        event: the index of that body
    """

    world: World
    event: int

    @property
    def query(self) -> str:
        """What the event is called: a question with that body as its answer."""
        return f"the {self.world.bodies[self.event].name}"

    @property
    def frames(self) -> range:
        """The frames, 0-based, in which it is there."""
        body = self.world.bodies[self.event]
        return range(body.first, body.last + 1)


def make_long_world(seed: int, split: str = "train", seconds: float = 300.0) -> LongWorld:
    """Makes a long world, the same one for the same arguments.

    All bodies but one are there all the time, and go their ways slowly. The one that is not has a
    look of its own; what is asked about it can be told from any frame in which it is.

    Args:
        seed: any integer >= 0
        split: "train", "val" or "test"
        seconds (300): how long the video is

    Returns:
        a :class:`LongWorld`
    """
    count = round(seconds * FPS)
    rng = _generator(seed, split, "events")
    world = _world_without_hits(seed, split, count, rng)
    event = int(rng.integers(len(world.bodies)))
    length = round(rng.uniform(_SHORTEST, _LONGEST) * FPS)
    first = int(rng.integers(count - length))
    bodies = tuple(
        _brief(body, first, length) if i == event else replace(body, first=0, last=count - 1)
        for i, body in enumerate(world.bodies)
    )
    # In front of the others, so that it is seen
    order = [*(i for i in range(len(bodies)) if i != event), event]
    bodies = tuple(bodies[i] for i in order)
    return LongWorld(replace(world, bodies=bodies, seed=seed), len(bodies) - 1)


def make_brief_world(seed: int, split: str = "train", seconds: float = 8.0) -> World:
    """Makes a world in which every body comes and goes, the same one for the same arguments.

    As a part of a long video would look in which much happens: each body is there for 2 to 4
    seconds, at a time of its own.

    Args:
        seed: any integer >= 0
        split: "train", "val" or "test"
        seconds (8): how long the video is

    Returns:
        a :class:`~fiftyone_revseg.synthetic.world.World`
    """
    count = round(seconds * FPS)
    rng = _generator(seed, split, "brief")
    world = _world_without_hits(seed, split, count, rng)
    bodies = []
    for body in world.bodies:
        length = round(rng.uniform(_SHORTEST, _LONGEST) * FPS)
        bodies.append(_brief(body, int(rng.integers(count - length + 1)), length))
    return replace(world, bodies=tuple(bodies), seed=seed)


def _world_without_hits(seed: int, split: str, count: int, rng: np.random.Generator) -> World:
    """A collision is an event, too: a world without one."""
    number = seed
    while True:
        world = make_world(number, split, frame_count=count, bodies=int(rng.integers(2, 5)))
        if all(body.hits is None for body in world.bodies):
            return world
        number += 1_000_003


def _brief(body: Body, first: int, length: int) -> Body:
    """A body that goes its whole way within some frames, and is not there in others."""
    pace = np.clip((np.arange(len(body.path)) - first) / max(length - 1, 1), 0, 1)
    at = np.round(pace * (len(body.path) - 1)).astype(int)
    return replace(
        body, first=first, last=first + length - 1, path=body.path[at], radii=body.radii[at]
    )


class WorldVideo:
    """A world as a video that nobody had to write: what a pipeline needs of an open one.

    Args:
        world: the world
        name ("world"): what to call it
    """

    def __init__(self, world: World, name: str = "world"):
        self.world, self.path = world, name
        self.fps, self.first_frame = world.fps, 0
        self.size = (world.width, world.height)
        self.duration = world.frame_count / world.fps

    def __len__(self) -> int:
        return self.world.frame_count

    def __getitem__(self, k: int) -> np.ndarray:
        return self.world.draw(k)[0]

    def time(self, k: int) -> float:
        """Returns at which second frame ``k`` is shown."""
        return k / self.fps

    def frames(self, indices: Iterable[int]) -> list[np.ndarray]:
        """Draws several frames."""
        return [self[k] for k in indices]

    def sample(self, count: int) -> FrameTable:
        """Chooses frames uniformly, both ends included."""
        indices = uniform_indices(len(self), count)
        return FrameTable(indices, tuple(map(self.time, indices)), len(self), self.duration)

    def walk(self, start: int, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        """Iterates over the frames from one to the end, or back to the beginning."""
        for k in range(start, len(self) if step > 0 else -1, step):
            yield k, self[k]

    def close(self) -> None:
        """Does nothing: there is nothing open."""
