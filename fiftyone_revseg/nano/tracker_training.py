"""Trains the embedded tracker (sam2-nano) from scratch on synthetic clips.

SAM2's recipe in small: first single frames (box in, mask out), then clips of a few frames with
gradients through the memory.
Losses as in the SAM2 paper (arXiv 2408.00714): focal and dice on the masks, L1 on the predicted
IoU, cross-entropy on "is it visible".
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate
from tqdm import tqdm

from fiftyone_revseg.files import replacing, write_json, write_text
from fiftyone_revseg.nano.tracker_clips import MIN_AREA, random_clip
from fiftyone_revseg.nano.tracker_report import write_model_card
from fiftyone_revseg.tracking.checkpoints import build_model, read_config
from fiftyone_revseg.tracking.memory import Memory, encode_frames, track_frame
from fiftyone_revseg.tracking.preprocess import to_model_images
from fiftyone_revseg.tracking.prompts import to_prompt
from fiftyone_revseg.training.run_folder import check_same_run, plot_curves, write_curves
from fiftyone_revseg.training.saved_states import load_state, read_settings, save_state

CONFIG = Path(__file__).resolve().parent.parent / "checkpoints" / "sam2-nano" / "config.yaml"


@dataclass(frozen=True)
class TrackerTraining:
    """The settings of a training run; one seed reproduces it on one kind of machine.

    Attributes:
        image_steps: steps on single frames
        clip_steps: steps on clips, after those
        image_batch: frames per step in the first part
        clip_batch: clips per step in the second part
        clip_length: frames per clip
        objects: objects per frame or clip
        learning_rate: the peak of the schedule (warm-up, then cosine)
        warmup: steps of linear warm-up
        weight_decay: AdamW's, on matrices only
        clip_norm: the largest norm of a gradient
        ema: decay of the moving average of the weights, which is what is saved
        seed: of the weights and of the clips
        threads: CPU threads
        save_every: steps between checkpoints to resume from
        report_worlds: held-out worlds to judge the result by, in its model card; 0 writes none
    """

    image_steps: int = 700
    clip_steps: int = 1100
    image_batch: int = 12
    clip_batch: int = 4
    clip_length: int = 5
    objects: int = 2
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    ema: float = 0.995
    seed: int = 0
    threads: int = 1
    save_every: int = 50
    report_worlds: int = 60

    @property
    def steps(self) -> int:
        """All steps of the run."""
        return self.image_steps + self.clip_steps


def train_tracker(
    directory: str | Path,
    settings: TrackerTraining | None = None,
    config: str | Path = CONFIG,
    device: str | None = None,
    progress: bool = True,
) -> Path:
    """Trains a tracker, or goes on with a run that was interrupted.

    Args:
        directory: where the run lives: ``config.yaml`` and ``model.safetensors`` (together a
            tracker that ``Sam2Tracker.load`` takes), ``MODEL_CARD.md``, ``curve.csv``,
            ``curve.png``, ``settings.json``, ``resume.pt``
        settings (None): the settings; the defaults make the embedded model
        config: the SAM2 config file
        device (None): "cuda" or "cpu"; the GPU if there is one
        progress (True): show a progress bar

    Returns:
        the directory

    Raises:
        ValueError: if the directory holds a run with other settings
    """
    settings = settings or TrackerTraining()
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    _claim(directory, settings, Path(config))
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    run = _Run(build_model(read_config(config)).to(device), settings)
    run.resume(directory)
    logits = _RawLogits(run.model)
    bar = tqdm(total=settings.steps, initial=run.step, disable=not progress, desc="tracker")
    while run.step < settings.steps:
        start = time.monotonic()
        row = run.advance(logits)
        run.seconds += time.monotonic() - start
        run.rows.append({**row, "seconds": round(run.seconds, 1)})
        bar.update()
        bar.set_postfix(iou=f"{row['iou']:.2f}", loss=f"{row['loss']:.2f}")
        if run.step % settings.save_every == 0 or run.step == settings.steps:
            run.save(directory)
    bar.close()
    if settings.report_worlds:
        write_model_card(directory, settings, run.seconds, run.model.device)
    return directory


def clip_losses(
    model: Any, logits: _RawLogits, clips: list, centre_point: bool = False
) -> dict[str, torch.Tensor]:
    """Tracks a batch of clips from their first frames and compares with the truth.

    Args:
        model: the SAM2 model
        logits: the hook that keeps the decoder's masks
        clips: B clips of one length with N objects each
        centre_point (False): prompt with the boxes' centres too

    Returns:
        scalars: ``focal``, ``dice``, ``iou_error``, ``score_loss`` to minimize, and the ``iou``
        reached where the object is visible
    """
    device, size = model.device, model.image_size
    length, objects = len(clips[0].frames), len(clips[0].masks)
    count = objects * len(clips)
    stacked = torch.stack([to_model_images(c.frames, size, device) for c in clips], dim=1)
    images = stacked.flatten(0, 1)  # time first: one step is one group
    prompts = [
        to_prompt(c.boxes_xyxy_px, c.frames.shape[2:0:-1], size, device, centre_point)
        for c in clips
    ]
    prompt = {key: torch.cat([p[key] for p in prompts]) for key in prompts[0]}
    truth = torch.cat([_resized(c.masks, size // 2) for c in clips]).to(device)
    area = torch.from_numpy(np.concatenate([c.masks.sum(axis=(2, 3)) for c in clips])).to(device)

    memory = Memory(model)
    steps = []
    for t, features in enumerate(encode_frames(model, images, group=len(clips))):
        out = track_frame(
            model, features, memory, count, prompt if t == 0 else None, remember=t < length - 1
        )
        steps.append((logits.last[:, 0], out.iou, out.object_score))
    masks, ious, scores = (torch.stack(one, dim=1).float() for one in zip(*steps, strict=True))
    masks = interpolate(masks, size=truth.shape[-2:], mode="bilinear", align_corners=False)

    visible = (area >= MIN_AREA) & truth.flatten(2).any(dim=-1)
    judged = visible | (area == 0)  # slivers in between are neither here nor there
    predicted = masks.detach() > 0
    true = truth > 0.5
    overlap = (predicted & true).flatten(2).sum(-1) / (
        (predicted | true).flatten(2).sum(-1).clamp(min=1)
    )
    weight = visible.float() / visible.sum().clamp(min=1)
    score_loss = binary_cross_entropy_with_logits(scores, visible.float(), reduction="none")
    return {
        "focal": (_focal(masks, truth) * weight).sum(),
        "dice": (_dice(masks, truth) * weight).sum(),
        "iou_error": ((ious - overlap).abs() * weight).sum(),
        "score_loss": (score_loss * judged).sum() / judged.sum().clamp(min=1),
        "iou": (overlap * weight).sum(),
    }


def _focal(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Focal loss per mask, (N, T, h, w) -> (N, T); per true pixel, so that size is fair."""
    cross_entropy = binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = (logits.sigmoid() - truth).abs()
    area = truth.flatten(2).sum(-1).clamp(min=20)
    return (wrong**2.0 * cross_entropy).flatten(2).sum(-1) / area


def _dice(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Dice loss per mask, (N, T, h, w) -> (N, T)."""
    p, truth = logits.sigmoid().flatten(2), truth.flatten(2)
    return 1 - (2 * (p * truth).sum(-1) + 1) / (p.sum(-1) + truth.sum(-1) + 1)


def _resized(masks: np.ndarray, side: int) -> torch.Tensor:
    """(N, T, H, W) bool -> (N, T, side, side) float: how much of each cell is covered."""
    return interpolate(
        torch.from_numpy(masks).float(), size=(side, side), mode="bilinear", antialias=True
    )


class _RawLogits:
    """Keeps the decoder's masks of the last step.

    SAM2 blanks a mask where it believes that the object is hidden. A mask that was blanked by
    mistake would teach the decoder nothing.
    """

    def __init__(self, model: Any) -> None:
        self.last: Any = None
        model.sam_mask_decoder.register_forward_hook(self._keep)

    def _keep(self, module: Any, inputs: Any, output: Any) -> None:
        self.last = output[0]


class _Run:
    """Weights, optimizer, moving average and curve of one run."""

    def __init__(self, model: torch.nn.Module, settings: TrackerTraining) -> None:
        self.model: Any = model.train()
        self.settings = settings
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items()}
        parameters = list(model.parameters())
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=settings.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=settings.weight_decay,
        )
        self.step, self.seconds = 0, 0.0
        self.rows: list[dict[str, Any]] = []

    def advance(self, logits: _RawLogits) -> dict[str, Any]:
        """Does one step. Its clips depend on seed and step alone, so resuming changes nothing."""
        s = self.settings
        rng = np.random.default_rng([s.seed, self.step])
        length, batch = s.clip_length, s.clip_batch
        if self.step < s.image_steps:
            length, batch = 1, s.image_batch
        clips = [random_clip(rng, length, s.objects) for _ in range(batch)]
        lr = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        # The sizes of clips differ, their number of points must not.
        losses = clip_losses(self.model, logits, clips, centre_point=bool(rng.random() < 0.2))
        loss = losses["focal"] + losses["dice"] + losses["iou_error"] + losses["score_loss"]
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), s.clip_norm)
        self.optimizer.step()
        self.step += 1
        decay = min(s.ema, self.step / (self.step + 10))
        with torch.no_grad():
            for key, value in self.model.state_dict().items():
                self.average[key].lerp_(value, 1 - decay)
        row = {key: round(float(value.detach()), 5) for key, value in losses.items()}
        return {"step": self.step, "loss": round(float(loss.detach()), 5), **row, "lr": lr}

    def _learning_rate(self) -> float:
        s = self.settings
        # Each part warms up on its own: the memory's weights start with the second one.
        begun = s.image_steps if self.step >= s.image_steps else 0
        warm = min(1.0, (self.step - begun + 1) / max(s.warmup, 1))
        done = self.step / s.steps
        return s.learning_rate * warm * max(0.5 * (1 + math.cos(math.pi * done)), 0.01)

    def resume(self, directory: Path) -> None:
        """Goes on from the last checkpoint, if there is one."""
        state = load_state(directory / "resume.pt", self.model.device)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.rows = state["step"], state["seconds"], state["rows"]

    def save(self, directory: Path) -> None:
        """Writes checkpoint, model and curve, each one whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "rows": self.rows,
        }
        average = {k: v.detach().cpu().contiguous() for k, v in self.average.items()}
        save_state(directory / "resume.pt", state)
        with replacing(directory / "model.safetensors") as path:
            save_file(average, path)
        write_curves(directory / "curve.csv", self.rows)
        plot_curves(directory / "curve.png", self.rows)


def _claim(directory: Path, settings: TrackerTraining, config: Path) -> None:
    """Writes down what a run is, and refuses to continue another one under its name."""
    path = directory / "settings.json"
    wanted = asdict(settings)
    if path.is_file():
        # Earlier versions could show longer clips at the end, and say so
        made = {"long_share": 0.0, **read_settings(path)}
        check_same_run(directory, made, {**wanted, "long_share": 0.0}, ())
    write_json(path, wanted, indent=2)
    write_text(directory / "config.yaml", config.read_text())
