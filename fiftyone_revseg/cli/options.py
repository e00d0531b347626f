"""The options that choose a model, the same for every command that segments."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fiftyone_revseg.reasoning.conventions import BOX_CONVENTIONS

if TYPE_CHECKING:
    from fiftyone_revseg.pipeline import Loading


class Number(click.FloatRange):
    """A finite number: click takes "nan" for one of any range."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """As click has it, without what is no number or has no end."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class NamedPath(click.Path):
    """A path that is not empty, as that of a variable that is not set: click takes it for ``.``."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """As click has it, without what names nothing."""
        if not os.fspath(value):
            self.fail("the path is empty: name one, or . for the folder here.", param, ctx)
        return super().convert(value, param, ctx)


model = click.option(
    "--model",
    default="revseg-nano",
    show_default=True,
    help="A preset, a hub id or a path; the default is for demonstrations.",
)
_SERVER = (
    click.option(
        "--server",
        metavar="URL",
        help="Ask the model on a server, such as http://localhost:8000/v1; --model is its name"
        " there. A key is read from REVSEG_SERVER_KEY.",
    ),
    click.option(
        "--server-concurrency",
        type=click.IntRange(1, 1024),
        metavar="N",
        help="How many requests are made at the same time.  [default: 16, or 1 where the server"
        " does one after the other]",
    ),
    click.option(
        "--server-timeout",
        type=Number(0, min_open=True),
        metavar="SECONDS",
        help="How long a server may take for one reply.  [default: 300]",
    ),
    click.option(
        "--image-format",
        type=click.Choice(["jpeg", "png"]),
        help="How pictures are sent to a server: png is larger and loses nothing.  [default: jpeg]",
    ),
)
spec = click.option(
    "--spec",
    type=NamedPath(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="The folder with a revseg.json that says how the model wants to be asked.",
)
box_convention = click.option(
    "--box-convention",
    type=click.Choice(list(BOX_CONVENTIONS)),
    help="How the model writes boxes.  [default: as its family is known to]",
)
thinking = click.option(
    "--thinking",
    metavar="on|off|EFFORT",
    help="Whether a model that can think before it answers does, or how hard, such as low."
    "  [default: as the model has it]",
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
expressions = click.option(
    "--query-field",
    "queries",
    metavar="FIELD",
    help="The field with each video's query, or list of queries.  [default: its expressions]",
)
_LOOKING_AGAIN = (
    click.option(
        "--samples",
        type=click.IntRange(0, 100),
        metavar="N",
        help="Ask N times more, at a temperature, for more candidates.  [default: 0]",
    ),
    click.option(
        "--verdict/--no-verdict",
        default=None,
        help="Whether the model judges the finished tracks, for better answers and their certainty."
        "  [default: as the checkpoint says, else not]",
    ),
    click.option(
        "--rounds",
        type=click.IntRange(0, 10),
        metavar="N",
        help="With --verdict, how often a verdict of none is asked about anew.  [default: 0]",
    ),
    click.option(
        "--anchors",
        type=click.IntRange(0, 100),
        metavar="N",
        help="How many boxes more a track may get where it broke.  [default: 0]",
    ),
    click.option(
        "--looks",
        type=click.IntRange(0, 10),
        metavar="N",
        help="How often the model may ask to see a stretch of the video closer.  [default: 0]",
    ),
    click.option(
        "--max-gap",
        type=Number(0),
        metavar="SECONDS",
        help="Ask about long videos in windows, so that no two shown frames lie further apart."
        "  [default: no limit]",
    ),
)
device = click.option(
    "--device", help="For example cpu or cuda:1.  [default: a GPU if there is one]"
)
dtype = click.option(
    "--dtype", help="bfloat16, float16 or float32.  [default: what suits the device]"
)
quantization = click.option(
    "--quantization",
    type=click.Choice(["4bit", "8bit"]),
    help="The model's weights in fewer bits, for small GPUs.",
)
device_map = click.option(
    "--device-map",
    type=click.Choice(["auto"]),
    help="Spread the model over all GPUs and the CPU.",
)
view = click.option("--view", metavar="NAME", help="Only this saved view of the dataset.")
group_by = click.option(
    "--group-by", metavar="FIELD", help="Images are frames: the field that tells videos apart."
)
order_by = click.option(
    "--order-by", metavar="FIELD", help="With --group-by, the field with their order."
)


def server(command: Any) -> Any:
    """The options of a model on a server."""
    for option in reversed(_SERVER):
        command = option(command)
    return command


def looking_again(command: Any) -> Any:
    """The options of a chain that looks again."""
    for option in reversed(_LOOKING_AGAIN):
        command = option(command)
    return command


def group_slice(purpose: str) -> Callable[[Any], Any]:
    """The option ``--group-slice``; the purpose is what is done to the slice."""
    words = f"Of a grouped dataset, the slice to {purpose}."
    return click.option("--group-slice", metavar="NAME", help=words)


def field(name: str, default: str, words: str, variable: str | None = None) -> Callable[[Any], Any]:
    """An option with the name of a field that has a default."""
    names = [name] if variable is None else [name, variable]
    return click.option(*names, default=default, show_default=True, metavar="FIELD", help=words)


def is_default(name: str) -> bool:
    """Whether an option of the command that is at work was left to its default."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.DEFAULT


def number(
    name: str, words: str, least: int = 1, default: int | None = None
) -> Callable[[Any], Any]:
    """An option with a whole number."""
    shown = {} if default is None else {"default": default, "show_default": True}
    kind = click.IntRange(least)
    return click.option(name, type=kind, metavar="N", help=words, **shown)  # type: ignore[arg-type]


def objects(words: str) -> Callable[[Any], Any]:
    """The option ``--object``, the indices of objects."""
    kind = click.IntRange(0)
    return click.option("--object", "objects", type=kind, multiple=True, metavar="N", help=words)


def flag(name: str, words: str) -> Callable[[Any], Any]:
    """An option that is given or not."""
    return click.option(name, is_flag=True, help=words)


def folder(words: str, default: str | None = None, required: bool = False) -> Callable[[Any], Any]:
    """The option ``-o``, the folder that is written to."""
    shown: dict[str, Any] = {"required": True} if required else {}
    if default is not None:
        shown = {"default": default, "show_default": True}
    kind = NamedPath(file_okay=False, path_type=Path)
    return click.option("-o", "--out", type=kind, metavar="DIR", help=words, **shown)


calibration = click.option(
    "--calibration",
    type=NamedPath(path_type=Path),
    metavar="FILE",
    help="Make certainties true by this file, which revseg calibrate --fit made.",
)
max_videos = number("--max-videos", "Only the first N videos.")
replace_foreign_labels = flag(
    "--replace-foreign-labels",
    "Replace labels in the label field that ReVSeg did not write. They are lost.",
)
replace_corrections = flag(
    "--replace-corrections",
    "With --overwrite, also replace what a person corrected, accepted or changed.",
)


def loading(given: dict[str, Any]) -> Loading:
    """Takes the options that choose models out of those that a command was given.

    Args:
        given: name -> value; what is left in it is for somebody else

    Returns:
        which models to load

    Raises:
        ValueError: if there is no ``revseg.json``, or it is not valid
        click.UsageError: if there is no server that an option is for
    """
    from fiftyone_revseg.pipeline import Loading
    from fiftyone_revseg.reasoning.spec import LOOKING_AGAIN, read_settings
    from fiftyone_revseg.reasoning.thinking import read_thinking

    settings: dict[str, Any] = {}
    spec, frames = given.pop("spec", None), given.pop("frames", None)
    if spec is not None:
        try:
            settings = read_settings(spec)
        except FileNotFoundError as error:
            raise ValueError(f"There is no revseg.json in '{spec}'") from error
    if frames is not None:
        settings["frames"] = frames
    for name in LOOKING_AGAIN:
        if (value := given.pop(name, None)) is not None:
            settings[name] = value
    if (convention := given.pop("box_convention", None)) is not None:
        settings["box_convention"] = convention
    if (thinking := given.pop("thinking", None)) is not None:
        settings["thinking"] = read_thinking(thinking)
    of_server = ("server", "server_concurrency", "server_timeout", "image_format")
    names = ("tracker", "device", "dtype", "quantization", "device_map", *of_server)
    models = {name: given.pop(name) for name in names if name in given}
    lone = [name for name in of_server[1:] if models.get(name) is not None]
    if lone and models.get("server") is None:
        said = ", ".join(f"--{name.replace('_', '-')}" for name in lone)
        raise click.UsageError(f"{said}: for a model on a server, so --server URL goes with it")
    return Loading(given.pop("model"), spec=settings or None, **models)
