"""The curves of all runs of the GRPO experiment: a seed is a thin line, the mean a thick one."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fiftyone_revseg.files import replacing

# Column of curves.csv -> title
PANELS = {
    "format": "format reward",
    "temporal": "temporal reward",
    "spatial": "spatial reward",
    "total": "total reward",
    "kl": "KL to the model before",
    "tokens": "tokens of a rollout",
    "distinct_key_frames": "distinct key frames in a group of 8",
    "refused": "share answered with nothing",
}


def read_curves(path: Path) -> dict[str, np.ndarray]:
    """Reads ``curves.csv``; of a step that was logged twice, after a resume, the last one counts.

    Returns:
        column -> values in order of the steps; NaN where a step has none
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = {int(float(row["step"])): row for row in csv.DictReader(file) if row.get("step")}
    steps = sorted(rows)
    names = dict.fromkeys(name for row in rows.values() for name in row if name)
    return {n: np.array([float(rows[s].get(n) or "nan") for s in steps]) for n in names}


def smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """Means over up to ``window`` values around each one, NaN left out."""
    half = window // 2
    parts = [values[max(i - half, 0) : i + half + 1] for i in range(len(values))]
    return np.array([np.nanmean(p) if not np.isnan(p).all() else np.nan for p in parts])


def plot_runs(
    runs: Mapping[str, Sequence[Path]],
    path: Path,
    panels: Mapping[str, str] = PANELS,
    window: int = 9,
) -> None:
    """Draws the curves of all runs into one picture.

    Args:
        runs: variant -> the ``curves.csv`` of its seeds
        path: of the PNG
        panels: column -> title
        window: steps that are averaged, as a step's rewards hang on the few rows that it drew
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, (len(panels) + 1) // 2).ravel()
    for unused in axes[len(panels) :]:
        unused.set_visible(False)
    for i, (variant, files) in enumerate(runs.items()):
        curves = [read_curves(file) for file in files]
        for axis, (name, title) in zip(axes, panels.items(), strict=False):
            axis.set_title(title, fontsize=10)
            axis.grid(alpha=0.3)
            known = [(c["step"], smoothed(c[name], window)) for c in curves if name in c]
            for steps, values in known:
                axis.plot(steps, values, color=f"C{i}", alpha=0.35, linewidth=0.8)
            if known:
                shortest = min((steps for steps, _ in known), key=len)
                mean = np.mean([values[: len(shortest)] for _, values in known], axis=0)
                axis.plot(shortest, mean, color=f"C{i}", linewidth=2, label=variant)
    for axis, name in zip(axes, panels, strict=False):
        # From 0, and shares to 1, or chance would look like a trend
        share = name in ("format", "temporal", "spatial", "refused")
        axis.set_ylim(0, 1.02 if share else None)
    if runs:
        axes[0].legend(fontsize=8, loc="lower right")
    figure.supxlabel(f"step (means over {window} steps)", fontsize=9)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=110, format="png")
