"""Makes what GRPO runs learned the embedded model, and says before and after in its card.

Of several runs, which differ in their seed only, the mean of their weights is taken: what they
learned alike adds up, and what is chance in each of them does not (Wortsman et al., Model soups,
2022). For the same reason it is the mean over the second half of each run, see
:mod:`grpo_weights`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from grpo_masks import track_answers
from grpo_pairs import Answers, base_checkpoint, held_out
from grpo_statistics import Estimate, column, difference, estimate
from grpo_weights import mean_weights, second_half

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
    from fiftyone_revseg.models.presets import default_tracker
    from fiftyone_revseg.tracking import load_tracker

    target = target or base_checkpoint("revseg-nano")
    checkpoints: list[Path] = []
    steps: set[int] = set()
    for run in runs:
        found = second_half(run)
        if not found:
            raise ValueError(f"'{run}' has no checkpoint to ship: train it first")
        checkpoints += found.values()
        steps.add(max(found))
    rounded = mean_weights(checkpoints, out / "base", out / "shipped")
    names = ", ".join(run.name for run in runs)
    rows, tracker = held_out(pairs), load_tracker(default_tracker("revseg-nano"))
    asked = [Answers(out / "evaluations", path) for path in (out / "base", rounded)]
    for answers in asked:
        answers.think(rows)
    track_answers(asked, rows, tracker)
    before, after = (answers.of(rows) for answers in asked)
    section = card_section(before, after, sorted(steps), names)
    gain = difference(column(before, "jf"), column(after, "jf")[None])
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


def card_section(before: list[dict], after: list[dict], steps: Sequence[int], runs: str) -> str:
    """The section of the model card: before, after, and the change with its interval."""
    count = " and ".join(map(str, steps))
    lines = [
        HEADING,
        "",
        f"GRPO on the chain, {count} steps (runs {runs}; the mean of the",
        "weights over their second half), by `python benchmarks/grpo.py`. Measured on "
        f"{len(before)} pairs of the",
        "`test` split (worlds from seed 5000 on, kinds in equal parts, frames as drawn, not from a",
        "video file), in percent, with 95 % intervals over videos:",
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
