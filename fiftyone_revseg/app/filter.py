"""The operator ``filter``: which videos have true masks that a tracker finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app import forms
from fiftyone_revseg.app import held_models as models
from fiftyone_revseg.app.running import Report, run_delegated, stream
from fiftyone_revseg.app.targets import (
    GT_FIELD,
    choice_input,
    execute,
    find_videos,
    truth_to_choose,
    videos_input,
)
from fiftyone_revseg.dataset.data_filter import DROPPED, check_filter, filter_view
from fiftyone_revseg.text.escape import markdown_block
from fiftyone_revseg.training.data_filter import THRESHOLD

_DEFAULT_TRACKER = "sam2-nano"


class Filter(foo.Operator):
    """Marks the videos whose true masks a tracker does not find from their own boxes."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name="filter",
            label="ReVSeg: filter training data",
            description="Tracks the true boxes of each video, compares with its true masks, and "
            "marks the videos that are not worth learning from; nothing is deleted",
            icon="filter_alt",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=types.RiskLevel.MEDIUM,
        )

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        inputs = types.Object()
        form = types.Property(
            inputs,
            view=types.PromptView(label="ReVSeg: filter data", submit_button_label="Filter"),
        )
        inputs.view_target(ctx, action_description="Filter")
        videos = videos_input(inputs, ctx)
        if videos is None:
            return form
        names = truth_to_choose(ctx, videos)
        if not names:
            forms.refuse(
                inputs,
                "no_truth",
                "There are no detections with true masks here: import them first",
            )
            return form
        gt_field = choice_input(
            inputs, ctx, "gt_field", dict.fromkeys(names, ""), label="Field with the true masks"
        )
        if gt_field is None:
            return form
        tracker = inputs.str(
            "tracker",
            default=_DEFAULT_TRACKER,
            label="Tracker",
            description="A SAM 2 checkpoint: a name, a hub id or a path",
            view=forms.suggest(forms.known_trackers()),
        )
        name = forms.text(ctx, "tracker") or _DEFAULT_TRACKER
        forms.check(tracker, forms.problem(forms.check_tracker, name))
        threshold = inputs.float(
            "threshold",
            default=THRESHOLD,
            min=0,
            max=1,
            label="Threshold",
            description="Videos with a lower mean IoU are dropped; the paper has 0.6",
        )
        inputs.int(
            "starts",
            min=1,
            label="Starts",
            description="Start the tracker at no more than this many frames of a video. By "
            "default, at every frame, as in the paper, which takes long",
        )
        inputs.bool(
            "overwrite",
            default=False,
            label="Measure again",
            description="Also the videos that have been measured before",
        )
        forms.check(threshold, forms.problem(check_filter, videos, gt_field, *_numbers(ctx)))
        return form

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        videos = find_videos(ctx)
        gt_field = forms.text(ctx, "gt_field") or next(iter(truth_to_choose(ctx, videos)), "")
        threshold, starts = _numbers(ctx)
        check_filter(videos, gt_field, threshold, starts)
        tracker = forms.text(ctx, "tracker") or _DEFAULT_TRACKER
        overwrite = bool(ctx.params.get("overwrite"))

        def work(report: Report) -> dict[str, Any]:
            loaded = models.get_tracker(tracker=tracker)
            try:
                summary = filter_view(
                    videos, gt_field, loaded, threshold, starts, overwrite, progress=report
                )
            except KeyboardInterrupt:
                words = "Stopped: what was measured is kept; filter again to go on"
                return {"state": "stopped", "summary": words}
            return {
                "state": "done",
                "total": summary.total,
                "measured": summary.measured,
                "skipped": summary.skipped,
                "kept": len(summary.kept),
                "dropped": len(summary.dropped),
                "shifted": len(summary.shifted),
                "failures": [[reason, len(ids)] for reason, ids in summary.failures.items()],
                "summary": str(summary),
            }

        title = self.resolve_run_name(ctx)
        return (run_delegated if ctx.delegated else stream)(ctx, work, title)

    def resolve_output(self, ctx: foo.ExecutionContext) -> types.Property:
        outputs = types.Object()
        if ctx.results:
            outputs.md(markdown_block(ctx.results["summary"]), name="words")
            if ctx.results.get("dropped"):
                outputs.md(f"The tag **{DROPPED}** is on those to leave out.", name="tagged")
        return types.Property(outputs, view=types.View(label="ReVSeg: filter data"))

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return "ReVSeg: filter training data"

    def __call__(
        self,
        sample_collection: Any,
        gt_field: str = GT_FIELD,
        tracker: str | Path = _DEFAULT_TRACKER,
        threshold: float = THRESHOLD,
        starts: int | None = None,
        overwrite: bool = False,
        group_slice: str | None = None,
        delegate: bool = False,
    ) -> Any:
        """Marks the videos whose true masks a tracker does not find.

        Example::

            import fiftyone.operators as foo

            data_filter = foo.get_operator("fiftyone_revseg/filter")
            print(data_filter(view, starts=4)["summary"])

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection`
            gt_field ("ground_truth"): the field with the true masks
            tracker ("sam2-nano"): a tracker's name, hub id or path
            threshold (0.6): videos with a lower mean IoU are dropped
            starts (None): start the tracker at no more than this many frames of a video. By
                default, at every frame
            overwrite (False): whether to measure again what was measured before
            group_slice (None): the slice with the videos, if the dataset is grouped
            delegate (False): whether to schedule this rather than to do it now

        Returns:
            a dict with "state", "summary" (in words), "kept", "dropped", "shifted", "failures" and
            more; if it was delegated, the :class:`fiftyone.operators.executor.ExecutionResult`
        """
        params = {
            "gt_field": gt_field.removeprefix("frames."),
            "tracker": str(tracker),
            "threshold": threshold,
            "starts": starts,
            "overwrite": overwrite,
            "group_slice": group_slice,
        }
        return execute(self.uri, sample_collection, params, delegate)


def _numbers(ctx: foo.ExecutionContext) -> tuple[float, int | None]:
    threshold, starts = ctx.params.get("threshold"), ctx.params.get("starts")
    return (
        THRESHOLD if threshold is None else float(threshold),
        None if starts is None else int(starts),
    )
