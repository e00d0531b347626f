"""Pixels of any image file as 8-bit RGB."""

from __future__ import annotations

from typing import Any

import numpy as np

from fiftyone_revseg.video.errors import VideoError

# What cameras have; shades of a file have the fewest of these that hold its brightest one
_DEPTHS = (8, 10, 12, 14, 16, 24, 32)


def bits_of(image: Any) -> int | None:
    """How many bits the shades of a grey image of more than 8 bits have.

    Args:
        image: a Pillow image

    Returns:
        8, 10, 12, 14, 16, 24 or 32; None for other images, whose shades are as they say

    Raises:
        VideoError: if there are shades below 0
    """
    if not image.mode.startswith("I"):
        return None
    shades = np.asarray(image)
    if shades.min() < 0:
        raise VideoError(
            f"{_name(image)} has shades below 0, which are no picture: add an offset and save it"
            " with 16 bits."
        )
    return next(bits for bits in _DEPTHS if int(shades.max()) < 2**bits)


def to_rgb(image: Any, bits: int | None = None) -> np.ndarray:
    """Converts an image to 8-bit RGB, upright.

    Of more than 8 bits, the highest 8 are kept. Transparency is left out. Shades that are floating
    point numbers go from 0 (black) to 1 (white).

    Args:
        image: a Pillow image
        bits (None): how many bits the shades of a grey image of more than 8 have; brighter ones
            become white. By default, see :func:`bits_of`

    Returns:
        an (H, W, 3) uint8 RGB array

    Raises:
        VideoError: if it has shades outside what they may be
    """
    from PIL import ImageOps

    found = bits_of(image)
    name = _name(image)
    image = ImageOps.exif_transpose(image)
    if found is not None:
        grey = np.asarray(image).astype(np.int64) >> max(0, (bits or found) - 8)
    elif image.mode == "F":
        shades = np.asarray(image)
        if not (shades.min() >= 0 and shades.max() <= 1):  # also not a number
            raise VideoError(
                f"{name} has floating point shades outside 0 to 1, and only their maker knows which"
                " are black and white: save it with 8 or 16 bits."
            )
        grey = np.rint(shades * 255).astype(np.int64)
    else:
        return np.array(image.convert("RGB"))
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _name(image: Any) -> str:
    return f"the image {getattr(image, 'filename', '')}".strip()
