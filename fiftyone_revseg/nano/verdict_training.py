"""Teaches the embedded VLM turn 3 and windows of long videos, on top of what it can.

Most steps are words alone: which of several objects a question means, by what was measured on
their tracks, and what follows in turn 1 from what was seen. No picture is needed for that, so that
a step is of fifty dialogues. The others keep what was there: on dialogues of the first two turns
the model is held to what the checkpoint that it started from would say, some go on after a rejected
answer, and some are about windows of long videos, with an object that is in few of their frames.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
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
from fiftyone_revseg.nano.verdicts import VerdictMaker, film, recorded
from fiftyone_revseg.reasoning.local import LocalReasoner
from fiftyone_revseg.synthetic.long_world import make_long_world
from fiftyone_revseg.synthetic.queries import Query
from fiftyone_revseg.synthetic.world import make_world

VERDICT_SPEC = NANO_SPEC.replace(
    prompts={**nano_vlm.PROMPTS, **nano_vlm.VERDICT_PROMPTS}, verdict_frames=0
)

# What the steps are about, in turn: words, keeping what is there, long videos, again
_CYCLE = "wwwwwwwkwwwlwwwkwwwawwwkwwwl"
_LENGTH = 90  # tokens of a dialogue in words, about
_WINDOW = 1.0  # seconds between two frames of a window
_FIRST_WORLD = 1 << 40  # far from those of the other stages
_PROPOSED = 10_000_000  # the first world in which a checkpoint proposes objects


@dataclass(frozen=True)
class VerdictConfig:
    """Settings of a run.

    Attributes:
        seed: fixes the order of the worlds
        steps: of the run
        tokens: of a step on words alone
        learning_rate: at its height
        kept_weight: weight of the divergence from the checkpoint that it starts from
        recorded_share: of the worlds about tracks, those with what a checkpoint did propose
        compiled: whether steps on words alone run compiled, see
            :class:`~fiftyone_revseg.nano.losses.Losses`; by default, where there is a C++ compiler
        threads: of the CPU; the dialogues are made in one more process
    """

    seed: int = 0
    steps: int = 2400
    tokens: int = 6144
    learning_rate: float = 1e-3
    kept_weight: float = 1.0
    recorded_share: float = 0.5
    compiled: bool | None = None
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
    # The plain kernel: its way back is twice as fast on a CPU
    model.set_attn_implementation({"vision_config": "eager", "text_config": "eager"})
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    heads = dense_heads(model).to(device)
    model.model.visual.requires_grad_(False)
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
        loop.resume(("threads", "steps", "compiled"))
    compiled = config.compiled
    if compiled is None:
        compiled = shutil.which(os.environ.get("CXX") or "g++") is not None
    losses = Losses(processor.tokenizer, model, heads, compiled)

    def losses_of(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, Any]]:
        about = _CYCLE[loop.step % len(_CYCLE)]
        with torch.autocast(device, dtype=torch.bfloat16):
            if about == "k":
                kept = config.kept_weight * divergence(model, teacher, batch)
                return kept, {"kept": kept}
            told = losses(batch, boxes=about != "w")
            names = ("logic", "text", "token_accuracy", "box_error")
            return told["words"], {f"{about}_{n}": told[n] for n in names if n in told}

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
    """Warm-up, and from the first tenth on linearly down."""
    left = (config.steps - step) / (0.9 * config.steps)
    return config.learning_rate * min((step + 1) / 20, 1.0, 0.02 + 0.98 * left)


def _batches(
    config: VerdictConfig, tokenizer: Any, proposals: str | Path | None, start: int
) -> Iterator[dict[str, torch.Tensor]]:
    """The batches from a step on, made in a process of their own."""
    records = [] if proposals is None else read_proposals(proposals)

    class Batches(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
            torch.set_num_threads(1)
            maker = VerdictMaker(tokenizer, VERDICT_SPEC, nano_vlm.PATCH * nano_vlm.MERGE)
            # Worlds that a resumed run has not seen
            words = alike(words_of(config, maker, records, start << 20), config.tokens)
            for step in range(start, config.steps):
                about = _CYCLE[step % len(_CYCLE)]
                yield collate(next(words) if about == "w" else [_shown(config, maker, about, step)])

    loader = torch.utils.data.DataLoader(
        Batches(), batch_size=None, num_workers=1, prefetch_factor=4
    )
    yield from loader


def _shown(config: VerdictConfig, maker: VerdictMaker, about: str, step: int) -> Example:
    """Dialogues with pictures."""
    number = (config.seed << 28) + step
    rng = np.random.default_rng([number, 3])
    if about == "l":
        seconds = maker.spec.frames * _WINDOW
        return maker.chains(make_long_world(_FIRST_WORLD + number, seconds=seconds).world, rng, 4)
    world = make_world(_FIRST_WORLD + number)
    return maker.again(world, rng, 3) if about == "a" else maker.chains(world, rng, 4)


def words_of(
    config: VerdictConfig, maker: VerdictMaker, records: list[dict[str, Any]], first: int
) -> Iterator[Example]:
    """Dialogues in words: of turn 3, and of turn 1.

    Args:
        config: the settings
        maker: makes them
        records: what a checkpoint did propose; may be empty
        first: of which world to begin
    """
    for n in count(first):
        number = (1 << 32) + (config.seed << 28) + n
        rng = np.random.default_rng([number, 3])
        if records and rng.random() < config.recorded_share:
            yield from real(maker, records[rng.integers(len(records))], rng)
        else:
            yield from maker.verdicts(make_world(_FIRST_WORLD + number), rng, 6, count=6)
        yield from maker.logic(make_world(2 * _FIRST_WORLD + number), rng, 8)


def alike(examples: Iterator[Example], tokens: int) -> Iterator[list[Example]]:
    """Batches of examples of similar lengths, each of about so many tokens with its padding."""
    rng = np.random.default_rng(0)
    while True:
        pool = sorted(islice(examples, 12 * tokens // _LENGTH), key=lambda e: len(e.tokens))
        batches: list[list[Example]] = [[]]
        for one in pool:
            if len(one.tokens) * (len(batches[-1]) + 1) > tokens and batches[-1]:
                batches.append([])
            batches[-1].append(one)
        for i in rng.permutation(len(batches)):
            yield batches[i]


def real(maker: VerdictMaker, record: dict[str, Any], rng: np.random.Generator) -> list[Example]:
    """Questions about what was proposed for one: that one, and others about the same tracks."""
    seen = film(make_world(record["seed"], record["split"]), maker.spec.frames)
    query = Query(record["kind"], record["text"], tuple(record["targets"]), "")
    examples = []
    for candidates in (1, 3, 5):
        proposals, votes, _ = recorded(seen, record, candidates)
        if proposals:
            others = [one for one in maker.questions(seen, proposals, rng, 5) if one[0] != query]
            examples += maker.judged(seen, proposals, [(query, votes, candidates), *others])
    return examples
