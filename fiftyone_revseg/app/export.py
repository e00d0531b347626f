"""The operator ``export``: results as files that other tools read."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app.forms import Form, text
from fiftyone_revseg.app.operator import Run, Settings, figures, from_script
from fiftyone_revseg.app.targets import VideosOperator, detections_to_choose
from fiftyone_revseg.dataset.asked import asked_queries
from fiftyone_revseg.dataset.export import FORMATS, check_directory, export_results

_FORMATS = {
    "coco-tracks": "Masks: one JSON file, as YouTube-VIS, with an RLE per object and frame",
    "coco-frames": "Masks: one JSON file, as COCO of images, each frame one of them",
    "youtube-vos": "Masks: a folder of palette PNGs for each video",
    "mot": "Boxes: a text file for each video, as MOTChallenge",
    "jsonl": "What was asked and replied: a line of JSON per video and query",
}


class Export(VideosOperator):
    """Writes the results on the videos of a view to files."""

    name = "export"
    label = "ReVSeg: export results"
    description = "Writes masks, boxes or trajectories to files on the machine of the App"
    icon = "download"
    risk = types.RiskLevel.HIGH
    title = "ReVSeg: export"
    button = target = "Export"
    stopped = "Stopped: files that are there are whole, but not all are"

    def ask(self, form: Form, subject: Any) -> Settings:
        names = detections_to_choose(form, subject)
        if not names:
            raise ValueError("There is no label field with detections: segment first")
        settings: Settings = {
            "label_field": form.choice("label_field", names, label="Label field"),
            "format": form.choice("format", _FORMATS, label="Format"),
            "images": False,
        }
        chosen = settings["format"]
        if chosen in FORMATS and FORMATS[chosen].has_pictures:
            settings["images"] = form.flag(
                "images", "Frames, too", "Every frame as a JPEG beside the masks"
            )
        elif form.ctx.params.get("images"):
            form.refuse("no_images", f"The format '{chosen}' has no pictures")
        queries = asked_queries(subject, settings["label_field"])
        words = "Only what was found for it. By default, for all"
        query = form.text("query", among=queries, label="Query", description=words)
        words = "The index of the only object to export. By default, all"
        number = form.number("object", min=0, label="Object", description=words)
        settings["queries"] = [query] if query else []
        settings["objects"] = [] if number is None else [number]
        overwrite = bool(form.ctx.params.get("overwrite"))
        settings["directory"] = form.text(
            "directory",
            check=lambda name: check_directory(name, overwrite),
            missing="Name the directory to write to",
            label="Directory",
            description="On the machine that the App runs on; created if missing",
        )
        settings["overwrite"] = form.flag(
            "overwrite", "Overwrite", "Replace what an earlier export wrote; all else is left"
        )
        return settings

    def work(self, run: Run[Any], **settings: Any) -> dict[str, Any]:
        summary = export_results(run.subject, progress=run.report, **settings)
        return figures(summary, "directory", "format", "total", "exported", "skipped")

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return f"ReVSeg: export to {text(ctx, 'directory')}"

    @from_script
    def __call__(
        self,
        sample_collection: Any,
        directory: str,
        format: str = "coco-tracks",
        label_field: str = "revseg",
        overwrite: bool = False,
        images: bool = False,
        group_slice: str | None = None,
        query: str | None = None,
        object: int | None = None,
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
            query (None): only what was found for this query
            object (None): only objects of this index
            delegate (False): whether to schedule this rather than to do it now

        Returns:
            a dict with "state", "summary" (in words), "exported", "skipped" and more; if it was
            delegated, the :class:`fiftyone.operators.executor.ExecutionResult`
        """
