"""``revseg playable``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.bars import RunBars
from fiftyone_revseg.cli.datasets import open_view
from fiftyone_revseg.cli.one_sentence import GOES_ON, in_one_sentence, refuse_failures
from fiftyone_revseg.cli.output import echo

if TYPE_CHECKING:
    from fiftyone_revseg.dataset.playback_fields import PlaybackSummary


@click.command(short_help="Make copies of videos that the FiftyOne App plays right.")
@click.argument("dataset_name", metavar="DATASET")
@options.view
@click.option(
    "--output-dir",
    type=options.NamedPath(file_okay=False),
    metavar="DIR",
    help="Where to write the copies.  [default: in FiftyOne's directory of datasets]",
)
@click.option("--all", "everything", is_flag=True, help="Copy videos that play right, too.")
@click.option("--undo", is_flag=True, help="Put the originals back in the place of copies.")
def playable(dataset_name, view, output_dir, everything, undo) -> None:
    """Makes copies of the videos of the FiftyOne dataset DATASET that the App plays wrongly.

    The App shows other pictures than those of the labels where the frame rate varies or the
    pictures start late, and nothing where the browser does not know the codec; revseg doctor
    DATASET lists such videos. A copy has the same frames with the same numbers, at a constant
    rate, in H.264. Samples keep their ids and all labels, and get the path of the copy; that of
    the original is in the field original_filepath, and its file stays as it is. Sound is kept
    where it stays in step with the pictures, which it does not where the frame rate varies.

    Ctrl-C loses no more than the video that is worked on: the same command goes on from there.

    \b
    Exit codes:
      0    all videos play right now
      1    some could not be copied (the output says why), or nothing could be done at all
      2    the command line is wrong
      130  it was interrupted with Ctrl-C

    \b
    Examples:
      revseg playable my-videos
      revseg playable my-videos --undo
    """
    if undo and (output_dir or everything):
        raise click.UsageError("--undo takes neither --output-dir nor --all")
    # Before anything else imports FiftyOne, see there
    samples = open_view(dataset_name, view)

    from fiftyone_revseg.dataset.playable import make_playable, restore_originals

    with in_one_sentence(interrupted=GOES_ON), RunBars("Restoring" if undo else "Copying") as bars:
        if undo:
            summary = restore_originals(samples, bars)
        else:
            summary = make_playable(samples, output_dir, everything, bars)
    echo(str(summary))
    refuse_failures(summary, "changed")


def say_how_it_plays(dataset_name: str, view: str | None) -> None:
    """Says which videos of a dataset the App plays wrongly, for ``revseg doctor DATASET``.

    Raises:
        click.ClickException: if there are such videos
    """
    # Before anything else imports FiftyOne, see there
    samples = open_view(dataset_name, view)

    from fiftyone_revseg.dataset.playback_fields import mark_playback

    with in_one_sentence(interrupted="nothing was written"), RunBars("Looking") as bars:
        found = mark_playback(samples, bars)
    for line in _lines(found):
        echo(line)
    if found.problems or found.unreadable:
        count = len(found.problems) + len(found.unreadable)
        what = "video has" if count == 1 else "videos have"
        advice = f": revseg playable {dataset_name} makes copies" if found.problems else ""
        raise click.ClickException(f"{count} of {found.total} {what} a problem{advice}")
    echo(f"The App plays {found.total} of {found.total} videos right.")


def _lines(found: PlaybackSummary) -> list[str]:
    lines = [f"{found.names[i]}: {problem}" for i, problem in found.problems.items()]
    lines += [f"{name}: {reason}" for name, reason in found.unreadable.items()]
    if found.rounded:
        others = len(found.rounded) - 1
        more = f" and {others} more" if others else ""
        lines.append(
            f"{found.rounded[0]}{more}: right, but for times that are rounded: where a frame is"
            " sought, the App may show the picture before it (revseg playable --all makes"
            " copies of these, too)"
        )
    return lines
