"""The curve of the reasoning panel, whose colours the App's theme does not change."""

import numpy as np
import pytest

from fiftyone_revseg.app.curve import plot_traces
from fiftyone_revseg.dataset.explain import TrackSeries

# What FiftyOne 1.22 draws plots of panels on
GROUNDS = {"dark": "#1a1a1a", "light": "#fafafa"}


def luminance(color):
    """The relative luminance of a "#rrggbb", as WCAG defines it."""
    parts = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    parts = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(parts @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", GROUNDS)
def test_all_that_is_drawn_stands_out_in_both_themes(theme):
    traces = plot_traces(TrackSeries())
    colors = [(trace.get("line") or trace["marker"])["color"] for trace in traces]
    assert len(colors) == 4
    for color in colors:
        darker, lighter = sorted(luminance(one) for one in (color, GROUNDS[theme]))
        assert (lighter + 0.05) / (darker + 0.05) >= 3, color  # what WCAG asks of graphics
