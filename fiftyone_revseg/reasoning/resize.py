"""The one way in which frames are resized for the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def resize_square(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes a frame to a square, without keeping its aspect ratio.

    Pillow's bicubic filter, which smooths when it shrinks, is what the Qwen processors use too.
    They are then told to leave the size alone, so that a box in pixels means this very image.

    Args:
        image: a (H, W, 3) uint8 RGB array
        size: the side of the square, in pixels

    Returns:
        a (size, size, 3) uint8 RGB array

    Raises:
        ValueError: if the image is not such an array
    """
    import numpy as np
    from PIL import Image

    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"A frame must be a (H, W, 3) uint8 RGB array, got {image.dtype} {image.shape}"
        )
    if image.shape[:2] == (size, size):
        return image
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return np.array(resized)  # a copy: torch warns about arrays that it may not write to
