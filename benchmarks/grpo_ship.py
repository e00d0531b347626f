"""Makes the model of a GRPO run the embedded one, and says before and after in its card."""

from __future__ import annotations

import shutil
from pathlib import Path

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


def ship(out: Path, run: Path, pairs: int, target: Path | None = None) -> str:
    """Replaces the embedded model's weights by those of a run, if the chain is better with them.

    What is measured are the weights as they are shipped, rounded to bf16.

    Args:
        out: the folder of all runs, with the model before in ``base/``
        run: the folder of the run
        pairs: how many held-out pairs are asked
        target (None): the checkpoint to replace; by default the embedded one

    Returns:
        the section of the card

    Raises:
        ValueError: if the run has no checkpoint, or J&F is not clearly better than before
    """
    from grpo import newest

    from fiftyone_revseg.presets import default_tracker
    from fiftyone_revseg.tracking import load_tracker

    target = target or base_checkpoint("revseg-nano")
    found = newest(run)
    if found is None:
        raise ValueError(f"'{run}' has no checkpoint to ship: train it first")
    step, checkpoint = found
    rounded = round_weights(checkpoint, out / "base", run / "shipped")
    rows, tracker = held_out(pairs), load_tracker(default_tracker("revseg-nano"))
    told = {}
    for name, path in (("before", out / "base"), ("after", rounded)):
        answers = Answers(out / "evaluations", path)
        answers.think(rows)
        answers.track(rows, tracker)
        told[name] = answers.of(rows)
    section = card_section(told["before"], told["after"], step, run.name)
    gain = difference(column(told["before"], "jf"), column(told["after"], "jf")[None])
    if gain is None or gain.low <= 0:
        raise ValueError(
            f"'{run}' is not shipped: its J&F changes by {gain and gain.percent(True)} points, "
            "which is no clear gain"
        )
    card = target / "MODEL_CARD.md"
    text = with_section(card.read_text(encoding="utf-8"), section)
    with replacing(target / "model.safetensors") as partial:
        shutil.copyfile(rounded / "model.safetensors", partial)
    write_text(card, text)
    return section


def round_weights(checkpoint: Path, like: Path, directory: Path) -> Path:
    """Writes a checkpoint with its weights in bf16, and all else as in another one.

    Args:
        checkpoint: whose weights are taken
        like: the checkpoint that says which weights there are, and has all other files
        directory: where to write; what is there is replaced

    Returns:
        the directory

    Raises:
        ValueError: if the two have different weights
    """
    import torch
    from safetensors.torch import load_file, save_file

    ours, theirs = (load_file(path / "model.safetensors") for path in (checkpoint, like))
    for name in ("lm_head.weight", "model.language_model.embed_tokens.weight"):  # tied: either
        tied = "model.language_model.embed_tokens.weight"
        if name not in ours and name in theirs:
            ours[name] = ours[tied if name == "lm_head.weight" else "lm_head.weight"].clone()
    if {n: t.shape for n, t in ours.items()} != {n: t.shape for n, t in theirs.items()}:
        raise ValueError(f"the weights of '{checkpoint}' are not those of '{like}'")
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(like, partial)
    weights = {name: ours[name].to(torch.bfloat16).contiguous() for name in theirs}
    save_file(weights, str(partial / "model.safetensors"), metadata={"format": "pt"})
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)
    return directory


def card_section(before: list[dict], after: list[dict], step: int, run: str) -> str:
    """The section of the model card: before, after, and the change with its interval."""
    lines = [
        HEADING,
        "",
        f"GRPO on the chain, {step} steps (run {run}), by `python benchmarks/grpo.py`. Measured on "
        f"{len(before)} pairs of the `test` split (worlds from seed 5000 on, kinds in equal parts, "
        "frames as drawn, not from a video file), in percent, with 95 % intervals over videos:",
        "",
        "| | before | after | change |",
        "|---|---:|---:|---:|",
    ]
    for measure, name in ROWS.items():
        old, new = column(before, measure), column(after, measure)
        told: list[tuple[Estimate | None, bool]] = [
            (estimate(old[None]), False),
            (estimate(new[None]), False),
            (difference(old, new[None]), True),
        ]
        cells = ["not measured yet" if e is None else e.percent(sign) for e, sign in told]
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
