"""A map from what a model says of its certainty to how often it is right, kept in a file.

It is measured on answers whose truth is known (:mod:`fiftyone_revseg.evaluation.calibrate`), and
applied to those that are written later, beside what the model said itself.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from fiftyone_revseg.files import from_json, write_json
from fiftyone_revseg.files.names import safe_name
from fiftyone_revseg.models.presets import home

#: The fewest answers that a map is made of, and the fewest right and wrong ones among them
LEAST, LEAST_OF_EACH = 50, 5

_GROUPS = 20  # of neighbours at most, and of ten answers at least


@dataclass(frozen=True)
class CertaintyMap:
    """A map that never falls, of certainties to shares of right answers; linear in between.

    Attributes:
        certainty: certainties, increasing, in [0, 1]
        right: for each, the share of the answers with it that are right
        answers: how many answers it was made of
        wrong: how many of these were wrong
        threshold: the J&F from which on an answer is right, in [0, 1]
        model: the names of the models that gave the answers
        created: when it was made, in ISO 8601, UTC
    """

    certainty: tuple[float, ...]
    right: tuple[float, ...]
    answers: int
    wrong: int
    threshold: float
    model: str = ""
    created: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "certainty", _shares("certainty", self.certainty))
        object.__setattr__(self, "right", _shares("right", self.right))
        if not self.certainty or len(self.certainty) != len(self.right):
            raise ValueError("'certainty' and 'right' must be two lists of the same length")

    def __call__(self, certainty: float) -> float:
        """Returns how often answers with such a certainty are right."""
        return float(np.interp(certainty, self.certainty, self.right))

    @property
    def digest(self) -> str:
        """Names what the map does to certainties."""
        text = json.dumps([self.certainty, self.right]).encode()
        return hashlib.sha256(text).hexdigest()[:16]

    @classmethod
    def fit(
        cls, certainty: np.ndarray, right: np.ndarray, threshold: float, model: str = ""
    ) -> CertaintyMap:
        """Makes the map that fits best of all that never fall (isotonic regression).

        It is fitted to groups of neighbours, each with one right and one wrong answer more than it
        has: that all such answers are right, or none, a few of them do not tell.

        Args:
            certainty: (N,) float in [0, 1]
            right: (N,) bool
            threshold: the J&F from which on an answer is right
            model (""): the names of the models

        Raises:
            ValueError: if there are too few answers, or too few right or wrong ones
        """
        from sklearn.isotonic import IsotonicRegression

        count, good = len(right), int(np.count_nonzero(right))
        if count < LEAST or min(good, count - good) < LEAST_OF_EACH:
            raise ValueError(
                f"A map is made of at least {LEAST} answers, {LEAST_OF_EACH} of them right and "
                f"{LEAST_OF_EACH} wrong; here are {count}, {good} right and {count - good} wrong: "
                "label more samples"
            )
        groups = np.array_split(np.argsort(certainty, kind="stable"), min(_GROUPS, count // 10))
        sure = [certainty[own].mean() for own in groups]
        shares = [(right[own].sum() + 1) / (len(own) + 2) for own in groups]
        fitted = IsotonicRegression().fit(sure, shares, [len(own) for own in groups])
        return cls(
            tuple(fitted.X_thresholds_.tolist()),
            tuple(fitted.y_thresholds_.tolist()),
            answers=count,
            wrong=count - good,
            threshold=threshold,
            model=model,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    def check_model(self, name: str) -> None:
        """Raises a ``ValueError`` if the map was made of other models' answers."""
        if self.model != name:
            raise ValueError(
                f"The calibration was made of answers of {self.model or 'an unknown model'}, and "
                f"the answers here are by {name}: calibrate with that, or leave the calibration out"
            )

    def save(self, path: str | Path) -> Path:
        """Writes a JSON file, wholly or not at all."""
        path = Path(path)
        write_json(path, asdict(self), indent=1)
        return path

    @classmethod
    def load(cls, path: str | Path) -> CertaintyMap:
        """Reads what :meth:`save` wrote.

        Raises:
            ValueError: if there is no such file, or it holds something else
        """
        path = Path(path).expanduser()
        if not path.exists():
            raise ValueError(f"There is no calibration '{path}': revseg calibrate --fit makes one")
        try:
            found = from_json(path.read_text(encoding="utf-8"))
            return cls(**{f.name: found[f.name] for f in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"'{path}' holds no calibration: {what}") from error


def read_map(calibration: CertaintyMap | str | Path | None) -> CertaintyMap | None:
    """Reads a map, or takes one that was read already.

    Args:
        calibration: the map or its file; None for none

    Raises:
        ValueError: if there is no such file, or it holds something else
    """
    if calibration is None or isinstance(calibration, CertaintyMap):
        return calibration
    return CertaintyMap.load(calibration)


def default_path(dataset_name: str, label_field: str) -> Path:
    """Where the map of a label field is kept, unless it is said otherwise."""
    return home() / "calibration" / f"{safe_name(f'{dataset_name}-{label_field}')}.json"


def _shares(name: str, values: Any) -> tuple[float, ...]:
    """Numbers from 0 to 1 that never fall."""
    found: Sequence[Any] = values if isinstance(values, (list, tuple)) else ()
    good = all(
        isinstance(v, (int, float)) and math.isfinite(v) and not isinstance(v, bool) for v in found
    )
    if not good or list(found) != sorted(found) or any(not 0 <= v <= 1 for v in found):
        raise ValueError(f"'{name}' must be a list of numbers from 0 to 1 that never fall")
    return tuple(map(float, found))
