"""The replies of a Qwen-VL model, with nothing read twice.

Turn 2 goes on from what turn 1 was read into, the queries about a video from the video's frames,
and the rollouts of a group from their prompt: only what follows is read. The replies are those of
transformers' ``generate``, up to rounding, which cannot put a cache together of dialogues of
different lengths.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fiftyone_revseg.models.weights import versions_of
from fiftyone_revseg.reasoning.kept_prefixes import (
    KeptPrefixes,
    Prefix,
    begin_alike,
    bytes_of,
    names_of,
)

FAMILIES = ("qwen2_5_vl", "qwen3_vl")
_WORTH_SHARING = 32  # tokens that two dialogues of a batch begin with, to be read once


@dataclass(frozen=True, eq=False)
class Prompt:
    """A dialogue up to a reply.

    Attributes:
        tokens: the dialogue; the model's image token stands for what images give
        images: a name of each image, of 8 bytes or more; equal images have equal names
        patches: the patches of each image, ``(n, d)``, as the model's processor makes them
        grids: ``(images, 3)`` their grids
    """

    tokens: list[int]
    images: Sequence[bytes]
    patches: Sequence[torch.Tensor]
    grids: torch.Tensor


@dataclass(frozen=True)
class Decoding:
    """How replies are drawn.

    Attributes:
        limit: the most tokens of a reply
        stop: tokens that end a reply
        pad: stands where there is no token
        temperature: logits are divided by it; 0 for the likeliest token
        suppressed: tokens that are never drawn
    """

    limit: int
    stop: tuple[int, ...]
    pad: int
    temperature: float = 0.0
    suppressed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """A reply.

    Attributes:
        tokens: with the one that ended it
        probabilities: of each token, before the temperature
    """

    tokens: list[int]
    probabilities: list[float]


def can_decode(model: Any) -> bool:
    """Whether a model is of a family, and has a kind of attention, that this is tested with."""
    config = model.config
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    return (
        config.model_type in FAMILIES
        and kinds == {"full_attention"}
        and getattr(text, "_attn_implementation", "") in ("sdpa", "eager")
    )


class Decoder:
    """Lets a model reply to dialogues, and keeps what they were read into.

    Args:
        model: a Qwen-VL model with a language modelling head, see :func:`can_decode`
        held_bytes: the most memory for what is kept, on the model's device
        looking (None): a function that is given the patches and the names of the images that the
            model is about to look at, and returns a context to do so in

    Attributes:
        read: how many tokens of prompts were read so far
        reused: how many did not have to be
    """

    def __init__(
        self,
        model: Any,
        held_bytes: float,
        looking: Callable[[torch.Tensor, Sequence[bytes]], AbstractContextManager[Any]]
        | None = None,
    ):
        self._model = model
        self._kept = KeptPrefixes(held_bytes)
        self._looking = looking or (lambda patches, names: nullcontext())
        self._image_token = int(model.config.image_token_id)
        self._merged = int(model.config.vision_config.spatial_merge_size) ** 2
        self._cache_argument = cache_argument(model.model)
        self._weights: tuple[int, ...] = ()
        self.read = self.reused = 0

    def forget(self) -> None:
        """Frees the memory of all that is kept."""
        self._kept.forget()

    def reply(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Drawn]:
        """Draws a reply to each of some dialogues.

        Args:
            prompts: the dialogues
            decoding: how replies are drawn

        Returns:
            one reply for each
        """
        # Weights that were trained or loaded since make other keys and values
        weights = versions_of(self._model)
        if weights != self._weights:
            self.forget()
            self._weights = weights
        rows = [self._row(prompt) for prompt in prompts]
        shared = self._shared(rows)
        if shared:
            read = self._read(shared, decoding.pad)
            for i, row in enumerate(shared):
                self._keep(read, i, row.names)
        batch = self._read(rows, decoding.pad)
        return self._draw(batch, decoding)

    def _row(self, prompt: Prompt) -> _Row:
        sizes = [int(n) // self._merged for n in prompt.grids.prod(dim=1).tolist()]
        names = names_of(prompt.tokens, prompt.images, sizes, self._image_token)
        return _Row(prompt, names, np.cumsum([0, *sizes]))

    def _shared(self, rows: Sequence[_Row]) -> list[_Row]:
        """Finds what several rows begin with and nothing kept does."""
        shared: list[_Row] = []
        for i, row in enumerate(rows):
            known, _ = self._kept.find(row.names)
            for found in shared:
                known = max(known, begin_alike(row.names, found.names))
            alike = max((begin_alike(row.names, other.names) for other in rows[:i]), default=0)
            alike = min(alike, len(row.names) - 1)  # one is left to say what follows
            if alike >= known + _WORTH_SHARING:
                beginning = row.until(alike)
                shared = [s for s in shared if begin_alike(s.names, beginning.names) < len(s.names)]
                shared.append(beginning)
        return shared

    def _read(self, rows: Sequence[_Row], pad: int) -> _Batch:
        """Reads what of rows was not read before."""
        model, device = self._model, self._model.device
        found = [self._kept.find(row.names) for row in rows]
        known = [min(n, len(row.names) - 1) for (n, _), row in zip(found, rows, strict=True)]
        new = [row.since(n) for row, n in zip(rows, known, strict=True)]
        self.reused += sum(known)
        self.read += sum(len(prompt.tokens) for prompt in new)
        cache, cached = self._assembled([prefix for _, prefix in found], known)
        whole, there = _padded([row.prompt.tokens for row in rows], pad, device)
        tokens, is_new = _padded([prompt.tokens for prompt in new], pad, device)
        seen = torch.cat([cached, is_new], dim=1)
        all_grids = torch.cat([row.prompt.grids for row in rows]).to(device)
        positions, _ = model.model.get_rope_index(
            whole,
            image_grid_thw=all_grids if len(all_grids) else None,
            attention_mask=there,
            mm_token_type_ids=((whole == self._image_token) & there.bool()).int(),
        )
        positions = positions.masked_fill(~there.bool(), 0)
        names = [name for prompt in new for name in prompt.images]
        shown: dict[str, torch.Tensor] = {}
        if names:
            patches = [piece for prompt in new for piece in prompt.patches]
            shown = {
                "pixel_values": torch.cat(patches).to(device),
                "image_grid_thw": torch.cat([prompt.grids for prompt in new]).to(device),
            }
        with self._looking(shown["pixel_values"], names) if shown else nullcontext():
            last = self._forward(tokens, seen, positions[:, :, -tokens.shape[1] :], cache, shown)
        return _Batch(rows, cache, seen, last, positions.amax(dim=(0, 2)) + 1)

    def _forward(
        self,
        tokens: torch.Tensor,
        seen: torch.Tensor,
        positions: torch.Tensor,
        cache: Any,
        images: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        """Reads tokens into a cache, and returns the logits behind the last one."""
        hidden = self._model.model(
            input_ids=tokens,
            attention_mask=seen,
            position_ids=positions,
            use_cache=True,
            **{self._cache_argument: cache},
            **images,
        ).last_hidden_state[:, -1]
        return self._model.get_output_embeddings()(hidden).float()

    def _draw(self, batch: _Batch, decoding: Decoding) -> list[Drawn]:
        replies = [Drawn([], []) for _ in batch.rows]
        rows = list(range(len(batch.rows)))  # of the cache -> of the batch
        open_rows = set(rows)
        logits, position, cache, seen = batch.last, batch.following, batch.cache, batch.seen
        device = logits.device
        while True:
            token, chance = _choose(logits, decoding)
            drawn, chances = token.tolist(), chance.tolist()
            for at, row in enumerate(rows):
                if row in open_rows:
                    replies[row].tokens.append(drawn[at])
                    replies[row].probabilities.append(chances[at])
                    reply = replies[row].tokens
                    if reply[-1] in decoding.stop or len(reply) == decoding.limit:
                        open_rows.discard(row)
            state = _Batch(batch.rows, cache, seen, logits, position)
            if 2 * len(open_rows) <= len(rows):
                # What is done need not go on with the others
                for at, row in enumerate(rows):
                    if row not in open_rows:
                        said = np.array(replies[row].tokens[:-1], np.int64)
                        self._keep(state, at, np.concatenate([batch.rows[row].names, said]))
                if not open_rows:
                    return replies
                left = [at for at, row in enumerate(rows) if row in open_rows]
                rows = [rows[at] for at in left]
                index = torch.tensor(left, device=device)
                cache.batch_select_indices(index)
                seen, position, token = seen[index], position[index], token[index]
            goes_on = torch.tensor([[int(row in open_rows)] for row in rows], device=device)
            seen = torch.cat([seen, goes_on], dim=1)
            here = position.view(1, -1, 1).expand(3, -1, -1)
            logits = self._forward(token[:, None], seen, here, cache, {})
            position = position + 1

    def _assembled(
        self, prefixes: Sequence[Prefix | None], counts: Sequence[int]
    ) -> tuple[Any, torch.Tensor]:
        """Puts a cache together.

        Returns:
            the cache, and ``(rows, length)`` 1 where there is a token in it
        """
        from transformers import DynamicCache

        cache = DynamicCache(config=self._model.config.get_text_config())
        length, device = max(counts), self._model.device
        seen = torch.zeros((len(counts), length), dtype=torch.long, device=device)
        known = next((p for p, n in zip(prefixes, counts, strict=True) if p and n), None)
        if known is None:
            return cache, seen
        for i, count in enumerate(counts):
            seen[i, length - count :] = 1
        for layer, like in enumerate(known.layers):
            pair = []
            for side in range(2):
                heads, _, size = like[side].shape
                states = like[side].new_zeros((len(counts), heads, length, size))
                for i, (prefix, count) in enumerate(zip(prefixes, counts, strict=True)):
                    if prefix is not None and count:
                        states[i, :, length - count :] = prefix.layers[layer][side][:, :count]
                pair.append(states)
            cache.update(pair[0], pair[1], layer)
        return cache, seen

    def _keep(self, batch: _Batch, row: int, names: np.ndarray) -> None:
        at = batch.seen[row].bool()
        pairs = [(layer.keys, layer.values) for layer in batch.cache.layers]
        if not self._kept.have_room_for(bytes_of(pairs, len(names))):
            return  # before it is copied
        layers = [
            (keys[row][:, at], values[row][:, at])  # copies
            for keys, values in pairs
        ]
        self._kept.keep(Prefix(names, layers))


@dataclass(frozen=True, eq=False)
class _Row:
    """A dialogue to read.

    Attributes:
        prompt: the dialogue
        names: ``(n,)`` what each token is, see :func:`.kept_prefixes.names_of`
        ends: how many tokens the images before each image give, and all images together
    """

    prompt: Prompt
    names: np.ndarray
    ends: np.ndarray

    def until(self, length: int) -> _Row:
        """The first tokens, which end with a whole image or with none."""
        part = self._part(slice(0, length), slice(0, self._images(length)))
        return _Row(part, self.names[:length], self.ends[: len(part.images) + 1])

    def since(self, length: int) -> Prompt:
        """What follows on the first tokens."""
        return self._part(slice(length, None), slice(self._images(length), None))

    def _images(self, length: int) -> int:
        return int(np.searchsorted(self.ends, (self.names[:length] < 0).sum()))

    def _part(self, tokens: slice, images: slice) -> Prompt:
        whole = self.prompt
        return Prompt(
            whole.tokens[tokens], whole.images[images], whole.patches[images], whole.grids[images]
        )


@dataclass(frozen=True, eq=False)
class _Batch:
    """Dialogues that were read together.

    Attributes:
        rows: the dialogues
        cache: the keys and values of their tokens
        seen: ``(rows, tokens)`` 1 where there is a token in the cache
        last: ``(rows, vocabulary)`` the logits behind the last token of each
        following: ``(rows,)`` the position of the token that follows
    """

    rows: Sequence[_Row]
    cache: Any
    seen: torch.Tensor
    last: torch.Tensor
    following: torch.Tensor


def _choose(logits: torch.Tensor, decoding: Decoding) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws a token in each row; returns the tokens and their probabilities."""
    chances = logits.softmax(dim=-1)
    if decoding.suppressed:
        logits[:, list(decoding.suppressed)] = -torch.inf
    if decoding.temperature > 0:
        weights = (logits / decoding.temperature).softmax(dim=-1)
        token = torch.multinomial(weights, 1)
    else:
        token = logits.argmax(dim=-1, keepdim=True)
    return token[:, 0], chances.gather(1, token)[:, 0]


def cache_argument(model: Any) -> str:
    """What a model of transformers calls its cache: that name is changing."""
    names = inspect.signature(model.forward).parameters
    return "cache" if "cache" in names else "past_key_values"


def _padded(
    sequences: Sequence[Sequence[int]], pad: int, device: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pads on the left; returns the tokens, and 1 where there is one."""
    longest = max(map(len, sequences))
    tokens = [[pad] * (longest - len(sequence)) + list(sequence) for sequence in sequences]
    seen = [[0] * (longest - len(sequence)) + [1] * len(sequence) for sequence in sequences]
    return torch.tensor(tokens, device=device), torch.tensor(seen, device=device)
