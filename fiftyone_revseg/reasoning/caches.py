"""Caches of transformers, put together of prefixes that were read, and taken apart again."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from fiftyone_revseg.reasoning.kept_prefixes import Prefix

if TYPE_CHECKING:
    import numpy as np

    from fiftyone_revseg.reasoning.kept_prefixes import Layers

KINDS = {"full_attention", "linear_attention"}  # of layers that can be taken apart


class Caches:
    """Makes the caches of a model.

    A cache has the rows of a batch, padded on the left. Layers with full attention have keys and
    values of each token, recurrent ones (``linear_attention``) the last inputs of a convolution
    and a state.

    Args:
        config: of the language model

    Attributes:
        recurrent: whether any layer is
    """

    def __init__(self, config: Any):
        self._config = config
        self._is_recurrent = [kind == "linear_attention" for kind in layer_kinds(config)]
        self.recurrent = any(self._is_recurrent)

    def assembled(
        self, prefixes: Sequence[Prefix | None], counts: Sequence[int], device: torch.device
    ) -> tuple[Any, torch.Tensor]:
        """Puts a cache together.

        Args:
            prefixes: what each row goes on from
            counts: how many tokens of each prefix to take; a place where it has states
            device: where the model is

        Returns:
            the cache, and ``(rows, length)`` 1 where there is a token in it
        """
        from transformers import DynamicCache

        cache = DynamicCache(config=self._config)
        length = max(counts)
        seen = torch.zeros((len(counts), length), dtype=torch.long, device=device)
        taken = [(p if n else None, n) for p, n in zip(prefixes, counts, strict=True)]
        known = next(((p, n) for p, n in taken if p), None)
        if known is None:
            return cache, seen
        for i, count in enumerate(counts):
            seen[i, length - count :] = 1
        for layer, recurrent in enumerate(self._is_recurrent):
            pair = []
            for side in range(2):
                if recurrent:  # nothing but zeros is where a dialogue starts
                    none = torch.zeros_like(_part(known[0].states[known[1]], layer, side))
                    rows = [_part(p.states[n], layer, side) if p else none for p, n in taken]
                    pair.append(torch.stack(rows))
                    continue
                like = _part(known[0].layers, layer, side)
                states = like.new_zeros((len(counts), like.shape[0], length, like.shape[2]))
                for i, (prefix, count) in enumerate(taken):
                    if prefix is not None:
                        kept = _part(prefix.layers, layer, side)
                        states[i, :, length - count :] = kept[:, :count]
                pair.append(states)
            self._fill(cache, layer, pair[0], pair[1])
        return cache, seen

    def joined(
        self, caches: Sequence[Any], seen: Sequence[torch.Tensor]
    ) -> tuple[Any, torch.Tensor]:
        """Puts the rows of several caches into one.

        Args:
            caches: the caches
            seen: ``(rows, length)`` of each, 1 where there is a token in it

        Returns:
            as :meth:`assembled`
        """
        from torch.nn.functional import pad
        from transformers import DynamicCache

        whole = DynamicCache(config=self._config)
        longest = max(s.shape[1] for s in seen)
        missing = [longest - s.shape[1] for s in seen]
        for layer, recurrent in enumerate(self._is_recurrent):
            pairs = [self._parts(cache, layer) for cache in caches]
            if not recurrent:
                pairs = [
                    (pad(keys, (0, 0, n, 0)), pad(values, (0, 0, n, 0)))
                    for (keys, values), n in zip(pairs, missing, strict=True)
                ]
            one, other = (torch.cat([pair[side] for pair in pairs]) for side in range(2))
            self._fill(whole, layer, one, other)
        return whole, torch.cat([pad(s, (n, 0)) for s, n in zip(seen, missing, strict=True)])

    def prefix(
        self,
        cache: Any,
        row: int,
        seen: torch.Tensor,
        names: np.ndarray,
        states: Mapping[int, Layers],
    ) -> Prefix:
        """Copies a row of a cache.

        Args:
            cache: the cache
            row: which row
            seen: ``(length,)`` 1 where there is a token in that row
            names: ``(n,)`` what each token is
            states: those that the row has from a prefix that it went on from
        """
        at = seen.bool()
        layers, own = [], []
        for layer, recurrent in enumerate(self._is_recurrent):
            one, other = (part[row] for part in self._parts(cache, layer))
            layers.append(None if recurrent else (one[:, at], other[:, at]))
            own.append((one.clone(), other.clone()) if recurrent else None)
        if self.recurrent:
            states = {**states, len(names): own}
        return Prefix(names, layers, states)

    def bytes_of(self, cache: Any, tokens: int) -> int:
        """The memory that a row takes, if it has so many tokens."""
        size = 0
        for layer, recurrent in enumerate(self._is_recurrent):
            for part in self._parts(cache, layer):
                numbers = part[0].numel() if recurrent else part[0, :, :1].numel() * tokens
                size += numbers * part.element_size()
        return size

    def _parts(self, cache: Any, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self._is_recurrent[layer]:
            return cache.get_conv_state(layer), cache.get_recurrent_state(layer)
        return cache.layers[layer].keys, cache.layers[layer].values

    def _fill(self, cache: Any, layer: int, one: torch.Tensor, other: torch.Tensor) -> None:
        if self._is_recurrent[layer]:
            cache.update_conv_state(one, layer, conv_kernel_size=one.shape[-1])
            cache.update_recurrent_state(other, layer)
        else:
            cache.update(one, other, layer)


def layer_kinds(config: Any) -> list[str]:
    """What each layer of a language model is, in the words of transformers."""
    kinds = getattr(config, "layer_types", None)
    return [*(kinds or ["full_attention"] * config.num_hidden_layers)]


def cache_argument(model: Any) -> str:
    """What a model of transformers calls its cache: that name is changing."""
    names = inspect.signature(model.forward).parameters
    return "cache" if "cache" in names else "past_key_values"


def _part(layers: Layers, layer: int, side: int) -> torch.Tensor:
    pair = layers[layer]
    assert pair is not None  # or the layer were of the other kind
    return pair[side]
