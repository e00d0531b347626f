"""``revseg train``."""

from __future__ import annotations

from pathlib import Path

import click

SFT_STAGES = ("image_steps", "chain_steps", "word_steps")
TRACKER_STAGES = ("image_steps", "clip_steps")


@click.group(short_help="Train the embedded models on made-up worlds.")
def train() -> None:
    """Trains the embedded models on made-up worlds, from random weights and from one seed.

    Minutes on a GPU, hours on a CPU. A run writes its model, curves and state to --out, and one
    that was interrupted goes on with --resume.
    """


def _options(default_out: str):
    """The options that every training has."""
    options = (
        click.option(
            "-o",
            "--out",
            type=click.Path(file_okay=False, path_type=Path),
            default=default_out,
            show_default=True,
            metavar="DIR",
            help="Where the model, curves and state go.",
        ),
        click.option(
            "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all chance."
        ),
        click.option(
            "--steps",
            type=click.IntRange(2),
            metavar="N",
            help="How many steps, over all stages.  [default: as for the embedded model]",
        ),
        click.option("--resume", is_flag=True, help="Go on with the run in --out."),
        click.option(
            "--threads",
            type=click.IntRange(1),
            metavar="N",
            help="CPU threads; more than there are cores is much slower.  [default: 1]",
        ),
    )

    def add(command):
        for option in reversed(options):
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
      revseg segment clip.mp4 "the red star" --model runs/sft/checkpoint --tracker sam2-nano
    """
    from fiftyone_revseg.training.sft import SftConfig, train_sft

    _claim(out, resume)
    _run(train_sft, out, _settings(SftConfig, SFT_STAGES, seed, steps, threads))


@train.command(short_help="Train the small SAM 2.")
@_options("runs/tracker")
def tracker(out, seed, steps, resume, threads) -> None:
    """Trains the small SAM 2 to follow an object from one box.

    \b
    Example:
      revseg train tracker -o runs/tracker --threads 2
      revseg segment clip.mp4 "the red star" --tracker runs/tracker
    """
    from fiftyone_revseg.training.tracker import TrackerTraining, train_tracker

    _claim(out, resume)
    _run(train_tracker, out, _settings(TrackerTraining, TRACKER_STAGES, seed, steps, threads))


def _settings(kind, stages: tuple, seed: int, steps: int | None, threads: int | None):
    """The default settings with what was given; steps are shared out as in the default."""
    given = {"seed": seed}
    if threads:
        given["threads"] = threads
    if steps:
        default = kind()
        shares = {name: steps * getattr(default, name) // default.steps for name in stages}
        shares[stages[-1]] += steps - sum(shares.values())
        given.update(shares)
    return kind(**given)


def _claim(out: Path, resume: bool) -> None:
    """Refuses to mix two runs, before anything is loaded or written."""
    used = out.is_dir() and any(out.iterdir())
    if used and not resume:
        raise click.ClickException(
            f"{out} is not empty: go on with the run in it with --resume, or choose another --out"
        )
    if resume and not used:
        raise click.ClickException(f"there is no run in {out} to resume: check --out")


def _run(function, out: Path, settings) -> None:
    try:
        path = function(out, settings)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"The model is in {path}")
