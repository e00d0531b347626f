"""Has the vision tower look at equal images once: rollouts often choose the same key frame."""

from __future__ import annotations

import hashlib
from typing import Any

import torch


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
        firsts: dict[bytes, int] = {}
        sources = [firsts.setdefault(name_of(piece), i) for i, piece in enumerate(pieces)]
        distinct = sorted(set(sources))
        found = encode(torch.cat([pieces[i] for i in distinct]), image_grid_thw[distinct], **kwargs)
        at = [distinct.index(source) for source in sources]
        found.pooler_output = tuple(found.pooler_output[i] for i in at)
        if getattr(found, "deepstack_features", None) is not None:
            found.deepstack_features = [
                tuple(features[i] for i in at) for features in found.deepstack_features
            ]
        return found

    model.model.get_image_features = get_image_features


def name_of(piece: torch.Tensor) -> bytes:
    """Names an image by its ``(n, d)`` patches."""
    numbers = piece.detach().cpu().contiguous().view(torch.uint8).numpy()
    return hashlib.blake2b(numbers.data, digest_size=16).digest() + bytes(str(piece.shape), "ascii")
