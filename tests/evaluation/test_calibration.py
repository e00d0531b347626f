"""What tells right from wrong: figures against libraries, and against other ways to make them."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fiftyone_revseg.evaluation.calibration import (
    auroc,
    calibration_error,
    gain_curve,
    interval,
    queue_gain,
    reliability,
)


@pytest.mark.parametrize("seed", range(20))
def test_auroc_is_that_of_scikit_learn(seed):
    generator = np.random.default_rng(seed)
    right = generator.random(generator.integers(2, 60)) < 0.6
    right[:2] = [True, False]
    score = np.round(generator.random(len(right)) + 0.3 * right, int(generator.integers(1, 4)))
    assert auroc(right, score) == pytest.approx(roc_auc_score(right, score))
    # Any other numbers in the same order are as good, and in reverse as bad
    assert auroc(right, np.exp(5 * score)) == pytest.approx(auroc(right, score))
    assert auroc(right, -score) == pytest.approx(1 - auroc(right, score))


def test_nothing_to_tell_apart():
    for right in (np.ones(5, bool), np.zeros(5, bool), np.zeros(0, bool)):
        assert auroc(right, np.arange(len(right))) is None


def test_calibration_error():
    right = np.array([1, 1, 0, 0, 1, 1, 1, 1, 1, 0], bool)
    certainty = np.array([0.45] * 4 + [0.95] * 6)
    assert reliability(right, certainty) == [
        (pytest.approx(0.45), 0.5, 4),
        (pytest.approx(0.95), pytest.approx(5 / 6), 6),
    ]
    expected = (4 * 0.05 + 6 * (0.95 - 5 / 6)) / 10
    assert calibration_error(right, certainty) == pytest.approx(expected)
    assert calibration_error(right, right.astype(float)) == 0  # 0 and 1 have bins, too
    assert calibration_error(right, 1.0 - right) == 1


def test_certainties_that_are_true_have_almost_no_error():
    generator = np.random.default_rng(0)
    certainty = generator.random(20_000)
    right = generator.random(20_000) < certainty
    assert calibration_error(right, certainty) < 0.015
    assert calibration_error(right, certainty**3) > 0.15


def test_what_a_queue_wins():
    loss = np.array([0.0, 0.8, 0.4, 0.0])
    best, worst = gain_curve(loss, -loss), gain_curve(loss, loss)
    assert best == pytest.approx([0, 0.2, 0.3, 0.3, 0.3])
    assert worst == pytest.approx([0, 0, 0, 0.1, 0.3])
    # Where nothing tells them apart, that is a random order
    assert gain_curve(loss, np.ones(4)) == pytest.approx(np.arange(5) * 0.3 / 4)
    assert queue_gain(loss, -loss, 0.25) == pytest.approx(0.2)
    assert queue_gain(loss, -loss, 0.125) == pytest.approx(0.1)
    assert queue_gain(loss, -loss, 1) == pytest.approx(0.3)


@pytest.mark.parametrize("seed", range(5))
def test_ties_win_what_random_orders_of_them_win(seed):
    generator = np.random.default_rng(seed)
    loss, score = generator.random(30), generator.integers(0, 4, 30)
    orders = [np.lexsort((generator.random(30), score)) for _ in range(4000)]
    drawn = np.mean([np.cumsum(loss[order]) / 30 for order in orders], axis=0)
    assert gain_curve(loss, score)[1:] == pytest.approx(drawn, abs=0.01)


def test_intervals_are_over_videos():
    videos = [f"video {k // 10}" for k in range(400)]
    values = np.repeat(np.random.default_rng(1).normal(size=40), 10)
    low, high = interval(lambda own: float(values[own].mean()), videos)
    # That of 40 draws, not of 400
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 40**0.5, rel=0.15)
    assert low < values.mean() < high
    assert interval(lambda own: float(values[own].mean()), videos) == (low, high)
    assert interval(lambda own: 1.0, ["a"] * 5) == (None, None)
    assert interval(lambda own: None, ["a", "b"]) == (None, None)
    assert interval(lambda own: 1.0, []) == (None, None)
