"""Ref-DAVIS17's first protocol: the expressions of one annotator share the pixels between them.

Each of the four annotators described every object once. The masks for one annotator's expressions
become one picture of objects, where a pixel goes to the most confident of them, or to the
background, whose confidence is 0.1. As in DAVIS 2017's unsupervised task, with which the public
scripts score that picture, predicted objects are then assigned to true ones so that the mean of
J&F is highest (Caelles et al., "The 2019 DAVIS Challenge", arXiv 1905.00737).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fiftyone_revseg.evaluation.results import ExpressionScore

if TYPE_CHECKING:
    from fiftyone_revseg.evaluation.questions import Question

REF_DAVIS = "ref-davis17"


@dataclass
class SharedMasks:
    """How well each expression of one annotator fits each object that they describe.

    Attributes:
        video: the name of the video
        annotator: the annotator
        expressions: the ids of the expressions
        j: (expressions, objects) float, the mean J over the frames
        f: (expressions, objects) float, the mean F over the frames
    """

    video: str
    annotator: str
    expressions: tuple[str, ...]
    j: np.ndarray
    f: np.ndarray


@dataclass(frozen=True)
class ObjectScore:
    """The figures of one true object by the expressions of one annotator."""

    video: str
    annotator: str
    j: float
    f: float


def by_annotator(questions: Iterable[Question]) -> dict[str, list[Question]]:
    """Groups questions by their annotators, in the order of their objects."""
    groups: dict[str, list[Question]] = {}
    for question in questions:
        if question.expression.annotator and question.expression.objects:
            groups.setdefault(question.expression.annotator, []).append(question)
    return {
        name: sorted(own, key=lambda q: q.expression.objects or ()) for name, own in groups.items()
    }


def objects_of(questions: Iterable[Question]) -> list[Question]:
    """Returns one question for each object, or set of objects, that is asked for."""
    return list({question.expression.objects: question for question in questions}.values())


def assign(shared: Iterable[SharedMasks], scores: Sequence[ExpressionScore]) -> list[ObjectScore]:
    """Assigns predicted to true objects.

    Args:
        shared: what was measured, for each video and annotator
        scores: of all expressions; a missing prediction fits nothing

    Returns:
        a list of :class:`ObjectScore`; zeros for the expressions of videos that cannot be read
    """
    from scipy.optimize import linear_sum_assignment

    missing = {(s.video, s.expression_id) for s in scores if s.missing}
    found, measured = [], set()
    for masks in shared:
        measured.add((masks.video, masks.annotator))
        is_there = [(masks.video, i) not in missing for i in masks.expressions]
        j, f = (values * np.array(is_there, float)[:, None] for values in (masks.j, masks.f))
        figures = np.zeros((masks.j.shape[1], 2))
        rows, columns = linear_sum_assignment(-(j + f))
        figures[columns] = np.stack([j[rows, columns], f[rows, columns]], axis=1)
        found += [ObjectScore(masks.video, masks.annotator, *map(float, own)) for own in figures]
    found += [
        ObjectScore(score.video, score.annotator, 0.0, 0.0)
        for score in scores
        if score.annotator and score.missing and (score.video, score.annotator) not in measured
    ]
    return found
