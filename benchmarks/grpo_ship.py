"""Makes what GRPO runs learned the embedded model, and says before and after in its card.

Of several runs, which differ in their seed only, the mean of their weights is taken: what they
learned alike adds up, and what is chance in each of them does not (Wortsman et al., Model soups,
2022).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grpo_pairs import Answers, base_checkpoint, held_out
from grpo_statistics import Estimate, column, difference, estimate

from fiftyone_revseg.files import replacing, write_text

HEADING = "## Reinforcement learning"
ROWS = {
    "temporal": "temporal reward",
    "format": "format valid",
    "box": "box IoU > 0.5",
    "jf": "chain J&F",
}


def ship(out: Path, runs: Sequence[Path], pairs: int, target: Path | None = None) -> str:
    """Replaces the embedded model's weights by those of runs, if the chain is better with them.

    What is measured are the weights as they are shipped, rounded to bf16.

    Args:
        out: the folder of all runs, with the model before in ``base/``
        runs: the folders of the runs; of several, the mean of their weights is taken
        pairs: how many held-out pairs are asked
        target (None): the checkpoint to replace; by default the embedded one

    Returns:
        the section of the card

    Raises:
        ValueError: if a run has no checkpoint, or J&F is not clearly better than before
    """
    from grpo import newest

    from fiftyone_revseg.presets import default_tracker
    from fiftyone_revseg.tracking import load_tracker

    target = target or base_checkpoint("revseg-nano")
    found = [newest(run) for run in runs]
    for run, newest_of_run in zip(runs, found, strict=True):
        if newest_of_run is None:
            raise ValueError(f"'{run}' has no checkpoint to ship: train it first")
    checkpoints = [checkpoint for _, checkpoint in filter(None, found)]
    steps = " and ".join(sorted({str(step) for step, _ in filter(None, found)}))
    rounded = round_weights(checkpoints, out / "base", out / "shipped")
    names = ", ".join(run.name for run in runs)
    rows, tracker = held_out(pairs), load_tracker(default_tracker("revseg-nano"))
    told = {}
    for name, path in (("before", out / "base"), ("after", rounded)):
        answers = Answers(out / "evaluations", path)
        answers.think(rows)
        answers.track(rows, tracker)
        told[name] = answers.of(rows)
    section = card_section(told["before"], told["after"], steps, names)
    gain = difference(column(told["before"], "jf"), column(told["after"], "jf")[None])
    if gain is None or gain.low <= 0:
        raise ValueError(
            f"'{names}' is not shipped: its J&F changes by {gain and gain.percent(True)} points, "
            "which is no clear gain"
        )
    card = target / "MODEL_CARD.md"
    text = with_section(card.read_text(encoding="utf-8"), section)
    with replacing(target / "model.safetensors") as partial:
        shutil.copyfile(rounded / "model.safetensors", partial)
    write_text(card, text)
    return section


def round_weights(checkpoints: Sequence[Path], like: Path, directory: Path) -> Path:
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


def card_section(before: list[dict], after: list[dict], steps: str, runs: str) -> str:
    """The section of the model card: before, after, and the change with its interval."""
    told = f"the mean of the weights of {runs}" if "," in runs else f"run {runs}"
    lines = [
        HEADING,
        "",
        f"GRPO on the chain, {steps} steps ({told}), by `python benchmarks/grpo.py`. Measured on "
        f"{len(before)} pairs of the `test` split (worlds from seed 5000 on, kinds in equal parts, "
        "frames as drawn, not from a video file), in percent, with 95 % intervals over videos:",
        "",
        "| | before | after | change |",
        "|---|---:|---:|---:|",
    ]
    for measure, name in ROWS.items():
        old, new = column(before, measure), column(after, measure)
        estimates: list[tuple[Estimate | None, bool]] = [
            (estimate(old[None]), False),
            (estimate(new[None]), False),
            (difference(old, new[None]), True),
        ]
        cells = ["not measured yet" if e is None else e.percent(sign) for e, sign in estimates]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_section(card: str, section: str) -> str:
    """Puts the section into a card, in place of an older one, else in front of its limits."""
    head, found, tail = card.partition(HEADING + "\n")
    if found:
        rest = tail.partition("\n## ")
        tail = "## " + rest[2] if rest[1] else ""
    else:
        head, found, tail = card.partition("## Limits")
        tail = found + tail
        if not found:
            head = head.rstrip("\n") + "\n\n"
    return head + section + "\n" + ("\n" + tail if tail else "")


def _untied(weights: dict[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Adds what a checkpoint leaves out, as the first and the last matrix are the same."""
    tied = ("lm_head.weight", "model.language_model.embed_tokens.weight")
    for name, other in (tied, tied[::-1]):
        if name not in weights and name in like:
            weights[name] = weights[other].clone()
    return weights


def _shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}
