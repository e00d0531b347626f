"""The options that choose a model, the same for every command that segments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

model = click.option(
    "--model", default="revseg-nano", show_default=True, help="A preset, a hub id or a path."
)
server = click.option(
    "--server",
    metavar="URL",
    help="Ask the model on a server, such as http://localhost:8000/v1; --model is its name there."
    " A key is read from REVSEG_SERVER_KEY.",
)
spec = click.option(
    "--spec",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="The folder with a revseg.json that says how the model wants to be asked.",
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
replace_foreign_labels = click.option(
    "--replace-foreign-labels",
    is_flag=True,
    help="Replace labels in the label field that ReVSeg did not write. They are lost.",
)
replace_corrections = click.option(
    "--replace-corrections",
    is_flag=True,
    help="With --overwrite, also replace what a person corrected, accepted or changed.",
)


def settings(spec: Path | None, frames: int | None) -> dict[str, Any] | None:
    """Returns the settings that ``--spec`` and ``--frames`` name together; None if there are none.

    Raises:
        ValueError: if there is no ``revseg.json``, or it is not valid
    """
    from fiftyone_revseg.reasoning.spec import read_settings

    found: dict[str, Any] = {}
    if spec is not None:
        try:
            found = read_settings(spec)
        except FileNotFoundError as error:
            raise ValueError(f"There is no revseg.json in '{spec}'") from error
    if frames is not None:
        found["frames"] = frames
    return found or None
