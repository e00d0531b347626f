"""What dialogues were read into, kept for whoever goes on from there or begins alike."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Prefix:
    """The beginning of a dialogue, read.

    Attributes:
        names: ``(n,)`` int64, what each token is, see :func:`names_of`
        layers: the keys and the values in each layer of the model, ``(heads, n, size)``
    """

    names: np.ndarray
    layers: Sequence[tuple[torch.Tensor, torch.Tensor]]

    @property
    def bytes(self) -> int:
        """The memory that it takes."""
        return bytes_of(self.layers, len(self.names))


class KeptPrefixes:
    """The prefixes that were read or used last, as many as the memory for them holds.

    Args:
        held_bytes: the most memory for them
    """

    def __init__(self, held_bytes: float):
        self._held_bytes = held_bytes
        self._prefixes: OrderedDict[bytes, Prefix] = OrderedDict()  # the oldest first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._prefixes)

    def have_room_for(self, size: int) -> bool:
        """Whether a prefix of a size in bytes can be kept, if need be in place of all others."""
        return size <= self._held_bytes

    def keep(self, prefix: Prefix) -> None:
        """Keeps a prefix, in place of those that it begins with; others may have to go."""
        if not self.have_room_for(prefix.bytes):
            return
        for key, known in list(self._prefixes.items()):
            if begin_alike(known.names, prefix.names) == len(known.names):
                self._drop(key)
        self._prefixes[prefix.names.tobytes()] = prefix
        self._bytes += prefix.bytes
        while self._bytes > self._held_bytes:
            self._drop(next(iter(self._prefixes)))

    def find(self, names: np.ndarray) -> tuple[int, Prefix | None]:
        """Finds the prefix that has most of a dialogue's beginning.

        Args:
            names: ``(n,)`` what each token of the dialogue is

        Returns:
            how many tokens they begin with alike, and the prefix; 0 and None if there is none
        """
        best, found = 0, None
        for key, prefix in self._prefixes.items():
            alike = begin_alike(names, prefix.names)
            if alike > best:
                best, found = alike, key
        if found is None:
            return 0, None
        self._prefixes.move_to_end(found)
        return best, self._prefixes[found]

    def forget(self) -> None:
        """Frees the memory of all of them."""
        self._prefixes.clear()
        self._bytes = 0

    def _drop(self, key: bytes) -> None:
        self._bytes -= self._prefixes.pop(key).bytes


def bytes_of(layers: Sequence[tuple[torch.Tensor, torch.Tensor]], tokens: int) -> int:
    """The memory that the keys and values of a dialogue take.

    Args:
        layers: keys and values in each layer, ``(..., heads, any number of tokens, size)``
        tokens: how many tokens the dialogue has
    """
    return sum(
        2 * keys.shape[-3] * tokens * keys.shape[-1] * keys.element_size() for keys, _ in layers
    )


def begin_alike(one: np.ndarray, other: np.ndarray) -> int:
    """How many names two sequences begin with alike."""
    length = min(len(one), len(other))
    differ = one[:length] != other[:length]
    first = int(differ.argmax()) if length else 0
    return first if length and differ[first] else length


def names_of(
    tokens: Sequence[int], images: Sequence[bytes], sizes: Sequence[int], image_token: int
) -> np.ndarray:
    """Says what each token of a dialogue is: itself, or a part of a certain image.

    Args:
        tokens: the dialogue; ``image_token`` stands for what an image gives
        images: a name of each image, of 8 bytes or more; equal images have equal names
        sizes: how many tokens each image gives
        image_token: that token

    Returns:
        ``(n,)`` int64; images are negative
    """
    names = np.array(tokens, np.int64)
    parts = [
        np.full(size, -1 - (int.from_bytes(image[:8], "little") >> 1), np.int64)
        for image, size in zip(images, sizes, strict=True)
    ]
    if parts:
        names[names == image_token] = np.concatenate(parts)
    return names
