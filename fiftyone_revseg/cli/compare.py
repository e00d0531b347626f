"""``revseg compare``."""

from __future__ import annotations

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.bars import RunBars
from fiftyone_revseg.cli.datasets import open_collection
from fiftyone_revseg.cli.one_sentence import in_one_sentence
from fiftyone_revseg.cli.output import echo


@click.command(short_help="Measure how much two label fields of a FiftyOne dataset agree.")
@click.argument("dataset_name", metavar="DATASET")
@click.argument("field_a", metavar="FIELD")
@click.argument("field_b", metavar="OTHER")
@options.view
@click.option(
    "--name",
    metavar="FIELD",
    help="Where the agreement of each video goes.  [default: FIELD_vs_OTHER]",
)
@options.number("--limit", "How many videos to list.", least=0, default=10)
@options.group_slice("compare")
@options.group_by
@options.order_by
def compare(
    dataset_name, field_a, field_b, view, name, limit, group_slice, group_by, order_by
) -> None:
    """Measures how much two label fields of the FiftyOne dataset DATASET agree on each video.

    FIELD and OTHER hold detections on frames: of two models, of two settings, or true ones. The
    agreement is the J&F between both, 0 to 1. It is written to a field of each sample. The view
    with the least agreement first is saved, and the beginning of it is printed.

    \b
    Examples:
      revseg compare my-videos revseg second
      revseg compare my-videos revseg ground_truth --limit 3
    """
    # Before anything else imports FiftyOne, see there
    samples = open_collection(dataset_name, view, group_by, order_by, group_slice)

    from fiftyone_revseg.dataset.collection import field_values, source_dataset
    from fiftyone_revseg.dataset.compare import compare_fields
    from fiftyone_revseg.dataset.saved_views import keep_view

    with in_one_sentence(), RunBars("Comparing") as bars:
        found = compare_fields(samples, field_a, field_b, name, group_slice, bars)
        saved = None
        if found.agreements:
            saved = keep_view(source_dataset(samples), f"{found.name} disagreement", found.view)
    echo(str(found))
    paths = field_values(samples, "filepath")
    for video_id, agreement in sorted(found.agreements.items(), key=lambda item: item[1])[:limit]:
        echo(f"  {100 * agreement:5.1f}  {paths[video_id]}")
    if saved:
        echo(f"The saved view '{saved}' has the least agreement first")
