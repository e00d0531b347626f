"""What the model said beside its masks: whether it answered at all, and which frame it chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fiftyone_revseg.dataset.expressions import Expression, answered_by, value_of
from fiftyone_revseg.dataset.labelled_videos import LabelledVideo
from fiftyone_revseg.measures.rewards import temporal_reward
from fiftyone_revseg.types import Status


def answers_to(video: LabelledVideo, pred_field: str, expression: Expression) -> list[Any] | None:
    """Lists the answers to an expression; None if the predictions come without such a list."""
    answers, trajectory = (video.values.get(f"{pred_field}_{n}") for n in ("answers", "trajectory"))
    if answers is None and not trajectory:
        return None
    return [c for c in video.answers(pred_field) if answered_by(c) in expression.answered]


def status_and_reason(answers: Sequence[Any]) -> tuple[str, str]:
    """Returns how the answers to one query ended: "ok" if one of them did."""
    said = [(str(value_of(c, "status") or ""), str(value_of(c, "reason") or "")) for c in answers]
    good = [pair for pair in said if pair[0] == str(Status.OK)]
    return (good or said or [("", "")])[0]


def doubts(answers: Sequence[Any]) -> dict[str, float | None]:
    """Returns how sure the answers to one query are, of several the least.

    Of answers that a person corrected nothing is known: their masks are not what the model gave.

    Returns:
        a dict with "certainty", "certainty_raw", "agreement" and "box_confidence"
    """
    own = [c for c in answers if not value_of(c, "corrected")]
    found: dict[str, float | None] = {}
    for name in ("certainty", "certainty_raw", "agreement", "confidence"):
        values = [value for c in own if (value := value_of(c, name)) is not None]
        kept = "box_confidence" if name == "confidence" else name
        found[kept] = min(map(float, values), default=None)
    return found


def models_of(answers: Sequence[Any]) -> set[str]:
    """Returns the names of the models that gave the answers."""
    return {str(value_of(c, "model")) for c in answers if value_of(c, "model")}


def key_frame(
    video: LabelledVideo,
    pred_field: str,
    query: str,
    box_areas: Sequence[np.ndarray],
) -> tuple[int | None, float | None]:
    """Says which frame was chosen, and how good a choice that was.

    The quality is the temporal reward of the paper (arXiv 2512.02835, section 3.3) among the
    frames that the model was shown: 1 where the object is largest, 0 where it is smallest or
    absent. Of several objects it is that of the one that the frame suits best, and of several
    frames the mean.

    Args:
        video: the video
        pred_field: the label field with the predictions
        query: the query
        box_areas: for each true object, (T,) float, the areas of its boxes

    Returns:
        the frame number, 1-based, of the first choice, and the quality; None where there is no
        choice, or no true object, or it is not recorded
    """
    record = next((r for r in video.records(pred_field) if r.query == query), None)
    if record is None:
        return None, None
    numbers, sampled = video.numbers, record.sampled
    chosen = [choice["frame"] for choice in record.choices]
    number = sampled[chosen[0]] if chosen else None
    if not sampled or not box_areas:
        return number, None
    shown = [
        [areas[n - numbers.start] if n in numbers else 0.0 for n in sampled] for areas in box_areas
    ]
    rewards = [max(temporal_reward(areas, k) for areas in shown) for k in chosen]
    return number, float(np.mean(rewards)) if rewards else temporal_reward(shown[0], None)
