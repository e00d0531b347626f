"""What objects are tracked from: boxes, points on them, points beside them, masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

# SAM's labels of points: beside an object, on it, and a box's top-left and bottom-right corner
NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT = 0, 1, 2, 3


def object_prompt(
    box_xyxy_px: Sequence[float] | None = None,
    on: Sequence[Sequence[float]] = (),
    beside: Sequence[Sequence[float]] = (),
) -> np.ndarray:
    """Puts together what is known of one object in one frame.

    Args:
        box_xyxy_px (None): its ``(x1, y1, x2, y2)`` box in pixels
        on (()): ``(x, y)`` points on the object, in pixels
        beside (()): ``(x, y)`` points that are not on it

    Returns:
        (P, 3) float: x, y and SAM's label of each point, a box's corners first
    """
    corners: list[tuple[float, float, int]] = []
    if box_xyxy_px is not None:
        x1, y1, x2, y2 = box_xyxy_px
        corners = [(x1, y1, TOP_LEFT), (x2, y2, BOTTOM_RIGHT)]
    points = [(x, y, POSITIVE) for x, y in on] + [(x, y, NEGATIVE) for x, y in beside]
    return np.array(corners + points, float).reshape(-1, 3)


def checked_prompts(prompts: Any) -> np.ndarray:
    """Returns prompts as float32, once they are known to be such.

    Args:
        prompts: (N, 4) boxes in pixels, or (N, P, 3) points with their labels, as many of each
            object, see :func:`object_prompt`; or (N, H, W) bool masks, which are returned as such

    Raises:
        ValueError: that says what is wrong with them
    """
    if is_masks(prompts):
        if not prompts.any(axis=(1, 2)).all():
            raise ValueError("a mask to track from is empty: give one with the object's pixels")
        return prompts
    given = np.asarray(prompts, np.float32)
    if given.ndim == 3 and given.shape[0] and not given.shape[1]:
        raise ValueError(
            f"prompts of shape {given.shape}: an object has no point: give one on it, or a box"
        )
    if given.size == 0:
        return np.zeros((0, 4), np.float32)
    if given.ndim == 3 and given.shape[2] == 3:
        labels = given[:, :, 2]
        corners = np.isin(labels, (TOP_LEFT, BOTTOM_RIGHT))
        boxes = corners.any(axis=1)
        if not np.isin(labels, range(4)).all() or (corners[:, 2:]).any():
            raise ValueError("labels of points are 0, 1, or 2 and 3 of the first two: see SAM 2")
        if (labels[boxes][:, :2] != (TOP_LEFT, BOTTOM_RIGHT)).any():
            raise ValueError("a box takes the first two points, its top left corner first")
        if not (labels > NEGATIVE).any(axis=1).all():
            raise ValueError("an object has points beside it only: give one on it, or a box")
        sides = given[boxes][:, :2, :2].reshape(-1, 4)
    elif given.ndim == 2 and given.shape[1] == 4:
        sides = given
    else:
        raise ValueError(
            f"prompts of shape {given.shape}: give (N, 4) boxes, one x0, y0, x1, y1 per "
            "object, (N, P, 3) points with labels, or (N, H, W) bool masks"
        )
    if not np.isfinite(given).all() or (sides[:, 2:] <= sides[:, :2]).any():
        raise ValueError("a box is empty or not finite: give x0 < x1 and y0 < y1 in source pixels")
    return given


def to_prompt(
    prompts: np.ndarray,
    source_size: tuple[int, int],
    image_size: int,
    device: torch.device | str = "cpu",
    centre_point: bool = False,
) -> dict[str, torch.Tensor]:
    """Turns prompts into what SAM2 takes.

    Args:
        prompts: (N, 4) boxes in pixels of the source frame, or (N, P, 3) points with their
            labels, or (N, H, W) bool masks
        source_size: (width, height) of the source frame
        image_size: the side S of the model's image
        device ("cpu"): where to put the tensors
        centre_point (False): add each box's centre as a point on its object, where boxes are all
            that is given

    Returns:
        ``point_coords`` (N, P, 2) float32 in pixels of the model's image and ``point_labels``
        (N, P) int32; of a box, P = 2 or 3. Of masks, ``mask_inputs``, (N, 1, S, S) bool
    """
    import torch

    if is_masks(prompts):
        return {"mask_inputs": _resized(prompts, image_size).to(device)}
    given = np.asarray(prompts, np.float32)
    if given.ndim == 3:
        points, labels = given[:, :, :2], given[:, :, 2].astype(np.int32)
    else:
        points = given.reshape(-1, 2, 2)
        kinds = [TOP_LEFT, BOTTOM_RIGHT]
        if centre_point:
            points = np.concatenate([points, points.mean(axis=1, keepdims=True)], axis=1)
            kinds.append(POSITIVE)
        labels = np.array([kinds] * len(points), np.int32).reshape(len(points), len(kinds))
    scaled: np.ndarray = points / np.array(source_size, np.float32) * image_size
    return {
        "point_coords": torch.from_numpy(scaled).to(device),
        "point_labels": torch.from_numpy(labels).to(device),
    }


def is_masks(prompts: Any) -> bool:
    """Whether prompts are masks: these, and no others, are bool."""
    return isinstance(prompts, np.ndarray) and prompts.dtype == bool and prompts.ndim == 3


def _resized(masks: np.ndarray, side: int) -> torch.Tensor:
    """(N, H, W) bool -> (N, 1, side, side) bool, as the frames are resized."""
    import torch
    from torch.nn.functional import interpolate

    given = torch.from_numpy(masks)[:, None].float()
    shares = interpolate(given, size=(side, side), mode="bilinear", antialias=True)
    # Of a mask that is smaller than a pixel something is left, too
    return shares >= shares.amax(dim=(2, 3), keepdim=True).clamp(max=0.5)


def points_of(prompts: np.ndarray) -> int:
    """Returns how many points each object has; 0 of boxes. Only equal ones go in one batch."""
    if is_masks(prompts):
        return -1
    return prompts.shape[1] if prompts.ndim == 3 else 0
