"""The operator ``evaluate``: how well predicted masks agree with true ones."""

from __future__ import annotations

from typing import Any

import fiftyone.operators.types as types

from fiftyone_revseg.app.forms import Form, queries_input
from fiftyone_revseg.app.operator import Run, Settings, Table, from_script
from fiftyone_revseg.app.targets import GT_FIELD, VideosOperator, detections_to_choose
from fiftyone_revseg.dataset.collection import is_clips
from fiftyone_revseg.evaluation.backend_writer import EvaluationRun
from fiftyone_revseg.evaluation.evaluate import evaluate_view
from fiftyone_revseg.evaluation.tables import about, table_cells, to_markdown
from fiftyone_revseg.text.escape import markdown_line


class Evaluate(VideosOperator):
    """Scores a label field against true masks: J, F and J&F."""

    name = "evaluate"
    label = "ReVSeg: evaluate against true masks"
    description = (
        "Measures J, F and J&F of each expression, and keeps them for the Model Evaluation panel"
    )
    icon = "query_stats"
    risk = types.RiskLevel.MEDIUM
    title = "ReVSeg: evaluate"
    button = target = "Evaluate"
    stopped = "Stopped: nothing was written"

    def ask(self, form: Form, subject: Any) -> Settings | None:
        names = detections_to_choose(form, subject)
        if len(names) < 2:
            raise ValueError(
                "There must be a label field with predictions and one with true masks, and here "
                f"is {' and '.join(names) or 'none'}: segment or import first"
            )
        truth = GT_FIELD if GT_FIELD in names else names[-1]
        predictions = next(name for name in names if name != truth)
        pred_field = form.choice("pred_field", names, predictions, label="Predictions")
        gt_field = form.choice("gt_field", names, truth, label="True masks")
        if pred_field is None or gt_field is None:
            return None
        if pred_field == gt_field:
            raise ValueError(f"'{gt_field}' cannot be both: choose two different label fields")
        settings: Settings = {"pred_field": pred_field, "gt_field": gt_field, "eval_key": None}
        settings["queries"] = queries_input(
            form, "By default, the expressions of each sample, or what was asked"
        )
        if is_clips(subject):
            title = "Clips last only as long as their view: the figures are shown, but not kept"
            form.tell("clips", title)
            return settings
        settings["eval_key"] = form.text(
            "eval_key",
            f"{pred_field}_eval",
            check=lambda key: EvaluationRun(subject, pred_field, gt_field, key),
            label="Key",
            description="The name of the evaluation, with which its fields begin; an earlier one "
            "of that name is replaced",
        )
        return settings

    def work(self, run: Run[Any], **settings: Any) -> dict[str, Any]:
        evaluation = evaluate_view(run.subject, progress=run.report, **settings)
        return {
            "eval_key": settings["eval_key"],
            "expressions": len(evaluation.scores),
            "missing": sum(score.missing for score in evaluation.scores),
            "table": list(evaluation.table),
            "notes": list(evaluation.notes),
            "protocol": evaluation.protocol,
            "about": about(evaluation),
            "summary": to_markdown(evaluation),
        }

    def words(self, result: dict[str, Any]) -> dict[str, str]:
        if result["state"] == "stopped":
            return super().words(result)
        words = {"words": "\n".join(f"* {markdown_line(line)}" for line in result["about"])}
        if result.get("eval_key"):
            name = markdown_line(result["eval_key"])
            words["kept"] = f"The **Model Evaluation** panel shows it as **{name}**."
        return words

    def tables(self, result: dict[str, Any]) -> dict[str, Table]:
        return {} if result["state"] == "stopped" else {"table": table_cells(result["table"])}

    @from_script
    def __call__(
        self,
        sample_collection: Any,
        pred_field: str = "revseg",
        gt_field: str = GT_FIELD,
        eval_key: str | None = None,
        query_field: str | None = None,
        group_slice: str | None = None,
        delegate: bool = False,
    ) -> Any:
        """Scores predicted masks against true ones.

        Example::

            import fiftyone.operators as foo

            evaluate = foo.get_operator("fiftyone_revseg/evaluate")
            print(evaluate(view, "revseg", eval_key="nano")["summary"])

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection`
            pred_field ("revseg"): the label field with the predictions
            gt_field ("ground_truth"): the label field with the true masks
            eval_key (None): the name of the evaluation. By default, ``"<pred_field>_eval"``
            query_field (None): the field with each sample's queries. By default, its expressions
            group_slice (None): the slice with the videos, if the dataset is grouped
            delegate (False): whether to schedule this rather than to do it now

        Returns:
            a dict with "state", "summary" (Markdown), "table", "notes", "protocol", "eval_key" and
            more; if it was delegated, the :class:`fiftyone.operators.executor.ExecutionResult`
        """
