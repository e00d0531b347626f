"""Writes an evaluation into its dataset, see :mod:`fiftyone_revseg.evaluation.backend`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fiftyone as fo
import numpy as np

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.collection import (
    is_clips,
    is_image_groups,
    select_by_id,
    source_dataset,
)
from fiftyone_revseg.dataset.expressions import EXPRESSIONS
from fiftyone_revseg.evaluation.backend import (
    FIGURES,
    LABELS,
    ReferringEvaluationConfig,
    ReferringResults,
    label_fields,
    metrics_of,
    own_fields,
)
from fiftyone_revseg.evaluation.results import Evaluation, ExpressionScore
from fiftyone_revseg.evaluation.scored_videos import ScoredVideo

#: The J from which on an expression counts as found
THRESHOLD = 0.5

_NO_KIND = "expression"  # what the panel calls those without a kind


class EvaluationRun:
    """Writes an evaluation into its dataset.

    Args:
        samples: videos, or ordered dynamic groups of images
        pred_field: the label field with the predictions, without "frames."
        gt_field: the label field with the truth
        eval_key: the evaluation key

    Raises:
        ValueError: if that cannot be written; nothing has been changed then
    """

    def __init__(self, samples: Any, pred_field: str, gt_field: str, eval_key: str):
        if is_clips(samples):
            raise ValueError(
                "Clips last only as long as their view, and so would the figures: evaluate them "
                "without eval_key, or the whole videos with it"
            )
        self._samples = samples
        self._dataset = source_dataset(samples)
        self._images = is_image_groups(samples)
        self._key = eval_key
        prefix = "" if self._images else "frames."
        truth, answers = label_fields(eval_key)
        self._config = ReferringEvaluationConfig(
            answers,
            truth,
            predictions=prefix + pred_field,
            truth=prefix + gt_field,
            iou=THRESHOLD,
            classwise=True,
        )
        self._backend = self._config.build()
        self._backend.validate_run(samples, eval_key)
        if eval_key in self._dataset.list_evaluations():
            return
        for name in own_fields(self._dataset, eval_key):
            if self._dataset.get_field(name) is not None:
                raise ValueError(
                    f"There is a field '{name}' already that is of no evaluation: choose another "
                    f"eval_key than '{eval_key}'"
                )

    def write(self, videos: Sequence[ScoredVideo], evaluation: Evaluation) -> None:
        """Writes the figures, in place of those of an earlier evaluation of that key."""
        self._config.benchmark = evaluation.benchmark
        self._config.protocol = evaluation.protocol
        self._backend.register_run(self._samples, self._key)
        self._declare()
        labels = {video.id: self._labels(video) for video in videos}
        self._write_samples(videos, labels)
        if not self._images:
            self._write_frames(videos)
        self._save_results(videos, labels, evaluation)
        self._backend.add_fields_to_sidebar_group(self._dataset, self._key)
        self._dataset.reload()

    def _declare(self) -> None:
        key, dataset = self._key, self._dataset
        for name in FIGURES:
            dataset.add_sample_field(f"{key}_{name}", fo.FloatField)
            if not self._images:
                dataset.add_frame_field(f"{key}_{name}", fo.FloatField)
        attributes: dict[str, Any] = dict.fromkeys(FIGURES, fo.FloatField)
        attributes |= {"missing": fo.BooleanField, key: fo.StringField}
        attributes |= dict.fromkeys(("query", "expression_id", "status"), fo.StringField)
        for field in label_fields(key):
            dataset.add_sample_field(
                field, fo.EmbeddedDocumentField, embedded_doc_type=fo.Classifications
            )
            for name, field_type in attributes.items():
                dataset.add_sample_field(f"{field}.{LABELS}.{name}", field_type)
        if not self._images and dataset.get_field(EXPRESSIONS) is not None:
            dataset.add_sample_field(f"{EXPRESSIONS}.{LABELS}.{key}_jf", fo.FloatField)

    def _labels(self, video: ScoredVideo) -> tuple[list[fo.Label], list[fo.Label | None]]:
        """For each expression of a video its label, and that of the answer or None."""
        expressions, answers = [], []
        for scored in video.expressions:
            score, right = scored.score, _is_right(scored.score)
            figures = {name: getattr(score, name) for name in FIGURES}
            about = {
                **figures,
                "query": score.query,
                "expression_id": score.expression_id,
                "status": score.status,
                "missing": score.missing,
            }
            kind = _kind(score)
            expressions.append(
                fo.Classification(label=kind, **about, **{self._key: "tp" if right else "fn"})
            )
            answer = None
            if right or scored.predicted:
                own = {self._key: "tp" if right else "fp"}
                answer = fo.Classification(label=kind, confidence=scored.confidence, **about, **own)
            answers.append(answer)
        return expressions, answers

    def _write_samples(self, videos: Sequence[ScoredVideo], labels: dict[str, Any]) -> None:
        values: dict[str, dict[str, Any]] = {}
        for name in FIGURES:
            own = values[f"{self._key}_{name}"] = {}
            for video in videos:
                if self._images and len(video.numbers):
                    own.update(zip(video.ids, _per_frame(video, name), strict=True))
                else:
                    mean = float(np.mean([getattr(own.score, name) for own in video.expressions]))
                    own.update(dict.fromkeys(video.ids, mean))
        for position, field in enumerate(label_fields(self._key)):
            values[field] = {
                i: fo.Classifications(classifications=[c for c in pair[position] if c is not None])
                for i, pair in labels.items()
            }
        for field, by_id in values.items():
            view = select_by_id(self._dataset, list(by_id))
            view.set_values(field, by_id, key_field="id")
        if not self._images:
            self._write_expressions(videos)

    def _write_expressions(self, videos: Sequence[ScoredVideo]) -> None:
        """Writes J&F to the labels that samples have of their expressions."""
        scored = {
            own.question.label_id: own.score.jf
            for video in videos
            for own in video.expressions
            if own.question.label_id is not None
        }
        if not scored:
            return
        # A view may show a part of the labels, and all have a place in what is stored
        view = select_by_id(self._dataset, [video.id for video in videos])
        ids, labels = view.values(["id", f"{EXPRESSIONS}.{LABELS}.id"])
        values = {
            i: [scored.get(label_id) for label_id in known]
            for i, known in zip(ids, labels, strict=True)
            if known
        }
        view.set_values(f"{EXPRESSIONS}.{LABELS}.{self._key}_jf", values, key_field="id")

    def _write_frames(self, videos: Sequence[ScoredVideo]) -> None:
        for video in videos:
            columns = {f"{self._key}_{name}": _per_frame(video, name) for name in FIGURES}
            writes = [
                store.setting_frame(
                    self._dataset, video.id, number, {name: v[k] for name, v in columns.items()}
                )
                for k, number in enumerate(video.numbers)
            ]
            store.write_documents(self._dataset, writes, frames=True)

    def _save_results(
        self, videos: Sequence[ScoredVideo], labels: dict[str, Any], evaluation: Evaluation
    ) -> None:
        matches: list[tuple[Any, ...]] = []
        label_ids = []
        for video in videos:
            for own, truth, answer in zip(video.expressions, *labels[video.id], strict=True):
                score, kind = own.score, _kind(own.score)
                confidence = None if answer is None else answer.confidence
                label_ids.append(truth.id)
                if _is_right(score):
                    matches.append((kind, kind, score.j, confidence, truth.id, answer.id))
                    continue
                matches.append((kind, None, None, None, truth.id, None))
                if answer is not None:
                    matches.append((None, kind, score.j, confidence, None, answer.id))
        results = ReferringResults(
            self._samples,
            self._config,
            self._key,
            matches,
            classes=sorted({_kind(score) for score in evaluation.scores}),
            custom_metrics=metrics_of(evaluation.table),
            backend=self._backend,
            evaluation=evaluation.to_dict(),
            label_ids=label_ids,
        )
        self._backend.save_run_results(self._samples, self._key, results)


def _per_frame(video: ScoredVideo, name: str) -> list[float]:
    """The means over the expressions of a video, frame by frame."""
    j, f = (np.mean([getattr(own, n) for own in video.expressions], axis=0) for n in ("j", "f"))
    return [float(value) for value in {"j": j, "f": f, "jf": (j + f) / 2}[name]]


def _is_right(score: ExpressionScore) -> bool:
    return not score.missing and score.j >= THRESHOLD


def _kind(score: ExpressionScore) -> str:
    return score.kind or _NO_KIND
