"""A world: a few bodies with looks, paths and lifespans, and the pictures it makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fiftyone_revseg.synthetic.shapes import (
    COLORS,
    SHAPES,
    TEXTURES,
    background,
    signed_distance,
    texture_gain,
)

SPLITS = {"train": 1, "val": 2, "test": 3}
SIZES = ((320, 240), (288, 288), (352, 208), (240, 320))  # (width, height)
FPS = 12.0

# Motions and size changes in the words that queries and thoughts use.
MOTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
GROWTHS = {"grows": (0.6, 1.3), "shrinks": (1.3, 0.6), "keeps": (1.0, 1.0)}


@dataclass(frozen=True)
class Body:
    """One object of a world. Lengths are in units of the shorter side of the picture.

    Attributes:
        color: a key of :data:`~fiftyone_revseg.synthetic.shapes.COLORS`
        shape: one of :data:`~fiftyone_revseg.synthetic.shapes.SHAPES`
        texture: one of :data:`~fiftyone_revseg.synthetic.shapes.TEXTURES`
        radius: the radius before growing or shrinking
        motion: a key of :data:`MOTIONS`
        growth: a key of :data:`GROWTHS`
        path: ``(frame_count, 2)`` centres (x, y)
        radii: ``(frame_count,)`` radii
        first: the first frame in which the body exists
        last: the last frame in which the body exists
        angle: its constant rotation in radians
        phase: where its texture starts
        hits: the index of the body that it bumps into, or None
    """

    color: str
    shape: str
    texture: str
    radius: float
    motion: str
    growth: str
    path: np.ndarray = field(repr=False)
    radii: np.ndarray = field(repr=False)
    first: int
    last: int
    angle: float
    phase: float
    hits: int | None = None

    @property
    def name(self) -> str:
        """Color and shape, unique within a world."""
        return f"{self.color} {self.shape}"


@dataclass(frozen=True)
class World:
    """A short video with everything that is true about it.

    Attributes:
        width: of the picture, in pixels
        height: of the picture, in pixels
        frame_count: how many frames
        bodies: in drawing order, the last one in front
        seed: what :func:`make_world` was called with
        split: likewise
        fps: frames per second
    """

    width: int
    height: int
    frame_count: int
    bodies: tuple[Body, ...]
    seed: int
    split: str
    fps: float = FPS

    @cached_property
    def _background(self) -> np.ndarray:
        return background(_generator(self.seed, self.split, "picture"), self.width, self.height)

    def draw(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws frame ``k``.

        Returns:
            the picture, ``(height, width, 3)`` uint8 RGB, and the visible mask of every body,
            ``(len(bodies), height, width)`` bool: what is hidden behind others is not in it
        """
        picture = self._background.copy()
        masks = np.zeros((len(self.bodies), self.height, self.width), bool)
        side = min(self.width, self.height)
        for i, body in enumerate(self.bodies):
            if not body.first <= k <= body.last:
                continue
            (cx, cy), r = body.path[k] * side, body.radii[k] * side
            x0, x1 = max(int(cx - 1.2 * r), 0), min(int(cx + 1.2 * r) + 2, self.width)
            y0, y1 = max(int(cy - 1.2 * r), 0), min(int(cy + 1.2 * r) + 2, self.height)
            if x0 >= x1 or y0 >= y1:
                continue
            dx = (np.arange(x0, x1) + 0.5 - cx)[None, :] / r
            dy = (np.arange(y0, y1) + 0.5 - cy)[:, None] / r
            cos, sin = np.cos(body.angle), np.sin(body.angle)
            u, v = dx * cos + dy * sin, dy * cos - dx * sin
            coverage = np.clip(0.5 - signed_distance(body.shape, u, v) * r, 0, 1)[..., None]
            gain = texture_gain(body.texture, u, v, body.phase)[..., None]
            fill = np.clip(np.array(COLORS[body.color]) * gain, 0, 255)
            region = picture[y0:y1, x0:x1]
            region += coverage * (fill - region)
            inside = coverage[..., 0] >= 0.5
            masks[:i, y0:y1, x0:x1] &= ~inside
            masks[i, y0:y1, x0:x1] = inside
        return np.clip(picture + 0.5, 0, 255).astype(np.uint8), masks

    def render(self) -> tuple[np.ndarray, np.ndarray]:
        """Draws all frames.

        Returns:
            the pictures, ``(T, height, width, 3)`` uint8 RGB, and the visible masks,
            ``(len(bodies), T, height, width)`` bool
        """
        drawn = [self.draw(k) for k in range(self.frame_count)]
        return np.stack([p for p, _ in drawn]), np.stack([m for _, m in drawn], axis=1)

    @cached_property
    def areas(self) -> np.ndarray:
        """Visible areas in pixels, ``(len(bodies), T)`` int64, measured on the exact masks."""
        return np.stack([self.draw(k)[1].sum(axis=(1, 2)) for k in range(self.frame_count)], axis=1)


def make_world(
    seed: int, split: str = "train", frame_count: int | None = None, bodies: int | None = None
) -> World:
    """Makes a world, the same one for the same arguments.

    Args:
        seed: any integer >= 0
        split: "train", "val" or "test": the same seed gives different worlds in each
        frame_count: how many frames; 24 to 48 by default
        bodies: how many objects; 1 to 4 by default

    Returns:
        a :class:`World`
    """
    rng = _generator(seed, split, "bodies")
    width, height = SIZES[rng.integers(len(SIZES))]
    frame_count = frame_count or int(rng.integers(24, 49))
    count = bodies or int(rng.choice([1, 2, 3, 4], p=[0.1, 0.3, 0.35, 0.25]))
    while True:
        scene = _Scene(rng, width, height, frame_count)
        made = scene.collision(count) if count >= 2 and rng.random() < 0.25 else scene.free(count)
        if made is not None:
            return World(width, height, frame_count, tuple(made), seed, split)


def _generator(seed: int, split: str, purpose: str) -> np.random.Generator:
    if split not in SPLITS:
        raise ValueError(f"no such split: {split!r}; choose train, val or test")
    stream = ("bodies", "picture", "queries", "breaks", "events", "brief").index(purpose)
    return np.random.default_rng([SPLITS[split], stream, seed])


class _Scene:
    """Draws bodies at random until they make a scene in which each one can be seen."""

    def __init__(self, rng: np.random.Generator, width: int, height: int, frame_count: int):
        self.rng = rng
        self.frame_count = frame_count
        side = min(width, height)
        self.extent = np.array([width / side, height / side])

    def free(self, count: int) -> list[Body] | None:
        """Bodies that come, go, move and grow independently of each other."""
        return self._if_visible([self._free_body(look) for look in self._looks(count)])

    def collision(self, count: int) -> list[Body] | None:
        """The first body runs into the second and sets it moving; the others keep to themselves."""
        looks = self._looks(count)
        motion = str(self.rng.choice(["left", "right", "up", "down"]))
        direction = np.array(MOTIONS[motion], float)
        r = self.rng.uniform(0.1, 0.16, size=2)
        reach = 0.92 * r.sum()
        run = self.rng.uniform(0.22, 0.3) * (direction**2 @ self.extent)
        across = np.array([direction[1], direction[0]])
        total = 2 * run + reach
        centre = self.extent / 2 + across * self.rng.uniform(-0.25, 0.25)
        start = centre - direction * total / 2
        hit = int(self.frame_count * self.rng.uniform(0.4, 0.6))
        t = np.arange(self.frame_count)
        before = np.minimum(t, hit) / hit
        after = np.maximum(t - hit, 0) / (self.frame_count - 1 - hit)
        striker = start + np.outer(before * run, direction)
        struck = start + direction * (run + reach) + np.outer(after * run, direction)
        pair = [
            self._body(looks[0], r[0], motion, "keeps", striker, hits=1),
            self._body(looks[1], r[1], motion, "keeps", struck),
        ]
        return self._if_visible(pair + [self._free_body(look) for look in looks[2:]])

    def _looks(self, count: int) -> list[tuple[str, str]]:
        every = [(c, s) for c in COLORS for s in SHAPES]
        chosen = [every[i] for i in self.rng.permutation(len(every))[:count]]
        if count >= 2 and self.rng.random() < 0.5:  # often two that share a color or a shape
            (c, s), other = chosen[0], chosen[1]
            twin = (c, other[1]) if self.rng.random() < 0.5 else (other[0], s)
            if twin not in chosen:
                chosen[1] = twin
        return chosen

    def _free_body(self, look: tuple[str, str]) -> Body:
        rng, n = self.rng, self.frame_count
        motion = str(rng.choice(list(MOTIONS), p=[0.16, 0.16, 0.16, 0.16, 0.36]))
        growth = str(rng.choice(list(GROWTHS), p=[0.15, 0.15, 0.7]))
        radius = (
            float(rng.uniform(0.09, 0.2)) if growth == "keeps" else float(rng.uniform(0.11, 0.16))
        )
        direction = np.array(MOTIONS[motion], float)
        travel = direction * rng.uniform(0.4, 0.65) * self.extent
        margin = radius * 1.05
        low = np.maximum(margin, margin - travel)
        high = np.minimum(self.extent - margin, self.extent - margin - travel)
        start = rng.uniform(np.minimum(low, high), np.maximum(low, high))
        path = start + np.outer(np.linspace(0, 1, n), travel)
        life = rng.random()
        first = int(n * rng.uniform(0.2, 0.6)) if life < 0.22 else 0
        last = int(n * rng.uniform(0.4, 0.75)) if life > 0.78 else n - 1
        return self._body(look, radius, motion, growth, path, first, last)

    def _body(
        self,
        look: tuple[str, str],
        radius: float,
        motion: str,
        growth: str,
        path: np.ndarray,
        first: int = 0,
        last: int | None = None,
        hits: int | None = None,
    ) -> Body:
        begin, end = GROWTHS[growth]
        return Body(
            color=look[0],
            shape=look[1],
            texture=str(self.rng.choice(TEXTURES)),
            radius=radius,
            motion=motion,
            growth=growth,
            path=path,
            radii=radius * np.linspace(begin, end, self.frame_count),
            first=first,
            last=self.frame_count - 1 if last is None else last,
            angle=float(self.rng.uniform(-0.25, 0.25)),
            phase=float(self.rng.uniform(0, np.pi)),
            hits=hits,
        )

    def _if_visible(self, bodies: list[Body]) -> list[Body] | None:
        """The bodies, unless one of them is hidden for too long."""
        t = np.arange(self.frame_count)
        alive = np.array([(b.first <= t) & (t <= b.last) for b in bodies])
        hidden = np.zeros_like(alive)
        for i, lower in enumerate(bodies):
            for j in range(i + 1, len(bodies)):
                upper = bodies[j]
                distance = np.linalg.norm(lower.path - upper.path, axis=1)
                near = (distance < 0.9 * (lower.radii + upper.radii)) & alive[i] & alive[j]
                hidden[i] |= near
        for i in range(len(bodies)):
            clear = alive[i] & ~hidden[i]
            if clear.sum() < 0.5 * alive[i].sum() or clear.sum() < 0.2 * self.frame_count:
                return None
        return bodies
