"""``revseg train``."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.datasets import open_dataset
from fiftyone_revseg.cli.one_sentence import in_one_sentence
from fiftyone_revseg.cli.output import echo
from fiftyone_revseg.files import check_writable
from fiftyone_revseg.measures.rewards import SPATIAL_VARIANTS, TEMPORAL_VARIANTS
from fiftyone_revseg.models.presets import check_free, register_preset
from fiftyone_revseg.text.escape import one_line
from fiftyone_revseg.training.grpo import VLLM_MODES

SFT_STAGES = ("image_steps", "chain_steps", "word_steps")
TRACKER_STAGES = ("image_steps", "clip_steps")


@click.group(short_help="Train models: by reinforcement, or the embedded ones from nothing.")
def train() -> None:
    """Trains a model on the two-turn chain, or the embedded models from random weights.

    Minutes on a GPU, hours on a CPU. A run writes its model, curves and state to --out, and one
    that was interrupted goes on with --resume.
    """


def _options(default_out: str):
    """The options that every training has."""
    every = (
        options.folder("Where the model, curves and state go.", default_out),
        click.option(
            "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all chance."
        ),
        options.number(
            "--steps",
            "How many steps, over all stages.  [default: as for the embedded model]",
            least=2,
        ),
        options.flag("--resume", "Go on with the run in --out."),
        options.number(
            "--threads", "CPU threads; more than there are cores is much slower.  [default: 1]"
        ),
    )

    def add(command):
        for option in reversed(every):
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
    from fiftyone_revseg.nano.sft import SftConfig, train_sft

    _claim(out, resume)
    _run(train_sft, out, _settings(SftConfig, SFT_STAGES, seed, steps, threads))


@train.command(short_help="Teach the vision-language model to judge tracks.")
@_options("runs/verdict")
@click.option(
    "--model", default="revseg-nano", show_default=True, help="A preset or a path: what it can."
)
@options.number(
    "--worlds",
    "On how many made-up worlds it is asked first, to learn from what it proposes there.",
    default=250,
)
def verdict(out, seed, steps, resume, threads, model, worlds) -> None:
    """Teaches the small vision-language model turn 3: which of the finished tracks is meant.

    \b
    Example:
      revseg train verdict -o runs/verdict
      revseg segment clip.mp4 "the red star" --model runs/verdict/checkpoint --tracker sam2-nano
    """
    from fiftyone_revseg.nano.verdict_training import VerdictConfig, train_from_proposals

    _claim(out, resume)
    settings = _settings(VerdictConfig, ("steps",), seed, steps, threads)
    _run(lambda out, settings: train_from_proposals(model, out, settings, worlds), out, settings)


@train.command(short_help="Train the small SAM 2.")
@_options("runs/tracker")
def tracker(out, seed, steps, resume, threads) -> None:
    """Trains the small SAM 2 to follow an object from one box.

    \b
    Example:
      revseg train tracker -o runs/tracker --threads 2
      revseg segment clip.mp4 "the red star" --tracker runs/tracker
    """
    from fiftyone_revseg.nano.tracker_training import TrackerTraining, train_tracker

    _claim(out, resume)
    _run(train_tracker, out, _settings(TrackerTraining, TRACKER_STAGES, seed, steps, threads))


@train.command(short_help="Train a vision-language model by reinforcement learning.")
@_options("runs/grpo")
@click.option(
    "--model", default="revseg-nano", show_default=True, help="A preset, a hub id or a path."
)
@click.option(
    "--dataset",
    metavar="NAME",
    help="Learn from a FiftyOne dataset with true objects.  [default: made-up worlds]",
)
@click.option("--view", metavar="NAME", help="Learn from this saved view of the dataset only.")
@options.field("--gt", "ground_truth", "The true objects, detections on frames.")
@click.option(
    "--query-field",
    metavar="FIELD",
    help="The sample field with the queries.  [default: expressions, else query]",
)
@options.number(
    "--worlds", "Without --dataset: how many made-up worlds to learn from.", default=4000
)
@click.option(
    "--temporal",
    type=click.Choice(TEMPORAL_VARIANTS),
    default="soft",
    show_default=True,
    help="The temporal reward; the others are for comparison.",
)
@click.option(
    "--spatial",
    type=click.Choice(SPATIAL_VARIANTS),
    default="box",
    show_default=True,
    help="The spatial reward: whether the box hits, or how well the tracker's mask of it fits.",
)
@click.option(
    "--tracker",
    default="sam2-nano",
    show_default=True,
    help="With --spatial mask-tiers: what makes masks of boxes.",
)
@click.option(
    "--verdict-share",
    type=options.Number(0, 1),
    default=0.0,
    metavar="X",
    help="The share, 0 to 1, of the queries whose finished tracks are judged.  [default: 0]",
)
@options.number("--prompts", "Queries a step.  [default: 8]")
@options.number("--rollouts", "Rollouts of each query.  [default: 8]", least=2)
@options.number("--batch", "Rollouts that pass through a device at a time.  [default: 8]")
@click.option("--learning-rate", type=float, metavar="X", help="[default: 5e-5; for 7B, 1e-6]")
@click.option("--beta", type=float, metavar="X", help="Weight of the KL term.  [default: 1e-3]")
@options.number(
    "--lora-rank",
    "Train adapters of that rank, merged at the end.  [default: 0, all weights]",
    least=0,
)
@options.flag("--gradient-checkpointing", "Trade time for memory.")
@click.option("--bf16/--no-bf16", default=None, help="[default: where a GPU has it]")
@click.option(
    "--vllm",
    type=click.Choice(VLLM_MODES),
    help="Generate with vLLM: in the same process, or on a server.  [default: with transformers]",
)
@options.number("--save-every", "Steps between two checkpoints to resume from.  [default: 10]")
@click.option("--name", help="Give the new checkpoint this name, for all commands and the App.")
@options.flag("--dry-run", "Say what the run would be and take, and train nothing.")
@click.option(
    "--accelerate",
    type=options.NamedPath(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --dry-run: the configuration that accelerate would launch the run with.",
)
@click.option(
    "--gpu-memory",
    type=options.Number(0, min_open=True),
    metavar="GB",
    help="With --dry-run: what a GPU has.  [default: that of the GPU here, else 80]",
)
def grpo(
    out,
    seed,
    steps,
    resume,
    threads,
    dataset,
    view,
    gt,
    query_field,
    worlds,
    name,
    dry_run,
    accelerate,
    gpu_memory,
    **settings,
) -> None:
    """Trains a model on the two-turn chain by GRPO, rewarded as in ReVSeg.

    \b
    Examples:
      revseg train grpo -o runs/grpo --steps 200
      revseg train grpo -o runs/mine --dataset my-videos --lora-rank 16 --steps 50 --name mine
      revseg train grpo --dataset my-videos --model revseg-qwen2.5-vl-7b --dry-run
      revseg segment clip.mp4 "the red star" --model runs/grpo/checkpoint --tracker sam2-nano
    """
    from fiftyone_revseg.training.grpo import GrpoConfig, train_grpo

    given = {**settings, "seed": seed, "steps": steps, "threads": threads}
    with in_one_sentence():
        config = GrpoConfig(**{name: value for name, value in given.items() if value is not None})
    if not dry_run:
        _claim(out, resume)
        if name is not None:
            with in_one_sentence():
                check_free(name, out / "checkpoint")
    rows = _rows(dataset, view, gt, query_field, worlds, seed)
    if dry_run:
        _say(rows, config, accelerate, gpu_memory)
        return
    _run(lambda out, config: train_grpo(rows, out, config, resume), out, config)
    if name and os.environ.get("RANK", "0") == "0":  # of several processes, one
        register_preset(name, out / "checkpoint", base=config.model)
        echo(f"It is known as {name} now: revseg models")


def _say(rows: list, config, accelerate: Path | None, gpu_memory: float | None) -> None:
    """Says what a run would be."""
    from fiftyone_revseg.training.dry_run import Launch, dry_run, read_launch

    with in_one_sentence():
        launch = read_launch(accelerate) if accelerate else Launch()
        memory = None if gpu_memory is None else round(gpu_memory * 1e9)
        found = dry_run(rows, config, launch, memory)
    echo(str(found))


def _rows(
    name: str | None,
    saved_view: str | None,
    gt_field: str,
    query_field: str | None,
    worlds: int,
    seed: int,
) -> list:
    """What to learn from, after saying what cannot be learned from."""
    from fiftyone_revseg.dataset.training_rows import view_rows
    from fiftyone_revseg.training.data import world_rows

    if name is None:
        return world_rows(worlds, "train", seed << 24)  # disjoint worlds for other seeds
    view = open_dataset(name)
    with in_one_sentence():
        if saved_view is not None:
            view = view.load_saved_view(saved_view)
        rows, skipped = view_rows(view, gt_field, query_field)
    echo(f"{len(rows)} queries to learn from; {len(skipped)} are left out")
    for reason, count in Counter(s.reason for s in skipped).most_common(10):
        echo(f"  {count} x {one_line(reason)}")
    return rows


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
    with in_one_sentence():
        check_writable(out)


def _run(function, out: Path, settings) -> None:
    with in_one_sentence():
        path = function(out, settings)
    echo(f"The model is in {path}")
