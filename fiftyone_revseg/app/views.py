"""The operator ``views``: the samples that a person should look at, with one click."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app import forms
from fiftyone_revseg.app.running import Report, run_delegated, stream
from fiftyone_revseg.app.targets import choice_input, execute, keep_view, showing
from fiftyone_revseg.dataset.counting import count_samples
from fiftyone_revseg.dataset.views import VIEWS, make_view


class Views(foo.Operator):
    """Shows what failed, what is unsure, and what a person has to look at."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name="views",
            label="ReVSeg: show failures, unsure answers, what to review",
            description="Shows the samples that a person should look at",
            icon="filter_list",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=types.RiskLevel.LOW,
        )

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        inputs = types.Object()
        form = types.Property(
            inputs, view=types.PromptView(label="ReVSeg: views", submit_button_label="Show")
        )
        inputs.view_target(ctx, action_description="Show")
        if forms.existing_label_field_input(inputs, ctx) is None:
            return form
        choices = {name: kind.description for name, kind in VIEWS.items()}
        name = choice_input(inputs, ctx, "name", choices, label="View")
        threshold = ctx.params.get("threshold")
        if name is not None and VIEWS[name].threshold is not None:
            prop = inputs.float(
                "threshold",
                default=VIEWS[name].threshold,
                min=0,
                max=1,
                label="Threshold",
                view=types.SliderView(),
            )
            valid = isinstance(threshold, (int, float)) and 0 <= threshold <= 1
            wrong = f"The threshold must be a number from 0 to 1, not {threshold!r}"
            forms.check(prop, None if threshold is None or valid else wrong)
        inputs.bool(
            "save",
            default=False,
            label="Save",
            description="Keep it among the saved views of the dataset",
        )
        return form

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        samples = ctx.target_view()
        label_field = forms.text(ctx, "label_field") or forms.label_fields(ctx.dataset)[0]
        name = forms.text(ctx, "name") or next(iter(VIEWS))
        # What is left of a view that was chosen before has no meaning
        threshold = ctx.params.get("threshold") if VIEWS[name].threshold is not None else None
        save = bool(ctx.params.get("save")) or ctx.delegated  # a service has nobody to show it to
        shown: dict[str, Any] = {}

        def work(report: Report) -> dict[str, Any]:
            try:
                view = make_view(samples, name, label_field, threshold, progress=report)
            except KeyboardInterrupt:
                return {"state": "stopped", "count": 0, "view": None}
            count = count_samples(view)
            if count:  # the App would show nothing, and not say why
                shown["view"] = view
            saved = keep_view(ctx.dataset, f"{label_field} {name}", view) if save else None
            return {"state": "done", "name": name, "count": count, "view": saved}

        title = self.resolve_run_name(ctx)
        if ctx.delegated:
            return run_delegated(ctx, work, title)
        return showing(ctx, stream(ctx, work, title), shown)

    def resolve_output(self, ctx: foo.ExecutionContext) -> types.Property:
        outputs = types.Object()
        results = ctx.results
        if results and results["state"] == "stopped":
            outputs.md("**Stopped.** Nothing was written.", name="words")
        elif results:
            count = results["count"] or "No"
            words = f"{count} samples: {VIEWS[results['name']].description}"
            if results["view"]:
                words += f"\n\nSaved as **{results['view']}**."
            outputs.md(words, name="words")
        return types.Property(outputs, view=types.View(label="ReVSeg: views"))

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return f"ReVSeg: show {forms.text(ctx, 'name') or next(iter(VIEWS))}"

    def __call__(
        self,
        sample_collection: Any,
        name: str,
        label_field: str = "revseg",
        threshold: float | None = None,
        delegate: bool = False,
    ) -> Any:
        """Saves a view of the samples that a person should look at.

        Example::

            import fiftyone.operators as foo

            views = foo.get_operator("fiftyone_revseg/views")
            result = views(dataset, "failures")
            failures = dataset.load_saved_view(result["view"])

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection`
            name: one of :data:`fiftyone_revseg.dataset.views.VIEWS`
            label_field ("revseg"): the label field
            threshold (None): for "low confidence" and "drift suspected", a number in [0, 1]
            delegate (False): whether to schedule this rather than to do it now

        Returns:
            a dict with "state", "count" and "view", the name of the saved view; if it was
            delegated, the :class:`fiftyone.operators.executor.ExecutionResult`
        """
        params = {
            "name": name,
            "label_field": label_field.removeprefix("frames."),
            "threshold": threshold,
            "save": True,
        }
        return execute(self.uri, sample_collection, params, delegate)
