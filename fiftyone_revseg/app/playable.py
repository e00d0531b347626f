"""The operator ``playable``: copies of videos that the App plays right, in their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app.forms import Form, text
from fiftyone_revseg.app.operator import Operator, Run, Settings, figures, from_script
from fiftyone_revseg.dataset.playable import (
    default_directory,
    make_playable,
    restore_originals,
)
from fiftyone_revseg.dataset.playback_fields import whole_videos

_WAYS = {
    "copy": "Of videos that it plays wrongly: the same frames at a constant rate, in H.264",
    "copy all": "Of all videos",
    "undo": "Put the originals back",
}


class Playable(Operator[Any]):
    """Makes copies of videos that the App plays wrongly, and puts them in their place."""

    name = "playable"
    label = "ReVSeg: make copies that the App plays right"
    description = (
        "Where the frame rate varies, the pictures start late, or the browser does not know the "
        "codec; labels stay as they are, and the originals are kept"
    )
    icon = "slow_motion_video"
    risk = types.RiskLevel.MEDIUM
    target = "Copy"
    button = "Go"
    stopped = "Stopped: what is done is kept; do the same again to go on"

    def subject(self, form: Form) -> Any:
        samples = form.ctx.target_view()
        if whole_videos(samples) is None:
            raise ValueError(
                "Images in groups are shown one by one with their own labels: there is nothing to "
                "do"
            )
        return samples

    def ask(self, form: Form, subject: Any) -> Settings:
        way = form.choice("way", _WAYS, label="Make copies")
        directory = None
        if way != "undo":
            directory = form.text(
                "directory",
                label="Directory",
                description=f"Where to write them. By default {default_directory(form.dataset)}",
            )
        return {"way": way, "directory": directory or None}

    def work(self, run: Run[Any], way: str, directory: str | None) -> dict[str, Any]:
        if way == "undo":
            summary = restore_originals(run.subject, run.report)
        else:
            summary = make_playable(run.subject, directory, way == "copy all", run.report)
        whole = {"changed": summary.changed, "sound_left_out": summary.sound_left_out}
        return {**figures(summary, "total", *whole, "failures"), **whole}

    def words(self, result: dict[str, Any]) -> dict[str, str]:
        words = super().words(result)
        if result.get("changed"):
            words["reload"] = "Open the videos anew to see them."
        return words

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        undo = text(ctx, "way") == "undo"
        return "ReVSeg: put originals back" if undo else "ReVSeg: make playable copies"

    def params(self, given: dict[str, Any]) -> dict[str, Any]:
        everything, undo = given.pop("everything"), given.pop("undo")
        return {**given, "way": "undo" if undo else "copy all" if everything else "copy"}

    @from_script
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
