"""How well certainties tell right answers from wrong ones, measured on samples with truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fiftyone_revseg.dataset.certainty_map import CertaintyMap
from fiftyone_revseg.dataset.review_order import UNKNOWN
from fiftyone_revseg.evaluation.calibration import (
    auroc,
    calibration_error,
    interval,
    queue_gain,
)
from fiftyone_revseg.evaluation.results import Evaluation, ExpressionScore
from fiftyone_revseg.text.columns import in_columns

#: The J&F from which on an answer is right, and the share of the queue that is corrected
THRESHOLD, SHARE = 0.5, 0.2

#: The fewest answers that anything is measured on
LEAST = 20

_FOLDS = 5

#: What may tell right from wrong -> what it is called
SIGNALS = {
    "certainty": "certainty",
    "certainty_raw": "the model's own",
    "agreement": "agreement",
    "box_confidence": "confidence of the box",
}


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % confidence interval over the choice of videos; None is unknown."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, statistic: Callable[[np.ndarray], float | None], videos: Sequence[str]) -> Figure:
        """Measures a figure, given positions of answers, on all of them and on draws of videos."""
        return cls(statistic(np.arange(len(videos))), *interval(statistic, videos))

    def text(self, factor: float = 1, digits: int = 2) -> str:
        """Writes it for people."""
        if self.value is None:
            return "-"
        text = f"{factor * self.value:.{digits}f}"
        if self.low is None or self.high is None:
            return text
        return f"{text} ({factor * self.low:.{digits}f} to {factor * self.high:.{digits}f})"


@dataclass(frozen=True)
class Signal:
    """How well one number tells right from wrong.

    Attributes:
        name: what it is called
        known: how many answers have it
        auroc: see :func:`fiftyone_revseg.evaluation.calibration.auroc`; of those that have it
        error: the expected calibration error of those that have it
        gain: how much of J&F, in [0, 1], all answers together win if the first of the queue by this
            number are corrected; answers without it stand where the review queue has them
        times: how many times as much as in a random order
    """

    name: str
    known: int
    auroc: Figure = field(default_factory=Figure)
    error: Figure = field(default_factory=Figure)
    gain: Figure = field(default_factory=Figure)
    times: Figure = field(default_factory=Figure)


@dataclass(frozen=True)
class Calibration:
    """What was found out about the certainties of some answers.

    Attributes:
        dataset: the name of the dataset
        label_field: that with the answers
        truth: the label field with the truth
        model: the names of the models
        threshold: the J&F from which on an answer is right
        share: the share of the queue that is corrected
        answers: how many answers with a certainty and known truth
        videos: on how many videos
        wrong: how many of them are wrong
        left_out: how many answers have no certainty
        jf: their mean J&F
        random: what a random order wins
        best: what the worst answers win, were they known
        signals: the certainty first
        mapped: the certainty after a map that other videos' answers made (cross-validation); None
            where there are too few for a map
        certainty: of each answer
        raw: what the model said itself, which a map is made of
        losses: of each answer, 1 - J&F
        others: what another signal is called -> of each answer, with None where it is not known
    """

    dataset: str
    label_field: str
    truth: str
    model: str
    threshold: float
    share: float
    answers: int
    videos: int
    wrong: int
    left_out: int
    jf: float
    random: float
    best: float
    signals: tuple[Signal, ...]
    mapped: Signal | None
    certainty: tuple[float, ...] = field(repr=False)
    raw: tuple[float, ...] = field(repr=False)
    losses: tuple[float, ...] = field(repr=False)
    others: dict[str, tuple[float | None, ...]] = field(repr=False)

    @property
    def right(self) -> np.ndarray:
        """(N,) bool, which answers are right."""
        return _is_right(np.array(self.losses), self.threshold)

    def fit(self) -> CertaintyMap:
        """Makes the map of all answers; see :meth:`CertaintyMap.fit` for what it refuses."""
        return CertaintyMap.fit(np.array(self.raw), self.right, self.threshold, self.model)

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-serializable dict of the figures, without single answers."""
        found = asdict(self)
        for name in ("certainty", "raw", "losses", "others"):
            del found[name]
        return found

    def __str__(self) -> str:
        lines, _ = in_columns(self._table())
        return "\n".join([self._head(), *lines, *self._notes()])

    def to_markdown(self) -> str:
        """Writes the figures as Markdown: what they are of, a table, and notes."""
        head, *rows = self._table()
        lines = [
            f"{self._head()}\n",
            f"| {' | '.join(head)} |",
            f"|{'---|' * len(head)}",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            *(f"* {note}" for note in self._notes()),
        ]
        return "\n".join(lines)

    def _head(self) -> str:
        return (
            f"{self.answers} answers on {self.videos} videos have a certainty, {self.wrong} of them"
            f" are wrong (J&F under {100 * self.threshold:.0f}); mean J&F {100 * self.jf:.1f}"
        )

    def _table(self) -> list[list[str]]:
        share = f"the first {100 * self.share:.0f} % win"
        rows = [["", "answers", "AUROC", "calibration error", share, "x random"]]
        for signal in (*self.signals, *filter(None, [self.mapped])):
            figures = [signal.auroc.text(), signal.error.text(), signal.gain.text(100, 1)]
            rows.append([signal.name, str(signal.known), *figures, signal.times.text(digits=1)])
        for name, gain in (("the worst first", self.best), ("random order", self.random)):
            times = f"{gain / self.random:.1f}" if self.random else ""
            rows.append([name, str(self.answers), "", "", f"{100 * gain:.1f}", times])
        return rows

    def _notes(self) -> list[str]:
        notes = ["Intervals are 95 %, over the choice of videos."]
        if self.left_out:
            notes.append(f"{self.left_out} answers have no certainty, and were left out.")
        if self.mapped is not None:
            notes.append("The map's figures are of answers that it was not made of.")
        return notes


def calibrate(
    evaluation: Evaluation, threshold: float = THRESHOLD, share: float = SHARE
) -> Calibration:
    """Measures how well certainties tell right answers from wrong ones.

    Examples::

        evaluation = revseg.evaluate_view(dataset, "revseg", "ground_truth")
        found = calibrate(evaluation)
        print(found)
        found.fit().save("certainty.json")

    Args:
        evaluation: the scores of answers, each with its certainty if it has one
        threshold (0.5): the J&F from which on an answer is right, in (0, 1]
        share (0.2): the share of the queue that is corrected, in (0, 1]

    Returns:
        a :class:`Calibration`

    Raises:
        ValueError: if there are too few answers with a certainty, if all of them are right or all
            are wrong, or if one is no number from 0 to 1
    """
    for name, value in (("threshold", threshold), ("share", share)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
            raise ValueError(f"{name} must be a number above 0, and at most 1, not {value!r}")
    answered = [score for score in evaluation.scores if not score.missing]
    scores = [score for score in answered if score.certainty is not None]
    _check(scores, len(answered) - len(scores), evaluation.pred_field)
    videos = [score.video for score in scores]
    losses = 1 - np.array([score.jf for score in scores])
    right = _is_right(losses, threshold)
    if min(right.sum(), (~right).sum()) == 0:
        kind = "right" if right.any() else "wrong"
        raise ValueError(
            f"All {len(scores)} answers are {kind} at a J&F of {100 * threshold:.0f}: there is "
            "nothing to tell apart. Label other samples, or choose another threshold"
        )
    columns = {name: [getattr(score, name) for score in scores] for name in SIGNALS}
    known = {name: _numbers(values) for name, values in columns.items()}
    known = {name: values for name, values in known.items() if not np.isnan(values).all()}
    certainty = known["certainty"]
    raw = known.get("certainty_raw", certainty)  # of some that were calibrated, and others
    raw = np.where(np.isnan(raw), certainty, raw)
    return Calibration(
        dataset=evaluation.dataset,
        label_field=evaluation.pred_field,
        truth=evaluation.gt_field,
        model=evaluation.model,
        threshold=threshold,
        share=share,
        answers=len(scores),
        videos=len(set(videos)),
        wrong=int((~right).sum()),
        left_out=len(answered) - len(scores),
        jf=float(1 - losses.mean()),
        random=float(share * losses.mean()),
        best=queue_gain(losses, -losses, share),
        signals=tuple(
            _signal(SIGNALS[name], values, losses, right, videos, share)
            for name, values in known.items()
        ),
        mapped=_mapped(raw, losses, right, videos, share, threshold),
        certainty=tuple(certainty.tolist()),
        raw=tuple(raw.tolist()),
        losses=tuple(losses.tolist()),
        others={SIGNALS[name]: tuple(columns[name]) for name in known if name != "certainty"},
    )


def _is_right(losses: np.ndarray, threshold: float) -> np.ndarray:
    return losses <= 1 - threshold + 1e-9


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], float)


def _check(scores: Sequence[ExpressionScore], without: int, field: str) -> None:
    """Refuses what nothing can be measured on."""
    for name, title in SIGNALS.items():
        values = [getattr(score, name) for score in scores]
        bad = [v for v in values if v is not None and not 0 <= v <= 1]  # nor is NaN
        if bad:
            raise ValueError(
                f"The {title} of {len(bad)} answers in '{field}' is no number from 0 to 1, such as "
                f"{bad[0]!r}: segment these videos again"
            )
    if len(scores) < LEAST:
        told = f", and {without} without" if without else ""
        raise ValueError(
            f"There are {len(scores)} answers with a certainty in '{field}'{told}, and at least "
            f"{LEAST} are needed: label more samples, and segment with a verdict (--verdict)"
        )


def _signal(
    name: str,
    values: np.ndarray,
    losses: np.ndarray,
    right: np.ndarray,
    videos: Sequence[str],
    share: float,
) -> Signal:
    """The figures of a number that some answers have; NaN where one has not."""
    has = np.flatnonzero(~np.isnan(values))
    own, known, names = values[has], right[has], [videos[int(k)] for k in has]
    queue = np.nan_to_num(values, nan=UNKNOWN)

    def gain(which: np.ndarray) -> float:
        return queue_gain(losses[which], queue[which], share)

    def times(which: np.ndarray) -> float | None:
        by_chance = share * losses[which].mean()
        return float(gain(which) / by_chance) if by_chance else None

    return Signal(
        name,
        len(has),
        Figure.of(lambda which: auroc(known[which], own[which]), names),
        Figure.of(lambda which: calibration_error(known[which], own[which]), names),
        Figure.of(gain, videos),
        Figure.of(times, videos),
    )


def _mapped(
    certainty: np.ndarray,
    losses: np.ndarray,
    right: np.ndarray,
    videos: Sequence[str],
    share: float,
    threshold: float,
) -> Signal | None:
    """The figures after a map, of each answer that which the other videos' answers make."""
    from sklearn.model_selection import GroupKFold

    folds = min(_FOLDS, len(set(videos)))
    if folds < 2:
        return None
    found = np.full(len(certainty), math.nan)
    for train, test in GroupKFold(folds).split(certainty, groups=np.array(videos)):
        try:
            made = CertaintyMap.fit(certainty[train], right[train], threshold)
        except ValueError:  # too few
            return None
        # As in the queue, what the model said decides between those that are the same
        found[test] = [made(c) + 1e-9 * c for c in certainty[test]]
    return _signal("certainty, mapped", np.clip(found, 0, 1), losses, right, videos, share)
