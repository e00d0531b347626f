"""TRL's GRPO trainer, taught the few things about the chain that its environments cannot say.

The only module that leans on TRL's inside, which is marked experimental: so TRL is pinned.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from trl import GRPOTrainer
from trl.trainer.utils import (
    split_pixel_values_by_grid,
    split_tensor_dict,
    unsplit_pixel_values_by_grid,
)

from fiftyone_revseg.reasoning.decoding import Decoder, Decoding, Prompt
from fiftyone_revseg.reasoning.regions import LAST_TOKENS, OPENED_THOUGHT, thought_is_open
from fiftyone_revseg.training.callbacks import KeepSpec
from fiftyone_revseg.training.chat_template import keep_sizes
from fiftyone_revseg.training.distinct_images import name_of, see_once
from fiftyone_revseg.training.environment import (
    ChainEnvironment,
    Task,
    hear_turn2,
)
from fiftyone_revseg.training.rollout_log import RolloutLog
from fiftyone_revseg.training.shared_prefix import group_log_probabilities

logger = logging.getLogger(__name__)
_SHARING = ("qwen2_5_vl", "qwen3_vl", "qwen3_5", "qwen3_5_moe")  # families it is tested with


class ChainTrainer(GRPOTrainer):
    """Trains a model on the two-turn chain.

    Args:
        task: the rows and how they are asked
        log: where rollouts are counted and written
        arguments: those of :class:`trl.GRPOTrainer`, but for the environments and rewards

    Attributes:
        keep_spec: what completes its checkpoints
    """

    _name = "ReVSeg GRPO"
    keep_spec: KeepSpec

    # What TRL sets, and declares as more than it is here
    args: Any
    model: Any
    ref_model: Any
    processing_class: Any
    environments: Any
    num_generations: Any
    num_generations_eval: Any
    _buffered_inputs: Any
    _image_pad_token_id: Any

    def __init__(self, task: Task, log: RolloutLog, **arguments: Any) -> None:
        super().__init__(
            reward_funcs=[_curve(name) for name in task.parts],
            environment_factory=partial(ChainEnvironment, task),  # type: ignore[arg-type]
            **arguments,
        )
        keep_sizes(self.processing_class)
        self.task = task
        self.rollout_log = log
        if not self.accelerator.is_main_process:
            log.every = 0  # one process writes
        why = self._why_whole()
        if why:
            logger.warning("Each rollout is read from its beginning, which is slower: %s", why)
        elif self.aux_loss_enabled:
            logger.warning("The balance of experts is learned in whole passes, which is slower")
        self._shares_prefix = not why
        if self._shares_prefix:
            for model in filter(None, (self.model, self.ref_model)):
                see_once(_inner(model))
                if self.args.bf16 and self.accelerator.device.type == "cpu":
                    # For short sequences on a CPU in bf16 the plain kernel beats the fused one
                    _inner(model).set_attn_implementation({"vision_config": "eager"})
        self._alike = False  # whether rollouts come in whole groups that begin alike
        self._decoder: Decoder | None = None

    def _why_whole(self) -> str:
        """Why one pass over a group's shared beginning is not enough, in words; empty if it is.

        It calls the model twice in one pass, which wrappers for many devices do not expect, and
        keeps keys and values, which gradient checkpointing cannot.
        """
        kind = self.model.config.model_type
        if self.accelerator.num_processes > 1 or self.is_deepspeed_enabled:
            return "the model is spread over processes"
        if kind not in _SHARING:
            return f"a '{kind}' model was not tested otherwise"
        if self.args.per_device_train_batch_size % self.num_generations:
            return "a batch is not a number of whole groups"
        return "of gradient checkpointing" if self.args.gradient_checkpointing else ""

    def _tokenize_prompts(self, prompts: list) -> Any:
        # The rollouts of a group start alike: tokens and patches are made once for each group
        self._alike = False
        count = self.num_generations if self.model.training else self.num_generations_eval
        rows = [e.rollout.row for e in self.environments]
        firsts = list(range(0, len(prompts), count))
        alike = all(row is rows[i - i % count] for i, row in enumerate(rows))
        if len(prompts) % count or not alike:
            return super()._tokenize_prompts(prompts)
        names = self._batch_environments
        self._batch_environments = [names[i] for i in firsts]
        try:
            ids, images, fields = super()._tokenize_prompts([prompts[i] for i in firsts])
        finally:
            self._batch_environments = names
        if images is None or not set(fields) <= {
            "pixel_values",
            "image_grid_thw",
            "mm_token_type_ids",
        }:
            return super()._tokenize_prompts(prompts)
        self._alike = True
        return (
            [x for x in ids for _ in range(count)],
            [x for x in images for _ in range(count)],
            _repeated(fields, [len(x or ()) for x in images], count),
        )

    def _generate_single_turn(
        self,
        prompt_ids: list,
        images: Any,
        multimodal_fields: dict,
        num_generations: int,
        has_tool_images: bool = False,
    ) -> Any:
        if not self._shares_prefix or self.use_vllm or not self._alike:
            return super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), self.accelerator.autocast():
                if not has_tool_images or self._decoder is None:
                    self._decoder = Decoder(_inner(self.model), held_bytes=math.inf)
                prompts = self._as_prompts(prompt_ids, multimodal_fields)
                drawn = self._decoder.reply(prompts, self._decoding())
        finally:
            self.model.train(training)
        return [reply.tokens for reply in drawn], None

    def _as_prompts(self, prompt_ids: list, fields: dict[str, Any]) -> list[Prompt]:
        grids = fields["image_grid_thw"]
        sizes = grids.prod(dim=1).tolist()
        patches = fields["pixel_values"].split(sizes)
        names = [name_of(piece) for piece in patches]
        merged = self.processing_class.image_processor.merge_size**2
        prompts, start = [], 0
        for ids in prompt_ids:
            end, left = start, ids.count(self._image_pad_token_id)
            while left > 0:
                left -= sizes[end] // merged
                end += 1
            part = slice(start, end)
            prompts.append(Prompt(list(ids), names[part], patches[part], grids[part]))
            start = end
        return prompts

    def _decoding(self) -> Decoding:
        return Decoding(
            limit=self.generation_kwargs["max_new_tokens"],
            stop=tuple(self.eos_token_ids),
            pad=self._tokenizer.pad_token_id,
            temperature=self.temperature,
            suppressed=tuple(self.generation_kwargs["suppress_tokens"]),
        )

    def _tool_call_loop(
        self, prompts: list, prompt_ids: list, completion_ids: list, completions: list, *rest: Any
    ) -> Any:
        # Every reply reads as a call; which one really leads to turn 2 is for the chain to say
        for environment, before, ids, messages in zip(
            self.environments, prompt_ids, completion_ids, completions, strict=True
        ):
            reply = self._text(ids, before)
            messages[0] = {"role": "assistant", "content": reply}
            if self.task.hear(environment.rollout, reply, self._ended(ids)):
                call = {"name": "keyframe", "arguments": {"reply": reply}}
                messages[0]["tool_calls"] = [{"type": "function", "function": call}]
        turn1 = [len(ids) for ids in completion_ids]
        result = super()._tool_call_loop(prompts, prompt_ids, completion_ids, completions, *rest)
        self._decoder = None  # and the keys and values that it holds
        tool_mask, _, completion_ids = result[:3]
        for environment, ids, mask, first in zip(
            self.environments, completion_ids, tool_mask, turn1, strict=True
        ):
            rollout = environment.rollout
            rollout.tokens = sum(mask)
            if len(mask) > first:
                start = len(mask) - mask[::-1].index(0) if mask[-1] else len(ids)
                written = ids[start:]
                reply = self._text(written, ids[:start])
                hear_turn2(rollout, reply, self._ended(written), self.task.spec)
            elif rollout.shown is not None:
                rollout.ending = "overlong"
                rollout.error = "turn 2 did not fit into max_completion_length"
        return result

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        # As TRL does it, but without shuffling rollouts, so that a batch consists of whole groups.
        # The update of a step is the same: all of its batches are added up
        if not self.model.training or not self._shares_prefix:
            return super()._prepare_inputs(generation_batch)
        parts = self.args.steps_per_generation
        if self._step % parts == 0 or self._buffered_inputs is None:
            made: Any = split_pixel_values_by_grid(
                self._generate_and_score_completions(generation_batch)
            )
            batches: Any = split_tensor_dict(made, parts)
            self._buffered_inputs = [unsplit_pixel_values_by_grid(batch) for batch in batches]
        return self._buffered_inputs[self._step % parts]

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **images: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        group = self.num_generations
        whole = compute_aux_loss or images.get("pixel_values") is None or len(input_ids) % group
        if not self._shares_prefix or whole:  # the balance of experts is that of whole passes
            return super()._get_per_token_logps_and_entropies(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size,
                compute_entropy,
                compute_aux_loss,
                **images,
            )
        grids, counts = images["image_grid_thw"], images["num_images"]
        grids_of = grids.split(counts)
        patches_of = images["pixel_values"].split([int(g.prod(dim=1).sum()) for g in grids_of])
        found = []
        for start in range(0, len(input_ids), group):
            rows = slice(start, start + group)
            prompt = input_ids[start, :-logits_to_keep]
            with self.accelerator.autocast():
                found.append(
                    group_log_probabilities(
                        _inner(model),
                        prompt[attention_mask[start, :-logits_to_keep].bool()],
                        input_ids[rows, -logits_to_keep:],
                        attention_mask[rows, -logits_to_keep:],
                        torch.cat(patches_of[rows]),
                        torch.cat(grids_of[rows]),
                        counts[rows],
                        self._image_pad_token_id,
                        self.processing_class.image_processor.merge_size,
                        self.temperature,
                    )
                )
        log_probabilities = torch.cat([log for log, _ in found])
        entropies = torch.cat([entropy for _, entropy in found]) if compute_entropy else None
        return log_probabilities, entropies, None

    def _calculate_rewards(self, inputs: list, *rest: Any) -> Any:
        rollouts = [environment.rollout for environment in self.environments]
        for environment in self.environments:
            environment.rewards = self.task.score(environment.rollout)
        rewards = [environment.rewards for environment in self.environments]
        step = self.state.global_step + 1
        group = self.num_generations if self.model.training else self.num_generations_eval
        for name, value in self.rollout_log.add(step, rollouts, rewards, group).items():
            self._log_metric(f"chain/{name}", value)
        return super()._calculate_rewards(inputs, *rest)

    def _text(self, ids: Sequence[int], before: Sequence[int]) -> str:
        """A reply, with the thought that its template opened at the end of what is before it."""
        opened = thought_is_open(self._tokenizer.decode(before[-LAST_TOKENS:]))
        text = self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return OPENED_THOUGHT + text if opened else text

    def _ended(self, ids: Sequence[int]) -> bool:
        return bool(ids) and ids[-1] in self.eos_token_ids


def _curve(name: str) -> Any:
    """What TRL takes for a reward, and shows as a curve: one part of what each rollout earned."""

    def curve(environments: Sequence[Any], **_: Any) -> list[float | None]:
        return [e.rewards and getattr(e.rewards, name) for e in environments]

    curve.__name__ = f"{name}_curve"
    return curve


def _inner(model: Any) -> Any:
    """The model itself, with the adapters in it but without their wrapper."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _repeated(fields: dict[str, Any], images: list[int], count: int) -> dict[str, Any]:
    """The processor's outputs for prompts, as if each prompt had been there ``count`` times."""
    grids = fields["image_grid_thw"].split(images)
    patches = fields["pixel_values"].split([int(g.prod(dim=1).sum()) for g in grids])
    repeated: dict[str, Any] = {
        "image_grid_thw": torch.cat([g for g in grids for _ in range(count)]),
        "pixel_values": torch.cat([p for p in patches for _ in range(count)]),
    }
    if "mm_token_type_ids" in fields:
        repeated["mm_token_type_ids"] = [
            ids for ids in fields["mm_token_type_ids"] for _ in range(count)
        ]
    return repeated
