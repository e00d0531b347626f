"""Evaluations as runs of a FiftyOne dataset, so that its Model Evaluation panel shows them.

For the key ``nano`` these fields are written, and go or change their names with the evaluation:

* ``nano_j``, ``nano_f``, ``nano_jf`` on samples, means over their expressions, and on frames; on
  groups of images, each image has those of its frame
* ``nano_expressions``, on samples: a Classification for each expression. Its label is the kind,
  its attributes are ``query``, ``expression_id``, ``j``, ``f``, ``jf``, ``status``, ``missing``,
  and ``nano``: "tp" if J is at least 0.5, else "fn"
* ``nano_predictions``, likewise for each answer that has a mask or rightly none: ``nano`` is "tp"
  or "fp"
* ``nano_jf`` on the labels in ``expressions``, where there are any

The panel knows detections, so to it an expression is an object and its kind is the class:
precision is the share of answers, and recall that of expressions, with J of at least 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import fiftyone.utils.eval.detection as foud
import numpy as np
from bson import ObjectId
from pymongo import UpdateOne

from fiftyone_revseg.dataset.jobs import is_clips, is_image_groups, select_by_id, source_dataset
from fiftyone_revseg.evaluation.expressions import EXPRESSIONS
from fiftyone_revseg.evaluation.results import Evaluation, ExpressionScore
from fiftyone_revseg.evaluation.summary import headline, summarize

if TYPE_CHECKING:
    from fiftyone_revseg.evaluation.evaluate import ScoredVideo

#: The J from which on an expression counts as found
THRESHOLD = 0.5

_NO_KIND = "expression"  # what the panel calls those without a kind
_FIGURES = ("j", "f", "jf")
_LABEL_FIELDS = ("expressions", "predictions")
_LABELS = "classifications"
_METRICS = {  # of the row that a table is quoted by -> its label, and whether less is better
    "jf": ("J&F", False),
    "jf_low": ("J&F, 95 % from", False),
    "jf_high": ("J&F, 95 % to", False),
    "j": ("J", False),
    "f": ("F", False),
    "accuracy": ("Accuracy A", False),
    "robustness": ("Robustness R", False),
    "key_frame_quality": ("Key-frame quality", False),
    "found": ("Frames with the object found", False),
    "false_presence": ("False presence", True),
    "missing": ("Missing predictions", True),
}


class ReferringEvaluationConfig(foud.DetectionEvaluationConfig):
    """What an evaluation compared.

    Args:
        pred_field: the field with a label for each answer
        gt_field: the field with a label for each expression
        predictions (None): the label field with the predicted masks, such as "frames.revseg"
        truth (None): the label field with the true masks
        benchmark (""): the name of the benchmark
        protocol (""): how the figures were made, in words
        **kwargs: of :class:`fiftyone.utils.eval.detection.DetectionEvaluationConfig`
    """

    def __init__(
        self,
        pred_field: str,
        gt_field: str,
        predictions: str | None = None,
        truth: str | None = None,
        benchmark: str = "",
        protocol: str = "",
        **kwargs: Any,
    ):
        super().__init__(pred_field, gt_field, **kwargs)
        self.predictions = predictions
        self.truth = truth
        self.benchmark = benchmark
        self.protocol = protocol

    @property
    def method(self) -> str:
        return "revseg"


class ReferringEvaluation(foud.DetectionEvaluation):
    """What FiftyOne asks to show, rename or delete an evaluation.

    Args:
        config: a :class:`ReferringEvaluationConfig`
    """

    def get_fields(
        self, samples: Any, eval_key: str, include_custom_metrics: bool = True
    ) -> list[str]:
        read = [self.config.predictions, self.config.truth]
        return [*(name for name in read if name), *own_fields(samples._dataset, eval_key)]

    def rename(self, samples: Any, eval_key: str, new_eval_key: str) -> None:
        dataset = samples._dataset
        old, new = (own_fields(dataset, key) for key in (eval_key, new_eval_key))
        pairs = [(a, b) for a, b in zip(old, new, strict=True) if dataset.get_field(a) is not None]
        for a, b in pairs:
            if a.startswith("frames."):
                dataset.rename_frame_field(a.removeprefix("frames."), b.removeprefix("frames."))
            else:
                parent = b.rsplit(".", 1)[0] if "." in b else ""
                # Attributes come after their field, which has its new name by then
                moved = f"{parent}.{a.rsplit('.', 1)[-1]}" if parent else a
                dataset.rename_sample_field(moved, b)
        self.config.gt_field, self.config.pred_field = _label_fields(new_eval_key)
        self.update_run_config(samples, eval_key, self.config)
        dataset._evaluation_cache.pop(eval_key, None)  # it has the old names
        samples._rename_sidebar_group(eval_key, new_eval_key)

    def cleanup(self, samples: Any, eval_key: str) -> None:
        dataset = samples._dataset
        names = [name for name in own_fields(dataset, eval_key) if dataset.get_field(name)]
        on_frames = [n.removeprefix("frames.") for n in names if n.startswith("frames.")]
        gone = set(_label_fields(eval_key))  # and their attributes with them
        on_samples = [
            n for n in names if not n.startswith("frames.") and n.split(".")[0] not in gone
        ]
        on_samples += [n for n in names if n in gone]
        if on_samples:
            dataset.delete_sample_fields(on_samples, error_level=1)
        if on_frames:
            dataset.delete_frame_fields(on_frames, error_level=1)
        samples._delete_empty_sidebar_group(eval_key)

    def _validate_run(self, samples: Any, eval_key: str, existing_info: Any) -> None:
        pass  # an evaluation of ours may replace any other one of ours


class ReferringResults(foud.DetectionResults):
    """What an evaluation found out, in the form in which the panel reads it.

    Where this package is not installed, FiftyOne loads the same as plain detection results.

    Args:
        samples: the :class:`fiftyone.core.collections.SampleCollection`
        config: a :class:`ReferringEvaluationConfig`
        eval_key: the evaluation key
        matches: see :class:`fiftyone.utils.eval.detection.DetectionResults`
        evaluation (None): what :meth:`fiftyone_revseg.evaluation.results.Evaluation.to_dict` gave
        label_ids (None): for each score, the id of the label of its expression
        **kwargs: of :class:`fiftyone.utils.eval.detection.DetectionResults`
    """

    def __init__(
        self,
        samples: Any,
        config: Any,
        eval_key: str,
        matches: Sequence[tuple],
        evaluation: dict[str, Any] | None = None,
        label_ids: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(samples, config, eval_key, matches, **kwargs)
        self.evaluation = evaluation
        self.label_ids = list(label_ids or ())

    def to_evaluation(self) -> Evaluation:
        """Returns the :class:`fiftyone_revseg.evaluation.results.Evaluation`."""
        return Evaluation.from_dict(self.evaluation or {})

    def _get_custom_metrics(self) -> dict[str, Any]:
        if not self.has_subset:
            return super()._get_custom_metrics()
        evaluation, chosen = self.to_evaluation(), set(self.ytrue_ids)
        pairs = zip(evaluation.scores, self.label_ids, strict=True)
        scores = [score for score, label_id in pairs if label_id in chosen]
        table = summarize(scores, evaluation.benchmark) if scores else []
        return {metric["key"]: metric["value"] for metric in _metrics(table).values()}

    @classmethod
    def _from_dict(
        cls, d: dict[str, Any], samples: Any, config: Any, eval_key: str, **kwargs: Any
    ) -> ReferringResults:
        return super()._from_dict(
            d,
            samples,
            config,
            eval_key,
            evaluation=d.get("evaluation"),
            label_ids=d.get("label_ids"),
            **kwargs,
        )


def load_evaluation(samples: Any, eval_key: str) -> Evaluation:
    """Loads an evaluation from a dataset.

    Args:
        samples: a :class:`fiftyone.core.collections.SampleCollection`
        eval_key: its key

    Returns:
        the :class:`fiftyone_revseg.evaluation.results.Evaluation`

    Raises:
        ValueError: if there is no evaluation of ours with that key
    """
    known = samples.list_evaluations(method="revseg")
    if eval_key not in known:
        raise ValueError(
            f"There is no evaluation '{eval_key}' of ReVSeg in "
            f"'{source_dataset(samples).name}': there is {', '.join(known) or 'none'}"
        )
    results = samples.load_evaluation_results(eval_key)
    if results is None:
        raise ValueError(f"The evaluation '{eval_key}' was not finished: evaluate again")
    return results.to_evaluation()


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
        truth, answers = _label_fields(eval_key)
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
        for name in _FIGURES:
            dataset.add_sample_field(f"{key}_{name}", fo.FloatField)
            if not self._images:
                dataset.add_frame_field(f"{key}_{name}", fo.FloatField)
        attributes: dict[str, Any] = dict.fromkeys(_FIGURES, fo.FloatField)
        attributes |= {"missing": fo.BooleanField, key: fo.StringField}
        attributes |= dict.fromkeys(("query", "expression_id", "status"), fo.StringField)
        for field in _label_fields(key):
            dataset.add_sample_field(
                field, fo.EmbeddedDocumentField, embedded_doc_type=fo.Classifications
            )
            for name, field_type in attributes.items():
                dataset.add_sample_field(f"{field}.{_LABELS}.{name}", field_type)
        if not self._images and dataset.get_field(EXPRESSIONS) is not None:
            dataset.add_sample_field(f"{EXPRESSIONS}.{_LABELS}.{key}_jf", fo.FloatField)

    def _labels(self, video: ScoredVideo) -> tuple[list[fo.Label], list[fo.Label | None]]:
        """For each expression of a video its label, and that of the answer or None."""
        expressions, answers = [], []
        pairs = zip(video.scores, video.predicted, video.confidences, strict=True)
        for score, predicted, confidence in pairs:
            right = _is_right(score)
            figures = {name: getattr(score, name) for name in _FIGURES}
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
            if right or predicted:
                own = {self._key: "tp" if right else "fp"}
                answer = fo.Classification(label=kind, confidence=confidence, **about, **own)
            answers.append(answer)
        return expressions, answers

    def _write_samples(self, videos: Sequence[ScoredVideo], labels: dict[str, Any]) -> None:
        values: dict[str, dict[str, Any]] = {}
        for name in _FIGURES:
            own = values[f"{self._key}_{name}"] = {}
            for video in videos:
                if self._images and len(video.numbers):
                    own.update(zip(video.ids, _per_frame(video, name), strict=True))
                else:
                    mean = float(np.mean([getattr(score, name) for score in video.scores]))
                    own.update(dict.fromkeys(video.ids, mean))
        for position, field in enumerate(_label_fields(self._key)):
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
        own = {v.id: v for v in videos if any(q.position is not None for q in v.questions)}
        if not own:
            return
        view = select_by_id(self._dataset, list(own))
        ids, labels = view.values(["id", f"{EXPRESSIONS}.{_LABELS}.id"])
        values = {}
        for i, known in zip(ids, labels, strict=True):
            values[i] = [None] * len(known)
            for question, score in zip(own[i].questions, own[i].scores, strict=True):
                if question.position is not None:
                    values[i][question.position] = score.jf
        view.set_values(f"{EXPRESSIONS}.{_LABELS}.{self._key}_jf", values, key_field="id")

    def _write_frames(self, videos: Sequence[ScoredVideo]) -> None:
        # As the writer of masks does: FiftyOne's set_values reads every mask to learn which
        # frames there are
        now = datetime.now(timezone.utc)
        created = {"_dataset_id": self._dataset._doc.id, "created_at": now}
        for video in videos:
            columns = {f"{self._key}_{name}": _per_frame(video, name) for name in _FIGURES}
            writes = [
                UpdateOne(
                    {"_sample_id": ObjectId(video.id), "frame_number": number},
                    {
                        "$set": {
                            **{name: values[k] for name, values in columns.items()},
                            "last_modified_at": now,
                        },
                        "$setOnInsert": created,
                    },
                    upsert=True,
                )
                for k, number in enumerate(video.numbers)
            ]
            if writes:
                self._dataset._bulk_write(writes, frames=True)

    def _save_results(
        self, videos: Sequence[ScoredVideo], labels: dict[str, Any], evaluation: Evaluation
    ) -> None:
        matches, label_ids = [], []
        for video in videos:
            for score, truth, answer in zip(video.scores, *labels[video.id], strict=True):
                kind = _kind(score)
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
            custom_metrics=_metrics(evaluation.table),
            backend=self._backend,
            evaluation=evaluation.to_dict(),
            label_ids=label_ids,
        )
        self._backend.save_run_results(self._samples, self._key, results)


def own_fields(dataset: fo.Dataset, eval_key: str) -> list[str]:
    """Lists all fields that belong to an evaluation, fields before their attributes."""
    names = [f"{eval_key}_{name}" for name in _FIGURES]
    if dataset.media_type != "image":
        names += [f"frames.{name}" for name in names]
    for field in _label_fields(eval_key):
        names += [field, f"{field}.{_LABELS}.{eval_key}"]
    return [*names, f"{EXPRESSIONS}.{_LABELS}.{eval_key}_jf"]


def _label_fields(eval_key: str) -> tuple[str, str]:
    """The fields with the expressions and with the answers."""
    truth, answers = (f"{eval_key}_{name}" for name in _LABEL_FIELDS)
    return truth, answers


def _per_frame(video: ScoredVideo, name: str) -> list[float]:
    """The means over the expressions of a video, frame by frame."""
    figures = {"j": np.mean(video.j, axis=0), "f": np.mean(video.f, axis=0)}
    values = figures[name] if name in figures else (figures["j"] + figures["f"]) / 2
    return [float(value) for value in values]


def _is_right(score: ExpressionScore) -> bool:
    return not score.missing and score.j >= THRESHOLD


def _kind(score: ExpressionScore) -> str:
    return score.kind or _NO_KIND


def _metrics(table: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The figures of a table as FiftyOne keeps those of operators: name -> key, label, value."""
    if not table:
        return {}
    best = headline(table)
    found = {name: (best[name], *told) for name, told in _METRICS.items()}
    for row in table:
        if row is not best:
            found[f"jf_{row['name']}"] = (row["jf"], f"J&F, {row['name']}", False)
    return {
        f"fiftyone_revseg/{name}": {
            "key": name,
            "value": value,
            "label": label,
            "lower_is_better": lower_is_better,
        }
        for name, (value, label, lower_is_better) in found.items()
        if value is not None
    }
