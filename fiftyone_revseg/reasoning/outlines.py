"""Pictures in which objects are outlined and numbered, and all else is as it was."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fiftyone_revseg.masks.boxes import box_around
from fiftyone_revseg.masks.pictures import mask_contour, object_color

_PIXELS_WIDE = 224  # of a picture, for each pixel that a contour is wide
_SMALLEST_TEXT = 8  # pixels high; below that, no digit can be read
_TEXT_SHARE = 18  # of a picture's side


def shown_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Resizes a mask as its frame is resized for the model.

    Args:
        mask: ``(H, W)`` bool, at source size
        size: the side of the square picture, in pixels

    Returns:
        ``(size, size)`` bool; never empty unless ``mask`` is
    """
    from PIL import Image

    grey = Image.fromarray(np.asarray(mask, np.uint8) * 255)
    share = np.asarray(grey.resize((size, size), Image.Resampling.BOX))
    # The half of a pixel makes it one of the mask; of what is smaller, all that it touches
    return share >= 128 if (share >= 128).any() else share > 0


def outline(
    picture: np.ndarray, masks: Sequence[np.ndarray | None], numbers: Sequence[int]
) -> np.ndarray:
    """Draws contours and numbers of objects, each number in a colour of its own.

    The contour runs along the inside of the mask, and the number stands beside the object, where
    it covers the least of any object, so that both what the object looks like and what is around
    it can be seen.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB, as it is shown to the model; left as it is
        masks: ``(H, W)`` bool for each object; None or all False where it is not visible
        numbers: what each object is called, from 1

    Returns:
        ``(H, W, 3)`` uint8 RGB

    Raises:
        ValueError: if a mask is not of the picture's size, or there are not as many numbers
    """
    if len(masks) != len(numbers):
        raise ValueError(f"{len(masks)} masks, but {len(numbers)} numbers")
    for mask in masks:
        if mask is not None and mask.shape != picture.shape[:2]:
            raise ValueError(
                f"mask of shape {mask.shape} on a picture of shape {picture.shape[:2]}"
            )
    drawn = picture.copy()
    width = max(1, round(min(picture.shape[:2]) / _PIXELS_WIDE))
    visible = [
        (mask, number)
        for mask, number in zip(masks, numbers, strict=True)
        if mask is not None and mask.any()
    ]
    taken = np.zeros(picture.shape[:2], bool)
    for mask, number in visible:
        drawn[mask_contour(mask, width)] = object_color(number - 1)
        taken |= mask
    for mask, number in visible:
        label = _label(number, max(_SMALLEST_TEXT, min(picture.shape[:2]) // _TEXT_SHARE))
        top, left = _place(label.shape[:2], mask, taken)
        there = (slice(top, top + label.shape[0]), slice(left, left + label.shape[1]))
        part = drawn[there]
        drawn[there] = label[: part.shape[0], : part.shape[1]]
        taken[there] = True
    return drawn


def _label(number: int, height: int) -> np.ndarray:
    """The number on a plate of its colour, ``(h, w, 3)`` uint8."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(height)
    left, top, right, bottom = map(round, font.getbbox(str(number)))
    plate = Image.new("RGB", (right - left + 2, bottom - top + 2), object_color(number - 1))
    draw = ImageDraw.Draw(plate)
    draw.fontmode = "1"  # grey edges are all that small digits would be made of
    draw.text((1 - left, 1 - top), str(number), (0, 0, 0), font)
    return np.asarray(plate)


def _place(size: tuple[int, int], mask: np.ndarray, taken: np.ndarray) -> tuple[int, int]:
    """The top and left of a label beside a mask, where it covers the least of what is taken."""
    height, width = size
    x1, y1, x2, y2 = box_around(mask) or (0, 0, 0, 0)
    middle_x, middle_y = (x1 + x2 - width) // 2, (y1 + y2 - height) // 2
    beside = [(y1 - height, middle_x), (y2, middle_x), (middle_y, x2), (middle_y, x1 - width)]
    corners = [(y1 - height, x1 - width), (y1 - height, x2), (y2, x1 - width), (y2, x2)]
    lowest, rightmost = mask.shape[0] - height, mask.shape[1] - width
    places = [
        (min(max(top, 0), max(lowest, 0)), min(max(left, 0), max(rightmost, 0)))
        for top, left in beside + corners
    ]
    return min(places, key=lambda at: taken[at[0] : at[0] + height, at[1] : at[1] + width].sum())
