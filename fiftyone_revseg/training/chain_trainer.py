"""TRL's GRPO trainer, taught the few things about the chain that its environments cannot say.

The only module that leans on TRL's inside, which is marked experimental: so TRL is pinned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trl import GRPOTrainer

from fiftyone_revseg.training.chat_template import keep_sizes
from fiftyone_revseg.training.environment import (
    ChainEnvironment,
    Rewards,
    Task,
    hear_turn1,
    hear_turn2,
    score,
)
from fiftyone_revseg.training.rollout_log import RolloutLog


class ChainTrainer(GRPOTrainer):
    """Trains a model on the two-turn chain.

    Args:
        task: the rows and how they are asked
        log: where rollouts are counted and written
        arguments: those of :class:`trl.GRPOTrainer`, but for the environments and rewards
    """

    _name = "ReVSeg GRPO"

    def __init__(self, task: Task, log: RolloutLog, **arguments: Any) -> None:
        super().__init__(
            reward_funcs=[format_curve, temporal_curve, spatial_curve],
            environment_factory=lambda: ChainEnvironment(task),
            **arguments,
        )
        keep_sizes(self.processing_class)
        self.task = task
        self.rollout_log = log

    def _tokenize_prompts(self, prompts: list) -> Any:
        # The rollouts of a group start alike: tokens and patches are made once for each group
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
        return (
            [x for x in ids for _ in range(count)],
            [x for x in images for _ in range(count)],
            _repeated(fields, [len(x or ()) for x in images], count),
        )

    def _tool_call_loop(
        self, prompts: list, prompt_ids: list, completion_ids: list, completions: list, *rest: Any
    ) -> Any:
        # Every reply reads as a call; which one really leads to turn 2 is for the chain to say
        for environment, ids, messages in zip(
            self.environments, completion_ids, completions, strict=True
        ):
            reply = self._text(ids)
            messages[0] = {"role": "assistant", "content": reply}
            if hear_turn1(environment.rollout, reply, self._ended(ids)):
                call = {"name": "keyframe", "arguments": {"reply": reply}}
                messages[0]["tool_calls"] = [{"type": "function", "function": call}]
        turn1 = [len(ids) for ids in completion_ids]
        result = super()._tool_call_loop(prompts, prompt_ids, completion_ids, completions, *rest)
        tool_mask, _, completion_ids = result[:3]
        for environment, ids, mask, first in zip(
            self.environments, completion_ids, tool_mask, turn1, strict=True
        ):
            environment.rollout.tokens = sum(mask)
            if len(mask) > first:
                written = ids[len(mask) - mask[::-1].index(0) :] if mask[-1] else []
                hear_turn2(
                    environment.rollout, self._text(written), self._ended(written), self.task.spec
                )
        return result

    def _calculate_rewards(self, inputs: list, *rest: Any) -> Any:
        rollouts = [environment.rollout for environment in self.environments]
        for environment in self.environments:
            environment.rewards = score(environment.rollout, self.task.spec, self.task.variant)
        rewards = [environment.rewards for environment in self.environments]
        step = self.state.global_step + 1
        group = self.num_generations if self.model.training else self.num_generations_eval
        for name, value in self.rollout_log.add(step, rollouts, rewards, group).items():
            self._log_metric(f"chain/{name}", value)
        return super()._calculate_rewards(inputs, *rest)

    def _text(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def _ended(self, ids: Sequence[int]) -> bool:
        return bool(ids) and ids[-1] in self.eos_token_ids


def format_curve(environments: Sequence[Any], **_: Any) -> list[float | None]:
    """The format reward of each rollout."""
    return [_part(environment.rewards, "format") for environment in environments]


def temporal_curve(environments: Sequence[Any], **_: Any) -> list[float | None]:
    """The temporal reward of each rollout."""
    return [_part(environment.rewards, "temporal") for environment in environments]


def spatial_curve(environments: Sequence[Any], **_: Any) -> list[float | None]:
    """The spatial reward of each rollout."""
    return [_part(environment.rewards, "spatial") for environment in environments]


def _part(rewards: Rewards | None, name: str) -> float | None:
    return None if rewards is None else getattr(rewards, name)


def _repeated(fields: dict[str, Any], images: list[int], count: int) -> dict[str, Any]:
    """The processor's outputs for prompts, as if each prompt had been there ``count`` times."""
    import torch

    grids = fields["image_grid_thw"].split(images)
    patches = fields["pixel_values"].split([int(g.prod(dim=1).sum()) for g in grids])
    repeated = {
        "image_grid_thw": torch.cat([g for g in grids for _ in range(count)]),
        "pixel_values": torch.cat([p for p in patches for _ in range(count)]),
    }
    if "mm_token_type_ids" in fields:
        repeated["mm_token_type_ids"] = [
            ids for ids in fields["mm_token_type_ids"] for _ in range(count)
        ]
    return repeated
