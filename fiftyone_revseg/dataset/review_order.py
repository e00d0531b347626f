"""In which order a person looks at answers: first those that are most likely wrong.

An answer's place is its certainty. One without stands where a certainty of :data:`UNKNOWN` would,
those with a box of low confidence before the others: after the answers that are known to be
doubtful, and before those that are known to be sure.
"""

from __future__ import annotations

from typing import Any

from fiftyone import ViewField as F

#: Where answers without a certainty stand among those with one
UNKNOWN = 0.5

_FINE = 1e-6  # what only decides between answers that are otherwise the same


def place_of(certainty: float | None, raw: float | None, confidence: float | None) -> float:
    """Returns the place of an answer in the queue; the lowest is first.

    Args:
        certainty: its certainty
        raw: what the model said itself, where the certainty was calibrated: many certainties are
            the same then
        confidence: the confidence of its box
    """
    if certainty is not None:
        return certainty + _FINE * (certainty if raw is None else raw)
    return UNKNOWN + _FINE * (confidence or 0)


def place_expression(label_field: str, wanted: Any) -> Any:
    """Makes the expression of the place of a sample, that of the first of some of its answers.

    Args:
        label_field: the label field
        wanted: the expression that holds for answers that count; without any, a sample is first

    Returns:
        a :class:`fiftyone.core.expressions.ViewExpression`
    """
    certainty, raw, confidence = F("certainty"), F("certainty_raw"), F("confidence")
    fine = raw.exists().if_else(raw, certainty)
    unknown = confidence.exists().if_else(confidence, 0)
    place = certainty.exists().if_else(certainty + _FINE * fine, UNKNOWN + _FINE * unknown)
    return F(f"{label_field}_answers.classifications").filter(wanted).map(place).min()
