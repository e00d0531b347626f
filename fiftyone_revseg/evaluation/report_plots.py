"""The plots of a report: how the figures of the expressions are distributed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fiftyone_revseg.evaluation.results import ExpressionScore
from fiftyone_revseg.text.escape import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS = np.linspace(0, 100, 21)
_MOST_KINDS = 10  # as many as there are colours


def make_plots(scores: Sequence[ExpressionScore]) -> dict[str, bytes]:
    """Draws what can be drawn of some scores.

    Args:
        scores: those that are not missing

    Returns:
        a dict that maps titles to PNG files

    Raises:
        ImportError: if matplotlib is missing; the message says how to install it
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"There are no plots, as matplotlib is missing ({error}): pip install matplotlib"
        ) from error

    groups = _by_kind(scores)
    plots = {}
    if groups:
        plots["J&F of the expressions"] = _histogram(groups)
    known = {kind: [s for s in own if s.key_frame_quality is not None] for kind, own in groups}
    if any(known.values()):
        title = "J&F against the quality of the key frame"
        pairs = [
            (kind, [(s.key_frame_quality, s.jf) for s in own]) for kind, own in known.items() if own
        ]
        plots[title] = _scatter(pairs, "quality of the key frame", "J&F")
    if groups:
        pairs = [(kind, [(s.j, s.f) for s in own]) for kind, own in groups]
        plots["F against J"] = _scatter(pairs, "J", "F")
    return plots


def _label(kind: str) -> str:
    """The name of a kind in a legend, where dollars are for formulas and "_" for hidden ones."""
    return (one_line(kind, 60).replace("$", r"\$").lstrip("_")) or "all"


def _by_kind(scores: Sequence[ExpressionScore]) -> list[tuple[str, list[ExpressionScore]]]:
    kinds = sorted({score.kind for score in scores})
    if len(kinds) > _MOST_KINDS:
        return [("", list(scores))]
    return [(kind, [s for s in scores if s.kind == kind]) for kind in kinds]


def _histogram(groups: Sequence[tuple[str, list[ExpressionScore]]]) -> bytes:
    figure, axes = _axes("J&F", "expressions")
    values = [[100 * score.jf for score in own] for _, own in groups]
    axes.hist(values, _BINS, stacked=True, label=[_label(kind) for kind, _ in groups])
    axes.set_xlim(0, 100)
    return _png(figure, axes, len(groups))


def _scatter(
    groups: Sequence[tuple[str, Sequence[tuple[Any, float]]]],
    x_label: str,
    y_label: str,
) -> bytes:
    figure, axes = _axes(x_label, y_label)
    for kind, pairs in groups:
        x, y = 100 * np.array(pairs, float).T
        axes.scatter(x, y, s=12, alpha=0.5, label=_label(kind))
    axes.set_xlim(-2, 102)
    axes.set_ylim(-2, 102)
    return _png(figure, axes, len(groups))


def _axes(x_label: str, y_label: str) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def _png(figure: Figure, axes: Any, kinds: int) -> bytes:
    if kinds > 1:
        axes.legend(fontsize="small")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()
