"""The reasoning panel: why the model chose what it chose in the sample that is looked at.

Only layout and events are here; what is shown is computed in
:mod:`fiftyone_revseg.dataset.explain`. The words come at once. Pictures that have to be decoded
first come with an event of their own, which the words ask for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types
from bson import ObjectId

from fiftyone_revseg.app.forms import offer
from fiftyone_revseg.app.looked_again import in_words
from fiftyone_revseg.dataset.collection import group_of
from fiftyone_revseg.dataset.explain import (
    Explanation,
    TrackSeries,
    explain,
    has_pictures,
    in_review_order,
    index_of_label,
    label_fields,
    make_pictures,
    picture_key,
    track_series,
)
from fiftyone_revseg.dataset.looked_again import masks_at
from fiftyone_revseg.dataset.playback import ADVICE, playback_of
from fiftyone_revseg.masks import pictures
from fiftyone_revseg.text.escape import markdown, markdown_block, markdown_line
from fiftyone_revseg.video import VideoError

_SEVERITY = {"ok": types.Success, "no_target": types.Notice}
# Events after which the panel shows what it showed before, but for what they add
_LEAVE_AS_IT_IS = ("load_pictures", "go_to_key_frame", "on_plot", "run_operator")


@dataclass
class Page:
    """What is looked at: one answer on one sample; or why there is nothing to look at.

    Attributes:
        fields: the label fields that the dataset has
        label_field: the one that is shown
        sample: the sample; of an image in an ordered group, all images of the group
        number: which of the answers is shown, from 0
        answers: all answers on the sample
        nothing: why there are none, and what to do
    """

    fields: list[str] = field(default_factory=list)
    label_field: str = ""
    sample: Any = None
    sample_id: str = ""
    number: int = 0
    answers: list[Explanation] = field(default_factory=list)
    nothing: str = ""

    @property
    def answer(self) -> Explanation:
        """The answer that is shown."""
        return self.answers[self.number]

    @property
    def key(self) -> str:
        """Names the page among all pages of all samples."""
        return f"{self.label_field}_{self.sample_id}_{self.number}"


class ReasoningPanel(foo.Panel):
    """Shows how the model came to its answers on a sample, and lets a person judge them."""

    @property
    def config(self) -> foo.PanelConfig:
        return foo.PanelConfig(
            name="reasoning",
            label="ReVSeg reasoning",
            icon="psychology",
            category=foo.Categories.ANALYZE,
            surfaces="grid modal",
            allow_multiple=False,
            help_markdown="The model's thought, key frame and box for the video that is open or "
            "selected, and what became of the object over time.",
        )

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        name = ctx.params.get("__method__")
        if name not in _LEAVE_AS_IT_IS:
            return super().execute(ctx)
        # FiftyOne would draw all again. Beside the time, that could bring back a sample that the
        # user has left while its pictures were decoded
        return getattr(self, name)(ctx)

    def on_load(self, ctx: foo.ExecutionContext) -> None:
        self.refresh(ctx)

    def refresh(self, ctx: foo.ExecutionContext) -> None:
        """Shows what is in the database now; ``render`` does."""

    on_change_view = on_change_dataset = on_change_group_slice = refresh

    def on_change_current_sample(self, ctx: foo.ExecutionContext) -> None:
        ctx.panel.set_state("page", 0)

    on_change_selected = on_change_current_sample

    def on_change_selected_labels(self, ctx: foo.ExecutionContext) -> None:
        """Turns to the object whose label was selected."""
        page = look(ctx)
        index = _selected_index(ctx, page)
        numbers = [n for n, answer in enumerate(page.answers) if answer.index == index]
        if index is not None and numbers:
            ctx.panel.set_state("page", numbers[0])

    def on_field(self, ctx: foo.ExecutionContext) -> None:
        """Shows another label field."""
        ctx.panel.set_state({"label_field": ctx.params.get("value"), "page": 0})

    def on_page(self, ctx: foo.ExecutionContext) -> None:
        """Turns to the answer whose number is in the params."""
        ctx.panel.set_state("page", ctx.params.get("number", 0))

    def on_replies(self, ctx: foo.ExecutionContext) -> None:
        """Folds the replies out, or away."""
        ctx.panel.set_state("show_replies", not ctx.panel.state.show_replies)

    def go_to_key_frame(self, ctx: foo.ExecutionContext) -> None:
        """Moves the player, or opens the video first if it is not open."""
        if ctx.current_sample is None:
            ctx.ops.open_sample(id=ctx.params["sample_id"])
        else:
            self._show_frame(ctx, ctx.params["frame_number"])

    def on_plot(self, ctx: foo.ExecutionContext) -> None:
        """Moves the player to the frame that was clicked in the plot."""
        number = ctx.params.get("x")
        if ctx.current_sample is not None and isinstance(number, (int, float)):
            self._show_frame(ctx, round(number))

    def _show_frame(self, ctx: foo.ExecutionContext, number: int) -> None:
        ctx.trigger("set_frame_number", {"frame_number": number})  # moves groups of images only
        ctx.trigger(f"{self.plugin_name}/show_frame", {"frame_number": number})

    def run_operator(self, ctx: foo.ExecutionContext) -> None:
        """Runs one of the plugin's operators on the object, and then shows what it did."""
        ctx.prompt(
            f"{self.plugin_name}/{ctx.params['operator']}",
            params=ctx.params["arguments"],
            on_success=self.refresh,
            skip_prompt=ctx.params["operator"] in ("accept", "reject"),
        )

    def load_pictures(self, ctx: foo.ExecutionContext) -> None:
        """Decodes the pictures of a page and adds them to it."""
        page = look(ctx)
        if page.nothing or page.key != ctx.params.get("key"):
            return  # the user has turned to another one
        ctx.panel.set_data(_picture_values(page))

    def render(self, ctx: foo.ExecutionContext) -> types.Property:
        page, panel = look(ctx), _Layout()
        self._choice_of_field(panel, page)
        if page.nothing:
            panel.view("nothing", types.Notice(label=page.nothing))
            return panel.show(ctx)

        series = track_series(page.sample, page.answer, page.label_field)
        self._words(panel, page)
        self._pictures(panel, page)
        self._series(panel, page, series)
        self._buttons(panel, page, ctx)
        self._replies(panel, page, bool(ctx.panel.state.show_replies))
        cached = _is_cached(page)
        if cached:
            panel.values.update(_picture_values(page, series))
        shown = panel.show(ctx)
        if not cached:
            ctx.prompt(
                self.method_to_uri("load_pictures"),
                params={"key": page.key},
                skip_prompt=True,
            )
        return shown

    def _choice_of_field(self, panel: _Layout, page: Page) -> None:
        if len(page.fields) < 2:
            return
        view = offer(types.DropdownView(), page.fields)
        panel.enum(
            "label_field",
            view.values(),
            default=page.label_field,
            label="Label field",
            view=view,
            on_change=self.on_field,
        )

    def _words(self, panel: _Layout, page: Page) -> None:
        answer, count = page.answer, len(page.answers)
        if count > 1:
            row = panel.h_stack("pages", gap=1, align_y="center")
            for name, label, number in (
                ("previous", "Previous", page.number - 1),
                ("next", "Next", page.number + 1),
            ):
                row.btn(
                    name,
                    label=label,
                    on_click=self.on_page,
                    params={"number": number},
                    disabled=not 0 <= number < count,
                    variant="outlined",
                )
        panel.text(f"playback_{page.key}", "")  # measuring it takes as long as the pictures
        which = f"Answer {page.number + 1} of {count}\n\n" if count > 1 else ""
        panel.text("query", f"{which}### {markdown_line(answer.query) or '(no query)'}")
        severity = _SEVERITY.get(answer.status, types.Warning)
        reason = markdown(answer.reason)
        panel.view("status", severity(label=_status_line(answer), description=reason))
        if answer.description:
            panel.text("description", f"**{markdown_line(answer.description)}**")
        thought = markdown(answer.thought).replace("\n", "\n> ")
        panel.text("thought", f"> {thought or '(no thought)'}")
        if answer.looked_again:
            panel.text("looked_again", in_words(answer.looked_again))

    def _pictures(self, panel: _Layout, page: Page) -> None:
        answer = page.answer
        if not answer.sampled and answer.key_frame is None:
            return
        panel.text(f"note_{page.key}", "Reading the video ...")  # until the pictures come
        if answer.key_frame is not None:
            panel.img(f"key_frame_{page.key}", alt_text="", componentsProps=_FITTING)
        if answer.sampled:
            panel.img(f"strip_{page.key}", width="100%", alt_text="")
        if answer.judged:
            panel.text(f"about_judged_{page.key}", "")
            panel.img(f"judged_{page.key}", width="100%", alt_text="")

    def _series(self, panel: _Layout, page: Page, series: TrackSeries) -> None:
        if not series.numbers:
            return
        panel.text("series", _series_line(series))
        panel.plot(
            "plot",
            layout=_PLOT_LAYOUT,
            on_click=self.on_plot,
            componentsProps=_FLAT,
        )
        panel.values["plot"] = plot_traces(series, page.answer.key_frame)

    def _buttons(self, panel: _Layout, page: Page, ctx: foo.ExecutionContext) -> None:
        answer, row = page.answer, panel.h_stack("actions", gap=1)
        if answer.key_frame is not None:
            row.btn(
                "go",
                label="Open the video" if ctx.current_sample is None else "Go to the key frame",
                on_click=self.go_to_key_frame,
                params={"frame_number": answer.key_frame, "sample_id": page.sample_id},
                variant="contained",
            )
        if answer.index is None:
            return
        arguments = {
            "index": answer.index,
            "label_field": page.label_field,
            "sample_id": page.sample_id,
            "frame_number": answer.key_frame,
        }
        for name, label in (
            ("propagate", "Re-propagate"),
            ("reground", "Re-ground"),
            ("accept", "Accept"),
            ("reject", "Reject"),
        ):
            row.btn(
                name,
                label=label,
                on_click=self.run_operator,
                params={"operator": name, "arguments": arguments},
                variant="outlined",
            )

    def _replies(self, panel: _Layout, page: Page, unfolded: bool) -> None:
        turns = page.answer.turns
        panel.text("timings", _timings_line(page.answer))
        if not turns:
            return
        panel.btn(
            "replies",
            label=f"{'Hide' if unfolded else 'Show'} attempts and raw replies ({len(turns)})",
            icon="expand_less" if unfolded else "expand_more",
            on_click=self.on_replies,
        )
        for n, turn in enumerate(turns if unfolded else ()):
            panel.text(f"reply_{n}", _reply(turn))


def look(ctx: foo.ExecutionContext) -> Page:
    """Finds what is to be shown.

    Args:
        ctx: the :class:`fiftyone.operators.ExecutionContext` of an event of the panel

    Returns:
        a :class:`Page`
    """
    page = Page()
    try:
        _fill(page, ctx)
    except _Nothing as why:
        page.nothing = str(why)
    return page


class _Nothing(Exception):  # noqa: N818  not an error
    """There is nothing to look at."""


def _fill(page: Page, ctx: foo.ExecutionContext) -> None:
    if ctx.dataset is None:
        raise _Nothing("Open a dataset to see how its videos were segmented.")
    page.fields = label_fields(ctx.dataset)
    if not page.fields:
        raise _Nothing(
            "Nothing has been segmented in this dataset yet. Run the operator "
            "`ReVSeg: segment what a query describes`."
        )
    chosen = ctx.panel.state.label_field
    page.label_field = chosen if chosen in page.fields else page.fields[0]
    sample_id = ctx.current_sample or next(reversed(ctx.selected or []), None)
    if sample_id is None:
        raise _Nothing("Open a video, or select one, to see how it was segmented.")
    page.sample = _find_sample(ctx, sample_id)
    if page.sample is None:
        raise _Nothing("This sample is not in the dataset any more. Reload the view.")
    page.sample_id = page.sample.id
    images = group_of(ctx.view, page.sample)
    page.sample = page.sample if images is None else images
    page.answers = in_review_order(explain(page.sample, page.label_field))
    if not page.answers:
        name = markdown_line(page.label_field)
        raise _Nothing(f"This sample has not been segmented into '{name}', or not to the end.")
    page.number = min(max(0, int(ctx.panel.state.page or 0)), len(page.answers) - 1)


def plot_traces(series: TrackSeries, key_frame: int | None = None) -> list[dict[str, Any]]:
    """Draws an object over time.

    Args:
        series: a :class:`fiftyone_revseg.dataset.explain.TrackSeries`
        key_frame (None): the number of the key frame

    Returns:
        four traces for Plotly: the area, the score, the frames at which a drift is suspected, and
        a line at the key frame. (FiftyOne 1.22 tells a panel nothing of where a video's player is)
    """
    numbers, suspected = list(series.numbers), series.suspected
    areas = [None if area is None else round(100 * area, 3) for area in series.areas]
    scores = [None if score is None else round(score, 4) for score in series.scores]
    drifted = [areas[numbers.index(number)] for number in suspected]
    at = [] if key_frame is None else [key_frame, key_frame]
    cross = {"color": "#ff5050", "size": 10, "symbol": "x"}
    dotted, thin = {"color": "#aaff00", "dash": "dot"}, {"color": "#ff1eaa", "width": 1}
    area = f"{series.area_of} area"
    return [
        _trace(area, numbers, areas, "area %{y:.2f} %", line={"color": "#00e1ff"}),
        _trace("score", numbers, scores, "score %{y:.2f}", yaxis="y2", line=dotted),
        _trace("drift suspected", suspected, drifted, "drift suspected", "markers", marker=cross),
        _trace("key frame", at, [0, 1], yaxis="y2", line=thin),
    ]


def _trace(
    name: str, x: list[int], y: list[Any], told: str = "", mode: str = "lines", **style: Any
) -> dict[str, Any]:
    """A trace for Plotly; what is told of a frame when the mouse is over it, unless nothing is."""
    template = f"frame %{{x}}: {told}<extra></extra>"
    says = {"hovertemplate": template} if told else {"hoverinfo": "skip"}
    return {"type": "scatter", "x": x, "y": y, "name": name, "mode": mode, **says, **style}


# Upright videos would push everything below them out of sight
_FITTING = {"image": {"style": {"maxWidth": "100%", "maxHeight": "40vh"}}}
# The height of a view is a part of that of the panel, this one is in pixels
_FLAT = {"container": {"style": {"height": 240}}}
_PLOT_LAYOUT = {
    "showlegend": True,
    "legend": {"orientation": "h", "x": 0, "y": 1.2},
    "margin": {"t": 30, "l": 45, "r": 40, "b": 30},
    "xaxis": {"title": {"text": "frame"}},
    "yaxis": {"title": {"text": "area in %"}, "rangemode": "tozero"},
    "yaxis2": {"overlaying": "y", "side": "right", "range": [0, 1], "showgrid": False},
}


class _Layout(types.Object):
    """A layout, and the values of its parts.

    The App keeps values that are given as defaults in the panel's state, and sends them back with
    every event; these it does not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, Any] = {}

    def text(self, name: str, markdown: str) -> None:
        """Adds a text."""
        self.str(name, view=types.MarkdownView())
        self.values[name] = markdown

    def to_json(self) -> dict[str, Any]:
        """Goes by the name of its base class, as the App knows only FiftyOne's own types."""
        return {**super().to_json(), "name": "Object"}

    def show(self, ctx: foo.ExecutionContext) -> types.Property:
        """Sends the values, in place of all earlier ones."""
        ctx.ops.set_panel_data(self.values)
        return types.Property(self, view=types.GridView(orientation="vertical", gap=1, pad=2))


def _find_sample(ctx: foo.ExecutionContext, sample_id: str) -> Any:
    """A sample of the view, as clips are only there; else of the dataset."""
    if not ObjectId.is_valid(sample_id):
        return None
    for samples in (ctx.dataset, ctx.view):
        try:
            return samples[sample_id]
        except KeyError:
            continue
    return None


def _selected_index(ctx: foo.ExecutionContext, page: Page) -> int | None:
    """The index of the object that the label belongs to which was selected last."""
    if page.nothing or not ctx.selected_labels:
        return None
    label = ctx.selected_labels[-1]
    if label.get("field") not in (page.label_field, f"frames.{page.label_field}"):
        return None
    return index_of_label(page.sample, label.get("label_id"), page.label_field)


def _is_cached(page: Page) -> bool:
    try:
        return has_pictures(picture_key(page.sample, page.answer))
    except VideoError:
        return True  # there is nothing to wait for


def _picture_values(page: Page, series: TrackSeries | None = None) -> dict[str, Any]:
    """The pictures of a page as what its parts show; or in words why there are none."""
    answer, box = page.answer, None
    if answer.box_xywh_rel is None and answer.key_frame is not None:
        # Where no box was asked for, the one that the tracker found is shown
        series = series or track_series(page.sample, answer, page.label_field)
        box = dict(zip(series.numbers, series.boxes, strict=True)).get(answer.key_frame)
    try:
        key = picture_key(page.sample, answer)
        masks = None
        if answer.judged and answer.index is not None:
            masks = masks_at(page.sample, answer.index, answer.judged, page.label_field)
        found = make_pictures(answer, key, box, masks)
    except VideoError as error:
        return {f"note_{page.key}": f"No pictures: {markdown(error.reason)}"}
    values = {f"note_{page.key}": _note(answer), f"playback_{page.key}": _playback(page)}
    for name, image in vars(found).items():
        if image is not None:
            values[f"{name}_{page.key}"] = pictures.data_uri(image)
    if found.judged is not None:
        values[f"about_judged_{page.key}"] = (
            "The frames of the verdict, with the object outlined as it is now:"
        )
    return values


def _playback(page: Page) -> str:
    """Says that the App plays the video wrongly, if it does."""
    playback = playback_of(page.sample)
    if playback is None or not playback.problem:
        return ""
    return f"**Beware: {markdown(playback.problem)}.** The pictures below are right; {ADVICE}."


def _note(answer: Explanation) -> str:
    words = []
    if answer.key_frame is not None:
        words.append(f"Key frame: {answer.key_frame}.")
    if answer.sampled:
        words.append(f"The model saw {len(answer.sampled)} frames.")
    if answer.key_frame is not None and answer.chosen is None:
        words.append("The key frame is not one of them, so a person chose it.")
    return " ".join(words)


def _status_line(answer: Explanation) -> str:
    parts = [markdown(answer.status)]
    if answer.confidence is not None:
        parts.append(f"confidence {answer.confidence:.2f}")
    if answer.certainty is not None:
        raw = answer.certainty_raw
        said = "" if raw is None else f" (the model said {raw:.2f})"
        parts.append(f"certainty {answer.certainty:.2f}{said}")
    if answer.agreement is not None:
        parts.append(f"agreement {answer.agreement:.2f}")
    parts += [tag for tag in answer.tags if tag in ("accepted", "rejected")]
    if answer.corrections:
        parts.append("corrected by a person")
    return ", ".join(parts)


def _series_line(series: TrackSeries) -> str:
    areas = [100 * area for area in series.areas if area is not None]
    words = [f"Visible in {series.visible} of {len(series.numbers)} frames"]
    if areas:
        words.append(f"{series.area_of} area {min(areas):.2f} to {max(areas):.2f} % of the picture")
    suspected = series.suspected
    if suspected:
        shown = ", ".join(map(str, suspected[:8])) + (", ..." if len(suspected) > 8 else "")
        words.append(f"**drift suspected at frame {shown}**")
    if series.unusable:
        words.append(f"**labels in {series.unusable} frames cannot be used: no relative box**")
    return ", ".join(words) + "."


def _timings_line(answer: Explanation) -> str:
    stages = [f"{name} {seconds:.2f} s" for name, seconds in answer.timings.items()]
    return ", ".join(filter(None, [markdown(answer.model), *stages]))


def _reply(turn: dict[str, Any]) -> str:
    """One prompt and its reply, as they were, in blocks that nothing in them can end."""
    title = f"Turn {turn.get('turn', 1)}, attempt {turn.get('attempt', 0) + 1}"
    if turn.get("candidate"):
        title = f"Candidate {turn['candidate'] + 1}, {title[0].lower()}{title[1:]}"
    facts = f"{turn.get('tokens', 0)} tokens, {turn.get('seconds', 0):.2f} s"
    parts = [f"**{title}** ({facts})"]
    if turn.get("error"):
        parts.append(f"Not used: {markdown(turn['error'])}")
    for name in ("prompt", "reply"):
        parts.append(f"{name.capitalize()}:\n\n{markdown_block(turn.get(name) or '', 'text')}")
    return "\n\n".join(parts)
