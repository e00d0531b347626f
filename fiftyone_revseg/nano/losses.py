"""What the embedded VLM is trained to minimize: the replies' words, and what each token sees."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen3VLForConditionalGeneration

from fiftyone_revseg.nano import vlm as nano_vlm
from fiftyone_revseg.nano.batches import tree_mask
from fiftyone_revseg.nano.dialogues import GRID, IGNORED
from fiftyone_revseg.synthetic.shapes import COLORS, SHAPES


def dense_heads(model: Qwen3VLForConditionalGeneration) -> torch.nn.ModuleDict:
    """What each visual token is asked during training."""
    config: Any = model.config.text_config
    width = config.hidden_size
    return nn.ModuleDict(
        {
            "presence": nn.Linear(width, 1),
            "color": nn.Linear(width, len(COLORS)),
            "shape": nn.Linear(width, len(SHAPES)),
            # One query per coordinate, compared with the embeddings of the number tokens: the
            # tower learns to say places in the language model's own words.
            "box": nn.Linear(width, 4 * width),
            # The same box seen from the token itself: far easier to learn, and what the absolute
            # one is then made from.
            "reach": nn.Linear(width, 4),
        }
    )


class Losses:
    """All losses of a batch.

    Args:
        tokenizer: the model's
        model: the model
        heads: those of :func:`dense_heads`
        compiled (False): whether steps on words alone run compiled: more than twice as fast on a
            CPU, after a minute or two; it takes a C++ compiler
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, model: Any, heads: Any, compiled: bool = False
    ):
        self.model, self.heads = model, heads
        language = model.model.language_model
        self.language = torch.compile(language, dynamic=True) if compiled else language
        device = next(model.parameters()).device
        ids = nano_vlm.number_token_ids(tokenizer)
        self.bin_ids = torch.tensor(ids[::GRID], device=device)
        self.bin_of = torch.full((model.config.text_config.vocab_size,), -1, device=device)
        self.bin_of[self.bin_ids] = torch.arange(len(self.bin_ids), device=device)
        # A coordinate follows an opening bracket or a comma; a frame index never does.
        before = [tokenizer.convert_tokens_to_ids(t) for t in ('":Ġ[', ",Ġ")]
        if tokenizer.unk_token_id in before or None in before:
            raise RuntimeError("the tokenizer has no token for what stands before a coordinate")
        self.before = torch.tensor(before, device=device)
        bins = torch.arange(len(self.bin_ids), device=device)
        near = torch.exp(-0.5 * ((bins[:, None] - bins[None]) / 0.8) ** 2)
        self.near = near / near.sum(1, keepdim=True)  # neighbouring coordinates are nearly right
        self.visual: Any = None
        model.model.visual.merger.register_forward_hook(self._keep)

    def _keep(self, module: Any, inputs: Any, output: torch.Tensor) -> None:
        self.visual = output

    def __call__(
        self, batch: dict[str, torch.Tensor], boxes: bool = True
    ) -> dict[str, torch.Tensor]:
        """The losses by name, of which "words" and "dense" are to be minimized.

        Args:
            batch: what :func:`~fiftyone_revseg.nano.batches.collate` made
            boxes (True): whether there are boxes in the replies; other lists have numbers, too
        """
        tokens, labels, branch = batch["tokens"], batch["labels"], batch["branch"]
        if len(batch["grids"]):
            hidden = self.model.model(
                input_ids=tokens,
                pixel_values=batch["patches"],
                image_grid_thw=batch["grids"],
                position_ids=batch["positions"],
                attention_mask=tree_mask(branch),
                use_cache=False,
            ).last_hidden_state
        else:  # a dialogue in each row: what pads it comes after it, and is seen by nobody
            hidden = self.language(
                inputs_embeds=self.model.get_input_embeddings()(tokens),
                position_ids=batch["positions"],
                use_cache=False,
            ).last_hidden_state
        # The prediction of a branch's first token would come from the prefix's last one; replies
        # never start there, so shifting by one is right.
        at = labels[:, 1:] != IGNORED
        logits = self.model.lm_head(hidden[:, :-1][at]).float()
        wanted, previous = labels[:, 1:][at], tokens[:, :-1][at]
        coordinate = torch.isin(previous, self.before) & (self.bin_of[wanted] >= 0) & boxes
        log = logits.log_softmax(-1)
        token_loss = -log.gather(1, wanted[:, None])[:, 0]
        bins = self.bin_of[wanted[coordinate]]
        soft = -(self.near[bins] * log[coordinate][:, self.bin_ids]).sum(-1)
        hard_sum = token_loss[~coordinate].sum()
        words = (hard_sum + 2.0 * soft.sum()) / max(len(wanted), 1)
        if not len(batch["grids"]):
            return {"words": words, "logic": token_loss.mean().detach()}
        guess = log[coordinate][:, self.bin_ids].argmax(-1)
        error = {"box_error": (guess - bins).abs().float().mean() * GRID / 10}  # percent of a side
        dense = self._dense(batch)
        return {
            "words": words,
            "dense": sum(dense.values()),
            "text": token_loss[~coordinate].mean().detach(),
            "token_accuracy": (logits.argmax(-1) == wanted)[~coordinate].float().mean().detach(),
            **(error if boxes else {}),
            **{name: value.detach() for name, value in dense.items()},
        }

    def _dense(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        visual = self.visual
        presence, body = batch["presence"], batch["color"] != IGNORED
        sure = presence != IGNORED
        embedding = self.model.get_input_embeddings().weight[self.bin_ids]
        ask = self.heads["box"](visual[body]).unflatten(-1, (4, -1))
        box = (ask @ embedding.T).float().log_softmax(-1)
        return {
            "presence": functional.binary_cross_entropy_with_logits(
                self.heads["presence"](visual)[sure, 0].float(), presence[sure].float()
            ),
            "color": functional.cross_entropy(
                self.heads["color"](visual[body]).float(), batch["color"][body]
            ),
            "shape": functional.cross_entropy(
                self.heads["shape"](visual[body]).float(), batch["shape"][body]
            ),
            "box": -0.5 * (self.near[batch["box"][body]] * box).sum(-1).mean(),
            "reach": functional.smooth_l1_loss(
                self.heads["reach"](visual[body]).float(), batch["reach"][body], beta=0.3
            ),
        }
