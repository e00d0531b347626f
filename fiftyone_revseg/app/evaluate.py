"""The operator ``evaluate``: how well predicted masks agree with true ones."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app import forms
from fiftyone_revseg.app.running import Report, run_delegated, stream
from fiftyone_revseg.app.targets import (
    GT_FIELD,
    choice_input,
    detections_to_choose,
    execute,
    find_videos,
    videos_input,
)
from fiftyone_revseg.dataset.collection import is_clips
from fiftyone_revseg.evaluation.backend_writer import EvaluationRun
from fiftyone_revseg.evaluation.evaluate import evaluate_view
from fiftyone_revseg.evaluation.tables import to_markdown
from fiftyone_revseg.text.escape import markdown_line


class Evaluate(foo.Operator):
    """Scores a label field against true masks: J, F and J&F."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name="evaluate",
            label="ReVSeg: evaluate against true masks",
            description="Measures J, F and J&F of each expression, and keeps them for the Model "
            "Evaluation panel",
            icon="query_stats",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=types.RiskLevel.MEDIUM,
        )

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        inputs = types.Object()
        form = types.Property(
            inputs, view=types.PromptView(label="ReVSeg: evaluate", submit_button_label="Evaluate")
        )
        inputs.view_target(ctx, action_description="Evaluate")
        videos = videos_input(inputs, ctx)
        if videos is None:
            return form
        names = detections_to_choose(ctx, videos)
        if len(names) < 2:
            forms.refuse(
                inputs,
                "too_few",
                "There must be a label field with predictions and one with true masks, and here "
                f"is {' and '.join(names) or 'none'}: segment or import first",
            )
            return form
        predictions, truth = _defaults(names)
        choices = dict.fromkeys(names, "")
        pred_field = choice_input(
            inputs, ctx, "pred_field", choices, predictions, label="Predictions"
        )
        gt_field = choice_input(inputs, ctx, "gt_field", choices, truth, label="True masks")
        if pred_field is None or gt_field is None:
            return form
        if pred_field == gt_field:
            forms.refuse(
                inputs, "same", f"'{gt_field}' cannot be both: choose two different label fields"
            )
            return form
        _queries_input(inputs, ctx)
        if is_clips(videos):
            label = "Clips last only as long as their view: the figures are shown, but not kept"
            forms.tell(inputs, "clips", label)
            return form
        prop = inputs.str(
            "eval_key",
            default=f"{pred_field}_eval",
            label="Key",
            description="The name of the evaluation, with which its fields begin; an earlier one "
            "of that name is replaced",
        )
        key = forms.text(ctx, "eval_key") or f"{pred_field}_eval"
        forms.check(prop, forms.problem(EvaluationRun, videos, pred_field, gt_field, key))
        return form

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        videos = find_videos(ctx)
        predictions, truth = _defaults(detections_to_choose(ctx, videos))
        pred_field = forms.text(ctx, "pred_field") or predictions
        gt_field = forms.text(ctx, "gt_field") or truth
        key = forms.text(ctx, "eval_key") or f"{pred_field}_eval"
        options = {
            "queries": forms.text(ctx, "query_field") or None,
            "eval_key": None if is_clips(videos) else key,
        }

        def work(report: Report) -> dict[str, Any]:
            try:
                evaluation = evaluate_view(videos, pred_field, gt_field, progress=report, **options)
            except KeyboardInterrupt:
                return {"state": "stopped", "summary": "Stopped: nothing was written"}
            return {
                "state": "done",
                "eval_key": options["eval_key"],
                "expressions": len(evaluation.scores),
                "missing": sum(score.missing for score in evaluation.scores),
                "table": list(evaluation.table),
                "notes": list(evaluation.notes),
                "protocol": evaluation.protocol,
                "summary": to_markdown(evaluation),
            }

        return (run_delegated if ctx.delegated else stream)(ctx, work, self.resolve_run_name(ctx))

    def resolve_output(self, ctx: foo.ExecutionContext) -> types.Property:
        outputs = types.Object()
        if ctx.results:
            outputs.md(ctx.results["summary"], name="words")
            if ctx.results.get("eval_key"):
                name = markdown_line(ctx.results["eval_key"])
                outputs.md(f"The **Model Evaluation** panel shows it as **{name}**.", name="kept")
        return types.Property(outputs, view=types.View(label="ReVSeg: evaluate"))

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return "ReVSeg: evaluate against true masks"

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
        params = {
            "pred_field": pred_field.removeprefix("frames."),
            "gt_field": gt_field.removeprefix("frames."),
            "eval_key": eval_key,
            "query_field": query_field,
            "group_slice": group_slice,
        }
        return execute(self.uri, sample_collection, params, delegate)


def _defaults(names: list[str]) -> tuple[str, str]:
    """The label fields that are likely meant: for the predictions, and for the truth."""
    truth = GT_FIELD if GT_FIELD in names else names[-1]
    return next((name for name in names if name != truth), truth), truth


def _queries_input(inputs: types.Object, ctx: foo.ExecutionContext) -> None:
    """Asks for a field of queries, where it is not the expressions that are to be scored."""
    names = forms.text_fields(ctx.dataset)
    prop = inputs.str(
        "query_field",
        label="Field of queries",
        description="By default, the expressions of each sample, or what was asked",
        view=forms.suggest(names),
    )
    chosen = forms.text(ctx, "query_field")
    forms.check(
        prop,
        f"There is no field '{chosen}' with text: there is {', '.join(names) or 'none'}"
        if chosen and chosen not in names
        else None,
    )
