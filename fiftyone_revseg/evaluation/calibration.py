"""How well a number tells right answers from wrong ones: plain arrays in, figures out.

An answer is right where its J&F reaches a threshold. Of N answers, ``right`` is (N,) bool,
``certainty`` and ``score`` are (N,) float of which more means surer, and ``loss`` is (N,) float,
what a person wins by correcting the answer: 1 - J&F.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fiftyone_revseg.evaluation.summary import COVERAGE, RESAMPLES, SEED

BINS = 10


def auroc(right: np.ndarray, score: np.ndarray) -> float | None:
    """How probable it is that a right answer has a higher score than a wrong one.

    Args:
        right: (N,) bool
        score: (N,) float

    Returns:
        the area under the ROC curve in [0, 1], 0.5 for a coin; ties count half. None if all
        answers are right, or all are wrong
    """
    count = int(np.count_nonzero(right))
    if count in (0, len(right)):
        return None
    _, which, ties = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[which]
    above = ranks[right].sum() - count * (count + 1) / 2
    return float(above / (count * (len(right) - count)))


def reliability(
    right: np.ndarray, certainty: np.ndarray, bins: int = BINS
) -> list[tuple[float, float, int]]:
    """Sorts answers into bins of equal width by their certainty.

    Args:
        right: (N,) bool
        certainty: (N,) float in [0, 1]
        bins (10): how many bins

    Returns:
        for each bin that is not empty, the mean certainty, the share of right answers, and the
        number of answers
    """
    which = np.clip((np.asarray(certainty) * bins).astype(int), 0, bins - 1)
    return [
        (float(certainty[own].mean()), float(right[own].mean()), int(own.sum()))
        for own in (which == k for k in range(bins))
        if own.any()
    ]


def calibration_error(right: np.ndarray, certainty: np.ndarray, bins: int = BINS) -> float:
    """The expected calibration error: how far certainties are from the shares of right answers.

    Args:
        right: (N,) bool
        certainty: (N,) float in [0, 1]
        bins (10): how many bins of equal width

    Returns:
        the mean distance over the answers, in [0, 1]
    """
    found = reliability(right, certainty, bins)
    return sum(abs(sure - share) * count for sure, share, count in found) / len(right)


def gain_curve(loss: np.ndarray, score: np.ndarray) -> np.ndarray:
    """What correcting the answers wins, those with the lowest score first.

    Args:
        loss: (N,) float
        score: (N,) float. Where several are the same, any of them may come first: the mean counts

    Returns:
        (N + 1,) float, what the mean over all answers wins by correcting the first 0, 1, ... N
    """
    _, which, ties = np.unique(score, return_inverse=True, return_counts=True)
    expected = np.bincount(which, loss) / ties
    return np.concatenate([[0.0], np.cumsum(np.repeat(expected, ties))]) / len(loss)


def queue_gain(loss: np.ndarray, score: np.ndarray, share: float) -> float:
    """What correcting a share of the answers wins, those with the lowest score first.

    Args:
        loss: (N,) float
        score: (N,) float
        share: the share that is corrected, in [0, 1]

    Returns:
        what the mean over all answers wins
    """
    curve = gain_curve(loss, score)
    return float(np.interp(share * len(loss), np.arange(len(curve)), curve))


def interval(
    statistic: Callable[[np.ndarray], float | None], videos: Sequence[str], seed: int = SEED
) -> tuple[float | None, float | None]:
    """Bootstraps the 95 % confidence interval of a figure, over the choice of videos.

    Args:
        statistic: the figure of some answers, given their positions, (M,) int; None if there is
            none
        videos: the name of the video of each answer
        seed (0): of the draws; the same seed gives the same interval

    Returns:
        the 2.5th and the 97.5th percentile; None for both if there are less than two videos
    """
    _, owner = np.unique(np.asarray(videos), return_inverse=True)
    own = [np.flatnonzero(owner == k) for k in range(int(owner.max(initial=-1)) + 1)]
    if len(own) < 2:
        return None, None
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, len(own), (RESAMPLES, len(own)))
    found = [statistic(np.concatenate([own[k] for k in draw])) for draw in draws]
    values = [value for value in found if value is not None]
    if not values:
        return None, None
    tail = (100 - COVERAGE) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
