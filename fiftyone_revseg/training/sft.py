"""Supervised fine-tuning of the embedded VLM on the synthetic world.

Two stages. The first shows single frames: where each body is, in words. The second shows whole
two-turn dialogues over videos. Beside the words, small heads that are thrown away afterwards ask
every visual token what it sees (a body or not, its color, shape and box): that gives the vision
tower something to learn from at every pixel, long before the words carry any signal.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.synthetic.queries import pick_queries
from fiftyone_revseg.synthetic.shapes import COLORS, SHAPES
from fiftyone_revseg.synthetic.world import make_world
from fiftyone_revseg.training import nano_vlm
from fiftyone_revseg.training.dialogues import GRID, IGNORED, DialogueMaker, Example
from fiftyone_revseg.training.run_folder import RunFolder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3VLForConditionalGeneration

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
        image_batch: frames a step in the first stage
        chain_batch: videos a step in the second stage
        questions: questions a video
        learning_rate: at its height
        dense_weight: weight of the heads' losses
        threads: of the CPU; the worlds are made in one more process
    """

    seed: int = 0
    image_steps: int = 450
    chain_steps: int = 1200
    image_batch: int = 14
    chain_batch: int = 10
    questions: int = 6
    learning_rate: float = 2e-3
    dense_weight: float = 1.0
    threads: int = 1

    @property
    def steps(self) -> int:
        """All steps of the run."""
        return self.image_steps + self.chain_steps


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
    import torch

    config = config or SftConfig()
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    run = RunFolder(out, config.steps)
    tokenizer = nano_vlm.build_tokenizer(corpus())
    processor = nano_vlm.build_processor(tokenizer)
    model = nano_vlm.build_model(tokenizer, config.seed).to(device)
    heads = _Heads(model).to(device)
    # For short sequences on a CPU in bf16 the plain kernel beats the fused one.
    model.set_attn_implementation({"vision_config": "eager", "text_config": "sdpa"})
    optimizers = _optimizers(model, heads, config)
    step = 0
    state = run.load() if resume else None
    if state is not None:
        _same_run(out, state["config"], asdict(config))
        model.load_state_dict(state["model"])
        heads.load_state_dict(state["heads"])
        for optimizer, saved_state in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved_state)
        step = state["step"]
    losses = _Losses(tokenizer, model, heads)
    checkpoint = run.directory / "checkpoint"
    model.train()
    saved = time.monotonic()
    for batch in _batches(config, tokenizer, step):
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        for group in groups:
            group["lr"] = group["gain"] * learning_rate(config, step)
        with torch.autocast(device, dtype=torch.bfloat16):
            parts = losses(_to_device(batch, device))
        loss = parts["words"] + config.dense_weight * parts["dense"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in groups for p in g["params"]], 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        run.log(step, {name: float(value.detach()) for name, value in parts.items()})
        step += 1
        if step == config.steps or time.monotonic() - saved > 180:
            run.save(
                {
                    "config": asdict(config),
                    "step": step,
                    "model": model.state_dict(),
                    "heads": heads.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                }
            )
            save_checkpoint(checkpoint, model, processor)
            run.plot()
            saved = time.monotonic()
    return checkpoint


def _same_run(out: str | Path, saved: dict[str, Any], asked: dict[str, Any]) -> None:
    """Only the length and the threads of a run may change when it is resumed."""
    changed = [
        name
        for name in asked
        if saved.get(name) != asked[name] and name not in ("chain_steps", "threads")
    ]
    if changed:
        raise ValueError(
            f"The run in '{out}' was made with other settings ({', '.join(changed)}); "
            "choose another folder, or the same settings"
        )


def save_checkpoint(
    directory: Path, model: Qwen3VLForConditionalGeneration, processor: Any
) -> None:
    """Writes model, tokenizer, processor and ``revseg.json`` in the ordinary formats, in bf16."""
    import torch

    weights = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    model.save_pretrained(directory, state_dict=weights)
    processor.save_pretrained(directory)
    NANO_SPEC.save(directory)


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
    """Warm-up over 100 steps, constant, and over the last 60 % linearly down to a fiftieth."""
    decay = 0.6 * config.steps
    left = (config.steps - step) / decay
    return config.learning_rate * min((step + 1) / 100, 1.0, 0.02 + 0.98 * left)


def _optimizers(model: Any, heads: Any, config: SftConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for all else."""
    import torch

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
        lr=config.learning_rate,
        betas=(0.9, 0.98),
    )
    muon = torch.optim.Muon(
        [{"params": blocks, "gain": 3.0}], weight_decay=0.02, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, adamw]


def _batches(
    config: SftConfig, tokenizer: PreTrainedTokenizerFast, start: int
) -> Iterator[dict[str, torch.Tensor]]:
    """The batches from a step on, made in a process of their own."""
    import torch

    class Batches(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
            torch.set_num_threads(1)
            side = nano_vlm.PATCH * nano_vlm.MERGE
            maker = DialogueMaker(tokenizer, NANO_SPEC, side)
            for step in range(start, config.steps):
                yield collate(_examples(config, maker, step))

    loader = torch.utils.data.DataLoader(
        Batches(), batch_size=None, num_workers=1, prefetch_factor=4
    )
    yield from loader


def _examples(config: SftConfig, maker: DialogueMaker, step: int) -> list[Example]:
    early = step < config.image_steps
    images = early or step % 4 == 0  # the second stage keeps the first one fresh
    side, size = NANO_SPEC.key_frame_size, config.image_batch if images else config.chain_batch
    if early and step % 3:  # small frames cost a quarter, so most of the first stage is on them
        side, size = NANO_SPEC.frame_size, int(2.5 * config.image_batch)
    examples = []
    for i in range(size):
        # Disjoint seeds for the two stages, and for runs with other seeds.
        number = (config.seed << 28) + (step << 6) + i
        world, rng = make_world(number), np.random.default_rng([number, 1])
        examples.append(
            maker.grounding(world, rng, side)
            if images
            else maker.chains(world, rng, config.questions)
        )
    return examples


def collate(examples: list[Example]) -> dict[str, torch.Tensor]:
    """Stacks examples, padded to the longest.

    Returns:
        a dict with ``tokens``, ``labels``, ``branch`` ``(B, S)``, ``positions`` ``(3, B, S)``,
        ``patches`` and ``grids`` as Qwen's processors make them, and the dense targets
    """
    import torch

    longest = max(len(e.tokens) for e in examples)

    def padded(arrays: list[np.ndarray], value: int) -> torch.Tensor:
        return torch.from_numpy(
            np.stack([np.pad(a, (0, longest - len(a)), constant_values=value) for a in arrays])
        )

    images = [image for e in examples for image in e.images]
    dense = [targets for e in examples for targets in e.dense]
    grids = [
        [1, image.shape[1] // nano_vlm.PATCH, image.shape[2] // nano_vlm.PATCH] for image in images
    ]
    return {
        "tokens": padded([e.tokens for e in examples], 0),
        "labels": padded([e.labels for e in examples], IGNORED),
        "branch": padded([e.branch for e in examples], -1),
        "positions": torch.stack(
            [padded([e.positions[axis] for e in examples], 0) for axis in range(3)]
        ),
        "patches": torch.from_numpy(np.concatenate([patches(image) for image in images])),
        "grids": torch.tensor(grids),
        "presence": torch.from_numpy(np.concatenate([d.presence for d in dense])),
        "color": torch.from_numpy(np.concatenate([d.color for d in dense])),
        "shape": torch.from_numpy(np.concatenate([d.shape for d in dense])),
        "box": torch.from_numpy(np.concatenate([d.box for d in dense])),
        "reach": torch.from_numpy(np.concatenate([d.reach for d in dense])),
    }


def patches(image: np.ndarray) -> np.ndarray:
    """Cuts a normalized image into Qwen's patches: merge groups first, the frame doubled in time.

    Args:
        image: ``(3, height, width)``

    Returns:
        ``(patches, 3 * 2 * patch * patch)`` float32, as the Qwen image processors do (tested)
    """
    p, m = nano_vlm.PATCH, nano_vlm.MERGE
    c, height, width = image.shape
    cells = image.reshape(c, height // (p * m), m, p, width // (p * m), m, p)
    cells = cells.transpose(1, 4, 2, 5, 0, 3, 6)  # rows, columns, m, m, channels, p, p
    twice = np.repeat(cells[:, :, :, :, :, None], 2, axis=5)
    return np.ascontiguousarray(twice.reshape(-1, c * 2 * p * p))


def _to_device(batch: dict[str, torch.Tensor], device: str) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _Heads(model: Qwen3VLForConditionalGeneration) -> torch.nn.ModuleDict:  # noqa: N802
    """What each visual token is asked during training."""
    from torch import nn

    width = model.config.text_config.hidden_size
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


class _Losses:
    """All losses of a batch."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, model: Any, heads: Any):
        import torch

        self.model, self.heads = model, heads
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

    def __call__(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        import torch

        tokens, labels, branch = batch["tokens"], batch["labels"], batch["branch"]
        hidden = self.model.model(
            input_ids=tokens,
            pixel_values=batch["patches"],
            image_grid_thw=batch["grids"],
            position_ids=batch["positions"],
            attention_mask=tree_mask(branch),
            use_cache=False,
        ).last_hidden_state
        # The prediction of a branch's first token would come from the prefix's last one; replies
        # never start there, so shifting by one is right.
        at = labels[:, 1:] != IGNORED
        logits = self.model.lm_head(hidden[:, :-1][at]).float()
        wanted, previous = labels[:, 1:][at], tokens[:, :-1][at]
        coordinate = torch.isin(previous, self.before) & (self.bin_of[wanted] >= 0)
        log = logits.log_softmax(-1)
        token_loss = -log.gather(1, wanted[:, None])[:, 0]
        bins = self.bin_of[wanted[coordinate]]
        soft = -(self.near[bins] * log[coordinate][:, self.bin_ids]).sum(-1)
        hard_sum = token_loss[~coordinate].sum()
        words = (hard_sum + 2.0 * soft.sum()) / max(len(wanted), 1)
        guess = log[coordinate][:, self.bin_ids].argmax(-1)
        dense = self._dense(batch)
        return {
            "words": words,
            "dense": sum(dense.values()),
            "text": token_loss[~coordinate].mean().detach(),
            "right": (logits.argmax(-1) == wanted)[~coordinate].float().mean().detach(),
            "off": (guess - bins).abs().float().mean() * GRID / 10,  # percent of the frame
            **{name: value.detach() for name, value in dense.items()},
        }

    def _dense(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        from torch.nn import functional

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


def tree_mask(branch: torch.Tensor) -> torch.Tensor:
    """Who may look at whom in a batch of trees.

    Args:
        branch: ``(B, S)``: 0 in the prefix, 1, 2, ... in the branches, -1 in the padding

    Returns:
        ``(B, 1, S, S)`` float32: 0 where the row's token may attend to the column's, else -1e9
    """
    import torch

    size = branch.shape[1]
    earlier = torch.ones(size, size, dtype=torch.bool, device=branch.device).tril()
    row, column = branch[:, :, None], branch[:, None, :]
    seen = earlier & ((column == 0) | (column == row))
    return torch.where(seen, 0.0, -1e9)[:, None]
