"""What dialogues were read into, kept for whoever goes on from there or begins alike."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    Layers = Sequence[tuple[torch.Tensor, torch.Tensor] | None]


@dataclass(frozen=True, eq=False)
class Prefix:
    """The beginning of a dialogue, read.

    Keys and values can be cut to any length. The state of a recurrent layer cannot, so a model
    that has such layers goes on only where their states were kept.

    Attributes:
        names: ``(n,)`` int64, what each token is, see :func:`names_of`
        layers: the keys and the values in each layer of the model, ``(heads, n, size)``; None in
            recurrent layers
        states ({}): a number of tokens -> what the recurrent layers were in behind so many; None
            in the others
    """

    names: np.ndarray
    layers: Layers
    states: Mapping[int, Layers] = field(default_factory=dict)

    @cached_property
    def bytes(self) -> int:
        """The memory that the keys and values take."""
        return _bytes_of(self.layers)

    def states_for(self, names: np.ndarray) -> dict[int, Layers]:
        """The states of a dialogue that goes on from here."""
        alike = begin_alike(names, self.names)
        return {n: layers for n, layers in self.states.items() if n <= alike}

    def known(self, names: np.ndarray) -> int:
        """How many tokens of a dialogue need not be read, to go on from here."""
        alike = begin_alike(names, self.names)
        if not self.states:
            return alike
        return max((n for n in self.states if n <= alike), default=0)


class KeptPrefixes:
    """The prefixes that were read or used last, as many as the memory for them holds.

    Args:
        held_bytes: the most memory for them
    """

    def __init__(self, held_bytes: float):
        self._held_bytes = held_bytes
        self._prefixes: OrderedDict[bytes, Prefix] = OrderedDict()  # the oldest first

    def __len__(self) -> int:
        return len(self._prefixes)

    @property
    def bytes(self) -> int:
        """The memory that they take; several can have states in common."""
        kept = self._prefixes.values()
        states = {id(layers): layers for prefix in kept for layers in prefix.states.values()}
        return sum(prefix.bytes for prefix in kept) + sum(map(_bytes_of, states.values()))

    def have_room_for(self, size: int) -> bool:
        """Whether a prefix of a size in bytes can be kept, if need be in place of all others."""
        return size <= self._held_bytes

    def keep(self, prefix: Prefix) -> None:
        """Keeps a prefix, in place of those that it begins with; others may have to go."""
        states: dict[int, Layers] = {}
        for key, known in list(self._prefixes.items()):
            if begin_alike(known.names, prefix.names) == len(known.names):
                states.update(known.states)
                del self._prefixes[key]
        prefix = replace(prefix, states={**states, **prefix.states})
        self._prefixes[prefix.names.tobytes()] = prefix
        while self.bytes > self._held_bytes:
            self._prefixes.popitem(last=False)

    def find(self, names: np.ndarray) -> tuple[int, Prefix | None]:
        """Finds the prefix that has most of a dialogue's beginning.

        Args:
            names: ``(n,)`` what each token of the dialogue is

        Returns:
            how many tokens need not be read, and the prefix; 0 and None if there is none
        """
        best, found = 0, None
        for key, prefix in self._prefixes.items():
            known = prefix.known(names)
            if known > best:
                best, found = known, key
        if found is None:
            return 0, None
        self._prefixes.move_to_end(found)
        return best, self._prefixes[found]

    def forget(self) -> None:
        """Frees the memory of all of them."""
        self._prefixes.clear()


def _bytes_of(layers: Layers) -> int:
    return sum(part.numel() * part.element_size() for pair in layers if pair for part in pair)


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
