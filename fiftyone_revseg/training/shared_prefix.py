"""Log-probabilities of a group of rollouts, with what they share computed once.

The rollouts of a group begin with the same frames and the same question, which are most of their
tokens and of the vision tower's work. So the beginning goes through the model once, and each
rollout goes on from its keys and values, and from the states of recurrent layers. The results are
those of whole passes, up to rounding, and gradients flow back through the shared part.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache

from fiftyone_revseg.reasoning.caches import cache_argument


def group_log_probabilities(
    model: Any,
    prompt: torch.Tensor,
    completions: torch.Tensor,
    mask: torch.Tensor,
    patches: torch.Tensor,
    grids: torch.Tensor,
    images: list[int],
    image_token: int,
    merge: int,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-probability of each token of each completion of one prompt.

    Args:
        model: a Qwen-VL model with a language modelling head
        prompt: ``(P,)`` tokens, without padding
        completions: ``(G, C)`` tokens, padded on the right
        mask: ``(G, C)``, 1 where there is a token
        patches: the patches of all images of all rollouts, in order, the prompt's included
        grids: ``(images, 3)`` their grids of patches
        images: how many images each rollout has
        image_token: stands in the tokens for what an image gives
        merge: how many patches, along one side, make one token
        temperature: logits are divided by it

    Returns:
        ``(G, C)`` log-probabilities, and as many entropies of the distributions that the tokens
        were drawn from; 0 in the padding
    """
    group, length = len(completions), int(mask.sum(dim=1).max())
    completions, kept = completions[:, :length], mask[:, :length]
    tokens = torch.cat([prompt.expand(group, -1), completions], dim=1)
    seen = torch.cat([torch.ones_like(prompt).expand(group, -1), kept], dim=1)
    positions, _ = model.model.get_rope_index(
        tokens,
        image_grid_thw=grids,
        attention_mask=seen,
        mm_token_type_ids=(tokens == image_token).int(),
    )
    before, after = _split_images(patches, grids, images, int((prompt == image_token).sum()), merge)
    cache: Any = _Cache(config=model.config.get_text_config())
    going_on = {cache_argument(model.model): cache, "use_cache": True}
    start = len(prompt)
    head = model.model(
        input_ids=prompt[None],
        position_ids=positions[:, :1, :start],
        **going_on,
        **before,
    ).last_hidden_state
    cache.reorder_cache(torch.zeros(group, dtype=torch.long, device=prompt.device))
    tail = model.model(
        input_ids=completions,
        attention_mask=seen,
        position_ids=positions[:, :, start:],
        **going_on,
        **after,
    ).last_hidden_state
    hidden = torch.cat([head[:, -1:].expand(group, -1, -1), tail[:, :-1]], dim=1)
    at = kept.bool()
    logits = model.get_output_embeddings()(hidden[at]).float() / temperature
    log = logits.log_softmax(dim=-1)
    drawn = log.gather(1, completions[at][:, None])[:, 0]
    with torch.no_grad():
        entropy = -(log.exp() * log).sum(dim=-1)
    empty = torch.zeros(mask.shape, dtype=log.dtype, device=log.device)
    at = mask.bool()
    return empty.masked_scatter(at, drawn), empty.masked_scatter(at, entropy)


class _Cache(DynamicCache):
    """A cache whose states are replaced, where gradients need those that they replace."""

    def update_recurrent_state(
        self, recurrent_states: torch.Tensor, layer_idx: int, state_idx: int = 0, **kwargs: Any
    ) -> torch.Tensor:
        layer: Any = self.layers[layer_idx]
        if not layer.is_recurrent_states_initialized[state_idx]:
            return super().update_recurrent_state(recurrent_states, layer_idx, state_idx, **kwargs)
        layer.recurrent_states[state_idx] = recurrent_states
        return recurrent_states


def _split_images(
    patches: torch.Tensor, grids: torch.Tensor, images: list[int], tokens: int, merge: int
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The images of the prompt, once, and those that came later, of all rollouts."""
    sizes = grids.prod(dim=1).tolist()
    pieces = patches.split(sizes)
    shared, count = 0, 0
    while count < tokens:
        count += sizes[shared] // merge**2
        shared += 1
    later: list[int] = []
    first = 0
    for number in images:
        later += range(first + shared, first + number)
        first += number

    def chosen(indices: list[int]) -> dict[str, torch.Tensor]:
        if not indices:
            return {}
        return {
            "pixel_values": torch.cat([pieces[i] for i in indices]),
            "image_grid_thw": grids[indices],
        }

    return chosen(list(range(shared))), chosen(later)
