"""The folder of one training run: its state, its curves, and how far it is."""

from __future__ import annotations

import csv
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from fiftyone_revseg.files import replacing
from fiftyone_revseg.training.saved_states import load_state, save_state


class RunFolder:
    """Keeps a training run so that it can be watched, stopped and resumed.

    Args:
        directory: created if missing
        steps: how many steps the run has, for the estimate
    """

    def __init__(self, directory: str | Path, steps: int):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.steps = steps
        self._state = self.directory / "state.pt"
        self._curves = self.directory / "curves.csv"
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._began: tuple[float, int] | None = None

    def save(self, state: Mapping[str, Any]) -> None:
        """Replaces the saved state; an interruption leaves the old one whole."""
        save_state(self._state, state)

    def load(self) -> dict[str, Any] | None:
        """The saved state, or the one before if it is damaged; None where there is none."""
        return load_state(self._state)

    def log(self, step: int, values: Mapping[str, float], every: int = 20) -> None:
        """Adds up the values of step ``step`` (the first is 1), and now and then prints means."""
        if self._began is None:
            self._began = (time.monotonic(), step - 1)
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        if step % every and step != self.steps:
            return
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        # A resumed run repeats a few steps
        rows = [*(r for r in self.curves() if r["step"] < step), {"step": step, **means}]
        write_curves(self._curves, rows)
        rate = (time.monotonic() - self._began[0]) / (step - self._began[1])
        left = (self.steps - step) * rate / 60
        shown = "  ".join(f"{name} {mean:.3f}" for name, mean in means.items())
        click.echo(f"step {step}/{self.steps}  {shown}  {rate:.2f} s/step  {left:.0f} min left")

    def curves(self) -> list[dict[str, float]]:
        """The rows logged so far."""
        if not self._curves.exists():
            return []
        with open(self._curves, newline="") as file:
            return [
                {name: float(value) for name, value in row.items() if value}
                for row in csv.DictReader(file)
            ]

    def plot(self) -> None:
        """Draws every curve into ``curves.png``, see :func:`plot_curves`."""
        plot_curves(self.directory / "curves.png", self.curves())


def write_curves(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the curves of a run as a table: a line for each step, with a column for each name."""
    with replacing(path, durable=False) as partial, open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for r in rows for name in r)))
        writer.writeheader()
        writer.writerows(rows)


def plot_curves(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws the curves of a run, each in a plot of its own; nothing where matplotlib is missing.

    Args:
        path: the picture to write
        rows: the "step" and the values of each; there may be none
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    names = [name for name in dict.fromkeys(n for r in rows for n in r) if name != "step"]
    if not names:
        return
    height = (len(names) + 2) // 3
    figure = Figure(figsize=(12, 3 * height), layout="tight")
    axes = figure.subplots(height, 3, squeeze=False)
    for axis, name in zip(axes.flat, names, strict=False):
        axis.plot(*zip(*[(r["step"], r[name]) for r in rows if name in r], strict=True))
        axis.set_title(name)
        axis.set_xlabel("step")
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    with replacing(path, durable=False) as partial:
        figure.savefig(partial, dpi=80)


def check_same_run(
    out: str | Path, made: Mapping[str, Any], asked: Mapping[str, Any], free: Container[str]
) -> None:
    """Refuses to go on with a run under other settings.

    Args:
        out: the run's folder
        made: the settings that it was made with
        asked: those of now
        free: names of settings that may change: neither the data's order nor updates depend on them

    Raises:
        ValueError: if another setting changed
    """
    changed = [name for name in asked if made.get(name) != asked[name] and name not in free]
    if changed:
        raise ValueError(
            f"The run in '{out}' was made with other settings ({', '.join(changed)}); "
            "choose another folder, or the same settings"
        )
