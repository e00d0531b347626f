"""``revseg models``."""

from __future__ import annotations

import math
from typing import Any

import click

from fiftyone_revseg.cli.one_sentence import in_one_sentence
from fiftyone_revseg.cli.output import echo
from fiftyone_revseg.files import to_json
from fiftyone_revseg.models.builtin import PRESETS, Preset
from fiftyone_revseg.models.described import size_in_words
from fiftyone_revseg.models.quantization import SHARES
from fiftyone_revseg.text.columns import in_columns


@click.command(short_help="List the models: size, licence, memory, what is on disk.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, in bytes.")
@click.option(
    "--register", is_flag=True, help="First register the models with the FiftyOne Model Zoo."
)
@click.option(
    "--add",
    nargs=2,
    metavar="NAME DIR",
    help="First give a checkpoint of your own a name, for all commands and the App.",
)
@click.option("--tracker", metavar="NAME", help="With --add: the tracker that goes with it.")
@click.option("--forget", metavar="NAME", help="First take such a name back.")
def models(as_json, register, add, tracker, forget) -> None:
    """Lists the models that have a name, and says what of them is on this machine.

    Nothing is loaded or downloaded. The size is that of the weights; the memory is an estimate for
    one video at a time on a GPU in bfloat16, and with --quantization 8bit and 4bit. Wherever a
    name is taken, so is any other checkpoint's hub id or path.

    \b
    Examples:
      revseg models
      revseg models --register     # then: foz.load_zoo_model("revseg-nano", query="...")
      revseg models --add my-checkpoint runs/grpo/checkpoint --tracker sam2-nano
    """
    if tracker and not add:
        raise click.UsageError("--tracker goes with --add NAME DIR")
    from fiftyone_revseg.models.presets import forget_preset, register_preset, user_presets

    with in_one_sentence():
        if forget:
            forget_preset(forget)
        if add:
            name, folder = add
            register_preset(name, folder, tracker=tracker)
        presets = {**PRESETS, **user_presets()}
    if register:
        _register()
    rows = [describe(name, preset) for name, preset in presets.items()]
    if as_json:
        echo(to_json(rows, indent=2))
        return

    header = ("MODEL", "SIZE", "LICENCE", "GPU MEMORY (8bit / 4bit)", "ON DISK")
    lines, _ = in_columns([header, *map(_cells, rows)])
    echo(lines[0], bold=True)
    for row, line in zip(rows, lines[1:], strict=True):
        echo(line)
        echo(f"  {row['description']}" + (f" In {row['folder']}" if row["own"] else ""))


def describe(name: str, preset: Preset) -> dict[str, Any]:
    """Says of a preset what a person who chooses wants to know.

    Args:
        name: the preset's name
        preset: the :class:`fiftyone_revseg.models.builtin.Preset`

    Returns:
        a dict that can be written as JSON, with sizes in bytes
    """
    from fiftyone_revseg.models.hub import is_on_disk

    parts = {"reasoner": preset.reasoner_weights, "tracker": preset.tracker_weights}
    return {
        "name": name,
        "description": preset.description,
        "size": preset.size,
        "license": preset.license,
        "gpu_memory": preset.gpu_memory(),
        **{f"gpu_memory_{bits}": preset.gpu_memory(bits) for bits in SHARES},
        "embedded": preset.embedded,
        "own": preset.own,
        "folder": preset.reasoner if preset.own else None,
        **{
            part: {
                "name": weights.hub_id or (weights.folder and weights.folder.name),
                "size": weights.size,
                "license": weights.license,
                "on_disk": is_on_disk(weights),
            }
            for part, weights in parts.items()
            if weights is not None  # nothing is known of other trackers
        },
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """One line of the table."""
    vlm, tracker = row["reasoner"]["on_disk"], row.get("tracker", {}).get("on_disk", True)
    if row["own"] and not vlm:
        found = "GONE: put it back, or --forget it"
    elif row["embedded"]:
        found = "comes with the package" if vlm and tracker else "MISSING, see revseg doctor"
    elif vlm == tracker:
        found = "yes" if vlm else "no"
    else:
        found = "model only" if vlm else "tracker only"
    # A GPU is not needed for the embedded pair, but where there is one, it is used
    sizes = [row[name] for name in ("gpu_memory", *(f"gpu_memory_{bits}" for bits in SHARES))]
    memory = " / ".join(str(math.ceil(size / 1e9)) for size in sizes) + " GB"
    memory = "not needed" if row["embedded"] else memory
    return row["name"], size_in_words(row["size"]), row["license"], memory, found


def _register() -> None:
    with in_one_sentence(prefix="the models could not be registered: "):
        from fiftyone_revseg.dataset.zoo import register_zoo_source

        folder = register_zoo_source(overwrite=True)
    echo(f"registered in {folder}", err=True)
