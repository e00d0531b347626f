"""The picture of a calibration: are certainties true, and what does correcting by them win?"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

from fiftyone_revseg.dataset.review_order import UNKNOWN
from fiftyone_revseg.evaluation.calibrate import Calibration
from fiftyone_revseg.evaluation.calibration import gain_curve, reliability

_SIZE, _DPI = (9.6, 4.2), 110


def draw(found: Calibration) -> bytes:
    """Draws how often answers of each certainty are right, and what correcting the queue wins.

    Args:
        found: what was measured

    Returns:
        a PNG file
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_queue(left, found)
    _draw_reliability(right, found)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.legend(fontsize="small")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    return stream.getvalue()


def _draw_queue(axes: Any, found: Calibration) -> None:
    losses = np.array(found.losses)
    share = np.linspace(0, 100, len(losses) + 1)
    queues = {"by certainty": np.array(found.certainty)}
    for name, values in found.others.items():
        numbers = np.array([math.nan if v is None else v for v in values], float)
        queues[f"by {name}"] = np.nan_to_num(numbers, nan=UNKNOWN)
    before = 100 * (1 - losses.mean())
    for name, queue in queues.items():
        axes.plot(share, before + 100 * gain_curve(losses, queue), label=name)
    best = before + 100 * gain_curve(losses, -losses)
    axes.plot(share, best, color="0.6", ls=":", label="the worst first")
    axes.plot([0, 100], [before, 100], color="0.4", ls="--", label="random order")
    axes.axvline(100 * found.share, color="0.8", lw=1)
    axes.set(xlabel="answers corrected, %", ylabel="mean J&F", xlim=(0, 100))
    axes.set_title("What correcting the queue wins", fontsize="medium")


def _draw_reliability(axes: Any, found: Calibration) -> None:
    certainty, right = np.array(found.certainty), found.right
    axes.plot([0, 1], [0, 1], color="0.4", ls="--", label="true")
    bins = reliability(right, certainty)
    sure, share, counts = (np.array(column) for column in zip(*bins, strict=True))
    error = np.sqrt(share * (1 - share) / counts)
    axes.errorbar(sure, share, 1.96 * error, fmt="o", capsize=3, label="answers, in ten bins")
    try:
        fitted = found.fit()
    except ValueError:  # too few
        pass
    else:
        if found.raw == found.certainty:
            axes.plot(fitted.certainty, fitted.right, alpha=0.7, label="the map")
    axes.set(xlabel="certainty", ylabel="share of right answers", xlim=(0, 1), ylim=(0, 1))
    axes.set_title("Are certainties true?", fontsize="medium")
