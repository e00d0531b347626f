"""The operator ``export``: results as files that other tools read."""

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
    videos_input,
)
from fiftyone_revseg.dataset.export import FORMATS, check_directory, export_results
from fiftyone_revseg.text.escape import markdown_block

_FORMATS = {
    "coco-tracks": "Masks: one JSON file, as YouTube-VIS, with an RLE per object and frame",
    "coco-frames": "Masks: one JSON file, as COCO of images, each frame one of them",
    "youtube-vos": "Masks: a folder of palette PNGs for each video",
    "mot": "Boxes: a text file for each video, as MOTChallenge",
    "jsonl": "What was asked and replied: a line of JSON per video and query",
}


class Export(foo.Operator):
    """Writes the results on the videos of a view to files."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name="export",
            label="ReVSeg: export results",
            description="Writes masks, boxes or trajectories to files on the machine of the App",
            icon="download",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=types.RiskLevel.HIGH,
        )

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        inputs = types.Object()
        form = types.Property(
            inputs, view=types.PromptView(label="ReVSeg: export", submit_button_label="Export")
        )
        inputs.view_target(ctx, action_description="Export")
        videos = videos_input(inputs, ctx)
        if videos is None:
            return form
        names = detections_to_choose(ctx, videos)
        if not names:
            forms.refuse(
                inputs, "no_field", "There is no label field with detections: segment first"
            )
            return form
        choices = dict.fromkeys(names, "")
        choice_input(inputs, ctx, "label_field", choices, label="Label field")
        chosen = choice_input(inputs, ctx, "format", _FORMATS, label="Format")
        if chosen in FORMATS and FORMATS[chosen].has_pictures:
            inputs.bool(
                "images",
                default=False,
                label="Frames, too",
                description="Every frame as a JPEG beside the masks",
            )
        elif ctx.params.get("images"):
            forms.refuse(inputs, "no_images", f"The format '{chosen}' has no pictures")
        prop = inputs.str(
            "directory",
            required=True,
            label="Directory",
            description="On the machine that the App runs on; created if missing",
        )
        overwrite = bool(ctx.params.get("overwrite"))
        directory = forms.text(ctx, "directory")
        inputs.bool(
            "overwrite",
            default=False,
            label="Overwrite",
            description="Replace what an earlier export wrote; all else is left",
        )
        forms.check(prop, forms.problem(check_directory, directory, overwrite))
        return form

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        videos = find_videos(ctx)
        options = {
            "directory": forms.text(ctx, "directory"),
            "format": forms.text(ctx, "format") or next(iter(_FORMATS)),
            "label_field": forms.text(ctx, "label_field") or detections_to_choose(ctx, videos)[0],
            "overwrite": bool(ctx.params.get("overwrite")),
            "images": bool(ctx.params.get("images")),
        }

        def work(report: Report) -> dict[str, Any]:
            try:
                summary = export_results(videos, progress=report, **options)
            except KeyboardInterrupt:
                words = "Stopped: files that are there are whole, but not all are"
                return {"state": "stopped", "summary": words}
            return {
                "state": "done",
                "directory": summary.directory,
                "format": summary.format,
                "total": summary.total,
                "exported": summary.exported,
                "skipped": len(summary.skipped),
                "summary": str(summary),
            }

        return (run_delegated if ctx.delegated else stream)(ctx, work, self.resolve_run_name(ctx))

    def resolve_output(self, ctx: foo.ExecutionContext) -> types.Property:
        outputs = types.Object()
        if ctx.results:
            outputs.md(markdown_block(ctx.results["summary"]), name="words")
        return types.Property(outputs, view=types.View(label="ReVSeg: export"))

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return f"ReVSeg: export to {forms.text(ctx, 'directory')}"

    def __call__(
        self,
        sample_collection: Any,
        directory: str,
        format: str = "coco-tracks",
        label_field: str = "revseg",
        overwrite: bool = False,
        images: bool = False,
        group_slice: str | None = None,
        delegate: bool = False,
    ) -> Any:
        """Writes the results on the videos of a collection to files.

        Example::

            import fiftyone.operators as foo

            export = foo.get_operator("fiftyone_revseg/export")
            print(export(view, "tracks")["summary"])

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection`
            directory: where to write; created if missing
            format ("coco-tracks"): "coco-tracks", "coco-frames", "youtube-vos", "mot" or
                "jsonl"
            label_field ("revseg"): the label field
            overwrite (False): whether to write into a directory that is not empty
            images (False): whether to write the frames, too; for "youtube-vos" and "coco-frames"
            group_slice (None): the slice with the videos, if the dataset is grouped
            delegate (False): whether to schedule this rather than to do it now

        Returns:
            a dict with "state", "summary" (in words), "exported", "skipped" and more; if it was
            delegated, the :class:`fiftyone.operators.executor.ExecutionResult`
        """
        params = {
            "directory": str(directory),
            "format": format,
            "label_field": label_field.removeprefix("frames."),
            "overwrite": overwrite,
            "images": images,
            "group_slice": group_slice,
        }
        return execute(self.uri, sample_collection, params, delegate)
