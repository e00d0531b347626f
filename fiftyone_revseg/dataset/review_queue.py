"""The queue of a review: all answers in a view, one after the other, and which are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fiftyone_revseg.dataset.review import ACCEPTED, REJECTED
from fiftyone_revseg.dataset.review_order import place_of


@dataclass(frozen=True)
class Queued:
    """One answer in a queue.

    Attributes:
        sample_id: the id of its sample
        number: which of the sample's answers it is, from 0, in the order of review; see
            :func:`fiftyone_revseg.dataset.explain.in_review_order`
        position: which of the view's samples that is, from 0; None if it is none of them
        is_judged: whether a person accepted or rejected it
    """

    sample_id: str
    number: int
    position: int | None
    is_judged: bool


class ReviewQueue:
    """All answers in a view: its samples in their order, the least certain of each one first.

    Args:
        answers: the answers, in that order
    """

    def __init__(self, answers: Sequence[Queued] = ()):
        self._answers = tuple(answers)

    @classmethod
    def of(cls, view: Any, label_field: str) -> ReviewQueue:
        """Reads the queue of a view.

        Args:
            view: a :class:`fiftyone.core.collections.SampleCollection`
            label_field: the label field

        Returns:
            the queue; an empty one if the view's samples have no answers of their own
        """
        root = f"{label_field}_answers.classifications"
        names = ("tags", "certainty", "certainty_raw", "confidence")
        paths = [f"{root}.{name}" for name in names]
        if not all(map(view.has_field, paths)):
            return cls()
        ids, *columns = view.values(["id", *paths])
        return cls(
            [
                Queued(sample_id, number, position, is_judged)
                for position, (sample_id, *of_sample) in enumerate(zip(ids, *columns, strict=True))
                for number, is_judged in enumerate(_in_order(*(part or () for part in of_sample)))
            ]
        )

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def reviewed(self) -> int:
        """How many answers are judged."""
        return sum(answer.is_judged for answer in self._answers)

    def beginning_with(self, answers: Sequence[Queued]) -> ReviewQueue:
        """Returns a queue in which other answers come first."""
        return ReviewQueue((*answers, *self._answers))

    def place(self, sample_id: str, number: int) -> int | None:
        """Returns which answer of the queue this one is, from 0; None if it is none of them."""
        for k, answer in enumerate(self._answers):
            if (answer.sample_id, answer.number) == (sample_id, number):
                return k
        return None

    def after(self, sample_id: str, number: int) -> Queued | None:
        """Finds what to look at next: the next answer that nobody judged, from the top if need be.

        Returns:
            the answer; where all others are judged, the next one. None if there is no other
        """
        here = self.place(sample_id, number)
        others = self._answers
        if here is not None:
            others = self._answers[here + 1 :] + self._answers[:here]
        waiting = [answer for answer in others if not answer.is_judged]
        return next(iter(waiting or others), None)

    def before(self, sample_id: str, number: int) -> Queued | None:
        """Returns the answer before this one, judged or not; None if this is the first."""
        here = self.place(sample_id, number)
        return self._answers[here - 1] if here else None

    def steps(self, sample_id: str, other: Queued) -> int:
        """Returns how many samples further another answer is; 0 if that is not known."""
        here = next((a.position for a in self._answers if a.sample_id == sample_id), None)
        return 0 if here is None or other.position is None else other.position - here


def _in_order(
    tags: Sequence[Sequence[str] | None],
    certainties: Sequence[float | None],
    raw: Sequence[float | None],
    confidences: Sequence[float | None],
) -> list[bool]:
    """Whether each answer of a sample is judged, in the order of review."""
    judged = [not {ACCEPTED, REJECTED}.isdisjoint(own or ()) for own in tags]
    if all(certainty is None for certainty in certainties):
        return judged
    places = [place_of(*values) for values in zip(certainties, raw, confidences, strict=True)]
    return [judged[k] for k in sorted(range(len(judged)), key=places.__getitem__)]
