"""What the model said beside its masks: whether it answered at all, and which frame it chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fiftyone_revseg.dataset.expressions import Expression, answered_by, value_of
from fiftyone_revseg.dataset.record import records_of
from fiftyone_revseg.measures.rewards import temporal_reward
from fiftyone_revseg.types import Status


def answers_to(
    values: Mapping[str, Any], pred_field: str, expression: Expression
) -> list[Any] | None:
    """Lists the answers to an expression; None if the predictions come without such a list."""
    stored = values.get(f"{pred_field}_answers")
    if stored is None and not values.get(f"{pred_field}_trajectory"):
        return None
    classifications = stored.classifications if stored is not None else []
    return [c for c in classifications if answered_by(c) in expression.answered]


def status_and_reason(answers: Sequence[Any]) -> tuple[str, str]:
    """Returns how the answers to one query ended: "ok" if one of them did."""
    said = [(str(value_of(c, "status") or ""), str(value_of(c, "reason") or "")) for c in answers]
    good = [pair for pair in said if pair[0] == str(Status.OK)]
    return (good or said or [("", "")])[0]


def models_of(answers: Sequence[Any]) -> set[str]:
    """Returns the names of the models that gave the answers."""
    return {str(value_of(c, "model")) for c in answers if value_of(c, "model")}


def key_frame(
    values: Mapping[str, Any],
    pred_field: str,
    query: str,
    numbers: range,
    box_areas: Sequence[np.ndarray],
) -> tuple[int | None, float | None]:
    """Says which frame was chosen, and how good a choice that was.

    The quality is the temporal reward of the paper (arXiv 2512.02835, section 3.3) among the
    frames that the model was shown: 1 where the object is largest, 0 where it is smallest or
    absent. Of several objects it is that of the one that the frame suits best, and of several
    frames the mean.

    Args:
        values: the sample-level fields, see
            :class:`fiftyone_revseg.dataset.labelled_videos.LabelledVideo`
        pred_field: the label field with the predictions
        query: the query
        numbers: the frame numbers that are scored
        box_areas: for each true object, (T,) float, the areas of its boxes

    Returns:
        the frame number, 1-based, of the first choice, and the quality; None where there is no
        choice, or no true object, or it is not recorded
    """
    records = records_of(values.get(f"{pred_field}_trajectory"))
    record = next((r for r in records if r.query == query), None)
    if record is None:
        return None, None
    sampled, chosen = record.sampled, [choice["frame"] for choice in record.choices]
    number = sampled[chosen[0]] if chosen else None
    if not sampled or not box_areas:
        return number, None
    shown = [
        [areas[n - numbers.start] if n in numbers else 0.0 for n in sampled] for areas in box_areas
    ]
    rewards = [max(temporal_reward(areas, k) for areas in shown) for k in chosen]
    return number, float(np.mean(rewards)) if rewards else temporal_reward(shown[0], None)
