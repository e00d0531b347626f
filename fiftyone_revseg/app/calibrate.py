"""The operator ``calibrate``: whether certainties tell right answers from wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone.operators.types as types

from fiftyone_revseg.app.forms import Form, existing_label_field_input, queries_input
from fiftyone_revseg.app.operator import Run, Settings, from_script
from fiftyone_revseg.app.targets import GT_FIELD, VideosOperator, truth_to_choose
from fiftyone_revseg.dataset.certainty_map import default_path
from fiftyone_revseg.evaluation.calibrate import SHARE, THRESHOLD, calibrate
from fiftyone_revseg.evaluation.calibration_plot import draw
from fiftyone_revseg.evaluation.evaluate import evaluate_view
from fiftyone_revseg.files import check_writable
from fiftyone_revseg.masks.pictures import png_uri
from fiftyone_revseg.text.escape import markdown_line


class Calibrate(VideosOperator):
    """Measures certainties on true masks, and makes them true."""

    name = "calibrate"
    label = "ReVSeg: calibrate certainties"
    description = (
        "Measures on true masks how well certainties tell right answers from wrong ones, and can "
        "make a file with which 0.8 means right in 8 of 10"
    )
    icon = "tune"
    risk = types.RiskLevel.LOW
    title = "ReVSeg: calibrate"
    button = target = "Calibrate"
    stopped = "Stopped: nothing was written"

    def ask(self, form: Form, subject: Any) -> Settings | None:
        label_field = existing_label_field_input(form)
        if label_field is None:
            return None
        names = [name for name in truth_to_choose(form, subject) if name != label_field]
        if not names:
            raise ValueError("There are no detections with true masks here: import them first")
        gt_field = form.choice("gt_field", names, label="True masks")
        if gt_field is None:
            return None
        queries = queries_input(
            form, "By default, the expressions of each sample, or what was asked"
        )
        threshold = _share_input(
            form, "threshold", THRESHOLD, "Threshold", "The J&F from which on an answer is right"
        )
        share = _share_input(
            form, "share", SHARE, "Share", "How much of the queue is corrected, to see what it wins"
        )
        fit = form.flag("fit", "Make a calibration", "A file that makes certainties true")
        path = None
        if fit:
            path = form.text(
                "path",
                str(default_path(form.dataset.name, label_field)),
                check=lambda name: check_writable(Path(name).expanduser(), folder=False),
                label="File",
                description="Segment with it, and certainties are calibrated",
            )
        return {
            "pred_field": label_field,
            "gt_field": gt_field,
            "queries": queries,
            "threshold": threshold,
            "share": share,
            "path": path,
        }

    def work(
        self, run: Run[Any], threshold: float, share: float, path: str | None, **settings: Any
    ) -> dict[str, Any]:
        evaluation = evaluate_view(run.subject, progress=run.report, **settings)
        found = calibrate(evaluation, threshold, share)
        saved = None if path is None else found.fit().save(Path(path).expanduser())
        return {
            **found.to_dict(),
            "summary": str(found),
            "markdown": found.to_markdown(),
            "picture": png_uri(draw(found)),
            "path": saved and str(saved),
        }

    def stopped_result(self) -> dict[str, Any]:
        return {**super().stopped_result(), "path": None}

    def words(self, result: dict[str, Any]) -> dict[str, str]:
        words = {"words": result.get("markdown") or result["summary"]}
        if result.get("path"):
            words["saved"] = f"The calibration is in **{markdown_line(result['path'])}**."
        return words

    def resolve_output(self, ctx: Any) -> types.Property:
        shown = super().resolve_output(ctx)
        picture = (ctx.results or {}).get("picture")
        if picture:
            shown.type.img("picture", width="100%", alt_text="", default=picture)
        return shown

    def params(self, given: dict[str, Any]) -> dict[str, Any]:
        label_field = given.pop("label_field")
        fit = bool(given["path"]) or given["fit"]
        return {**given, "label_field": label_field, "fit": fit}

    @from_script
    def __call__(
        self,
        sample_collection: Any,
        label_field: str = "revseg",
        gt_field: str = GT_FIELD,
        query_field: str | None = None,
        threshold: float = THRESHOLD,
        share: float = SHARE,
        fit: bool = False,
        path: str | Path | None = None,
        group_slice: str | None = None,
        delegate: bool = False,
    ) -> Any:
        """Measures how well certainties tell right answers from wrong ones.

        Example::

            import fiftyone.operators as foo

            calibrate = foo.get_operator("fiftyone_revseg/calibrate")
            print(calibrate(view, fit=True)["summary"])

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection`
            label_field ("revseg"): the label field with the answers
            gt_field ("ground_truth"): the label field with the true masks
            query_field (None): the field with each sample's queries. By default, its expressions
            threshold (0.5): the J&F from which on an answer is right
            share (0.2): the share of the queue that is corrected
            fit (False): whether to make a file that makes certainties true
            path (None): where to write it. By default, into the folder ``calibration`` of
                ``~/.fiftyone/revseg``, or of what ``REVSEG_HOME`` names
            group_slice (None): the slice with the videos, if the dataset is grouped
            delegate (False): whether to schedule this rather than to do it now

        Returns:
            a dict with "state", "summary" (in words), "signals", "mapped", "picture" (a data URI),
            "path", "markdown" and more; if it was delegated, the
            :class:`fiftyone.operators.executor.ExecutionResult`
        """


def _share_input(form: Form, name: str, default: float, label: str, description: str) -> float:
    def check(value: Any) -> None:
        if not (isinstance(value, (int, float)) and 0 < value <= 1):
            raise ValueError(f"The {label.lower()} must be a number above 0, and at most 1")

    return float(
        form.number(
            name,
            default,
            check,
            whole=False,
            min=0,
            max=1,
            label=label,
            description=description,
            view=types.SliderView(),
        )
    )
