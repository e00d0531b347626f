"""``revseg share``."""

from __future__ import annotations

from pathlib import Path

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.one_sentence import in_one_sentence
from fiftyone_revseg.cli.output import echo


@click.command(short_help="Make a folder of a trained checkpoint that others can use.")
@click.argument("checkpoint", type=options.NamedPath(file_okay=False, path_type=Path))
@options.folder("Where to write; must be new or empty.", required=True)
@click.option("--name", help="What to call it in its model card.  [default: as the directory]")
@click.option("--license", metavar="NAME", help="For the card.  [default: as the model's before]")
def share(checkpoint, out, name, license) -> None:
    """Makes a folder of a checkpoint that can be uploaded to a hub as it is.

    It has the weights in safetensors, adapters merged, with processor, revseg.json and a model
    card. CHECKPOINT is a run's folder, its checkpoint/, or one of its checkpoint-N/.

    \b
    Example:
      revseg share runs/grpo -o my-checkpoint
      revseg segment clip.mp4 "the red star" --model my-checkpoint --tracker sam2-nano
    """
    from fiftyone_revseg.training.sharing import share_checkpoint

    with in_one_sentence():
        path = share_checkpoint(checkpoint, out, name, license)
    size = sum(file.stat().st_size for file in path.iterdir())
    echo(f"{path}: {size / 1e6:,.0f} MB, ready to upload or to copy")
