"""The operator ``filter``: which videos have true masks that a tracker finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone.operators.types as types

from fiftyone_revseg.app import held_models as models
from fiftyone_revseg.app.forms import Form, tracker_input
from fiftyone_revseg.app.operator import Run, Settings, figures, from_script
from fiftyone_revseg.app.targets import GT_FIELD, VideosOperator, truth_to_choose
from fiftyone_revseg.dataset.data_filter import DROPPED, check_filter, filter_view
from fiftyone_revseg.pipeline import Loading
from fiftyone_revseg.training.data_filter import THRESHOLD

_DEFAULT_TRACKER = "sam2-nano"


class Filter(VideosOperator):
    """Marks the videos whose true masks a tracker does not find from their own boxes."""

    name = "filter"
    label = "ReVSeg: filter training data"
    description = (
        "Tracks the true boxes of each video, compares with its true masks, and marks the videos "
        "that are not worth learning from; nothing is deleted"
    )
    icon = "filter_alt"
    risk = types.RiskLevel.MEDIUM
    title = "ReVSeg: filter data"
    button = target = "Filter"
    stopped = "Stopped: what was measured is kept; filter again to go on"

    def ask(self, form: Form, subject: Any) -> Settings | None:
        names = truth_to_choose(form, subject)
        if not names:
            raise ValueError("There are no detections with true masks here: import them first")
        gt_field = form.choice("gt_field", names, label="Field with the true masks")
        if gt_field is None:
            return None
        tracker = tracker_input(form, default=_DEFAULT_TRACKER)
        threshold = form.number(
            "threshold",
            THRESHOLD,
            lambda iou: check_filter(subject, gt_field, float(iou), form.ctx.params.get("starts")),
            whole=False,
            min=0,
            max=1,
            label="Threshold",
            description="Videos with a lower mean IoU are dropped; the paper has 0.6",
        )
        starts = form.number(
            "starts",
            min=1,
            label="Starts",
            description="Start the tracker at no more than this many frames of a video. By "
            "default, at every frame, as in the paper, which takes long",
        )
        overwrite = form.flag(
            "overwrite", "Measure again", "Also the videos that have been measured before"
        )
        return {
            "gt_field": gt_field,
            "tracker": tracker,
            "threshold": float(threshold),
            "starts": starts,
            "overwrite": overwrite,
        }

    def work(self, run: Run[Any], tracker: str, **settings: Any) -> dict[str, Any]:
        loaded = models.get_tracker(Loading(tracker=tracker))
        summary = filter_view(run.subject, tracker=loaded, progress=run.report, **settings)
        counted = ("total", "measured", "skipped", "kept", "dropped", "shifted", "failures")
        return figures(summary, *counted)

    def words(self, result: dict[str, Any]) -> dict[str, str]:
        words = super().words(result)
        if result.get("dropped"):
            words["tagged"] = f"The tag **{DROPPED}** is on those to leave out."
        return words

    @from_script
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
