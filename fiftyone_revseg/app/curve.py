"""The curve of the reasoning panel: an object over time."""

from __future__ import annotations

from typing import Any

from fiftyone_revseg.dataset.explain import TrackSeries

# A panel is not told the App's theme: these stand out from a dark ground, and from a light one
BLUE, GREEN, PINK, RED = "#0091b8", "#5a9900", "#ff1eaa", "#ff5050"


def plot_traces(series: TrackSeries, key_frame: int | None = None) -> list[dict[str, Any]]:
    """Draws an object over time.

    Args:
        series: a :class:`fiftyone_revseg.dataset.explain.TrackSeries`
        key_frame (None): the number of the key frame

    Returns:
        four traces for Plotly: the area, the score, the frames at which a drift is suspected, and
        a line at the key frame. (FiftyOne 1.22 tells a panel nothing of where a video's player is)
    """
    numbers, suspected = list(series.numbers), series.suspected
    areas = [None if area is None else round(100 * area, 3) for area in series.areas]
    scores = [None if score is None else round(score, 4) for score in series.scores]
    drifted = [areas[numbers.index(number)] for number in suspected]
    at = [] if key_frame is None else [key_frame, key_frame]
    cross = {"color": RED, "size": 10, "symbol": "x"}
    dotted, thin = {"color": GREEN, "dash": "dot"}, {"color": PINK, "width": 1}
    area = f"{series.area_of} area"
    return [
        _trace(area, numbers, areas, "area %{y:.2f} %", line={"color": BLUE}),
        _trace("score", numbers, scores, "score %{y:.2f}", yaxis="y2", line=dotted),
        _trace("drift suspected", suspected, drifted, "drift suspected", "markers", marker=cross),
        _trace("key frame", at, [0, 1], yaxis="y2", line=thin),
    ]


def _trace(
    name: str, x: list[int], y: list[Any], told: str = "", mode: str = "lines", **style: Any
) -> dict[str, Any]:
    """A trace for Plotly; what is told of a frame when the mouse is over it, unless nothing is."""
    template = f"frame %{{x}}: {told}<extra></extra>"
    says = {"hovertemplate": template} if told else {"hoverinfo": "skip"}
    return {"type": "scatter", "x": x, "y": y, "name": name, "mode": mode, **says, **style}


PLOT_LAYOUT = {
    "showlegend": True,
    "legend": {"orientation": "h", "x": 0, "y": 1.2},
    "margin": {"t": 30, "l": 45, "r": 40, "b": 30},
    "xaxis": {"title": {"text": "frame"}},
    "yaxis": {"title": {"text": "area in %"}, "rangemode": "tozero"},
    "yaxis2": {"overlaying": "y", "side": "right", "range": [0, 1], "showgrid": False},
}
