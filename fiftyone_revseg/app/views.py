"""The operator ``views``: the samples that a person should look at, with one click."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app.forms import Form, existing_label_field_input, text
from fiftyone_revseg.app.operator import Operator, Run, Settings, from_script
from fiftyone_revseg.dataset.collection import count_samples
from fiftyone_revseg.dataset.saved_views import keep_view
from fiftyone_revseg.dataset.views import NOT_REVIEWED, VIEWS, make_view


class Views(Operator[Any]):
    """Shows what failed, what is unsure, and what a person has to look at."""

    name = "views"
    label = "ReVSeg: show failures, unsure answers, what to review"
    description = "Shows the samples that a person should look at"
    icon = "filter_list"
    risk = types.RiskLevel.LOW
    title = "ReVSeg: views"
    button = target = "Show"

    def subject(self, form: Form) -> Any:
        return form.ctx.target_view()

    def ask(self, form: Form, subject: Any) -> Settings | None:
        label_field = existing_label_field_input(form)
        if label_field is None:
            return None
        choices = {name: kind.description for name, kind in VIEWS.items()}
        name = form.choice("name", choices, label="View")
        # What is left of a view that was chosen before has no meaning
        threshold = None
        if name is not None and VIEWS[name].threshold is not None:
            threshold = form.number(
                "threshold",
                VIEWS[name].threshold,
                _check_threshold,
                whole=False,
                min=0,
                max=1,
                label="Threshold",
                view=types.SliderView(),
            )
        save = form.flag("save", "Save", "Keep it among the saved views of the dataset")
        return {"name": name, "label_field": label_field, "threshold": threshold, "save": save}

    def work(
        self, run: Run[Any], name: str, label_field: str, threshold: float | None, save: bool
    ) -> dict[str, Any]:
        view = make_view(run.subject, name, label_field, threshold, progress=run.report)
        count = count_samples(view)
        if count:  # the App would show nothing, and not say why
            run.view = _fixed(run.subject, view) if name == NOT_REVIEWED else view
        saved = None
        if save or run.ctx.delegated:  # a service has nobody to show it to
            saved = keep_view(run.ctx.dataset, f"{label_field} {name}", view)
        return {"name": name, "count": count, "view": saved}

    def stopped_result(self) -> dict[str, Any]:
        return {"count": 0, "view": None}

    def words(self, result: dict[str, Any]) -> dict[str, str]:
        if result["state"] == "stopped":
            return {"words": "**Stopped.** Nothing was written."}
        count = result["count"]
        what = "sample" if count == 1 else "samples"
        words = f"{count or 'No'} {what}: {VIEWS[result['name']].description}"
        if result["view"]:
            words += f"\n\nSaved as **{result['view']}**."
        return {"words": words}

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return f"ReVSeg: show {text(ctx, 'name') or next(iter(VIEWS))}"

    def params(self, given: dict[str, Any]) -> dict[str, Any]:
        return {**given, "save": True}

    @from_script
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


def _fixed(samples: Any, view: Any) -> Any:
    """The same samples in the same order, whatever is judged while they are looked at."""
    if samples.media_type == "group":
        return view
    return samples.select(view.values("id"), ordered=True)


def _check_threshold(threshold: Any) -> None:
    if not (isinstance(threshold, (int, float)) and 0 <= threshold <= 1):
        raise ValueError(f"The threshold must be a number from 0 to 1, not {threshold!r}")
