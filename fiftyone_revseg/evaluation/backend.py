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
from typing import Any

import fiftyone as fo
import fiftyone.utils.eval.detection as foud

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.collection import source_dataset
from fiftyone_revseg.dataset.expressions import EXPRESSIONS
from fiftyone_revseg.evaluation.results import Evaluation
from fiftyone_revseg.evaluation.summary import headline, summarize

#: The figures that samples, frames and labels get
FIGURES = ("j", "f", "jf")
#: Where the labels are in the fields of :func:`label_fields`
LABELS = "classifications"
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
        return [*(name for name in read if name), *own_fields(source_dataset(samples), eval_key)]

    def rename(self, samples: Any, eval_key: str, new_eval_key: str) -> None:
        dataset = source_dataset(samples)
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
        self.config.gt_field, self.config.pred_field = label_fields(new_eval_key)
        self.update_run_config(samples, eval_key, self.config)
        store.forget_evaluation(dataset, eval_key)  # it has the old names
        store.rename_sidebar_group(samples, eval_key, new_eval_key)

    def cleanup(self, samples: Any, eval_key: str) -> None:
        dataset = source_dataset(samples)
        names = [name for name in own_fields(dataset, eval_key) if dataset.get_field(name)]
        on_frames = [n.removeprefix("frames.") for n in names if n.startswith("frames.")]
        gone = set(label_fields(eval_key))  # and their attributes with them
        on_samples = [
            n for n in names if not n.startswith("frames.") and n.split(".")[0] not in gone
        ]
        on_samples += [n for n in names if n in gone]
        if on_samples:
            dataset.delete_sample_fields(on_samples, error_level=1)
        if on_frames:
            dataset.delete_frame_fields(on_frames, error_level=1)
        store.delete_sidebar_group(samples, eval_key)

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
        return {metric["key"]: metric["value"] for metric in metrics_of(table).values()}

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


def own_fields(dataset: fo.Dataset, eval_key: str) -> list[str]:
    """Lists all fields that belong to an evaluation, fields before their attributes."""
    names = [f"{eval_key}_{name}" for name in FIGURES]
    if dataset.media_type != "image":
        names += [f"frames.{name}" for name in names]
    for field in label_fields(eval_key):
        names += [field, f"{field}.{LABELS}.{eval_key}"]
    return [*names, f"{EXPRESSIONS}.{LABELS}.{eval_key}_jf"]


def label_fields(eval_key: str) -> tuple[str, str]:
    """Returns the names of the fields with the expressions and with the answers."""
    return f"{eval_key}_expressions", f"{eval_key}_predictions"


def metrics_of(table: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
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
