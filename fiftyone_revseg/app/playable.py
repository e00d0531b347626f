"""The operator ``playable``: copies of videos that the App plays right, in their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app import forms
from fiftyone_revseg.app.running import Report, run_delegated, stream
from fiftyone_revseg.app.targets import choice_input, execute
from fiftyone_revseg.dataset.playable import (
    default_directory,
    make_playable,
    restore_originals,
)
from fiftyone_revseg.dataset.playback_fields import whole_videos
from fiftyone_revseg.text.escape import markdown_block

_LABEL = "ReVSeg: make copies that the App plays right"
_WAYS = {
    "copy": "Of videos that it plays wrongly: the same frames at a constant rate, in H.264",
    "copy all": "Of all videos",
    "undo": "Put the originals back",
}


class Playable(foo.Operator):
    """Makes copies of videos that the App plays wrongly, and puts them in their place."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name="playable",
            label=_LABEL,
            description="Where the frame rate varies, the pictures start late, or the browser does "
            "not know the codec; labels stay as they are, and the originals are kept",
            icon="slow_motion_video",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=types.RiskLevel.MEDIUM,
        )

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        inputs = types.Object()
        inputs.view_target(ctx, action_description="Copy")
        if message := forms.problem(_check, ctx.target_view()):
            forms.refuse(inputs, "no_videos", message)
        way = choice_input(inputs, ctx, "way", _WAYS, label="Make copies")
        if way != "undo":
            inputs.str(
                "directory",
                label="Directory",
                description=f"Where to write them. By default {default_directory(ctx.dataset)}",
            )
        view = types.PromptView(label=_LABEL, submit_button_label="Go")
        return types.Property(inputs, view=view)

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        samples = ctx.target_view()
        _check(samples)
        way = forms.text(ctx, "way") or "copy"
        directory = forms.text(ctx, "directory") or None

        def work(report: Report) -> dict[str, Any]:
            try:
                if way == "undo":
                    summary = restore_originals(samples, report)
                else:
                    summary = make_playable(samples, directory, way == "copy all", report)
            except KeyboardInterrupt:
                words = "Stopped: what is done is kept; do the same again to go on"
                return {"state": "stopped", "summary": words}
            return {
                "state": "done",
                "total": summary.total,
                "changed": summary.changed,
                "sound_left_out": summary.sound_left_out,
                "failures": [[reason, len(ids)] for reason, ids in summary.failures.items()],
                "summary": str(summary),
            }

        title = self.resolve_run_name(ctx)
        return (run_delegated if ctx.delegated else stream)(ctx, work, title)

    def resolve_output(self, ctx: foo.ExecutionContext) -> types.Property:
        outputs = types.Object()
        if ctx.results:
            outputs.md(markdown_block(ctx.results["summary"]), name="words")
            if ctx.results.get("changed"):
                outputs.md("Open the videos anew to see them.", name="reload")
        return types.Property(outputs, view=types.View(label=_LABEL))

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        undo = forms.text(ctx, "way") == "undo"
        return "ReVSeg: put originals back" if undo else "ReVSeg: make playable copies"

    def __call__(
        self,
        sample_collection: Any,
        directory: str | Path | None = None,
        everything: bool = False,
        undo: bool = False,
        delegate: bool = False,
    ) -> Any:
        """Makes copies of videos that the App plays wrongly.

        Example::

            import fiftyone.operators as foo

            playable = foo.get_operator("fiftyone_revseg/playable")
            print(playable(dataset)["summary"])

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection`
            directory (None): where to write the copies. By default, in FiftyOne's directory of
                datasets
            everything (False): whether to make copies of videos that play right, too
            undo (False): whether to put the originals back instead
            delegate (False): whether to schedule this rather than to do it now

        Returns:
            a dict with "state", "summary" (in words), "changed" (id of a sample -> its file),
            "failures" and more; if it was delegated, the
            :class:`fiftyone.operators.executor.ExecutionResult`
        """
        params = {
            "way": "undo" if undo else "copy all" if everything else "copy",
            "directory": None if directory is None else str(directory),
        }
        return execute(self.uri, sample_collection, params, delegate)


def _check(samples: Any) -> None:
    if whole_videos(samples) is None:
        raise ValueError(
            "Images in groups are shown one by one with their own labels: there is nothing to do"
        )
