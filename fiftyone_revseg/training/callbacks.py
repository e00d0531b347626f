"""What is kept of a run of the trainer while it runs: its curves, and whole checkpoints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from transformers import AutoProcessor, TrainerCallback

from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.training.run_folder import RunFolder

_OF_ROLLOUTS = (
    *("total", "turns", "tokens", "distinct_key_frames", "distinct_replies"),
    *("refused", "malformed", "overlong", "empty", "unreadable"),
)
# TRL's name of a figure -> ours
CURVES = {
    **{f"rewards/{part}_curve/mean": part for part in ("format", "temporal", "spatial", "truth")},
    **{f"chain/{name}": name for name in _OF_ROLLOUTS},
    "kl": "kl",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clipped",
    "frac_reward_zero_std": "groups_alike",
    "grad_norm": "gradient",
    "step_time": "seconds",
}


def tensorboard(directory: Path) -> TrainerCallback:
    """Has the trainer write all of its figures for TensorBoard into a directory."""
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    return TensorBoardCallback(SummaryWriter(log_dir=str(directory)))


class Curves(TrainerCallback):
    """Writes the curves of a run as a table and as a picture.

    Args:
        out: the run's folder
        steps: how many steps the run has
        every: steps between two pictures
    """

    def __init__(self, out: Path, steps: int, every: int) -> None:
        self._run = RunFolder(out, steps)
        self._every = every

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Takes the figures of a step."""
        if not state.is_world_process_zero or not logs or "chain/tokens" not in logs:
            return
        values = {ours: logs.get(theirs) for theirs, ours in CURVES.items()}
        known = {k: float(v) for k, v in values.items() if v is not None and math.isfinite(v)}
        self._run.log(state.global_step, known, every=1)
        if state.global_step % self._every == 0:
            self._run.plot()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Draws the last picture."""
        if state.is_world_process_zero:
            self._run.plot()


class KeepSpec(TrainerCallback):
    """Has every checkpoint know how it wants to be asked, and in its own chat template.

    Args:
        source: the checkpoint that is trained
        spec: how it is asked
    """

    def __init__(self, source: str, spec: ChainSpec) -> None:
        self._source = source
        self._spec = spec

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Completes a checkpoint that was just written."""
        if state.is_world_process_zero:
            self.write(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def write(self, directory: Path) -> None:
        """Writes the processor and ``revseg.json``."""
        processor = AutoProcessor.from_pretrained(self._source, trust_remote_code=False)
        processor.save_pretrained(directory)
        self._spec.save(directory)
