"""How much memory of a GPU reinforcement learning takes, by formula and before any is taken.

With ``P`` parameters, ``P_t`` of them trained, ``N`` GPUs, ``b`` bytes a number (2 in bfloat16):

* **States** (Rajbhandari et al., "ZeRO", arXiv 1910.02054, section 3.1). DeepSpeed in bfloat16
  holds ``2 P`` of weights, ``2 P_t`` of gradients and ``12 P_t`` for Adam: the weights in float32
  and two moments. Without DeepSpeed, weights, gradients and moments are in float32 (``4 P``,
  ``4 P_t``, ``8 P_t``), and autocast keeps a bfloat16 copy (``2 P``); weights that adapters leave
  alone are in bfloat16 only. ZeRO stage 1 shares Adam's part among the N GPUs, stage 2 also the
  gradients, stage 3 also the weights.
* **Reference model**: weights alone, shared in stage 3. Adapters need none: they are switched off.
* **Activations** of a transformer layer, for each token (counted as in Korthikanti et al., arXiv
  2205.05198, section 4, but for a gated MLP, grouped queries, and attention that never holds the
  matrix of scores): ``b (4 h + 3 q + 3 k + 4 i) + 8 h``, where ``h`` is the hidden size, ``q`` and
  ``k`` the widths of queries and of keys, and ``i`` that of the MLP; ``8 h`` are the two norms in
  float32. With gradient checkpointing (their section 5) a layer keeps ``b h``, and one layer at a
  time all of it. The vision tower counts patches instead of tokens, and nothing if it is frozen.
* **Logits**: of the completion only, ``(2 b + 4) V`` for each token of a vocabulary of ``V``: they,
  their gradient, and the log-probabilities in float32.
* **Keys and values** of rollouts: ``2 b k`` for each token and layer.
* **Reading prompts** without gradients: of one layer at a time, ``b (2 h + 3 i)`` for each token of
  all prompts that are read together.
* **Gathered weights**: stage 3 gathers up to 1e9 parameters at a time, and for generation with
  transformers all of them.
* **vLLM** in the same process reserves its share of the GPU for weights and cache of its own.

What CUDA and allocators keep for themselves is counted as 2 GB. Lengths are the largest possible,
so that a run needs less most of the time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

#: TRL's default share of the GPU for vLLM in the same process
VLLM_SHARE = 0.3

_CUDA = 2 * 10**9
_LIVE_PARAMETERS = 10**9  # DeepSpeed's stage3_max_live_parameters

#: The language model's matrices, which adapters are put beside; vision tower and merger stay as
#: they are
ADAPTED = r".*language_model.*\.((q|k|v|o|gate|up|down|out)_proj|in_proj_(qkv|z))"


@dataclass(frozen=True)
class LayerShape:
    """The layers of a tower.

    Attributes:
        layers: how many
        hidden: the hidden size
        queries: the width of all queries together
        keys: the width of all keys together
        mlp: the width of the MLP
    """

    layers: int
    hidden: int
    queries: int
    keys: int
    mlp: int

    def kept(self, number_bytes: int) -> int:
        """The bytes that all layers keep of a token for the backward pass."""
        return self.layers * self._whole(number_bytes)

    def kept_checkpointed(self, number_bytes: int) -> int:
        """The same with gradient checkpointing, and with one layer computed again."""
        return self.layers * number_bytes * self.hidden + self._whole(number_bytes)

    def passing(self, number_bytes: int) -> int:
        """The bytes that a token takes when it passes through one layer, without gradients."""
        return number_bytes * (2 * self.hidden + 3 * self.mlp)

    def _whole(self, number_bytes: int) -> int:
        wide = 4 * self.hidden + 3 * self.queries + 3 * self.keys + 4 * self.mlp
        return number_bytes * wide + 8 * self.hidden


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a vision-language model of the Qwen-VL kind.

    Attributes:
        parameters: of the whole model
        text: the language model's layers
        vision: the vision tower's layers
        vocabulary: how many tokens there are
        merge: patches that become one token
        adapters: parameters that adapters of rank 1 would have
    """

    parameters: int
    text: LayerShape
    vision: LayerShape
    vocabulary: int
    merge: int
    adapters: int


@dataclass(frozen=True)
class Workload:
    """What passes through one GPU.

    Attributes:
        batch: rollouts in one forward and backward pass
        generated: rollouts that are generated together
        prompts_read: prompts that are read together before that
        prompt_tokens: of turn 1, with its frames
        completion_tokens: of both replies, the key frame and what is asked about it
        image_tokens: how many of all these are pictures
    """

    batch: int
    generated: int
    prompts_read: int
    prompt_tokens: int
    completion_tokens: int
    image_tokens: int

    @property
    def tokens(self) -> int:
        """The tokens of a whole rollout."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class MemoryEstimate:
    """The memory of one GPU in bytes, by what takes it.

    Attributes:
        states: what is there all the time
        update: what comes on top while weights are updated
        generation: what comes on top while rollouts are generated
    """

    states: dict[str, int]
    update: dict[str, int]
    generation: dict[str, int]

    @property
    def peak(self) -> int:
        """The most that is taken at a time."""
        phases = (self.update, self.generation)
        return sum(self.states.values()) + max(sum(phase.values()) for phase in phases)

    def __str__(self) -> str:
        lines = []
        for title, parts in (
            ("all the time", self.states),
            ("and while weights are updated", self.update),
            ("or while rollouts are generated", self.generation),
        ):
            lines.append(f"{title}: {_size(sum(parts.values()))}")
            lines += [f"  {name}: {_size(size)}" for name, size in parts.items() if size]
        return "\n".join([*lines, f"at most: {_size(self.peak)}"])


def shape_of(config: Any) -> ModelShape:
    """Finds out the sizes of a model, whose weights are neither needed nor made.

    Args:
        config: its configuration in transformers

    Raises:
        ValueError: if it is not of the Qwen-VL kind
    """
    import torch
    from transformers import AutoModelForImageTextToText

    text: Any = config.get_text_config()
    vision: Any = getattr(config, "vision_config", None)
    merge = getattr(vision, "spatial_merge_size", None)
    if merge is None:
        raise ValueError(
            f"The memory of a '{config.model_type}' model cannot be estimated: the trainer "
            "supports models of the Qwen-VL kind"
        )
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    adapted = (m for name, m in model.named_modules() if re.fullmatch(ADAPTED, name))
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    hidden = vision.hidden_size
    return ModelShape(
        parameters=sum(p.numel() for p in model.parameters()),
        text=LayerShape(
            text.num_hidden_layers,
            text.hidden_size,
            head * text.num_attention_heads,
            head * text.num_key_value_heads,
            _mlp_width(text),
        ),
        vision=LayerShape(vision.depth, hidden, hidden, hidden, vision.intermediate_size),
        vocabulary=text.vocab_size,
        merge=merge**2,
        adapters=sum(m.in_features + m.out_features for m in adapted),
    )


def _mlp_width(text: Any) -> int:
    """Of all that a token passes through: of experts, the chosen ones and the shared one."""
    if not getattr(text, "moe_intermediate_size", None):
        return text.intermediate_size
    shared = getattr(text, "shared_expert_intermediate_size", 0)
    return text.num_experts_per_tok * text.moe_intermediate_size + shared


def estimate_memory(
    shape: ModelShape,
    work: Workload,
    gpus: int = 1,
    zero_stage: int = 0,
    bf16: bool = True,
    lora_rank: int = 0,
    reference: bool = True,
    gradient_checkpointing: bool = False,
    vllm: str | None = None,
    gpu_memory: int = 80 * 10**9,
) -> MemoryEstimate:
    """Estimates the memory that each GPU needs; the formulas are at the top of this module.

    Args:
        shape: the model's sizes
        work: what passes through one GPU
        gpus (1): over how many states are shared
        zero_stage (0): DeepSpeed's ZeRO stage; 0 for training without DeepSpeed
        bf16 (True): whether to compute in bfloat16, else in float32
        lora_rank (0): of adapters; 0 if all weights are trained
        reference (True): whether there is a KL term
        gradient_checkpointing (False): whether activations are computed again
        vllm (None): "colocate" if vLLM generates in the same process, "server" if elsewhere
        gpu_memory (80e9): of one GPU, in bytes, of which vLLM takes its share

    Returns:
        a :class:`MemoryEstimate`
    """
    b = 2 if bf16 else 4
    trained = lora_rank * shape.adapters or shape.parameters
    frozen = shape.parameters if lora_rank else 0
    deepspeed = zero_stage > 0 and bf16
    weight, gradient, adam = (2, 2, 12) if deepspeed else (4, 4, 8)
    share = [gpus if zero_stage >= stage else 1 for stage in (3, 2, 1)]
    states = {
        "weights": (weight * trained + b * frozen) // share[0],
        "gradients": gradient * trained // share[1],
        "Adam": adam * trained // share[2],
        "reference model": 0,
        "CUDA": _CUDA,
    }
    if bf16 and not deepspeed:
        states["weights in bfloat16"] = 2 * trained
    if reference and not lora_rank:
        states["reference model"] = weight * shape.parameters // share[0]
    if vllm == "colocate":
        states["vLLM"] = round(VLLM_SHARE * gpu_memory)

    rows = work.batch * work.tokens
    patches = work.batch * work.image_tokens * shape.merge
    layers = (shape.text, rows), (shape.vision, 0 if lora_rank else patches)
    kept = (
        (tower.kept_checkpointed(b) if gradient_checkpointing else tower.kept(b)) * count
        for tower, count in layers
    )
    gathered = b * min(_LIVE_PARAMETERS, shape.parameters) if share[0] > 1 else 0
    update = {
        "activations": sum(kept),
        "logits": (2 * b + 4) * shape.vocabulary * work.batch * work.completion_tokens,
        "gathered weights": gathered,
    }
    generation = {}
    if vllm is None:
        cached = 2 * b * shape.text.keys * shape.text.layers * work.tokens
        pictures = shape.merge * min(work.image_tokens, work.prompt_tokens)
        read = max(shape.text.passing(b) * work.prompt_tokens, shape.vision.passing(b) * pictures)
        generation = {
            "keys and values": work.generated * cached,
            "reading prompts": work.prompts_read * read,
            "gathered weights": b * shape.parameters if share[0] > 1 else 0,
        }
    return MemoryEstimate(states, update, generation)


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
