"""The results of the GRPO experiment: what changed, for whom, and which variant came first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from grpo_pairs import MEASURES
from grpo_statistics import Estimate, column, difference, estimate

UNKNOWN = "not measured yet"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"  # in a page
NAMES = {
    "soft": "soft temporal reward",
    "binary": "0-1 temporal reward",
    "none": "no temporal reward",
    "direct": "direct, no chain",
}
COLUMNS = {
    "temporal": "temporal reward",
    "format": "format",
    "box": "box IoU > 0.5",
    "refused": "refused",
    "jf": "J&F",
    "jf_target": "J&F with a target",
}
# What the paper's ablations compare
CONTRASTS = (("soft", "none"), ("soft", "binary"), ("binary", "none"), ("soft", "direct"))


def results_of(measured: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Sums up what was measured.

    Args:
        measured: "before", "before, direct" and VARIANT-SEED -> a dict with "variant", "step" and
            "answers", the same pairs in the same order

    Returns:
        a JSON-serializable dict: "pairs", "kinds" -> count, "before" and "after" by variant, each
        with estimates by measure; "contrasts" between variants
    """
    before = {
        variant: _columns(measured[name]["answers"])
        for name, variant in (("before", "chain"), ("before, direct", "direct"))
        if name in measured
    }
    answers = measured["before"]["answers"]
    after: dict[str, Any] = {}
    seeds: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for variant in NAMES:
        runs = {
            name: run
            for name, run in measured.items()
            if run["variant"] == variant and not name.startswith("before")
        }
        if not runs:
            continue
        of_seed = {name.rpartition("-")[2]: _columns(run["answers"]) for name, run in runs.items()}
        seeds[variant] = of_seed
        began = before["direct" if variant == "direct" else "chain"]
        after[variant] = {
            "steps": [run["step"] for run in runs.values()],
            "seeds": list(of_seed),
            "after": {m: _told(estimate(_stack(of_seed, m))) for m in COLUMNS},
            "change": {m: _told(difference(began[m], _stack(of_seed, m))) for m in COLUMNS},
            "key_frames": [key_frames(run["answers"]) for run in runs.values()],
            "tokens": float(np.mean([_tokens(run["answers"]) for run in runs.values()])),
            "kinds": _by_kind(answers, began, of_seed),
        }
    contrasts = {}
    for one, other in CONTRASTS:
        common = sorted(set(seeds.get(one, {})) & set(seeds.get(other, {})))
        if common:
            contrasts[f"{one} - {other}"] = {
                measure: _told(
                    estimate(
                        np.stack(
                            [seeds[one][s][measure] - seeds[other][s][measure] for s in common]
                        )
                    )
                )
                for measure in COLUMNS
            }
    direct = measured.get("before, direct")
    return {
        "pairs": len(answers),
        "kinds": dict(Counter(answer["kind"] for answer in answers)),
        "unanswerable": direct and sum(a["unanswerable"] for a in direct["answers"]),
        "before": {
            mode: {m: _told(estimate(values[m][None])) for m in COLUMNS}
            for mode, values in before.items()
        },
        "before_key_frames": key_frames(answers),
        "before_tokens": _tokens(answers),
        "after": after,
        "contrasts": contrasts,
    }


def key_frames(answers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How diverse the chosen key frames are.

    Returns:
        "distinct", how many of the shown frames were ever chosen; "effective", the exponential of
        their entropy: as many frames chosen equally often would be as diverse
    """
    counts = Counter(frame for answer in answers for frame in answer.get("frames", ()))
    shares = np.array(list(counts.values()), float) / max(sum(counts.values()), 1)
    entropy = -float((shares * np.log(shares)).sum()) if len(shares) else 0.0
    return {"distinct": len(counts), "effective": math.exp(entropy) if len(shares) else 0.0}


def to_markdown(results: Mapping[str, Any]) -> str:
    """Writes the tables: before, after and what changed; by kind of query; contrasts."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in results["kinds"].items())
    lines = [
        f"{results['pairs']} pairs: {kinds}. In percent, with 95 % intervals.",
        "",
        "| | seeds | steps | "
        + " | ".join(COLUMNS.values())
        + " | key frames (effective) | tokens |",
        "|---|---:|---:|" + "---:|" * (len(COLUMNS) + 2),
    ]
    for mode, values in results["before"].items():
        frames = results["before_key_frames"] if mode == "chain" else None
        tokens = results["before_tokens"] if mode == "chain" else None
        label = "before" if mode == "chain" else "before, direct"
        lines.append(_row(label, "-", "0", values, [frames] if frames else [], tokens))
    for variant, found in results["after"].items():
        steps = ", ".join(map(str, sorted(set(found["steps"]))))
        count = str(len(found["seeds"]))
        frames = found["key_frames"] if variant != "direct" else []
        lines.append(_row(NAMES[variant], count, steps, found["after"], frames, found["tokens"]))
        lines.append(_row("change", "", "", found["change"], [], None, sign=True))
    lines += ["", "| by kind | " + " | ".join(results["kinds"]) + " |"]
    lines.append("|---|" + "---:|" * len(results["kinds"]))
    for variant, found in results["after"].items():
        for measure in ("temporal", "box", "jf"):
            cells = [found["kinds"][kind][measure] for kind in results["kinds"]]
            if any(cell is not None for cell in cells):
                told = " | ".join(
                    "-" if c is None else f"{100 * c[0]:.1f} -> {100 * c[1]:.1f}" for c in cells
                )
                lines.append(f"| {NAMES[variant]}: {COLUMNS[measure]} | {told} |")
    notes = {"jf_target": "the same, of the pairs with a target only"}
    said = {**MEASURES, **notes}
    return "\n".join([*lines, "", *(f"* {COLUMNS[m]}: {said[m]}" for m in COLUMNS)])


def order_found(results: Mapping[str, Any]) -> str:
    """Says in words which variant came first, by J&F where it is known, else by boxes."""
    after = results["after"]
    measure = "jf" if any(found["after"]["jf"] for found in after.values()) else "box"
    ranked = sorted(
        (v for v in after if after[v]["after"][measure]),
        key=lambda v: -after[v]["after"][measure]["mean"],
    )
    if not ranked:
        return f"Order by {COLUMNS[measure]}: {UNKNOWN}."
    told = [f"{NAMES[v]} {100 * after[v]['after'][measure]['mean']:.1f}" for v in ranked]
    lines = [f"Order by {COLUMNS[measure]}: {', '.join(told)}."]
    for name, of in results["contrasts"].items():
        if (found := of[measure]) is None:
            continue
        one, other = (NAMES[v] for v in name.split(" - "))
        clear = found["low"] > 0 or found["high"] < 0
        sure = "clear of 0" if clear else "not clear of 0"
        told = Estimate(**found).percent(sign=True)
        lines.append(f"* {one} minus {other}: {told} points, {sure}")
    if results["unanswerable"] is not None:
        lines.append(
            f"* {results['unanswerable']} of {results['pairs']} pairs have no target in frame 0: "
            "no direct answer can be right there"
        )
    return "\n".join(lines)


def fill_page(page: str, text: str) -> str:
    """Puts results into a page, between its marks.

    Raises:
        ValueError: if the page has no marks
    """
    head, begun, rest = page.partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"the page has no place for results: write {BEGIN} and {END} into it")
    return f"{head}{BEGIN}\n{text}\n{END}{tail}"


def _columns(answers: Sequence[dict]) -> dict[str, np.ndarray]:
    values = {measure: column(answers, measure) for measure in COLUMNS if measure != "jf_target"}
    empty = np.array([answer.get("refused") is None for answer in answers])
    values["jf_target"] = np.where(empty, np.nan, values["jf"])
    return values


def _stack(of_seed: Mapping[str, Mapping[str, np.ndarray]], measure: str) -> np.ndarray:
    return np.stack([values[measure] for values in of_seed.values()])


def _by_kind(
    answers: Sequence[Mapping[str, Any]],
    before: Mapping[str, np.ndarray],
    of_seed: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, dict[str, list[float] | None]]:
    kinds = np.array([answer["kind"] for answer in answers])
    told: dict[str, dict[str, list[float] | None]] = {}
    for kind in dict.fromkeys(kinds.tolist()):
        told[kind] = {}
        for measure in ("temporal", "box", "jf"):
            pair = before[measure][kinds == kind], _stack(of_seed, measure)[:, kinds == kind]
            known = ~np.isnan(pair[0]) & ~np.isnan(pair[1]).any(axis=0)
            told[kind][measure] = (
                [float(pair[0][known].mean()), float(pair[1][:, known].mean())]
                if known.any()
                else None
            )
    return told


def _tokens(answers: Sequence[Mapping[str, Any]]) -> float:
    return float(np.mean([answer["tokens"] for answer in answers]))


def _told(found: Estimate | None) -> dict[str, float] | None:
    return None if found is None else asdict(found)


def _row(
    label: str,
    seeds: str,
    steps: str,
    values: Mapping[str, Any],
    frames: Sequence[Mapping[str, float]],
    tokens: float | None,
    sign: bool = False,
) -> str:
    missing = "-" if label == "change" else UNKNOWN
    no_key_frames = label.endswith("direct") or label == NAMES["direct"] or sign
    cells = []
    for measure in COLUMNS:
        found = values[measure]
        if found is not None:
            cells.append(Estimate(**found).percent(sign))
        else:
            cells.append("-" if measure == "temporal" and no_key_frames else missing)
    effective = np.mean([f["effective"] for f in frames]) if frames else None
    distinct = np.mean([f["distinct"] for f in frames]) if frames else None
    cells.append("-" if effective is None else f"{distinct:.1f} ({effective:.1f})")
    cells.append("-" if tokens is None else f"{tokens:.0f}")
    return f"| {label} | {seeds} | {steps} | " + " | ".join(cells) + " |"
