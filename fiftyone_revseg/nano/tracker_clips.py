"""What the small tracker learns from: short clips of the synthetic world, prompted by a box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fiftyone_revseg.masks.boxes import box_around
from fiftyone_revseg.synthetic.world import World, make_world

MIN_AREA = 24  # visible source pixels below which an object is neither prompted nor judged


@dataclass(frozen=True)
class Clip:
    """A few frames of a world in the order they are tracked in, and some of its objects.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB, the key frame first
        masks: (N, T, H, W) bool, the visible part of each object
        boxes_xyxy_px: (N, 4) float, a jittered box of each object in the key frame
    """

    frames: np.ndarray
    masks: np.ndarray
    boxes_xyxy_px: np.ndarray


def random_clip(rng: np.random.Generator, length: int, objects: int) -> Clip:
    """Draws a clip: any world, any key frame, either direction, at any pace.

    Args:
        rng: the source of all randomness
        length: the number of frames T
        objects: the number of objects N; a world with fewer gives the same ones again, in other
            boxes

    Returns:
        a :class:`Clip`
    """
    while True:
        world = make_world(int(rng.integers(2**31)))
        order = _frame_order(rng, world, length)
        first_masks = world.draw(order[0])[1]
        areas = first_masks.sum(axis=(1, 2))
        visible = np.flatnonzero(areas >= MIN_AREA)
        if len(visible):
            break
    chosen = rng.permutation(np.resize(rng.permutation(visible), objects))
    drawn = [world.draw(k) for k in order]
    frames = np.stack([f for f, _ in drawn])
    masks = np.stack([m[chosen] for _, m in drawn], axis=1)
    true_boxes = [np.array(box_around(mask), float) for mask in masks[:, 0]]
    boxes = np.stack([jitter_box(rng, box, world.width, world.height) for box in true_boxes])
    if length > 2 and rng.random() < 0.25:
        _cover(rng, frames, masks)
    return Clip(_recolour(rng, frames), masks, boxes)


def jitter_box(
    rng: np.random.Generator, box_xyxy_px: np.ndarray, width: int, height: int
) -> np.ndarray:
    """Moves a box's sides as a language model's answer would: sometimes hardly, sometimes a lot.

    The box keeps at least half of its width and height, and stays inside the frame.
    """
    x0, y0, x1, y1 = box_xyxy_px
    sigma = rng.choice([0.0, 0.04, 0.1], p=[0.2, 0.4, 0.4])
    shift = np.clip(rng.normal(0, sigma, 4), -0.25, 0.25)
    shift *= np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
    return np.clip(box_xyxy_px + shift, 0, [width, height, width, height]).astype(np.float32)


def _frame_order(rng: np.random.Generator, world: World, length: int) -> np.ndarray:
    """Equally spaced frames, half of the time around one where an object comes or goes."""
    stride = int(rng.integers(1, 5))
    span = (length - 1) * stride
    last_start = world.frame_count - 1 - span
    if last_start < 0:
        stride, span = 1, length - 1
        last_start = world.frame_count - 1 - span
    order = int(rng.integers(last_start + 1)) + stride * np.arange(length)
    changes = [b.first for b in world.bodies if b.first > 0]
    changes += [b.last for b in world.bodies if b.last < world.frame_count - 1]
    if changes and rng.random() < 0.5:
        start = int(rng.choice(changes)) - stride * int(rng.integers(length))
        order = int(np.clip(start, 0, last_start)) + stride * np.arange(length)
    return order if rng.random() < 0.5 else order[::-1]


def _cover(rng: np.random.Generator, frames: np.ndarray, masks: np.ndarray) -> None:
    """Hides one object behind a plate for up to half of the clip: it has to be found again."""
    n = int(rng.integers(len(masks)))
    start = int(rng.integers(1, len(frames) - 1))
    longest = max(2, len(frames) // 2)
    for t in range(start, min(start + int(rng.integers(1, longest + 1)), len(frames))):
        box = box_around(masks[n, t])
        if box is None:
            continue
        x0, y0, x1, y1 = box
        margin = int(rng.integers(2, 10))
        rows = slice(max(y0 - margin, 0), y1 + margin)
        columns = slice(max(x0 - margin, 0), x1 + margin)
        shape = frames[t, rows, columns].shape
        frames[t, rows, columns] = rng.integers(40, 200, 3) + rng.normal(0, 6, shape)
        masks[:, t, rows, columns] = False


def _recolour(rng: np.random.Generator, frames: np.ndarray) -> np.ndarray:
    """Other colors, light and some noise: the tracker is to follow looks, not seven colors."""
    pixels = frames.astype(np.float32)
    if rng.random() < 0.3:
        pixels = pixels[..., rng.permutation(3)]
    pixels = pixels * rng.uniform(0.75, 1.2, 3).astype(np.float32) + np.float32(
        rng.uniform(-15, 15)
    )
    if rng.random() < 0.5:
        pixels += rng.normal(0, rng.uniform(1, 6), pixels.shape).astype(np.float32)
    return np.clip(pixels + 0.5, 0, 255).astype(np.uint8)
