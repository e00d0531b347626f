"""``revseg demo``."""

from __future__ import annotations

from pathlib import Path

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.output import echo


@click.command(short_help="Segment a small sample dataset in FiftyOne.")
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="runs/demo",
    show_default=True,
    metavar="DIR",
    help="Where videos and pictures go.",
)
@click.option(
    "--count", type=click.IntRange(1, 1000), default=12, show_default=True, help="How many videos."
)
@options.model
@click.option("--fresh", is_flag=True, help="Start over instead of keeping earlier results.")
def demo(out, count, model, fresh) -> None:
    """Segments a small sample dataset in FiftyOne.

    Renders videos of a made-up world in which shapes move, appear, collide and hide each other,
    makes them the FiftyOne dataset "revseg-demo" with queries and true masks, applies the model,
    prints how well each query was answered, and writes a contact sheet. A second run keeps what
    it finds.
    """
    from fiftyone_revseg.cli.demo_dataset import run_demo

    try:
        run_demo(out, count=count, model=model, fresh=fresh, echo=echo)
    except (ValueError, ImportError, OSError) as error:
        raise click.ClickException(str(error)) from error
