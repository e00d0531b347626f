"""``revseg accept`` and ``revseg reject``."""

from __future__ import annotations

from typing import Any

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.datasets import open_view, select_videos
from fiftyone_revseg.cli.one_sentence import in_one_sentence
from fiftyone_revseg.cli.output import echo


def _which(command: Any) -> Any:
    """What is judged; that it is everything is never meant by leaving something out."""
    for option in reversed(
        (
            click.argument("dataset_name", metavar="DATASET"),
            click.option(
                "--video",
                "videos",
                multiple=True,
                metavar="NAME",
                help="The video: its path, the name of its file, or the sample's id; may be given"
                " several times.",
            ),
            options.view,
            options.flag("--all", "All videos of the dataset."),
            click.option("--query", metavar="TEXT", help="Only answers to this query."),
            options.number("--object", "Only the object of this index.", least=0),
            options.field("--label-field", "revseg", "The label field with the answers."),
            click.option("--by", metavar="NAME", help="Who judges.  [default: your user name]"),
        )
    ):
        command = option(command)
    return command


@click.command(short_help="Tag answers as accepted.")
@_which
def accept(**which) -> None:
    """Tags answers about videos of the FiftyOne dataset DATASET as accepted.

    An answer gets the tag "accepted", and its object's labels on all frames, as by the buttons in
    the App; the tag "rejected" is taken from them. That there is no such object is an answer, too;
    what failed is none, so it is left as it is.

    \b
    Examples:
      revseg accept my-videos --video clip.mp4
      revseg accept my-videos --video clip.mp4 --object 2 --by anna
      revseg accept my-videos --view "revseg certain"
    """
    _judge("accept", "accepted", **which)


@click.command(short_help="Tag answers as rejected.")
@_which
def reject(**which) -> None:
    """Tags answers about videos of the FiftyOne dataset DATASET as rejected.

    An answer gets the tag "rejected", and its object's labels on all frames, as by the buttons in
    the App; the tag "accepted" is taken from them. What failed can be rejected, too.

    \b
    Examples:
      revseg reject my-videos --video clip.mp4
      revseg reject my-videos --view "revseg drift suspected" --object 1
    """
    _judge("reject", "rejected", **which)


def _judge(
    name: str,
    done: str,
    dataset_name: str,
    videos: tuple[str, ...],
    view: str | None,
    all: bool,
    object: int | None,
    query: str | None,
    label_field: str,
    by: str | None,
) -> None:
    if not (videos or view or all):
        raise click.UsageError(f"Name what to {name}: --video NAME, --view NAME, or --all")
    if all and (videos or view):
        raise click.UsageError("--all takes neither --video nor --view")
    samples = open_view(dataset_name, view)  # before anything else imports FiftyOne, see there

    from fiftyone_revseg.dataset import review

    if videos:
        samples = select_videos(samples, videos)
    with in_one_sentence():
        count = getattr(review, name)(samples, object, label_field=label_field, query=query, by=by)
    echo(f"{count} answer{'' if count == 1 else 's'} {done}")
