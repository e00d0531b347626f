"""From source frames and boxes to the model's own square image, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# ImageNet statistics, as everywhere in SAM2
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

BOX_LABELS = (2, 3)  # SAM's labels of a box's top-left and bottom-right corner
POINT_LABEL = 1


def to_model_images(
    frames: Sequence[np.ndarray],
    image_size: int,
    device: torch.device | str = "cpu",
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> torch.Tensor:
    """Resizes frames to the model's square (the aspect ratio is not kept) and normalizes them.

    Bicubic with antialiasing and rounded to whole levels, as sam2's predictor does with a folder
    of JPEG files, which is how its published figures were made. (For mp4 files it lets decord
    resize, and masks then differ at their edges.)

    Args:
        frames: (H, W, 3) uint8 RGB arrays of one size
        image_size: the side S of the model's image
        device ("cpu"): where to do the work
        mean: of each channel, where 1 is white
        std: of each channel

    Returns:
        a (B, 3, S, S) float32 tensor
    """
    import torch
    from torch.nn.functional import interpolate

    pixels = torch.from_numpy(np.stack(frames)).to(device).permute(0, 3, 1, 2)
    if pixels.device.type != "cpu":  # only the CPU resizes whole numbers
        pixels = pixels.float()
    size = (image_size, image_size)
    pixels = interpolate(pixels, size=size, mode="bicubic", antialias=True)
    pixels = pixels.float().round().clamp(0, 255) / 255
    centre, scale = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (mean, std))
    return (pixels - centre) / scale


def to_prompt(
    boxes_xyxy_px: np.ndarray,
    source_size: tuple[int, int],
    image_size: int,
    device: torch.device | str = "cpu",
    centre_point: bool = False,
) -> dict[str, torch.Tensor]:
    """Turns boxes into the points that SAM2 takes for them: two corners, and maybe the centre.

    Args:
        boxes_xyxy_px: (N, 4) boxes in pixels of the source frame
        source_size: (width, height) of the source frame
        image_size: the side S of the model's image
        device ("cpu"): where to put the tensors
        centre_point (False): add each box's centre as a positive point

    Returns:
        ``point_coords`` (N, P, 2) float32 in pixels of the model's image and ``point_labels``
        (N, P) int32, P = 2 or 3
    """
    import torch

    points: np.ndarray = np.asarray(boxes_xyxy_px, np.float32).reshape(-1, 2, 2)
    labels = list(BOX_LABELS)
    if centre_point:
        points = np.concatenate([points, points.mean(axis=1, keepdims=True)], axis=1)
        labels.append(POINT_LABEL)
    points = points / np.array(source_size, np.float32) * image_size
    return {
        "point_coords": torch.from_numpy(points).to(device),
        "point_labels": torch.tensor([labels] * len(points), dtype=torch.int32, device=device),
    }
