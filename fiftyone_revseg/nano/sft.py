"""Supervised fine-tuning of the embedded VLM on the synthetic world.

Three stages. The first shows single frames: where each body is, in words. The second shows whole
two-turn dialogues over videos. In the third the vision tower rests, and most steps are text alone:
which object fits a question follows from what was seen, without a picture.

Beside the words, small heads that are thrown away afterwards ask every visual token what it sees
(a body or not, its color, shape and box): that gives the vision tower something to learn from at
every pixel, long before the words carry any signal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, Qwen3VLForConditionalGeneration

from fiftyone_revseg.nano import vlm as nano_vlm
from fiftyone_revseg.nano.batches import collate
from fiftyone_revseg.nano.dialogues import DialogueMaker, Example
from fiftyone_revseg.nano.losses import Losses, dense_heads
from fiftyone_revseg.nano.training_loop import TrainingLoop
from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.synthetic.queries import pick_queries
from fiftyone_revseg.synthetic.shapes import COLORS, SHAPES
from fiftyone_revseg.synthetic.world import make_world
from fiftyone_revseg.training.saved_states import replacing_checkpoint

NANO_SPEC = ChainSpec(
    frames=nano_vlm.FRAMES,
    frame_size=nano_vlm.FRAME_SIZE,
    key_frame_size=nano_vlm.KEY_FRAME_SIZE,
    box_convention="relative-1000",
    prompts=nano_vlm.PROMPTS,
    max_new_tokens=256,
)


@dataclass(frozen=True)
class SftConfig:
    """Settings of a run.

    Attributes:
        seed: fixes the weights' start and the order of the worlds
        image_steps: steps on single frames
        chain_steps: steps on whole dialogues
        word_steps: steps with the vision tower at rest, four of five on text alone
        image_batch: frames a step in the first stage
        chain_batch: videos a step in the second stage
        questions: questions a video
        learning_rate: at its height
        dense_weight: weight of the heads' losses
        threads: of the CPU
        workers: processes that make the worlds; one keeps up with a CPU, a GPU takes more
    """

    seed: int = 0
    image_steps: int = 450
    chain_steps: int = 1050
    word_steps: int = 360
    image_batch: int = 14
    chain_batch: int = 10
    questions: int = 6
    learning_rate: float = 2e-3
    dense_weight: float = 1.0
    threads: int = 1
    workers: int = 1

    @property
    def steps(self) -> int:
        """All steps of the run."""
        return self.seeing_steps + self.word_steps

    @property
    def seeing_steps(self) -> int:
        """The steps in which the vision tower learns."""
        return self.image_steps + self.chain_steps

    @property
    def worlds_a_step(self) -> int:
        """How many seeds of worlds a step has for itself: at least as many as it takes."""
        most = max(int(2.5 * self.image_batch), 4 * self.chain_batch)
        return max(64, 1 << (most - 1).bit_length())


def train_sft(out: str | Path, config: SftConfig | None = None, resume: bool = True) -> Path:
    """Trains the embedded VLM from random weights.

    Args:
        out: the run's folder: ``state.pt`` to resume from, ``curves.csv`` and ``curves.png``, and
            ``checkpoint/``, the model in the ordinary format
        config: the settings
        resume: whether to go on from a saved state

    Returns:
        the path of the checkpoint
    """
    config = config or SftConfig()
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    checkpoint = Path(out) / "checkpoint"
    tokenizer = (_tokenizer(checkpoint) if resume else None) or nano_vlm.build_tokenizer(corpus())
    processor = nano_vlm.build_processor(tokenizer)
    model: Any = nano_vlm.build_model(tokenizer, config.seed)
    model = model.to(device)
    heads = dense_heads(model).to(device)
    # For short sequences on a CPU in bf16 the plain kernel beats the fused one.
    model.set_attn_implementation({"vision_config": "eager", "text_config": "sdpa"})
    optimizers = optimizers_of(model, heads, config.learning_rate)
    loop = TrainingLoop(
        out, config, model, heads, optimizers, lambda: save_checkpoint(checkpoint, model, processor)
    )
    if resume:  # only the length of a run may change, and how many compute
        loop.resume(("word_steps", "threads", "workers"))
    losses = Losses(tokenizer, model, heads)

    def losses_of(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, Any]]:
        seeing = loop.step < config.seeing_steps
        model.model.visual.requires_grad_(seeing)
        with torch.autocast(device, dtype=torch.bfloat16):
            parts = losses(batch)
        return parts["words"] + (config.dense_weight * parts["dense"] if seeing else 0), parts

    batches = _batches(config, tokenizer, loop.step)
    loop.train(batches, lambda step: learning_rate(config, step), losses_of)
    return checkpoint


def _tokenizer(checkpoint: Path) -> PreTrainedTokenizerFast | None:
    """That of an earlier run; None where there is none, or it is damaged. A new one is the same."""
    try:
        return PreTrainedTokenizerFast.from_pretrained(checkpoint) if checkpoint.is_dir() else None
    except Exception:  # each file of it has errors of its own
        return None


def save_checkpoint(
    directory: Path,
    model: Qwen3VLForConditionalGeneration,
    processor: Any,
    spec: ChainSpec = NANO_SPEC,
) -> None:
    """Writes model, tokenizer, processor and ``revseg.json`` in the ordinary formats, in bf16."""
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    with replacing_checkpoint(directory) as partial:
        model.save_pretrained(partial, state_dict=weights)
        processor.save_pretrained(partial)
        spec.save(partial)


def corpus() -> Iterator[str]:
    """Texts from which the tokenizer learns its word pieces; the same ones every time."""
    boxes = (
        '[{"bbox_2d": [1, 2, 3, 4], "label": "red circle"}, {"bbox_2d": [1, 2, 3, 4], "label": "'
    )
    answer = json.dumps([{"frame_idx": 1, "object description": "blue star"}] * 2)
    for seed in range(300):
        for query in pick_queries(make_world(seed), 6):
            for opening in ("Find ", "Detect ", "show me ", "where is ", "segment ", "track "):
                yield opening + query.text
            yield query.text
            yield f"<think>{query.thought}</think> <answer>{answer}</answer>"
            yield boxes
    for color in COLORS:
        for shape in SHAPES:
            yield f'"label": "{color} {shape}"'
            yield f"Detect {color} {shape}"
            yield f"The {color} {shape} is there. So the {color} {shape} fits."
    yield "Detect all objects"


def learning_rate(config: SftConfig, step: int) -> float:
    """Warm-up, constant, and over the last 60 % linearly down; for the words once more, lower."""
    words = step >= config.seeing_steps
    steps = config.word_steps if words else config.seeing_steps
    step -= config.seeing_steps if words else 0
    warm = (step + 1) / (20 if words else 100)
    left = (steps - step) / ((0.9 if words else 0.6) * steps)
    height = config.learning_rate * (0.5 if words else 1.0)
    return height * min(warm, 1.0, 0.02 + 0.98 * left)


def optimizers_of(model: Any, heads: Any, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for all else."""
    named = [*model.named_parameters(), *heads.named_parameters()]
    blocks = [
        p
        for name, p in named
        if p.ndim == 2 and "embed" not in name and not name.startswith(tuple(heads))
    ]
    inside = {id(p) for p in blocks}
    matrices = [p for _, p in named if p.ndim >= 2 and id(p) not in inside]
    vectors = [p for _, p in named if p.ndim < 2]
    adamw = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": 0.05, "gain": 1.0},
            {"params": vectors, "weight_decay": 0.0, "gain": 1.0},
        ],
        lr=learning_rate,
        betas=(0.9, 0.98),
    )
    muon = torch.optim.Muon(
        [{"params": blocks, "gain": 3.0}], weight_decay=0.02, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, adamw]


def _batches(
    config: SftConfig, tokenizer: PreTrainedTokenizerFast, start: int
) -> Iterator[dict[str, torch.Tensor]]:
    """The batches from a step on, made in processes of their own."""

    class Batches(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
            torch.set_num_threads(1)
            side = nano_vlm.PATCH * nano_vlm.MERGE
            maker = DialogueMaker(tokenizer, NANO_SPEC, side)
            worker = torch.utils.data.get_worker_info()
            assert worker is not None
            # The loader takes of each worker in turn, so that the steps stay in order
            for step in range(start + worker.id, config.steps, worker.num_workers):
                yield collate(_examples(config, maker, step))

    loader = torch.utils.data.DataLoader(
        Batches(), batch_size=None, num_workers=config.workers, prefetch_factor=4
    )
    yield from loader


def _examples(config: SftConfig, maker: DialogueMaker, step: int) -> list[Example]:
    early, last = step < config.image_steps, step >= config.seeing_steps
    images = early or (step % 4 == 0 and not last)  # the second stage keeps the first one fresh
    side, size = NANO_SPEC.key_frame_size, config.image_batch if images else config.chain_batch
    if last and step % 5:  # text alone: cheap
        size = 4 * config.chain_batch
    if early and step % 3:  # small frames cost a quarter, so most of the first stage is on them
        side, size = NANO_SPEC.frame_size, int(2.5 * config.image_batch)
    examples = []
    for i in range(size):
        # Disjoint seeds for the steps, and for runs with other seeds.
        number = (config.seed << 28) + step * config.worlds_a_step + i
        world, rng = make_world(number), np.random.default_rng([number, 1])
        if last and step % 5:
            examples += maker.logic(world, rng, questions=3)
            continue
        examples.append(
            maker.grounding(world, rng, side)
            if images
            else maker.chains(world, rng, config.questions)
        )
    return examples
