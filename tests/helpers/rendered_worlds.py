"""Held-out worlds as videos."""

import numpy as np

from fiftyone_revseg.synthetic.world import World, make_world


class Rendered:
    """A world's frames as a video."""

    def __init__(self, world: World) -> None:
        self.frames, self.masks = world.render()
        self.size = (world.width, world.height)

    def __len__(self) -> int:
        return len(self.frames)

    def walk(self, start, step=1):
        for k in range(start, len(self) if step > 0 else -1, step):
            yield k, self.frames[k]

    def boxes(self, k: int) -> np.ndarray:
        boxes = []
        for mask in self.masks[:, k]:
            ys, xs = np.nonzero(mask)
            boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        return np.array(boxes, np.float32)


def first_world(wanted, bodies: int, frames: int = 24) -> World:
    """The first held-out world whose bodies are all as wanted."""
    for seed in range(500):
        world = make_world(seed, "test", frame_count=frames, bodies=bodies)
        if all(wanted(body, world) for body in world.bodies):
            return world
    raise AssertionError("no such world")


def moving(body, world) -> bool:
    """Visible throughout, and at the end somewhere else altogether."""
    whole = body.first == 0 and body.last == world.frame_count - 1
    return whole and np.linalg.norm(body.path[-1] - body.path[0]) > 3 * body.radius
