"""The options that choose a model, the same for every command that segments."""

from __future__ import annotations

import click

model = click.option(
    "--model", default="revseg-nano", show_default=True, help="A preset, a hub id or a path."
)
tracker = click.option(
    "--tracker",
    help="A checkpoint of SAM 2 or EdgeTAM: a name, a hub id or a path."
    "  [default: the preset's, else sam2.1-hiera-large]",
)
frames = click.option(
    "--frames",
    type=click.IntRange(1, 256),
    metavar="N",
    help="How many frames the model is shown.  [default: what the model expects]",
)
device = click.option(
    "--device", help="For example cpu or cuda:1.  [default: a GPU if there is one]"
)
