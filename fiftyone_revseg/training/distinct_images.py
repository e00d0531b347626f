"""Has the vision tower look at equal images once: rollouts often choose the same key frame."""

from __future__ import annotations

from typing import Any

import torch

from fiftyone_revseg.reasoning import seen_images
from fiftyone_revseg.reasoning.seen_images import as_output, look


def see_once(model: Any) -> None:
    """Has a Qwen-VL model encode each distinct image of a batch once.

    The features, and the gradients, are those of encoding every image. Only on a CPU, where the
    vision tower's work counts for more than finding out which images are equal.

    Args:
        model: a Qwen-VL model with a language modelling head, changed in place
    """
    encode = model.model.get_image_features

    def get_image_features(
        pixel_values: torch.Tensor, image_grid_thw: torch.Tensor, **kwargs: Any
    ) -> Any:
        if pixel_values.device.type != "cpu" or kwargs.get("return_dict") is False:
            return encode(pixel_values, image_grid_thw, **kwargs)
        pieces = pixel_values.split(image_grid_thw.prod(dim=1).tolist())
        names = [name_of(piece) for piece in pieces]
        features, joined = look(encode, names, pixel_values, image_grid_thw, kwargs)
        return as_output(features, names, joined)

    model.model.get_image_features = get_image_features


def name_of(piece: torch.Tensor) -> bytes:
    """Names an image by its ``(n, d)`` patches."""
    return seen_images.name_of(piece.detach().cpu().contiguous().view(torch.uint8).numpy())
