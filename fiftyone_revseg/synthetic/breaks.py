"""Worlds in which a tracker is likely to lose its object, and worlds like them in which it is not.

In each, one body is to be followed: it goes behind something for one to two seconds, alone or while
another one that looks just the same is in sight, or the scene is cut. In a control it passes by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fiftyone_revseg.synthetic.shapes import COLORS, SHAPES, TEXTURES
from fiftyone_revseg.synthetic.world import FPS, MOTIONS, SIZES, Body, World, _generator

BREAKS = ("occlusion", "look-alike", "cut", "none")

_HIDDEN = (int(FPS), int(2 * FPS))  # frames
_LEAST = 60  # pixels of the body that must be seen where it counts as seen
_ANOTHER_PICTURE = 1_000_000  # added to the seed of a background after a cut
_SQUARE = 0.82  # half the side of a square body, in radii


@dataclass(frozen=True)
class BrokenWorld:
    """A video with one body to follow, and where it breaks.

    Attributes:
        kind: one of :data:`BREAKS`
        shots: what is shown one after the other: the same bodies, in the same order
        target: the index of the body to follow
        first: the first frame of the break: the body is hidden, or the first one after the cut
        after: the first frame in which it is to be seen again, and from then on to the end. In a
            control, where the break would have been
    """

    kind: str
    shots: tuple[World, ...]
    target: int
    first: int
    after: int

    @property
    def width(self) -> int:
        """Of the picture, in pixels."""
        return self.shots[0].width

    @property
    def height(self) -> int:
        """Of the picture, in pixels."""
        return self.shots[0].height

    @property
    def bodies(self) -> tuple[Body, ...]:
        """As in the first shot, in drawing order."""
        return self.shots[0].bodies

    @cached_property
    def frame_count(self) -> int:
        """How many frames there are."""
        return sum(shot.frame_count for shot in self.shots)

    @property
    def cuts(self) -> tuple[int, ...]:
        """The first frame of each shot but the first."""
        return tuple(int(k) for k in np.cumsum([s.frame_count for s in self.shots])[:-1])

    @property
    def query(self) -> str:
        """What to ask for, such as "the red circle"; look-alikes are told by their motion."""
        body = self.bodies[self.target]
        alike = sum(other.name == body.name for other in self.bodies) > 1
        return f"the {body.name} that moves {body.motion}" if alike else f"the {body.name}"

    def draw(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws frame ``k``, as :meth:`fiftyone_revseg.synthetic.world.World.draw`."""
        for shot in self.shots:
            if k < shot.frame_count:
                return shot.draw(k)
            k -= shot.frame_count
        raise IndexError(f"no such frame in a video of {self.frame_count}")

    def render(self) -> tuple[np.ndarray, np.ndarray]:
        """Draws all frames, as :meth:`fiftyone_revseg.synthetic.world.World.render`."""
        drawn = [self.draw(k) for k in range(self.frame_count)]
        return np.stack([p for p, _ in drawn]), np.stack([m for _, m in drawn], axis=1)

    @cached_property
    def areas(self) -> np.ndarray:
        """Visible areas of the target in pixels, ``(T,)`` int64, measured on the exact masks."""
        return np.array([self.draw(k)[1][self.target].sum() for k in range(self.frame_count)])


def make_broken_world(seed: int, kind: str = "occlusion", split: str = "test") -> BrokenWorld:
    """Makes a world with a break, the same one for the same arguments.

    Args:
        seed: any integer >= 0
        kind ("occlusion"): one of :data:`BREAKS`
        split ("test"): "train", "val" or "test": the same seed gives different worlds in each

    Returns:
        a :class:`BrokenWorld`, its break measured on the exact masks
    """
    if kind not in BREAKS:
        raise ValueError(f"no such break: {kind!r}; choose one of {', '.join(BREAKS)}")
    rng = _generator(seed, split, "breaks")
    for _ in range(1000):
        stage = _Stage(rng, seed, split)
        made = stage.cut() if kind == "cut" else stage.passage(kind)
        if _is_as_said(made):
            return made
    raise AssertionError(f"no world for seed {seed}")


def _is_as_said(made: BrokenWorld) -> bool:
    """Whether the target is hidden where it is said to be, and only there."""
    seen = made.areas >= _LEAST
    if made.kind in ("none", "cut"):
        return bool(seen.all())
    hidden = np.flatnonzero(made.areas == 0)
    least, most = _HIDDEN
    return (
        least <= len(hidden) <= most
        and hidden[0] == made.first
        and hidden[-1] == made.after - 1
        # What is half behind the cover counts neither way
        and bool(seen[: made.first - 6].all())
        and bool(seen[made.after + 6 :].all())
    )


class _Stage:
    """A picture's size, and bodies that are put into it."""

    def __init__(self, rng: np.random.Generator, seed: int, split: str):
        self.rng, self.seed, self.split = rng, seed, split
        self.width, self.height = SIZES[rng.integers(len(SIZES))]
        self.extent = np.array([self.width, self.height]) / min(self.width, self.height)
        every = [(c, s) for c in COLORS for s in SHAPES]
        first, *others = [every[i] for i in rng.permutation(len(every))]
        # What covers it has another color, and so have all others
        self.look = first
        self.others = [look for look in others if look[0] != first[0]]
        self.texture = str(rng.choice(TEXTURES))

    def passage(self, kind: str) -> BrokenWorld:
        """The target goes behind a large square, or in a control past it."""
        rng = self.rng
        motion = str(rng.choice(["left", "right"] if self.extent[0] > 1 else ["up", "down"]))
        direction = np.array(MOTIONS[motion], float)
        across = np.abs(direction[::-1])
        cover, r = rng.uniform(0.22, 0.27), rng.uniform(0.08, 0.1)
        before, hidden, after = rng.integers(24, 31), rng.integers(*_HIDDEN), rng.integers(30, 41)
        middle = self.extent / 2 + across * rng.uniform(-0.2, 0.2)
        half = _SQUARE * cover + r  # from the middle: here it is just out of sight or in it
        inner = max(_SQUARE * cover - r, 0.02)
        ends = self.extent @ np.abs(direction) / 2 - 1.1 * r
        # It slows down where the cover is short, and speeds up where the way is long
        way = np.interp(
            np.arange(before + hidden + after),
            [0, before - 4, before, before + hidden, before + hidden + 4, before + hidden + after],
            [-ends, -half, -inner, inner, half, ends],
        )
        path = middle + np.outer(way, direction)
        beside = across * (_SQUARE * cover + 1.5 * r) * rng.choice([-1, 1])
        square = middle + (beside if kind == "none" else 0)
        count = len(way)
        bodies = [self._body(self.look, r, path, motion)]
        if kind == "look-alike":
            place = self._aside(middle, across, cover, r)
            bodies.append(self._body(self.look, r, np.tile(place, (count, 1))))
        place = self._aside(middle, across, cover, r)
        other = self._body(self.others[1], r, np.tile(place, (count, 1)))
        wall = self._body((self.others[0][0], "square"), cover, np.tile(square, (count, 1)))
        for body, angle in ((other, other.angle), (wall, 0.0)):
            bodies.append(replace(body, angle=angle, texture=str(rng.choice(TEXTURES))))
        world = World(self.width, self.height, count, tuple(bodies), self.seed, self.split)
        made = BrokenWorld(kind, (world,), 0, int(before), int(before + hidden))
        gone = np.flatnonzero(made.areas == 0)
        if kind != "none" and len(gone):
            made = replace(made, first=int(gone[0]), after=int(gone[-1]) + 1)
        return made

    def cut(self) -> BrokenWorld:
        """Two shots of the same bodies: other places, sizes and another background."""
        rng = self.rng
        looks = [self.look, *self.others[: int(rng.integers(1, 3))]]
        motions = [str(rng.choice(["left", "right", "up", "down", "still"])) for _ in looks]
        textures = [self.texture, *(str(rng.choice(TEXTURES)) for _ in looks[1:])]
        shots = []
        for number, count in enumerate(rng.integers(28, 41, 2)):
            bodies = []
            for look, motion, texture in zip(looks, motions, textures, strict=True):
                r = rng.uniform(0.1, 0.16)
                travel = np.array(MOTIONS[motion], float) * rng.uniform(0.2, 0.4)
                low = np.maximum(r, r - travel)
                start = rng.uniform(low, np.maximum(low, self.extent - r - np.maximum(travel, 0)))
                path = start + np.outer(np.linspace(0, 1, count), travel)
                bodies.append(replace(self._body(look, r, path, motion), texture=texture))
            seed = self.seed + number * _ANOTHER_PICTURE
            world = World(self.width, self.height, int(count), tuple(bodies), seed, self.split)
            shots.append(world)
        at = shots[0].frame_count
        return BrokenWorld("cut", tuple(shots), 0, at, at)

    def _aside(self, middle: np.ndarray, across: np.ndarray, cover: float, r: float) -> np.ndarray:
        """A place that neither the cover nor the target's way touches, if there is one."""
        low, high = 1.1 * r, self.extent - 1.1 * r
        for _ in range(50):
            place = self.rng.uniform(low, high)
            off = abs((place - middle) @ across)
            if off > 2.2 * r and not (np.abs(place - middle) < _SQUARE * cover + r).all():
                break
        return place

    def _body(
        self, look: tuple[str, str], radius: float, path: np.ndarray, motion: str = "still"
    ) -> Body:
        rng, count = self.rng, len(path)
        return Body(
            color=look[0],
            shape=look[1],
            texture=self.texture,
            radius=float(radius),
            motion=motion,
            growth="keeps",
            path=path,
            radii=np.full(count, float(radius)),
            first=0,
            last=count - 1,
            angle=float(rng.uniform(-0.25, 0.25)),
            phase=float(rng.uniform(0, np.pi)),
        )
