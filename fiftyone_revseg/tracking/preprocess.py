"""From source frames to the model's own square image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# ImageNet statistics, as everywhere in SAM2
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


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
