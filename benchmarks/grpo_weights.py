"""The weights that a GRPO run is measured and shipped with: their mean over its second half.

Each step moves the weights by chance, too, and at the end that is all in them; the mean has less of
it (Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def checkpoints_of(run: Path) -> dict[int, Path]:
    """The whole checkpoints of a run, by step, in order."""
    found = {
        int(state.parent.name.rpartition("-")[2]): state.parent
        for state in run.glob("checkpoint-*/trainer_state.json")
    }
    return dict(sorted(found.items()))


def second_half(run: Path, step: int | None = None) -> dict[int, Path]:
    """The checkpoints of a run's second half, by step.

    Args:
        run: the folder of the run
        step (None): taken as the run's end; by default that of the newest checkpoint

    Returns:
        those after half of the steps; none if there is none of the last step
    """
    found = checkpoints_of(run)
    end = max(found, default=0) if step is None else step
    return {at: path for at, path in found.items() if end / 2 < at <= end and end in found}


def mean_weights(checkpoints: Sequence[Path], like: Path, directory: Path) -> Path:
    """Writes a checkpoint with the mean of weights in bf16, and all else as in another one.

    Args:
        checkpoints: whose weights are taken
        like: the checkpoint that says which weights there are, and has all other files
        directory: where to write; what is there is replaced

    Returns:
        the directory

    Raises:
        ValueError: if they have different weights
    """
    import torch
    from safetensors.torch import load_file, save_file

    theirs = load_file(like / "model.safetensors")
    read = [_untied(load_file(path / "model.safetensors"), theirs) for path in checkpoints]
    for path, one in zip(checkpoints, read, strict=True):
        if _shapes(one) != _shapes(theirs):
            raise ValueError(f"the weights of '{path}' are not those of '{like}'")
    ours = {name: torch.stack([one[name].float() for one in read]).mean(dim=0) for name in theirs}
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(like, partial)
    weights = {name: ours[name].to(torch.bfloat16).contiguous() for name in theirs}
    save_file(weights, str(partial / "model.safetensors"), metadata={"format": "pt"})
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)
    return directory


def _untied(weights: dict[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Adds what a checkpoint leaves out, as the first and the last matrix are the same."""
    tied = ("lm_head.weight", "model.language_model.embed_tokens.weight")
    for name, other in (tied, tied[::-1]):
        if name not in weights and name in like:
            weights[name] = weights[other].clone()
    return weights


def _shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}
