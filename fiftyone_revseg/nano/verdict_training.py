"""Teaches the embedded VLM turn 3 and windows of long videos, on top of what it can.

Most steps are about tracks: which of the outlined objects a question means. The others keep what
was there: on dialogues of the first two turns the model is held to what the checkpoint that it
started from would say, and some go on after a rejected answer. Some are about windows of long
videos, with an object that is in few of their frames.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

from fiftyone_revseg.models.presets import resolve
from fiftyone_revseg.nano import vlm as nano_vlm
from fiftyone_revseg.nano.batches import collate, tree_mask
from fiftyone_revseg.nano.dialogues import IGNORED, Example
from fiftyone_revseg.nano.losses import Losses, dense_heads
from fiftyone_revseg.nano.proposals import read_proposals, write_proposals
from fiftyone_revseg.nano.sft import NANO_SPEC, optimizers_of, save_checkpoint
from fiftyone_revseg.nano.training_loop import TrainingLoop
from fiftyone_revseg.nano.verdicts import MOST_OBJECTS, VerdictMaker, film, recorded
from fiftyone_revseg.reasoning.local import LocalReasoner
from fiftyone_revseg.synthetic.long_world import make_long_world
from fiftyone_revseg.synthetic.queries import Query
from fiftyone_revseg.synthetic.world import make_world

VERDICT_SPEC = NANO_SPEC.replace(prompts={**nano_vlm.PROMPTS, **nano_vlm.VERDICT_PROMPTS})

# What the steps are about, in turn: verdicts, their lines alone, keeping what is there, windows,
# again
_CYCLE = "llvllvwlvlka"
_WINDOW = 1.0  # seconds between two frames of a window
_FIRST_WORLD = 1 << 40  # far from those of the other stages
_PROPOSED = 10_000_000  # the first world in which a checkpoint proposes objects


@dataclass(frozen=True)
class VerdictConfig:
    """Settings of a run.

    Attributes:
        seed: fixes the order of the worlds
        steps: of the run
        batch: videos a step
        questions: about each video
        learning_rate: at its height
        kept_weight: weight of the divergence from the checkpoint that it starts from
        dense_weight: weight of the heads' losses
        recorded_share: of the videos about tracks, those with what a checkpoint did propose
        seeing: whether the vision tower learns, too, to tell outlines apart
        threads: of the CPU; the worlds are made in one more process
    """

    seed: int = 0
    steps: int = 300
    batch: int = 2
    questions: int = 5
    learning_rate: float = 6e-4
    kept_weight: float = 1.0
    dense_weight: float = 0.3
    recorded_share: float = 0.4
    seeing: bool = False
    threads: int = 1


def train_verdicts(
    base: str | Path,
    out: str | Path,
    config: VerdictConfig | None = None,
    proposals: str | Path | None = None,
    resume: bool = True,
) -> Path:
    """Trains a checkpoint of the embedded VLM to judge tracks.

    Args:
        base: the checkpoint to start from
        out: the run's folder: ``state.pt`` to resume from, ``curves.csv`` and ``curves.png``, and
            ``checkpoint/``
        config: the settings
        proposals: what :mod:`~fiftyone_revseg.nano.proposals` wrote for the checkpoint; without
            it, all proposals are made up
        resume: whether to go on from a saved state

    Returns:
        the path of the checkpoint
    """
    config = config or VerdictConfig()
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    checkpoint = Path(out) / "checkpoint"
    processor = AutoProcessor.from_pretrained(base)
    model: Any = Qwen3VLForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    model = model.to(device)
    model.set_attn_implementation({"vision_config": "eager", "text_config": "sdpa"})
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    heads = dense_heads(model, MOST_OBJECTS).to(device)
    model.model.visual.requires_grad_(config.seeing)
    optimizers = optimizers_of(model, heads, config.learning_rate)
    loop = TrainingLoop(
        out,
        config,
        model,
        heads,
        optimizers,
        lambda: save_checkpoint(checkpoint, model, processor, VERDICT_SPEC),
    )
    if resume:
        loop.resume(("threads", "steps"))
    losses = Losses(processor.tokenizer, model, heads)

    def losses_of(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, Any]]:
        about = _CYCLE[loop.step % len(_CYCLE)]
        with torch.autocast(device, dtype=torch.bfloat16):
            if about == "k":
                kept = config.kept_weight * divergence(model, teacher, batch)
                return kept, {"kept": kept}
            told = losses(batch, boxes=about in "aw")
            seeing = config.dense_weight * config.seeing
            names = ("text", "logic", "token_accuracy", "number", "color", "shape")
            parts = {f"{about}_{n}": told[n] for n in names if n in told}
            return told["words"] + seeing * told.get("dense", 0.0), parts

    batches = _batches(config, processor.tokenizer, proposals, loop.step)
    loop.train(batches, lambda step: learning_rate(config, step), losses_of)
    return checkpoint


def train_from_proposals(
    name_or_path: str | Path,
    out: str | Path,
    config: VerdictConfig | None = None,
    worlds: int = 250,
) -> Path:
    """Has a checkpoint propose objects in worlds, then trains it, see :func:`train_verdicts`.

    Both go on where they were interrupted.

    Args:
        name_or_path: the checkpoint to start from: a preset or a path
        out: the run's folder
        config: the settings
        worlds: in how many worlds it proposes objects

    Returns:
        the path of the checkpoint
    """
    base = resolve(name_or_path).reasoner
    proposals = Path(out) / "proposals.jsonl"
    proposals.parent.mkdir(parents=True, exist_ok=True)
    write_proposals(LocalReasoner.load(base), proposals, range(_PROPOSED, _PROPOSED + worlds))
    return train_verdicts(base, out, config, proposals)


def divergence(model: Any, teacher: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """How far the model's replies are from the teacher's: the mean KL divergence of a token."""
    at = batch["labels"][:, 1:] != IGNORED

    def logits(of: Any) -> torch.Tensor:
        hidden = of.model(
            input_ids=batch["tokens"],
            pixel_values=batch["patches"],
            image_grid_thw=batch["grids"],
            position_ids=batch["positions"],
            attention_mask=tree_mask(batch["branch"]),
            use_cache=False,
        ).last_hidden_state
        return of.lm_head(hidden[:, :-1][at]).float().log_softmax(-1)

    with torch.no_grad():
        wanted = logits(teacher)
    return functional.kl_div(logits(model), wanted, reduction="batchmean", log_target=True)


def learning_rate(config: VerdictConfig, step: int) -> float:
    """Warm-up, constant, and over the last 70 % linearly down."""
    left = (config.steps - step) / (0.7 * config.steps)
    return config.learning_rate * min((step + 1) / 15, 1.0, 0.02 + 0.98 * left)


def _batches(
    config: VerdictConfig, tokenizer: Any, proposals: str | Path | None, start: int
) -> Iterator[dict[str, torch.Tensor]]:
    """The batches from a step on, made in a process of their own."""
    records = [] if proposals is None else read_proposals(proposals)

    class Batches(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
            torch.set_num_threads(1)
            maker = VerdictMaker(tokenizer, VERDICT_SPEC, nano_vlm.PATCH * nano_vlm.MERGE)
            for step in range(start, config.steps):
                yield collate(_examples(config, maker, records, step))

    loader = torch.utils.data.DataLoader(
        Batches(), batch_size=None, num_workers=1, prefetch_factor=4
    )
    yield from loader


def _examples(
    config: VerdictConfig, maker: VerdictMaker, records: list[dict[str, Any]], step: int
) -> list[Example]:
    about = _CYCLE[step % len(_CYCLE)]
    examples = []
    for i in range(config.batch):
        number = (config.seed << 28) + (step << 6) + i
        rng = np.random.default_rng([number, 3])
        if about in "vl" and records and rng.random() < config.recorded_share:
            record = records[rng.integers(len(records))]
            example = real(maker, record, rng, config.questions // 2, pictures=about == "v")
            if example is not None:
                examples.append(example)
                continue
        if about == "w":
            seconds = maker.spec.frames * _WINDOW
            long = make_long_world(_FIRST_WORLD + number, seconds=seconds)
            examples.append(maker.chains(long.world, rng, 4))
            continue
        world = make_world(_FIRST_WORLD + number)
        if about == "l":
            examples += maker.lines(world, rng, config.questions, count=3)
        elif about == "v":
            examples.append(maker.verdicts(world, rng, config.questions))
        elif about == "a":
            examples.append(maker.again(world, rng, 3))
        else:
            examples.append(maker.chains(world, rng, 4))
    return examples


def real(
    maker: VerdictMaker,
    record: dict[str, Any],
    rng: np.random.Generator,
    more: int,
    pictures: bool = True,
) -> Example | None:
    """A question about what was proposed for it, and more questions about the same tracks."""
    world = make_world(record["seed"], record["split"])
    seen = film(world, maker.spec.frames)
    candidates = int(rng.choice((1, 3, 5, 5)))
    proposals, votes, _ = recorded(seen, record, candidates)
    if not proposals:
        return None
    query = Query(record["kind"], record["text"], tuple(record["targets"]), "")
    others = [one for one in maker.questions(seen, proposals, rng, more) if one[0] != query]
    asked = [(query, votes, candidates), *others]
    if not pictures:
        return maker.without_pictures(seen, proposals, asked)
    return maker.judged(seen, proposals, asked, rng)
