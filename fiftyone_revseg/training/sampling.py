"""Replies for groups of rollouts, with nothing read twice.

The rollouts of a group begin alike, so their prompt is read once. And turn 2 goes on where turn 1
ended: only the key frame and what is asked about it are read, not all frames again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache


@dataclass(frozen=True)
class Decoding:
    """How replies are drawn.

    Attributes:
        limit: the most tokens of a reply
        temperature: logits are divided by it; 0 for the likeliest token
        stop: tokens that end a reply
        suppressed: tokens that are never drawn
        pad: stands where there is no token
        image: stands for what an image gives
    """

    limit: int
    temperature: float
    stop: tuple[int, ...]
    suppressed: tuple[int, ...]
    pad: int
    image: int


class Sampler:
    """Draws the replies of both turns.

    Args:
        model: a Qwen-VL model with a language modelling head
        decoding: how replies are drawn
    """

    def __init__(self, model: Any, decoding: Decoding) -> None:
        self.model = model
        self.decoding = decoding
        self._cache: Any = None
        self._seen = torch.empty(0)  # (rows, cached tokens): 1 where one counts
        self.sequences: list[list[int]] = []  # prompt and reply of each row

    def first(
        self, prompts: Sequence[list[int]], count: int, patches: torch.Tensor, grids: torch.Tensor
    ) -> list[list[int]]:
        """Draws ``count`` replies to each prompt.

        Args:
            prompts: the tokens of each prompt
            count: how many replies to each
            patches: the patches of all images of all prompts
            grids: ``(images, 3)`` their grids

        Returns:
            the tokens of ``count`` replies to the first prompt, then to the second, and so on;
            with the one that ended them
        """
        tokens, seen = self._padded(prompts)
        positions = self._positions(tokens, seen, grids)
        self._cache = DynamicCache(config=self.model.config.get_text_config())
        last = self._read(tokens, seen, positions, pixel_values=patches, image_grid_thw=grids)
        self._cache.batch_repeat_interleave(count)
        following = positions.amax(dim=(0, 2)) + 1
        self._seen = seen.repeat_interleave(count, dim=0)
        replies = self._draw(
            last.repeat_interleave(count, dim=0), following.repeat_interleave(count, dim=0)
        )
        self.sequences = [[*prompts[i // count], *reply] for i, reply in enumerate(replies)]
        return replies

    def second(
        self, prompts: Sequence[list[int]], patches: torch.Tensor, grids: torch.Tensor
    ) -> list[list[int]]:
        """Goes on with some of the dialogues.

        Args:
            prompts: for some rows of the first turn, in their order, the prompt, the reply, and
                the message that followed
            patches: the patches of all images of those dialogues
            grids: ``(images, 3)`` their grids

        Returns:
            the tokens of one reply to each
        """
        rows = self._rows(prompts)
        whole, there = self._padded(prompts)
        positions = self._positions(whole, there, grids)
        # The token that ended turn 1 may not have been read any more: it is read again
        suffixes = [p[len(self.sequences[row]) - 1 :] for p, row in zip(prompts, rows, strict=True)]
        tokens, seen = self._padded(suffixes)
        length = tokens.shape[1]
        self._cache.batch_select_indices(torch.tensor(rows, device=tokens.device))
        self._seen = torch.cat([self._seen[rows], seen], dim=1)
        later = _last_images(grids, patches, whole, tokens, self.decoding.image, self._merge)
        last = self._read(tokens, self._seen, positions[:, :, -length:], **later)
        return self._draw(last, positions.amax(dim=(0, 2)) + 1)

    @property
    def _merge(self) -> int:
        return int(self.model.config.vision_config.spatial_merge_size)

    def _rows(self, prompts: Sequence[list[int]]) -> list[int]:
        rows, row = [], 0
        for prompt in prompts:
            while prompt[: len(self.sequences[row])] != self.sequences[row]:
                row += 1
            rows.append(row)
            row += 1
        return rows

    def _padded(self, sequences: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(map(len, sequences))
        pads = [longest - len(sequence) for sequence in sequences]
        device = self.model.device
        tokens = [[self.decoding.pad] * n + list(s) for n, s in zip(pads, sequences, strict=True)]
        seen = [[0] * n + [1] * (longest - n) for n in pads]
        return torch.tensor(tokens, device=device), torch.tensor(seen, device=device)

    def _positions(
        self, tokens: torch.Tensor, seen: torch.Tensor, grids: torch.Tensor
    ) -> torch.Tensor:
        kinds = ((tokens == self.decoding.image) & seen.bool()).int()
        positions, _ = self.model.model.get_rope_index(
            tokens, image_grid_thw=grids, attention_mask=seen, mm_token_type_ids=kinds
        )
        return positions.masked_fill(~seen.bool(), 0)

    def _read(
        self, tokens: torch.Tensor, seen: torch.Tensor, positions: torch.Tensor, **images: Any
    ) -> torch.Tensor:
        """Reads tokens into the cache, and returns the logits behind the last one."""
        hidden = self.model.model(
            input_ids=tokens,
            attention_mask=seen,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            **images,
        ).last_hidden_state[:, -1]
        return self.model.get_output_embeddings()(hidden).float()

    def _draw(self, logits: torch.Tensor, position: torch.Tensor) -> list[list[int]]:
        decoding = self.decoding
        stop = torch.tensor(decoding.stop, device=logits.device)
        drawn: list[torch.Tensor] = []
        done = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        while True:
            logits[:, list(decoding.suppressed)] = -torch.inf
            if decoding.temperature > 0:
                weights = (logits / decoding.temperature).softmax(dim=-1)
                token = torch.multinomial(weights, 1)[:, 0]
            else:
                token = logits.argmax(dim=-1)
            drawn.append(torch.where(done, decoding.pad, token))
            done = done | torch.isin(token, stop)
            if bool(done.all()) or len(drawn) == decoding.limit:
                break
            # What ends a reply is read too, but not seen later on
            self._seen = torch.cat([self._seen, (~done).long()[:, None]], dim=1)
            here = position.view(1, -1, 1).expand(3, -1, -1)
            logits = self._read(drawn[-1][:, None], self._seen, here)
            position = position + 1
        rows = torch.stack(drawn, dim=1).tolist()
        return [_until(row, decoding.stop) for row in rows]


def _until(tokens: list[int], stop: tuple[int, ...]) -> list[int]:
    """The tokens up to the first that ends a reply, with it."""
    end = next((i for i, token in enumerate(tokens) if token in stop), len(tokens))
    return tokens[: end + 1]


def _last_images(
    grids: torch.Tensor,
    patches: torch.Tensor,
    whole: torch.Tensor,
    suffix: torch.Tensor,
    image_token: int,
    merge: int,
) -> dict[str, torch.Tensor]:
    """The images, of those of whole dialogues, that are in their last messages."""
    sizes = grids.prod(dim=1).tolist()
    pieces = patches.split(sizes)
    tokens = (whole == image_token).sum(dim=1).tolist()
    wanted = (suffix == image_token).sum(dim=1).tolist()
    chosen, at = [], 0
    for row_tokens, row_wanted in zip(tokens, wanted, strict=True):
        count = 0
        while count < row_tokens:
            if count >= row_tokens - row_wanted:
                chosen.append(at)
            count += sizes[at] // merge**2
            at += 1
    if not chosen:
        return {}
    return {
        "pixel_values": torch.cat([pieces[i] for i in chosen]),
        "image_grid_thw": grids[chosen],
    }
