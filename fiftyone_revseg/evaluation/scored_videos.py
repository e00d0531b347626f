"""From the labels of videos to the figures of their expressions, one video at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fiftyone_revseg.dataset.labelled_videos import (
    LabelledVideo,
    group_by_text,
    reason_of,
)
from fiftyone_revseg.dataset.resume import RETRIED
from fiftyone_revseg.evaluation.answers import (
    answers_to,
    doubts,
    key_frame,
    models_of,
    status_and_reason,
)
from fiftyone_revseg.evaluation.davis import SharedMasks, by_annotator, objects_of
from fiftyone_revseg.evaluation.questions import Question, Questions
from fiftyone_revseg.evaluation.results import ExpressionScore
from fiftyone_revseg.evaluation.video_masks import Track, VideoMasks, check_truth, read_masks
from fiftyone_revseg.masks.rle import rle_areas
from fiftyone_revseg.measures.scoring import FrameScores, Pair

_SHOWN = 3  # reasons of each sort that a note tells

_UNTRUE = "expressions have no known truth"
_UNANNOTATED = "videos have no labels in '{}'"
_NO_TRUTH = "left out, as its truth cannot be used"
_UNLABELLED = "frames have no labels in '{}', not even empty ones"


@dataclass(frozen=True)
class ScoredExpression:
    """What was found out about one expression on a video of T frames that count.

    Attributes:
        question: what was scored
        score: its figures
        j: (T,) float
        f: (T,) float
        predicted: whether there is a mask on any frame
        confidence: the mean confidence of its detections; None if they have none
    """

    question: Question
    score: ExpressionScore
    j: np.ndarray
    f: np.ndarray
    predicted: bool
    confidence: float | None


@dataclass
class ScoredVideo:
    """What was found out about one video, with its figures frame by frame.

    Attributes:
        name: what it is called, as no other one is
        id: the id of the sample, of the clip, or of the first image
        ids: the ids of all samples that it consists of
        numbers: the frame numbers, 1-based, that count; empty if it cannot be read
        expressions: what it was scored on
    """

    name: str
    id: str
    ids: tuple[str, ...]
    numbers: list[int]
    expressions: list[ScoredExpression] = field(default_factory=list)


@dataclass(eq=False)
class _Job:
    """One pair of masks that is being measured, and what its figures are for."""

    video: ScoredVideo
    question: Question
    score: dict[str, Any] = field(default_factory=dict)
    foreground: np.ndarray = field(default_factory=lambda: np.zeros(0))
    confidence: float | None = None
    shared: SharedMasks | None = None  # of Ref-DAVIS17: where the figures belong
    cell: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        return f"{self.video.name}, {self.question.expression.text!r}"


class Scorer:
    """Turns videos into pairs of masks to measure, and what was measured into scores.

    Args:
        samples: what :func:`fiftyone_revseg.dataset.collection.check_collection` returned
        pred_field: the label field with the predictions
        gt_field: the label field with the truth
        queries: see :class:`fiftyone_revseg.evaluation.questions.Questions`
        more: see :func:`fiftyone_revseg.evaluation.video_masks.read_masks`
        per_annotator: whether to measure Ref-DAVIS17's first protocol, too

    Attributes:
        models: the names of the models that made the predictions
        shared: what Ref-DAVIS17's first protocol is made of
    """

    def __init__(
        self,
        samples: Any,
        pred_field: str,
        gt_field: str,
        queries: str | Sequence[str] | None,
        more: Sequence[str],
        per_annotator: bool,
    ):
        self._questions = Questions(samples, queries)
        self._pred_field = pred_field
        self._gt_field = gt_field
        self._more = more
        self._per_annotator = per_annotator
        self._videos: list[ScoredVideo] = []
        self._names: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()  # what is said of them -> how many
        self._remarks: dict[str, list[str]] = {}
        self.models: set[str] = set()
        self.shared: list[SharedMasks] = []

    def pairs(self, videos: Iterator[LabelledVideo]) -> Iterator[Pair]:
        """Walks over the videos, with the masks of no more than one in memory."""
        for video in videos:
            name = self._name(video)
            try:
                found = self._pairs_of(video, name)
            except Exception as error:  # for example the video, or a file with a mask, is gone
                self._fail(video, name, reason_of(error))
                continue
            self._remarks[video.id] = video.remarks
            yield from found

    def _pairs_of(self, video: LabelledVideo, name: str) -> list[Pair]:
        """What is to be measured on a video; nothing is noted of one on which that fails."""
        annotators = {}
        if self._per_annotator:
            annotators = by_annotator(_known(self._questions.of(video.ids, ())))
        sharing = {a: [q.expression for q in own] for a, own in annotators.items()}
        masks = read_masks(video, self._pred_field, self._gt_field, sharing, self._more)
        asked = self._questions.of(video.ids, self._answered(video, masks))
        questions = _known(asked)
        counted = np.flatnonzero(masks.annotated)
        unannotated = False
        if not len(counted):
            # An expression says itself that there is no such object; else nothing is known
            unannotated = any(q.by_query or q.expression.objects for q in questions)
            questions = [q for q in questions if q.expression.objects == ()]
            counted = np.arange(len(video.numbers))
        scored = ScoredVideo(name, video.id, video.ids, [video.numbers[int(k)] for k in counted])
        single = len({question.expression.text for question in questions}) == 1
        foreground = rle_areas(masks.foreground or masks.union(masks.truth))[counted]
        pairs = []
        for question in questions:
            targets = masks.targets(question)
            union = masks.union(targets)
            truth = [union[k] for k in counted]
            predicted, about = self._prediction(video, masks, question, single)
            boxes = [masks.boxes[key] for key in targets]
            about["key_frame"], about["key_frame_quality"] = key_frame(
                video, self._pred_field, question.expression.text, boxes
            )
            about["no_target"] = not any(rle is not None for rle in truth)
            confidence = masks.confidence(question.expression)
            job = _Job(scored, question, about, foreground, confidence)
            pairs.append(Pair(job, [predicted[k] for k in counted], truth, masks.size))
        shared = [
            self._shared_pairs(scored, masks, annotator, own, counted)
            for annotator, own in annotators.items()
        ]
        self._left_out[_UNTRUE] += len(asked) - len(_known(asked))
        self._left_out[_UNANNOTATED] += unannotated
        self._left_out[_UNLABELLED] += len(video.numbers) - len(counted)
        self._videos.append(scored)
        for found, more in shared:
            self.shared.append(found)
            pairs += more
        return pairs

    def _shared_pairs(
        self,
        video: ScoredVideo,
        masks: VideoMasks,
        annotator: str,
        own: list[Question],
        counted: np.ndarray,
    ) -> tuple[SharedMasks, list[Pair]]:
        """The pairs of each expression of an annotator with each object that they describe."""
        objects = objects_of(own)
        ids = tuple(question.expression.id for question in own)
        j, f = np.zeros((2, len(own), len(objects)))
        shared, size = SharedMasks(video.name, annotator, ids, j, f), masks.size
        pairs = []
        for row, track in enumerate(masks.exclusive[annotator]):
            for column, question in enumerate(objects):
                job = _Job(video, own[row], shared=shared, cell=(row, column))
                truth = masks.union(masks.targets(question))
                pairs.append(
                    Pair(job, [track[k] for k in counted], [truth[k] for k in counted], size)
                )
        return shared, pairs

    def _answered(self, video: LabelledVideo, masks: VideoMasks) -> list[str | None]:
        labels = video.answers(self._pred_field)
        asked = [label["query"] for label in labels if label.has_field("query")]
        return list(dict.fromkeys([*asked, *(query for query, _ in masks.predicted)]))

    def _prediction(
        self, video: LabelledVideo, masks: VideoMasks, question: Question, single: bool
    ) -> tuple[Track, dict[str, Any]]:
        """The predicted masks of an expression, and what is known about them."""
        answers = answers_to(video, self._pred_field, question.expression)
        status, reason = status_and_reason(answers or [])
        self.models |= models_of(answers or [])
        unnamed = masks.predicted.get((None, None))
        track = masks.prediction(question.expression)
        if track is None and single:
            track = unnamed
        missing = True
        if not masks.labelled and not answers:
            reason = f"there are no labels in '{self._pred_field}'"
        elif answers == [] and track is None:
            reason = "it was never asked"
        elif unnamed is not None and track is None and not answers:
            reason = "the detections do not say which of several queries they answer"
        else:
            missing = status in RETRIED
        about = {"status": status, "reason": reason, "missing": missing, **doubts(answers or [])}
        return masks.nothing() if missing or track is None else track, about

    def add(self, job: _Job, frames: FrameScores | Exception) -> None:
        """Takes what was measured of one pair, or the error that kept it from being measured."""
        if isinstance(frames, Exception):
            job.score.update(missing=True, reason=reason_of(frames))
            frames = FrameScores.of_nothing(len(job.video.numbers))
        if job.shared is not None:
            job.shared.j[job.cell], job.shared.f[job.cell] = frames.j.mean(), frames.f.mean()
            return
        missing = job.score["missing"]
        expression = job.question.expression
        j, f = (np.zeros(len(frames.j)),) * 2 if missing else (frames.j, frames.f)
        score = ExpressionScore(
            sample_id=job.video.id,
            video=job.video.name,
            expression_id=expression.id,
            query=expression.text,
            kind=expression.kind,
            annotator=expression.annotator,
            frames=len(j),
            j=0.0 if missing else float(j.mean()),
            f=0.0 if missing else float(f.mean()),
            accuracy=0.0 if missing else float(frames.accuracy.mean()),
            robustness=_robustness(frames, job.foreground, missing),
            found=_share_of(frames.intersection > 0, frames.gt_area > 0),
            false_presence=None
            if missing
            else _share_of(frames.pred_area > 0, frames.gt_area == 0),
            **job.score,
        )
        predicted = bool(frames.pred_area.any())
        job.video.expressions.append(
            ScoredExpression(job.question, score, j, f, predicted, job.confidence)
        )

    def finish(self) -> list[ScoredVideo]:
        """Returns the videos with anything to score, in the order of the view."""
        return [video for video in self._videos if video.expressions]

    def _fail(self, video: LabelledVideo, name: str, reason: str) -> None:
        """Counts all expressions of a video that cannot be read as missing.

        Where it is the truth that cannot be used, no prediction could be right: it is left out.
        """
        if not video.unusable:
            try:
                check_truth(video, self._gt_field, self._more)
            except Exception as error:
                self._remarks[video.id] = [f"{_NO_TRUTH}: {reason_of(error)}"]
                return
        questions = _known(self._questions.of(video.ids, ()))
        scored = ScoredVideo(name, video.id, video.ids, [])
        self._videos.append(scored)
        for question in questions:
            about = {"no_target": question.expression.objects == (), "reason": reason}
            job = _Job(scored, question, {**about, "missing": True})
            self.add(job, FrameScores.of_nothing(0))

    def _name(self, video: LabelledVideo) -> str:
        name = self._questions.name_of(video.ids) or video.name
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name}-{video.id}"

    def notes(self) -> list[str]:
        """Says what a reader of the figures has to know."""
        scores = [e.score for video in self._videos for e in video.expressions]
        notes = []
        reasons = Counter(score.reason or score.status for score in scores if score.missing)
        if reasons:
            told = [f"{reason} ({count})" for reason, count in reasons.most_common(_SHOWN)]
            if len(reasons) > _SHOWN:
                told.append(f"and {len(reasons) - _SHOWN} more reasons")
            notes.append(
                f"{sum(reasons.values())} of {len(scores)} predictions are missing and count as "
                f"zero: {'; '.join(told)}"
            )
        for what in (_UNTRUE, _UNANNOTATED, _UNLABELLED):
            if count := self._left_out[what]:
                notes.append(f"{count} {what.format(self._gt_field)}, and were left out")
        return notes + group_by_text(self._remarks)


def _robustness(frames: FrameScores, foreground: np.ndarray, missing: bool) -> float | None:
    """Mean over frames of max(1 - FP / foreground, 0), as ReVOS defines it."""
    if not foreground.any():
        return None
    if missing:
        return 0.0
    wrong = frames.pred_area - frames.intersection
    share = np.where(wrong == 0, 0.0, wrong / np.maximum(foreground, 1e-6))
    return float(np.maximum(1 - share, 0).mean())


def _share_of(hits: np.ndarray, frames: np.ndarray) -> float | None:
    """The share of some frames in which something holds; None if there are no such frames."""
    return float(hits[frames].mean()) if frames.any() else None


def _known(questions: list[Question]) -> list[Question]:
    """Those whose truth is known."""
    return [q for q in questions if q.by_query or q.expression.objects is not None]
