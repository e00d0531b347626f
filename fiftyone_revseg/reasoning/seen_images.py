"""Has the vision tower look at an image once, however often it is shown.

A dialogue shows the same frames in turn 2 as in turn 1, and all queries about a video show them
again. What the tower makes of an image does not depend on the images around it.

Where a dialogue goes on from what it was read into (:mod:`.decoding`) that saves little. Where
transformers generates, as with FlashAttention, the embedded model's dialogues take 1.2 (one by one)
to 1.4 times (in batches) the CPU time without it, for the same replies.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fiftyone_revseg.models.weights import versions_of

if TYPE_CHECKING:
    import numpy as np
    import torch

_HELD_ON_GPU = 2**30  # with Qwen2.5-VL 7B, the images of 30 videos with 16 frames of 448 pixels
_HELD_ON_CPU = 64 * 2**20


class SeenImages:
    """What the vision tower of a Qwen-VL model made of the images that it saw last.

    Other families are left alone.

    Args:
        model: a transformers model
        held_bytes (None): the most memory for what is remembered, on the model's device. By
            default 1 GiB on a GPU, 64 MiB on a CPU
    """

    def __init__(self, model: Any, held_bytes: int | None = None):
        self._model = model
        self._held_bytes = held_bytes
        self._features: OrderedDict[bytes, list[torch.Tensor]] = OrderedDict()  # oldest first
        self._bytes = 0
        self._weights: tuple[int, ...] = ()
        self._joined = False

    @contextmanager
    def used(self, pixel_values: torch.Tensor | None, names: Sequence[bytes]) -> Iterator[None]:
        """Lets the model use what is remembered, and remember more, meanwhile.

        Args:
            pixel_values: the patches of all images, as the model is going to get them
            names: of the images in the same order, see :func:`name_of`
        """
        import torch

        inner: Any = getattr(self._model, "model", None)
        encode = getattr(inner, "get_image_features", None)
        tower = getattr(inner, "visual", None)
        if encode is None or tower is None or pixel_values is None:
            yield
            return
        if "image_grid_thw" not in inspect.signature(encode).parameters:
            yield
            return
        # Weights that were trained or loaded since make other features
        weights = versions_of(tower)
        if weights != self._weights:
            self.forget()
            self._weights = weights

        def get_image_features(
            pixel_values: torch.Tensor, image_grid_thw: torch.Tensor | None = None, **kwargs: Any
        ) -> Any:
            is_these = pixel_values.data_ptr() == shown  # and not a video
            if not is_these or image_grid_thw is None or len(image_grid_thw) != len(names):
                return encode(pixel_values, image_grid_thw, **kwargs)
            known = {name: self._features[name] for name in names if name in self._features}
            new, joined = look(encode, names, pixel_values, image_grid_thw, kwargs, known)
            known.update(new)
            self._joined = joined if new else self._joined
            self._remember({name: known[name] for name in dict.fromkeys(names)}, set(new))
            return as_output(known, names, self._joined)

        shown = pixel_values.data_ptr()
        inner.get_image_features = get_image_features
        try:
            yield
        except torch.OutOfMemoryError:
            self.forget()  # a smaller batch may need the room
            raise
        finally:
            del inner.get_image_features

    def forget(self) -> None:
        """Frees the memory of all that is remembered."""
        self._features.clear()
        self._bytes = 0

    def _remember(self, features: dict[bytes, list[torch.Tensor]], new: set[bytes]) -> None:
        for name, layers in features.items():
            if name in new:
                # A copy: a part of a batch would keep all of it
                self._features[name] = [layer.clone() for layer in layers]
                self._bytes += _bytes_of(layers)
            else:
                self._features.move_to_end(name)
        limit = self._held_bytes
        if limit is None:
            limit = _HELD_ON_CPU if self._model.device.type == "cpu" else _HELD_ON_GPU
        while self._bytes > limit:
            _, layers = self._features.popitem(last=False)
            self._bytes -= _bytes_of(layers)


def look(
    encode: Any,
    names: Sequence[bytes],
    pixel_values: torch.Tensor,
    grids: torch.Tensor,
    kwargs: dict[str, Any],
    known: Container[bytes] = (),
) -> tuple[dict[bytes, list[torch.Tensor]], bool]:
    """Has a vision tower look at each distinct image once, if it is not known.

    Args:
        encode: a Qwen-VL model's ``get_image_features``
        names: of the images
        pixel_values: the patches of all of them
        grids: ``(images, 3)`` their grids of patches
        kwargs: what else ``encode`` takes
        known (()): the names of those that need no look

    Returns:
        the name of each image that was looked at -> its features, first those of the last layer;
        and whether the model gives those of its deeper layers as one tensor for all images, as it
        does in transformers 5.17, and not one for each
    """
    import torch

    new = list(dict.fromkeys(name for name in names if name not in known))
    if not new:
        return {}, False
    at = [names.index(name) for name in new]
    pieces = pixel_values.split(grids.prod(dim=1).tolist())
    found = encode(torch.cat([pieces[i] for i in at]), grids[at], **kwargs)
    deep = list(getattr(found, "deepstack_features", None) or [])
    joined = any(torch.is_tensor(layer) for layer in deep)
    if joined:
        sizes = [len(layer) for layer in found.pooler_output]
        deep = [layer.split(sizes) for layer in deep]
    columns = zip(found.pooler_output, *deep, strict=True)
    return dict(zip(new, map(list, columns), strict=True)), joined


def as_output(
    features: Mapping[bytes, list[torch.Tensor]], names: Sequence[bytes], joined: bool
) -> Any:
    """Puts features in the form in which a Qwen-VL model's ``get_image_features`` gives them.

    Args:
        features: by name, as :func:`look` returns them
        names: of the images to show
        joined: the form, which :func:`look` finds out
    """
    import torch
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    pooled: Any = tuple(features[name][0] for name in names)
    output: Any = BaseModelOutputWithPooling(pooler_output=pooled)
    layers = range(1, len(features[names[0]]))
    deep = [tuple(features[name][i] for name in names) for i in layers]
    output.deepstack_features = [torch.cat(layer) for layer in deep] if joined else deep
    return output


def name_of(image: np.ndarray) -> bytes:
    """Names an image, a uint8 array, by its content."""
    import numpy as np

    pixels = np.ascontiguousarray(image)
    return hashlib.blake2b(pixels.data, digest_size=16).digest() + str(pixels.shape).encode()


def _bytes_of(layers: Sequence[torch.Tensor]) -> int:
    return sum(layer.numel() * layer.element_size() for layer in layers)
