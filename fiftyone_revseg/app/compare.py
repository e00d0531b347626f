"""The operator ``compare``: how much two label fields agree, and where they do not."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app import forms
from fiftyone_revseg.app.running import Report, run_delegated, stream
from fiftyone_revseg.app.targets import (
    choice_input,
    detections_to_choose,
    execute,
    find_videos,
    keep_view,
    showing,
    videos_input,
)
from fiftyone_revseg.dataset.compare import compare_fields
from fiftyone_revseg.dataset.numbers import check_number_field
from fiftyone_revseg.text.escape import markdown_block, markdown_line


class Compare(foo.Operator):
    """Compares two label fields, and shows where they disagree."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name="compare",
            label="ReVSeg: compare two label fields",
            description="Measures how much the masks of two label fields agree (J&F) in each "
            "video, and shows the videos with the least agreement first",
            icon="compare",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=types.RiskLevel.MEDIUM,
        )

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        inputs = types.Object()
        form = types.Property(
            inputs, view=types.PromptView(label="ReVSeg: compare", submit_button_label="Compare")
        )
        inputs.view_target(ctx, action_description="Compare")
        videos = videos_input(inputs, ctx)
        if videos is None:
            return form
        names = detections_to_choose(ctx, videos)
        if len(names) < 2:
            forms.refuse(
                inputs,
                "too_few",
                "There must be two label fields with detections to compare, and here is "
                f"{' and '.join(names) or 'none'}: segment into another label field first",
            )
            return form
        chosen = [
            choice_input(inputs, ctx, name, dict.fromkeys(names, ""), default, label=label)
            for name, default, label in (
                ("field_a", names[0], "Label field"),
                ("field_b", names[1], "Other label field"),
            )
        ]
        if None in chosen:
            return form
        if chosen[0] == chosen[1]:
            forms.refuse(
                inputs, "same", f"'{chosen[0]}' always agrees with itself: choose two label fields"
            )
            return form
        prop = inputs.str(
            "name",
            default=f"{chosen[0]}_vs_{chosen[1]}",
            label="Field",
            description="Where the agreement of each video goes, a number from 0 to 1",
        )
        own_name = f"{chosen[0]}_vs_{chosen[1]}"
        name = forms.text(ctx, "name") or own_name
        forms.check(prop, forms.problem(check_number_field, videos, name, name == own_name))
        return form

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        videos = find_videos(ctx)
        names = detections_to_choose(ctx, videos)
        field_a = forms.text(ctx, "field_a") or names[0]
        field_b = forms.text(ctx, "field_b") or names[1]
        name = forms.text(ctx, "name") or None
        shown: dict[str, Any] = {}

        def work(report: Report) -> dict[str, Any]:
            try:
                comparison = compare_fields(videos, field_a, field_b, name, progress=report)
            except KeyboardInterrupt:
                return {"state": "stopped", "summary": "Stopped: nothing was written", "view": None}
            view = None
            if comparison.agreements:
                shown["view"] = comparison.view
                saved_as = f"{comparison.name} disagreement"
                view = keep_view(ctx.dataset, saved_as, comparison.view)
            return {
                "state": "done",
                "field": comparison.name,
                "total": comparison.total,
                "compared": len(comparison.agreements),
                "mean": comparison.mean,
                "missing": {
                    field_a: len(comparison.missing_a),
                    field_b: len(comparison.missing_b),
                },
                "unusable": len(comparison.unusable),
                "other_status": len(comparison.other_status),
                "other_keyframe": len(comparison.other_keyframe),
                "summary": str(comparison),
                "view": view,
            }

        title = self.resolve_run_name(ctx)
        if ctx.delegated:
            return run_delegated(ctx, work, title)
        return showing(ctx, stream(ctx, work, title), shown)

    def resolve_output(self, ctx: foo.ExecutionContext) -> types.Property:
        outputs = types.Object()
        if ctx.results:
            outputs.md(markdown_block(ctx.results["summary"]), name="words")
            if ctx.results["view"]:
                name = markdown_line(ctx.results["view"])
                words = f"The saved view **{name}** has the least agreement first."
                outputs.md(words, name="saved")
        return types.Property(outputs, view=types.View(label="ReVSeg: compare"))

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return "ReVSeg: compare two label fields"

    def __call__(
        self,
        sample_collection: Any,
        field_a: str,
        field_b: str,
        name: str | None = None,
        group_slice: str | None = None,
        delegate: bool = False,
    ) -> Any:
        """Compares two label fields.

        Example::

            import fiftyone.operators as foo

            compare = foo.get_operator("fiftyone_revseg/compare")
            print(compare(view, "revseg", "second")["summary"])

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection`
            field_a: a label field with detections on frames
            field_b: another one
            name (None): the field to write. By default, ``"<field_a>_vs_<field_b>"``
            group_slice (None): the slice with the videos, if the dataset is grouped
            delegate (False): whether to schedule this rather than to do it now

        Returns:
            a dict with "state", "summary" (in words), "field", "mean", "compared", "view" (the name
            of the saved view) and more; if it was delegated, the
            :class:`fiftyone.operators.executor.ExecutionResult`
        """
        params = {
            "field_a": field_a.removeprefix("frames."),
            "field_b": field_b.removeprefix("frames."),
            "name": name,
            "group_slice": group_slice,
        }
        return execute(self.uri, sample_collection, params, delegate)
