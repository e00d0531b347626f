"""``revseg filter``."""

from __future__ import annotations

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.bars import RunBars
from fiftyone_revseg.cli.datasets import open_collection
from fiftyone_revseg.cli.one_sentence import GOES_ON, in_one_sentence, refuse_failures
from fiftyone_revseg.cli.output import echo


@click.command(name="filter", short_help="Mark videos that are not worth learning from.")
@click.argument("dataset_name", metavar="DATASET")
@options.view
@options.field("--gt-field", "ground_truth", "The field with the true masks.")
@click.option(
    "--tracker",
    default="sam2-nano",
    show_default=True,
    help="A SAM 2 checkpoint: a name, a hub id or a path.",
)
@click.option(
    "--threshold",
    type=options.Number(0, 1),
    default=0.6,
    show_default=True,
    metavar="X",
    help="Videos with a lower mean IoU are dropped.",
)
@options.number(
    "--starts", "Start the tracker at no more than N frames of a video.  [default: at every frame]"
)
@options.flag("--overwrite", "Measure again what was measured before.")
@options.group_slice("filter")
@options.device
def filter_videos(
    dataset_name, view, gt_field, tracker, threshold, starts, overwrite, group_slice, device
) -> None:
    """Marks the videos of the FiftyOne dataset DATASET whose true masks a tracker does not find.

    The tracker is started at the true boxes of every frame and goes both ways; the mean IoU with
    the true masks of a video goes to data_filter_iou. Below the threshold, data_filter_keep is
    false, and the sample has the tag data_filter_dropped. Nothing is deleted. Where the masks fit
    clearly better a few frames later or earlier, data_filter_offset says by how many.

    The time grows with the square of a video's frames, unless --starts limits it. Ctrl-C loses no
    more than the video that is worked on: the same command goes on from there. With another
    --threshold it only decides anew.

    \b
    Exit codes:
      0    every video was measured
      1    some could not be (the output says why), or nothing could be done at all
      2    the command line is wrong
      130  it was interrupted with Ctrl-C

    \b
    Examples:
      revseg filter my-training-set --tracker sam2.1-hiera-large
      revseg filter my-training-set --starts 4
    """

    # Before anything else imports FiftyOne, see there
    samples = open_collection(dataset_name, view, group_slice=group_slice)

    from fiftyone_revseg.dataset.collection import check_collection
    from fiftyone_revseg.dataset.data_filter import check_filter, filter_view
    from fiftyone_revseg.tracking import load_tracker

    with in_one_sentence(RuntimeError, interrupted=GOES_ON):
        # What can be wrong is found out first: loading takes long
        check_filter(check_collection(samples, group_slice), gt_field, threshold, starts)
        loaded = load_tracker(tracker, device=device)
        with RunBars("Filtering") as bars:
            summary = filter_view(
                samples, gt_field, loaded, threshold, starts, overwrite, group_slice, bars
            )
    echo(str(summary))
    refuse_failures(summary, "measured")
