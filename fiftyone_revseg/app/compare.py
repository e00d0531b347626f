"""The operator ``compare``: how much two label fields agree, and where they do not."""

from __future__ import annotations

from typing import Any

import fiftyone.operators.types as types

from fiftyone_revseg.app.forms import Form
from fiftyone_revseg.app.operator import Run, Settings, Table, from_script
from fiftyone_revseg.app.targets import VideosOperator, detections_to_choose
from fiftyone_revseg.dataset.compare import compare_fields
from fiftyone_revseg.dataset.numbers import check_number_field
from fiftyone_revseg.dataset.saved_views import keep_view
from fiftyone_revseg.text.escape import markdown_line


class Compare(VideosOperator):
    """Compares two label fields, and shows where they disagree."""

    name = "compare"
    label = "ReVSeg: compare two label fields"
    description = (
        "Measures how much the masks of two label fields agree (J&F) in each video, and shows the "
        "videos with the least agreement first"
    )
    icon = "compare"
    risk = types.RiskLevel.MEDIUM
    title = "ReVSeg: compare"
    button = target = "Compare"
    stopped = "Stopped: nothing was written"

    def ask(self, form: Form, subject: Any) -> Settings | None:
        names = detections_to_choose(form, subject)
        if len(names) < 2:
            raise ValueError(
                "There must be two label fields with detections to compare, and here is "
                f"{' and '.join(names) or 'none'}: segment into another label field first"
            )
        field_a = form.choice("field_a", names, label="Label field")
        field_b = form.choice("field_b", names, names[1], label="Other label field")
        if field_a is None or field_b is None:
            return None
        if field_a == field_b:
            raise ValueError(f"'{field_a}' always agrees with itself: choose two label fields")
        own_name = f"{field_a}_vs_{field_b}"
        name = form.text(
            "name",
            own_name,
            check=lambda name: check_number_field(subject, name, name == own_name),
            label="Field",
            description="Where the agreement of each video goes, a number from 0 to 1",
        )
        return {"field_a": field_a, "field_b": field_b, "name": name}

    def work(self, run: Run[Any], field_a: str, field_b: str, name: str) -> dict[str, Any]:
        comparison = compare_fields(run.subject, field_a, field_b, name, progress=run.report)
        view = None
        if comparison.agreements:
            run.view = comparison.view
            view = keep_view(run.ctx.dataset, f"{comparison.name} disagreement", comparison.view)
        return {
            "field": comparison.name,
            "total": comparison.total,
            "compared": len(comparison.agreements),
            "mean": comparison.mean,
            "missing": {field_a: len(comparison.missing_a), field_b: len(comparison.missing_b)},
            "unusable": len(comparison.unusable),
            "other_status": len(comparison.other_status),
            "other_keyframe": len(comparison.other_keyframe),
            "notes": comparison.notes,
            "summary": str(comparison),
            "view": view,
        }

    def stopped_result(self) -> dict[str, Any]:
        return {**super().stopped_result(), "view": None}

    def words(self, result: dict[str, Any]) -> dict[str, str]:
        if result["state"] == "stopped":
            return super().words(result)
        words = {"notes": "\n".join(f"* {markdown_line(note)}" for note in result["notes"])}
        if result["view"]:
            name = markdown_line(result["view"])
            words["saved"] = f"The saved view **{name}** has the least agreement first."
        return words

    def tables(self, result: dict[str, Any]) -> dict[str, Table]:
        if result["state"] == "stopped":
            return {}
        mean = result["mean"]
        rows = [
            ["Videos compared", f"{result['compared']} of {result['total']}"],
            ["Mean agreement (J&F)", "-" if mean is None else f"{100 * mean:.1f}"],
            ["Another status", str(result["other_status"])],
            ["Another key frame", str(result["other_keyframe"])],
            *([f"No labels in {name}", str(n)] for name, n in result["missing"].items() if n),
        ]
        return {"table": ([" and ".join(result["missing"]), "Videos"], rows)}

    @from_script
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
