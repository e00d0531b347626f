"""The looks a body can have: shapes as signed distances, colors, textures, backgrounds."""

from __future__ import annotations

import numpy as np

# RGB. Far enough apart to survive textures, shading and 4:2:0 chroma subsampling.
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (215, 40, 40),
    "orange": (245, 140, 20),
    "yellow": (245, 225, 50),
    "green": (40, 170, 60),
    "blue": (45, 80, 220),
    "purple": (150, 50, 180),
    "white": (240, 240, 240),
}
SHAPES = ("circle", "square", "triangle", "star", "cross")
TEXTURES = ("plain", "striped", "dotted", "shaded")


def signed_distance(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The approximate signed distance of points to a shape of radius 1 centred at the origin.

    Args:
        shape: one of :data:`SHAPES`
        u: x coordinates in units of the shape's radius, any shape
        v: y coordinates, pointing down, of the same shape as ``u``

    Returns:
        an array like ``u``, negative inside
    """
    if shape == "circle":
        return np.hypot(u, v) - 0.95
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) - 0.82
    if shape == "triangle":  # equilateral, pointing up
        return np.maximum(v - 0.6, 0.866 * np.abs(u) - 0.5 * v - 0.55)
    if shape == "star":  # five points: the radius as a triangle wave over the angle
        angle = np.arctan2(u, -v) / (2 * np.pi / 5)
        wave = 2 * np.abs(angle - np.round(angle))
        return (np.hypot(u, v) - (1.05 - 0.62 * wave)) * 0.8
    if shape == "cross":
        a, b = np.abs(u), np.abs(v)
        return np.minimum(np.maximum(a - 0.95, b - 0.33), np.maximum(a - 0.33, b - 0.95))
    raise ValueError(f"no such shape: {shape!r}; choose one of {', '.join(SHAPES)}")


def texture_gain(texture: str, u: np.ndarray, v: np.ndarray, phase: float) -> np.ndarray:
    """The brightness factor of a texture, which sticks to the body and moves with it."""
    if texture == "plain":
        return np.ones_like(u)
    if texture == "striped":
        return 0.86 + 0.14 * np.sign(np.sin(7.0 * (u * np.cos(phase) + v * np.sin(phase))))
    if texture == "dotted":
        return 0.88 + 0.12 * np.sign(np.sin(8.0 * u + phase) * np.sin(8.0 * v + phase))
    if texture == "shaded":
        return np.clip(0.88 + 0.2 * (u * np.cos(phase) + v * np.sin(phase)), 0.6, 1.1)
    raise ValueError(f"no such texture: {texture!r}; choose one of {', '.join(TEXTURES)}")


def background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A muted, blotchy background.

    Returns:
        a ``(height, width, 3)`` float32 array in [0, 255]
    """
    base = rng.uniform(60, 130, size=3) * np.array([1.0, 1.0, 1.0])
    base = base.mean() + 0.35 * (base - base.mean())  # nearly grey: bodies own the colors
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = base
    for cells, strength in ((3, 22.0), (8, 12.0), (24, 6.0)):
        grid = rng.uniform(-1, 1, size=(cells + 1, cells + 1))
        picture += strength * _smooth(grid, width, height)[..., None]
    return np.clip(picture, 0, 255)


def _smooth(grid: np.ndarray, width: int, height: int) -> np.ndarray:
    """Bilinear interpolation of a small square grid to a picture."""
    n = grid.shape[0] - 1
    y, x = np.linspace(0, n, height), np.linspace(0, n, width)
    yi, xi = np.minimum(y.astype(int), n - 1), np.minimum(x.astype(int), n - 1)
    fy, fx = (y - yi)[:, None], (x - xi)[None, :]
    top = grid[yi][:, xi] * (1 - fx) + grid[yi][:, xi + 1] * fx
    bottom = grid[yi + 1][:, xi] * (1 - fx) + grid[yi + 1][:, xi + 1] * fx
    return (top * (1 - fy) + bottom * fy).astype(np.float32)
