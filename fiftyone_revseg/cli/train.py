"""``revseg train``."""

from __future__ import annotations

from pathlib import Path

import click


@click.group(short_help="Train the embedded models on made-up worlds.")
def train() -> None:
    """Trains the embedded models on made-up worlds, from scratch and from one seed.

    Minutes on a GPU, hours on a CPU. A run writes its checkpoints, curves and log to --out and
    goes on from the last checkpoint with --resume.
    """


def _options(default_out: str):
    """The options that every training has."""

    def add(command):
        for option in reversed(
            (
                click.option(
                    "-o",
                    "--out",
                    type=click.Path(file_okay=False, path_type=Path),
                    default=default_out,
                    show_default=True,
                    metavar="DIR",
                    help="Where checkpoints, curves and the log go.",
                ),
                click.option("--seed", type=int, default=0, show_default=True),
                click.option(
                    "--steps",
                    type=click.IntRange(1),
                    metavar="N",
                    help="How many steps.  [default: as for the embedded model]",
                ),
                click.option(
                    "--resume", is_flag=True, help="Go on from the last checkpoint in --out."
                ),
                click.option(
                    "--threads",
                    type=click.IntRange(1),
                    metavar="N",
                    help="CPU threads. More than the machine has cores is much slower."
                    "  [default: torch's]",
                ),
            )
        ):
            command = option(command)
        return command

    return add


@train.command(short_help="Train the vision-language model by supervision.")
@_options("runs/sft")
def sft(out, seed, steps, resume, threads) -> None:
    """Trains the small vision-language model on queries whose answers are known.

    \b
    Example:
      revseg train sft -o runs/sft --threads 2
      revseg segment clip.mp4 "the red star" --model runs/sft --tracker sam2-nano
    """
    from fiftyone_revseg.training.sft import train_sft

    _run(train_sft, out, seed, steps, resume, threads)


@train.command(short_help="Train the small SAM 2.")
@_options("runs/tracker")
def tracker(out, seed, steps, resume, threads) -> None:
    """Trains the small SAM 2 to follow an object from one box.

    \b
    Example:
      revseg train tracker -o runs/tracker --threads 2
      revseg segment clip.mp4 "the red star" --tracker runs/tracker
    """
    from fiftyone_revseg.training.tracker import train_tracker

    _run(train_tracker, out, seed, steps, resume, threads)


def _run(function, out, seed, steps, resume, threads) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)
    given = {"steps": steps} if steps else {}  # else the function's own default
    try:
        function(out, seed=seed, resume=resume, **given)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
