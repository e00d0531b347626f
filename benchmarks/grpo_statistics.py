"""Means and what is known about them: paired bootstrap intervals, over videos and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % confidence interval.

    Attributes:
        mean: the mean
        low: the interval's lower end
        high: its upper end
    """

    mean: float
    low: float
    high: float

    def percent(self, sign: bool = False) -> str:
        """The estimate in percent, as it stands in a table."""
        plus = "+" if sign else ""
        low, high = f"{100 * self.low:{plus}.1f}", f"{100 * self.high:{plus}.1f}"
        return f"{100 * self.mean:{plus}.1f} [{low}, {high}]"


def estimate(values: np.ndarray, resamples: int = RESAMPLES) -> Estimate | None:
    """Estimates a mean over seeds and videos.

    Each resample draws seeds, and for all of them the same videos, with replacement. With few
    seeds that is a rough account of how they differ, but an honest one: a single seed says nothing
    about it.

    Args:
        values: ``(seeds, videos)``; NaN where a measure does not apply
        resamples (10000): how often is drawn

    Returns:
        the estimate; None if there are no values
    """
    values = np.asarray(values, float)
    values = values[:, ~np.isnan(values).any(axis=0)]
    if not values.size:
        return None
    rng = np.random.default_rng(0)
    seeds, videos = values.shape
    # How often each was drawn, so that a resample is two products
    of_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
    of_video = rng.multinomial(videos, np.full(videos, 1 / videos), resamples) / videos
    means = np.einsum("rs,sv,rv->r", of_seed, values, of_video, optimize=True)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(values.mean()), float(low), float(high))


def difference(before: np.ndarray, after: np.ndarray) -> Estimate | None:
    """Estimates what changed, with each video compared with itself.

    Args:
        before: ``(videos,)`` values of the model that all runs began with
        after: ``(seeds, videos)`` values of the runs
    """
    return estimate(np.asarray(after, float) - np.asarray(before, float)[None])


def column(answers: Sequence[dict], measure: str) -> np.ndarray:
    """A measure of every answer, ``(videos,)``; NaN where it does not apply or is not known."""
    found = [answer.get(measure) for answer in answers]
    return np.array([np.nan if value is None else value for value in found], float)
