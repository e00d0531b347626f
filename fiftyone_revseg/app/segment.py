"""The operator ``segment``: a query is typed, the videos of a view are segmented."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone import ViewField as F

from fiftyone_revseg.app import forms
from fiftyone_revseg.app import held_models as models
from fiftyone_revseg.app.forms import Form, offer
from fiftyone_revseg.app.operator import Operator, Run, Settings, from_script
from fiftyone_revseg.app.running import duration, list_active, stop_runs
from fiftyone_revseg.app.targets import VideosOperator, playback_notice
from fiftyone_revseg.dataset import list_runs, segment_view
from fiftyone_revseg.dataset.annotation import try_to_activate
from fiftyone_revseg.dataset.asked import Compared, asked_queries, compare_asked, field_for
from fiftyone_revseg.dataset.certainty_map import CertaintyMap
from fiftyone_revseg.dataset.changes import count_corrected
from fiftyone_revseg.dataset.collection import (
    count_samples,
    in_all_slices,
    is_clips,
    is_image_groups,
)
from fiftyone_revseg.dataset.first_look import shown_fields
from fiftyone_revseg.dataset.jobs import check_queries, make_jobs
from fiftyone_revseg.dataset.resume import RETRIED
from fiftyone_revseg.dataset.runs import list_at_work
from fiftyone_revseg.dataset.saved_views import keep_view
from fiftyone_revseg.models.demonstration import afterwards
from fiftyone_revseg.pipeline import Loading
from fiftyone_revseg.reasoning import ChainSpec
from fiftyone_revseg.reasoning.cost import requests_of
from fiftyone_revseg.reasoning.spec import LOOKING_AGAIN
from fiftyone_revseg.text.escape import markdown, markdown_line
from fiftyone_revseg.types import ANSWERED

_ASKED = {
    "one": "One query",
    "field": "A field with queries",
    "several": "Several queries",
}
_NO_QUERY = "Say what to look for in the videos: there is no query yet"
_EXISTING = {"keep": "Resume", "changed": "Redo what changed", "all": "Overwrite"}
_EXISTING_IN_WORDS = {
    "keep": "Only videos without an answer, whatever the others were answered with",
    "changed": "Also those that were answered to another query, or with other settings; not those "
    "whose labels a person corrected, accepted or changed",
    "all": "All videos but those whose labels a person corrected, accepted or changed; answers and "
    "masks in this field are replaced",
}
_OVERWRITE: dict[str, bool | str] = {
    "keep": False,
    "changed": "changed",
    "all": True,
    "new": False,
}
# Status -> the view that shows the videos with it, and what its button says
_SHOWN = {
    "ok": ("found", "Show what was found"),
    "no_target": ("no target", "Show where there is no such object"),
}
_VIEWS_URI = "fiftyone_revseg/views"
_LISTED = 4  # queries, in words


class Segment(VideosOperator):
    """Segments what queries describe in the videos of a view."""

    name = "segment"
    label = "ReVSeg: segment what a query describes"
    # The App lists operators by the first letter of their descriptions: this one is to be first
    description = (
        "Answers a query about each video: finds what it describes, says why, and masks it on "
        "every frame"
    )
    icon = "movie_filter"
    risk = types.RiskLevel.HIGH
    title = "ReVSeg: segment"
    button = target = "Segment"

    def resolve_placement(self, ctx: foo.ExecutionContext) -> types.Placement:
        return types.Placement(
            types.Places.SAMPLES_GRID_SECONDARY_ACTIONS,
            types.Button(label="Segment what a query describes", icon="movie_filter", prompt=True),
        )

    def group_slice(self, form: Form, slices: list[str]) -> str:
        shown = form.ctx.group_slice
        chosen = form.typed("group_slice") or (shown if shown in slices else slices[0])
        words = "The part of each group to segment"
        form.enum("group_slice", slices, default=chosen, label="Slice", description=words)
        return chosen

    def ask(self, form: Form, subject: Any) -> Settings | None:
        params = form.ctx.params
        _query_inputs(form, subject)
        forms.model_inputs(form, subject)
        label_field = forms.label_field_input(
            form, "Where the answers go: masks on frames, and fields named after it", subject
        )
        if label_field is None:
            return None
        queries, prompt_field = _asked(form.ctx)
        existing = None
        if label_field in forms.label_fields(form.dataset):
            existing, label_field = _existing_input(
                form, subject, label_field, queries, prompt_field
            )
        calibration = None
        if params.get("look_again"):
            calibration = form.text(
                "calibration",
                check=CertaintyMap.load,
                label="Calibration",
                description="The file of a calibration, which makes certainties true. By default, "
                "they are as the model says",
            )
        if runs := list_at_work(form.dataset, label_field):
            form.flag(
                "anyway",
                "Begin although another run is at work on this field",
                f"What both do is done twice. At work: {markdown('; '.join(runs))}",
            )
        flags = ("anyway", "replace_foreign_labels", "replace_corrections")
        return {
            "model": forms.loading(form.ctx),
            "queries": queries,
            "prompt_field": prompt_field,
            "label_field": label_field,
            "overwrite": _OVERWRITE.get(existing or "keep", False),
            "calibration": calibration or None,
            **{name: bool(params.get(name)) for name in flags},
        }

    def tell(self, form: Form, subject: Any, settings: Settings) -> None:
        _estimate(form, subject, settings)
        playback_notice(form, subject)

    def work(
        self, run: Run[Any], model: Loading, label_field: str, **settings: Any
    ) -> dict[str, Any]:
        loaded, state = models.get_model(model), "done"
        try:
            summary = segment_view(
                run.subject, loaded, label_field=label_field, progress=run.report, **settings
            ).to_dict()
        except KeyboardInterrupt:
            state, summary = "stopped", _last_run(run.ctx.dataset, label_field)
        try_to_activate(run.ctx.dataset, label_field)
        images = is_image_groups(run.subject)
        run.fields = shown_fields(run.ctx.dataset, label_field, settings["prompt_field"], images)
        return _result(run.ctx.dataset, label_field, state, summary)

    def words(self, result: dict[str, Any]) -> dict[str, str]:
        return {"summary": _in_words(result)}

    def resolve_output(self, ctx: foo.ExecutionContext) -> types.Property:
        output, result = super().resolve_output(ctx), ctx.results
        for status, (name, label) in _SHOWN.items():
            if result and result["counts"].get(status):
                params = {"name": name, "label_field": result["label_field"]}
                output.type.btn(name.replace(" ", "_"), label, on_click=_VIEWS_URI, params=params)
        return output

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        queries, prompt_field = _asked(ctx)
        what = f"the field '{prompt_field}'" if prompt_field else ", ".join(queries or [])
        return f"ReVSeg: segment {what}"

    def params(self, given: dict[str, Any]) -> dict[str, Any]:
        params = dict(given)
        again = ("calibration", *LOOKING_AGAIN)
        params["look_again"] = any(params[name] not in (None, False) for name in again)
        query, prompt_field = params.pop("query"), params.pop("prompt_field")
        if query is None:
            return {**params, "asked": "field", "prompt_field": prompt_field or "query"}
        if isinstance(query, str):
            return {**params, "asked": "one", "query": query}
        return {**params, "asked": "several", "queries": list(query)}

    @from_script
    def __call__(
        self,
        sample_collection: Any,
        query: str | Sequence[str] | None = None,
        prompt_field: str | None = None,
        model: str = "revseg-nano",
        server: str | None = None,
        box_convention: str | None = None,
        tracker: str | None = None,
        frames: int | None = None,
        samples: int | None = None,
        verdict: bool = False,
        rounds: int | None = None,
        anchors: int | None = None,
        looks: int | None = None,
        max_gap: float | None = None,
        calibration: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        quantization: str | None = None,
        device_map: str | None = None,
        label_field: str = forms.DEFAULT_LABEL_FIELD,
        existing: str = "keep",
        group_slice: str | None = None,
        anyway: bool = False,
        replace_foreign_labels: bool = False,
        replace_corrections: bool = False,
        delegate: bool = False,
    ) -> Any:
        """Segments the videos of a collection.

        Example::

            import fiftyone.operators as foo

            segment = foo.get_operator("fiftyone_revseg/segment")
            result = segment(view, "the object that appears last")

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection`
            query (None): the query, or a list of queries, for every video
            prompt_field (None): the field with each video's own query. By default, "query" if
                no query is given
            model ("revseg-nano"): a preset, a hub id or a path
            server (None): the address of a server that has the model under this name; its key is
                the plugin's secret ``REVSEG_SERVER_KEY``
            box_convention (None): of a model on a server, such as "pixels". By default, what the
                checkpoint is known for
            tracker (None): a SAM 2 checkpoint. By default, the model's
            frames (None): how many frames of a video the model is shown. By default, what it
                expects
            samples (None): how often the model is asked more, at a temperature
            verdict (False): whether the model judges the finished tracks, which gives a certainty
            rounds (None): how often a verdict of none is asked about anew
            anchors (None): how many boxes more a track may get where it broke
            looks (None): how often the model may ask to see a stretch closer
            max_gap (None): the seconds that shown frames may lie apart
            calibration (None): the file of a calibration, which makes certainties true
            device (None): for example "cuda:1". By default, a GPU if there is one
            dtype (None): for example "bfloat16". By default, what suits the device
            quantization (None): "4bit" or "8bit" for weights in fewer bits
            device_map (None): "auto" to spread the model over all GPUs and the CPU
            label_field ("revseg"): the field to write
            existing ("keep"): "keep" to skip videos that have an answer, "changed" to redo those
                with an answer to another query or with other settings, "all" to redo all
            group_slice (None): the slice with the videos, if the dataset is grouped
            anyway (False): whether to begin although another run is at work on the same
            replace_foreign_labels (False): whether labels in this field that ReVSeg did not write
                may be replaced
            replace_corrections (False): whether what is redone may replace labels that a person
                corrected, accepted or changed
            delegate (False): whether to schedule this rather than to do it now

        Returns:
            a dict that says how it went, with "state", "counts", "failures" (reason -> number of
            samples) and more; if it was delegated, the
            :class:`fiftyone.operators.executor.ExecutionResult`

        Raises:
            fiftyone.operators.executor.ExecutionError: if an argument is not valid; nothing has
                been written then
        """


class Stop(Operator[None]):
    """Stops what segments the videos of a dataset, wherever it runs."""

    name = "stop"
    label = "ReVSeg: stop what is running"
    description = "Stops runs on this dataset; what they finished is kept"
    icon = "stop_circle"
    risk = types.RiskLevel.LOW
    title = "ReVSeg: stop"
    button = "Stop"
    streams = delegates = False

    def ask(self, form: Form, subject: None) -> Settings:
        active = list_active(form.dataset)
        if not active:
            form.refuse("nothing", "Nothing is running on this dataset")
        for title in active.values():
            form.tell(f"run_{len(form.inputs.properties)}", title)
        return {}

    def work(self, run: Run[None]) -> dict[str, Any]:
        return {"stopped": stop_runs(run.ctx.dataset)}

    def resolve_output(self, ctx: foo.ExecutionContext) -> None:
        return None

    @from_script
    def __call__(self, sample_collection: Any) -> Any:
        """Stops all runs on the dataset of a collection.

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection`

        Returns:
            a dict with the titles of what was "stopped"
        """


def _query_inputs(form: Form, videos: Any) -> None:
    view = types.RadioGroup(orientation="horizontal")
    form.enum("asked", _ASKED, view=view, default=_meant(form, videos), label="Ask")
    kind = form.typed("asked") or "one"
    if kind == "field":
        fields = forms.text_fields(form.dataset)
        form.text(
            "prompt_field",
            "query" if "query" in fields else None,
            fields,
            lambda name: make_jobs(videos[:1], None, name),
            "Name the field that holds each video's query",
            label="Field",
            description="Holds each video's query, or list of queries",
        )
    elif kind == "several":
        prop = form.inputs.list(
            "queries",
            types.String(),
            label="Queries",
            description="Each is asked about every video, and gets masks of its own",
        )
        queries, _ = _asked(form.ctx)
        if not queries:
            form.wait_for("queries", _NO_QUERY)
        form.check(prop, forms.problem(check_queries, queries) if queries else None)
    else:
        form.text(
            "query",
            check=check_queries,
            missing=_NO_QUERY,
            label="Query",
            description="What to look for, for example: the object that appears last",
        )


def _meant(form: Form, videos: Any) -> str:
    """What a person who opens the form means: a field of queries, while it is not all answered."""
    if form.typed("query") or "query" not in forms.text_fields(form.dataset):
        return "one"
    compared = compare_asked(videos, forms.DEFAULT_LABEL_FIELD, None, "query")
    return "field" if compared is None or compared.open else "one"


def _asked(ctx: foo.ExecutionContext) -> tuple[list[str] | None, str | None]:
    """Returns the queries for all videos and the field with each one's own; one of them is None."""
    kind = ctx.params.get("asked") or "one"
    if kind == "field":
        return None, forms.text(ctx, "prompt_field") or "query"
    typed = ctx.params.get("queries") if kind == "several" else [ctx.params.get("query")]
    texts = [query.strip() for query in typed or [] if isinstance(query, str)]
    return [query for query in texts if query] or None, None


def _existing_input(
    form: Form,
    videos: Any,
    label_field: str,
    queries: list[str] | None,
    prompt_field: str | None,
) -> tuple[str, str]:
    """Asks what to do about answers that a label field has: "existing".

    Another query than the one that was answered is meant to be asked, not to be left out because
    there are answers: such a form begins with a field of its own for the answers, or, where the
    queries in a field were changed, with redoing these.

    Returns:
        the choice, and the label field that is to be written
    """
    chosen = form.typed("existing") or "keep"
    labels, told = dict(_EXISTING), dict(_EXISTING_IN_WORDS)
    compared = None
    if queries or prompt_field:
        with contextlib.suppress(ValueError):  # that is said where it was typed
            compared = compare_asked(videos, label_field, queries, prompt_field)
    new, meant = None, "keep"
    if compared is not None:
        told = _told(compared)
        if queries and compared.other:
            new = field_for(form.dataset, label_field, queries)
            labels = {"new": f"New field: {new}", **labels}
            told["new"] = f"All videos are asked, and '{label_field}' stays as it is"
        if compared.other:
            meant = "new" if new else "changed"
    view = offer(types.RadioGroup(), labels, told)
    before = ["new"] if chosen == "new" else []  # for another query, which is no fault
    form.inputs.enum(
        "existing",
        list(dict.fromkeys([*labels, *before])),
        default=meant,
        label=f"'{label_field}' has answers already",
        description=_answered_in_words(videos, label_field),
        view=view,
    )
    if chosen in ("changed", "all"):
        _corrections_input(form, label_field)
    if chosen == "new" and new is None:
        chosen = "keep"
    return chosen, new if chosen == "new" and new else label_field


def _told(compared: Compared) -> dict[str, str]:
    """What each choice would do to how many videos."""
    left = []
    if compared.same:
        left.append(f"{compared.same} answered this")
    if compared.other:
        left.append(f"{compared.other} answered something else")
    kept = f"; {' and '.join(left)}, and are left as they are" if left else ""
    redone = f"{compared.open} without an answer and {compared.other} that answered something else"
    by_person = "not those whose labels a person corrected, accepted or changed"
    return {
        "keep": f"Asks the {compared.open} videos without an answer{kept}",
        "changed": f"Asks the {redone}, and those that answered with other settings; {by_person}",
        "all": f"Asks all, and replaces answers and masks in this field; {by_person}",
    }


def _answered_in_words(videos: Any, label_field: str) -> str:
    """What a label field was asked, such as "It was asked: the red star (3)"."""
    asked = [f"{markdown_line(q)} ({n})" for q, n in asked_queries(videos, label_field).items()]
    more = f" and {len(asked) - _LISTED} more" if len(asked) > _LISTED else ""
    return f"It was asked: {', '.join(asked[:_LISTED])}{more}" if asked else ""


def _corrections_input(form: Form, label_field: str) -> None:
    """Asks whether a person's work may be replaced, and says of how much is known at once."""
    count = count_corrected(form.dataset, label_field)
    known = f"{count} videos were corrected or accepted. " if count else ""
    form.flag(
        "replace_corrections",
        "Also replace what a person did",
        known + "Corrected, accepted, edited, added and deleted labels are lost then",
        view=types.CheckboxView(),
    )


def _estimate(form: Form, videos: Any, settings: Settings) -> None:
    """Says what the run will cost, as far as that can be told without a look at the videos."""
    count = count_samples(videos)
    left, status = count, f"{settings['label_field']}_status"
    known = videos.has_field(status) and not is_image_groups(videos)
    if known and settings["overwrite"] is False:
        statuses = videos.count_values(status)
        left -= sum(n for s, n in statuses.items() if s is not None and s not in RETRIED)
    kind = "clips" if is_clips(videos) else "videos"
    parts = [f"{count} {kind}" if left == count else f"{left} of {count} {kind}"]
    if settings["overwrite"] == "changed":  # which those are is known with the model's settings
        parts[0] = f"at most {parts[0]}"
    if not is_image_groups(videos) and not is_clips(videos):
        frames = videos.sum("metadata.total_frame_count")
        if frames:
            parts.append(f"{round(frames * left / count):,} frames")
    queries = settings["queries"] or [None]
    turns = _turns(settings["model"].spec) * left * len(queries)
    parts.append(
        f"{'about' if turns == 2 * left * len(queries) else 'at most'} {turns:,} turns of the model"
    )
    runs = [run for run in list_runs(form.dataset) if sum(run["counts"].values())]
    if runs:
        last = runs[-1]
        seconds = last["seconds"] / sum(last["counts"].values())
        parts.append(f"about {duration(seconds * left)}")
        description = f"The last run, of {last['model']}, took {seconds:.1f} s per video"
    else:
        description = "The time is known after the first run on this dataset"
    form.tell("estimate", " · ".join(parts), description)


def _turns(settings: dict[str, Any] | None) -> int:
    """How many turns a query takes, as far as the form says how the model is asked."""
    own = {name: value for name, value in (settings or {}).items() if name in LOOKING_AGAIN}
    return round(requests_of(ChainSpec(**own)).total)


def _last_run(dataset: fo.Dataset, label_field: str) -> dict[str, Any]:
    """How the last run went, in the form of a summary's dict; an empty one if there was none."""
    runs = [run for run in list_runs(dataset) if run["label_field"] == label_field]
    return runs[-1] if runs else {}


def _result(
    dataset: fo.Dataset, label_field: str, state: str, summary: dict[str, Any]
) -> dict[str, Any]:
    """Makes the operator's result, and the saved view of what failed."""
    failures = summary.get("failures") or {}
    if isinstance(failures, dict):
        failures = [[reason, len(ids)] for reason, ids in failures.items()]
    result = {
        "state": state,
        "label_field": label_field,
        "total": summary.get("total", 0),
        "skipped": summary.get("skipped", 0),
        "seconds": summary.get("seconds", 0.0),
        "counts": dict(summary.get("counts") or {}),
        "failures": [list(failure) for failure in failures],
        "run_key": summary.get("run_key"),
        "changed": sum(dict(summary.get("changed") or {}).values()),
        "corrected": summary.get("corrected", 0),
        "kept": summary.get("kept", 0),
        "unknown": summary.get("unknown", 0),
        "demonstration": summary.get("demonstration", ""),
        "view": None,
    }
    if failures:
        dataset.reload()
        failed = _failures(dataset, label_field)
        result["view"] = keep_view(dataset, f"{label_field} failures", failed)
    return result


def _failures(dataset: fo.Dataset, label_field: str) -> Any:
    """The samples without an answer, whichever run that was: done again, they leave the view."""
    field = f"{label_field}_status"
    return in_all_slices(dataset).exists(field).match(~F(field).is_in(list(ANSWERED)))


def _in_words(result: dict[str, Any]) -> str:
    """The result for people, as Markdown."""
    counts = dict(result["counts"])
    done = sum(counts.values())
    lines = []
    if result["state"] == "stopped":
        lines.append("**Stopped.** What is done is kept; segment again to go on.\n")
    line = f"{done} of {result['total']} segmented in {duration(result['seconds'])}"
    if result["skipped"]:
        line += f", {result['skipped']} had answers before"
    if result["changed"]:
        line += f", {result['changed']} of them to another query or with other settings"
    lines.append(line + "\n")
    if result["corrected"]:
        lines.append(
            f"{result['corrected']} were kept because a person corrected, accepted or changed "
            "their labels; to redo them, tick *Also replace what a person did*\n"
        )
    if result["kept"]:
        lines.append(
            f"{result['kept']} were left as they are because a person changed their labels while "
            "this was running\n"
        )
    for name, label in (("ok", "found"), ("no_target", "no such object")):
        if counts.get(name):
            lines.append(f"* {label}: {counts[name]}")
    failed = sum(n for status, n in counts.items() if status not in ANSWERED)
    if failed:
        lines.append(f"* failed: {failed}")
        lines += [
            f"    * {markdown_line(reason.rstrip('.'))}: {n}" for reason, n in result["failures"]
        ]
    if result["unknown"]:
        lines.append("\n" + markdown(afterwards(result["demonstration"], result["unknown"])))
    if result["view"]:
        lines.append(f"\nThe saved view **{markdown_line(result['view'])}** shows what failed.")
    return "\n".join(lines)
