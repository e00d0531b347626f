"""Steps of reinforcement learning on the device, against what the dry run estimates.

Ten of the embedded model, as it is trained; then one of a model of Qwen2.5-VL 3B's sizes with
adapters, whose weights are random, so that its rewards mean nothing.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from results import Results
from stage import Settings, run_stage

#: what TRL, datasets and the trainer's curves need beside the wheels that are carried
NEEDS = ("trl", "datasets", "peft", "accelerate", "pyarrow", "pandas", "tensorboard", "matplotlib")


def measure(settings: Settings, results: Results) -> None:
    """Trains both."""
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        results.say("left out: this machine lacks", ", ".join(missing))
        return
    from fiftyone_revseg.training.grpo import GrpoConfig

    small: dict[str, Any] = {"prompts": 1, "rollouts": 2, "batch": 2, "max_turn_tokens": 16}
    with tempfile.TemporaryDirectory() as folder:
        steps = {"steps": 1, **small} if settings.tiny else {"steps": 10}
        _train(settings, results, "embedded model", GrpoConfig(**steps), Path(folder) / "nano")
        model = _random(settings, Path(folder) / "random")
        config = GrpoConfig(model=str(model), steps=1, lora_rank=8, **small)
        _train(settings, results, "3B sizes, adapters", config, Path(folder) / "lora")


def _train(settings: Settings, results: Results, title: str, config: Any, out: Path) -> None:
    from transformers import TrainerCallback

    from fiftyone_revseg.training.data import world_rows
    from fiftyone_revseg.training.dry_run import dry_run
    from fiftyone_revseg.training.grpo import train_grpo

    rows = world_rows(max(64, config.prompts))
    expected = dry_run(rows, config)
    print(expected)
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    if settings.on_gpu:
        import torch

        from fiftyone_revseg.models.devices import empty_caches

        empty_caches()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    train_grpo(rows, out, config, callbacks=[Clock()])
    laps = [end - start for start, end in itertools.pairwise(ends)]
    each = (
        f"{sum(laps) / len(laps):.2f} s a step" if laps else f"{ends[0] - began:.1f} s with start"
    )
    results.say(
        f"{title}: {config.steps} steps of {config.prompts} x {config.rollouts} rollouts", each
    )
    estimate = expected.memory.peak / 1e9
    if not settings.on_gpu:
        results.say(f"{title}: memory", f"not of a CPU; the dry run says {estimate:.2f} GB")
        return
    import torch

    peak = torch.cuda.max_memory_allocated() / 1e9
    results.say(
        f"{title}: peak memory",
        f"{peak:.2f} GB; the dry run says {estimate:.2f} GB at most",
        "not above",
        peak <= estimate,
    )


def _random(settings: Settings, folder: Path) -> Path:
    """Writes a checkpoint with random weights, made on the device, which is quick at that."""
    import torch
    from random_weights import save_random_checkpoint

    from fiftyone_revseg.models.devices import empty_caches

    name = "tiny-qwen2.5-vl" if settings.tiny else "qwen2.5-vl-3b"
    with torch.device(settings.device):
        save_random_checkpoint(folder, name, dtype="bfloat16" if settings.on_gpu else "float32")
    empty_caches()
    return folder


if __name__ == "__main__":
    run_stage(measure, __doc__)
