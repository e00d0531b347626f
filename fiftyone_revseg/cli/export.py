"""``revseg export``."""

from __future__ import annotations

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.bars import RunBars
from fiftyone_revseg.cli.datasets import open_collection
from fiftyone_revseg.cli.one_sentence import in_one_sentence
from fiftyone_revseg.cli.output import echo

_FORMATS = ("coco-tracks", "coco-frames", "youtube-vos", "mot", "jsonl")


@click.command(short_help="Write the results of a FiftyOne dataset to files for other tools.")
@click.argument("dataset_name", metavar="DATASET")
@options.folder("Where to write; created if missing.", required=True)
@options.view
@options.field("--label-field", "revseg", "The label field with the masks.")
@click.option(
    "--format", "kind", type=click.Choice(_FORMATS), default=_FORMATS[0], show_default=True
)
@click.option(
    "--query",
    "queries",
    multiple=True,
    metavar="TEXT",
    help="Only what was found for this query; may be given several times.",
)
@options.objects("Only objects of this index; may be given several times.")
@options.flag("--images", "Write the frames, too; with coco-frames and youtube-vos.")
@options.flag("--overwrite", "Replace what an earlier export wrote there; all else is left.")
@options.group_slice("export")
@options.group_by
@options.order_by
def export(
    dataset_name, out, view, label_field, kind, queries, objects, images, overwrite, **where
) -> None:
    """Writes the results on the videos of the FiftyOne dataset DATASET to files.

    \b
      coco-tracks  masks: one JSON file as of YouTube-VIS, an RLE per object and frame
      coco-frames  masks: one JSON file as of COCO, each frame is an image
      youtube-vos  masks: a folder of palette PNGs for each video
      mot          boxes: a text file for each video, as of MOTChallenge
      jsonl        what was asked and replied: a line for each video and query

    Videos without results are skipped, and the output says which and why.

    \b
    Examples:
      revseg export my-videos -o tracks
      revseg export my-videos -o masks --format youtube-vos --images --view "revseg accepted"
      revseg export my-videos -o stars --query "the red star" --object 1
    """
    # Before anything else imports FiftyOne, see there
    samples = open_collection(
        dataset_name, view, where["group_by"], where["order_by"], where["group_slice"]
    )

    from fiftyone_revseg.dataset.export import export_results

    words = {"images=True": "--images", "or overwrite,": "or --overwrite,"}
    with in_one_sentence(words=words), RunBars("Exporting") as bars:
        summary = export_results(
            samples,
            out,
            kind,
            label_field,
            overwrite,
            images,
            where["group_slice"],
            bars,
            queries,
            objects,
        )
    echo(str(summary))
