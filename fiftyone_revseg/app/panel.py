"""The reasoning panel: why the model chose what it chose in the sample that is looked at.

Only layout and events are here; what is shown is computed in
:mod:`fiftyone_revseg.dataset.explain`. The words come at once. Pictures that have to be decoded
first come with an event of their own, which the words ask for.
"""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app import layout, panel_words
from fiftyone_revseg.app.curve import PLOT_LAYOUT, plot_traces
from fiftyone_revseg.app.forms import offer
from fiftyone_revseg.app.layout import Layout
from fiftyone_revseg.app.looked_again import in_words
from fiftyone_revseg.app.page import Page, look, selected_index
from fiftyone_revseg.app.page_pictures import is_cached, picture_values
from fiftyone_revseg.dataset.explain import TrackSeries, track_series
from fiftyone_revseg.dataset.review import ACCEPTED, REJECTED, accept, reject
from fiftyone_revseg.dataset.review_queue import Queued, ReviewQueue
from fiftyone_revseg.text.escape import markdown, markdown_line
from fiftyone_revseg.types import ANSWERED

_SEVERITY = {"ok": types.Success, "no_target": types.Notice}
# Events that draw the panel again themselves, or leave it as it is but for what they add
_DRAW_THEMSELVES = (
    "load_pictures",
    "go_to_frame",
    "on_plot",
    "run_operator",
    "on_judge",
    "on_turn",
)
#: What the panel keeps from one event to the next
STATE = ("at", "label_field", "show_replies", "without_masks")
_JUDGE = {ACCEPTED: accept, REJECTED: reject}


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
            "selected, and what became of the object over time. Keys: A accepts, D rejects, S goes "
            "on, W goes back, K goes to the key frame.",
        )

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        name = ctx.params.get("__method__")
        if name not in _DRAW_THEMSELVES:
            return super().execute(ctx)
        # FiftyOne would draw all again. Beside the time, that could bring back a sample that the
        # user has left while its pictures were decoded
        return getattr(self, name)(ctx)

    def on_load(self, ctx: foo.ExecutionContext) -> None:
        self.refresh(ctx)

    def refresh(self, ctx: foo.ExecutionContext) -> None:
        """Shows what is in the database now; ``render`` does."""

    on_change_view = on_change_dataset = on_change_group_slice = refresh
    on_change_current_sample = on_change_selected = refresh

    def on_change_selected_labels(self, ctx: foo.ExecutionContext) -> None:
        """Turns to the object whose label was selected."""
        page = look(ctx)
        index = selected_index(ctx, page)
        numbers = [n for n, answer in enumerate(page.answers) if answer.index == index]
        if index is not None and numbers:
            self._turn_page(ctx, page.sample_id, numbers[0])

    def on_field(self, ctx: foo.ExecutionContext) -> None:
        """Shows another label field."""
        ctx.panel.set_state({"label_field": ctx.params.get("value"), "at": None})

    def on_judge(self, ctx: foo.ExecutionContext) -> None:
        """Accepts or rejects the answer in the params, and goes on to the next that waits."""
        page = look(ctx)
        following = None
        if not page.nothing and page.answer.label_id == ctx.params.get("label_id"):
            queue = page.queue(ctx.view)  # what is judged may leave it
            following = queue.after(page.sample_id, page.number)
            _JUDGE[ctx.params["judgment"]](
                page.sample,
                label_ids=[page.answer.label_id],
                label_field=page.label_field,
                by=ctx.user_id,
            )
            ctx.ops.reload_samples()
        if following is None or following.is_judged:
            self._draw(ctx)
        else:
            self._turn_to(ctx, page, queue, following)

    def on_turn(self, ctx: foo.ExecutionContext) -> None:
        """Turns to the next answer that waits for a person, or back to the one before."""
        page, other = look(ctx), None
        if not page.nothing:
            queue = page.queue(ctx.view)
            find = queue.before if ctx.params.get("back") else queue.after
            other = find(page.sample_id, page.number)
        if other is None:
            self._draw(ctx)
        else:
            self._turn_to(ctx, page, queue, other)

    def on_replies(self, ctx: foo.ExecutionContext) -> None:
        """Folds the replies out, or away."""
        ctx.panel.set_state("show_replies", not ctx.panel.state.show_replies)

    def on_masks(self, ctx: foo.ExecutionContext) -> None:
        """Shows the frames that the model saw with the object drawn on them, or without."""
        ctx.panel.set_state("without_masks", not ctx.panel.state.without_masks)

    def go_to_frame(self, ctx: foo.ExecutionContext) -> None:
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
        )

    def load_pictures(self, ctx: foo.ExecutionContext) -> None:
        """Decodes the pictures of a page and adds them to it."""
        page = look(ctx)
        if page.nothing or page.key != ctx.params.get("key"):
            return  # the user has turned to another one
        ctx.panel.set_data(picture_values(page, not ctx.panel.state.without_masks))

    def _turn_to(
        self, ctx: foo.ExecutionContext, page: Page, queue: ReviewQueue, other: Queued
    ) -> None:
        self._turn_page(ctx, other.sample_id, other.number)
        if other.sample_id == page.sample_id:
            self._draw(ctx)
        elif ctx.current_sample is None:  # the App tells of the other sample, and that draws
            ctx.ops.set_selected_samples([other.sample_id])
        else:
            steps = queue.steps(page.sample_id, other)
            there = {"id": other.sample_id, "steps": steps}
            ctx.trigger(f"{self.plugin_name}/show_sample", there)

    def _turn_page(self, ctx: foo.ExecutionContext, sample_id: str, number: int) -> None:
        # With its sample, as events about the one before may still be under way
        ctx.panel.set_state("at", {"sample_id": sample_id, "number": number})

    def _draw(self, ctx: foo.ExecutionContext) -> None:
        ctx.ops.show_panel_output(self.render(ctx))

    def render(self, ctx: foo.ExecutionContext) -> types.Property:
        page, panel = look(ctx), Layout()
        if page.nothing:
            self._choice_of_field(panel, page)
            panel.view("nothing", types.Notice(label=page.nothing))
            self._keys(panel, ctx)
            return panel.show(ctx, STATE)

        series = track_series(page.sample, page.answer, page.label_field)
        self._bar(panel, page, ctx)
        self._words(panel, page)
        self._choice_of_field(panel, page)
        self._pictures(panel, page, not ctx.panel.state.without_masks)
        self._series(panel, page, series)
        self._buttons(panel, page, ctx)
        self._replies(panel, page, bool(ctx.panel.state.show_replies))
        cached = is_cached(page)
        if cached:
            shown = picture_values(page, not ctx.panel.state.without_masks, series)
            panel.values.update(shown)
        output = panel.show(ctx, STATE)
        if not cached:
            ctx.prompt(
                self.method_to_uri("load_pictures"),
                params={"key": page.key},
                skip_prompt=True,
            )
        return output

    def _choice_of_field(self, panel: Layout, page: Page) -> None:
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

    def _bar(self, panel: Layout, page: Page, ctx: foo.ExecutionContext) -> None:
        """What a person always needs: which answer that is, how many wait, and the judgments."""
        bar = Layout()
        queue = page.queue(ctx.view)
        bar.text("where", panel_words.where(page, queue))
        row = bar.h_stack("judge", gap=1)
        keys = {}

        def button(
            name: str, key: str, label: str, told: str, on_click: Any, **kwargs: Any
        ) -> None:
            row.btn(
                name,
                label=f"{label} ({key})",
                title=told,
                on_click=on_click,
                componentsProps=layout.COMPACT,
                **{"variant": "outlined", **kwargs},
            )
            if not kwargs.get("disabled"):
                uri = self.method_to_uri(on_click.__name__)
                keys[key.lower()] = {"operator": uri, "params": kwargs.get("params")}

        own = {"label_id": page.answer.label_id}
        for name, key, label, tag in (
            ("accept", "A", "Accept", ACCEPTED),
            ("reject", "D", "Reject", REJECTED),
        ):
            given = page.judgment == tag
            button(
                name,
                key,
                f"{tag.capitalize()}" if given else label,
                f"{label}, and go on to the next answer that nobody has judged",
                self.on_judge,
                params={**own, "judgment": tag},
                disabled=tag == ACCEPTED and page.answer.status not in ANSWERED,
                variant="contained" if given else "outlined",
            )
        here = queue.place(page.sample_id, page.number)
        alone = len(queue) < 2
        told = "Leave it for later: go on to the next answer that nobody has judged"
        button("next", "S", "Next", told, self.on_turn, params={}, disabled=alone)
        told = "Go back to the answer before, whether it is judged or not"
        button("back", "W", "Back", told, self.on_turn, params={"back": True}, disabled=not here)
        panel.define_property("bar", bar, view=types.GridView(**layout.BAR))
        panel.values["bar"] = bar.values
        if page.answer.key_frame is not None:
            frame = {"frame_number": page.answer.key_frame, "sample_id": page.sample_id}
            uri = self.method_to_uri(self.go_to_frame.__name__)
            keys["k"] = {"operator": uri, "params": frame}
        self._keys(panel, ctx, keys, f"{page.key}_{page.judgment}")

    def _keys(
        self,
        panel: Layout,
        ctx: foo.ExecutionContext,
        keys: dict[str, Any] | None = None,
        page: str = "",
    ) -> None:
        """Lets the plugin's script listen for keys, and hide what is not of the open sample."""
        view = types.ComponentView(
            "RevsegReview",
            keys=keys or {},
            page=page,
            current_sample=ctx.current_sample,
            refresh=self.method_to_uri("refresh"),
            componentsProps={"item": {"className": "revseg-keys"}},
        )
        panel.view("keys", view)

    def _words(self, panel: Layout, page: Page) -> None:
        answer = page.answer
        panel.text(f"playback_{page.key}", "")  # measuring it takes as long as the pictures
        panel.text("query", f"###### {markdown_line(answer.query) or '(no query)'}")
        severity = _SEVERITY.get(answer.status, types.Warning)
        severity = {REJECTED: types.Error, ACCEPTED: types.Success}.get(page.judgment, severity)
        status = panel_words.status_line(answer)
        panel.view("status", severity(label=status, description=markdown(answer.reason)))
        if answer.description:
            panel.text("description", f"**{markdown_line(answer.description)}**")
        thought = markdown(answer.thought).replace("\n", "\n> ")
        panel.text("thought", f"> {thought or '(no thought)'}")
        if answer.looked_again:
            panel.text("looked_again", in_words(answer.looked_again))

    def _pictures(self, panel: Layout, page: Page, with_masks: bool) -> None:
        answer = page.answer
        if not answer.sampled and answer.key_frame is None:
            return
        panel.text(f"note_{page.key}", "Reading the video ...")  # until the pictures come
        go_to = {"alt_text": "", "on_click": self.go_to_frame}
        if answer.key_frame is not None:
            own = {"frame_number": answer.key_frame, "sample_id": page.sample_id}
            panel.img(f"key_frame_{page.key}", params=own, componentsProps=layout.FITTING, **go_to)
        if answer.sampled:
            strip = panel.h_stack(f"strip_{page.key}", **layout.STRIP)
            for number in answer.sampled:
                own = {"frame_number": number, "sample_id": page.sample_id}
                strip.img(f"at_{number}", params=own, componentsProps=layout.THUMBNAIL, **go_to)
        if answer.sampled and answer.index is not None:
            label = "Show the frames as the model saw them" if with_masks else "Show masks on them"
            panel.btn("masks", label=label, on_click=self.on_masks, componentsProps=layout.COMPACT)
        if answer.judged:
            panel.text(f"about_judged_{page.key}", "")
            panel.img(f"judged_{page.key}", width="100%", alt_text="")

    def _series(self, panel: Layout, page: Page, series: TrackSeries) -> None:
        if not series.numbers:
            return
        panel.text("series", panel_words.series_line(series))
        name = f"plot_{page.key}"  # curves of one name would be laid over each other by the App
        panel.plot(name, layout=PLOT_LAYOUT, on_click=self.on_plot, componentsProps=layout.FLAT)
        panel.values[name] = plot_traces(series, page.answer.key_frame)

    def _buttons(self, panel: Layout, page: Page, ctx: foo.ExecutionContext) -> None:
        answer = page.answer
        # One row of all of them would be wider than the panel beside an open video
        row, edits = panel.h_stack("actions", gap=1), panel.h_stack("edits", gap=1)
        if answer.key_frame is not None:
            row.btn(
                "go",
                label="Open the video" if ctx.current_sample is None else "Go to the key frame",
                on_click=self.go_to_frame,
                params={"frame_number": answer.key_frame, "sample_id": page.sample_id},
                variant="contained",
            )
        own = {"label_field": page.label_field, "sample_id": page.sample_id}
        support = list(answer.support) if answer.support else None
        answered = {**own, "query": answer.query, "support": support}
        edited = {**own, "index": answer.index, "support": support}
        corrected = {**edited, "frame_number": answer.key_frame}
        actions = [
            (row, "propagate", "Re-propagate", corrected, answer.index is not None),
            (row, "reground", "Re-ground", corrected, answer.index is not None),
            (edits, "add", "Add an object", answered, bool(answer.support)),
            (edits, "ask_again", "Ask again", answered, bool(answer.support)),
            (edits, "rename", "Rename", edited, answer.index is not None),
            (edits, "delete", "Delete", edited, answer.index is not None),
            (edits, "undo", "Undo", own, any(one.can_undo for one in page.answers)),
        ]
        for stack, name, label, arguments, is_possible in actions:
            if is_possible:
                stack.btn(
                    name,
                    label=label,
                    on_click=self.run_operator,
                    params={"operator": name, "arguments": arguments},
                    variant="outlined",
                    componentsProps=layout.COMPACT,
                )

    def _replies(self, panel: Layout, page: Page, unfolded: bool) -> None:
        turns = page.answer.turns
        panel.text("timings", panel_words.timings_line(page.answer))
        if not turns:
            return
        panel.btn(
            "replies",
            label=f"{'Hide' if unfolded else 'Show'} attempts and raw replies ({len(turns)})",
            icon="expand_less" if unfolded else "expand_more",
            on_click=self.on_replies,
        )
        for n, turn in enumerate(turns if unfolded else ()):
            panel.text(f"reply_{n}", panel_words.reply(turn))
