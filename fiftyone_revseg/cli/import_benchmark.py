"""``revseg import``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.bars import RunBars, StageBars
from fiftyone_revseg.cli.datasets import list_datasets
from fiftyone_revseg.cli.one_sentence import GOES_ON, in_one_sentence
from fiftyone_revseg.cli.output import echo

SYNTHETIC = "synthetic"


def _show_layouts(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from fiftyone_revseg.evaluation.benchmarks import BENCHMARKS

    for name, kind in BENCHMARKS.items():
        echo(f"{name}\n  layout: {kind.layout}\n  default split: {kind.default_split}")
    echo(f"{SYNTHETIC}\n  made-up videos, which are written to DIR in the layout of mevis")
    context.exit()


@click.command("import", short_help="Import a benchmark into a FiftyOne dataset.")
@click.argument("benchmark", metavar="NAME")
@click.argument("directory", metavar="DIR", type=options.NamedPath(file_okay=False, path_type=Path))
@click.option(
    "--split",
    metavar="NAME",
    help="For example train or valid.  [default: the one that figures are reported on]",
)
@click.option(
    "--name",
    "dataset_name",
    metavar="DATASET",
    help="The name of the dataset.  [default: benchmark and split]",
)
@options.max_videos
@click.option("--no-masks", is_flag=True, help="Leave the true masks out.")
@click.option(
    "--videos",
    type=options.NamedPath(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Also make an mp4 file of each video there, as the App cannot play folders of images.",
)
@click.option(
    "--count",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Of synthetic, how many videos to write.",
)
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_layouts,
    help="Show the benchmarks and the folders and files that each must have.",
)
def import_benchmark(
    benchmark, directory, split, dataset_name, max_videos, no_masks, videos, count
) -> None:
    """Imports the benchmark NAME, which is in the folder DIR, into a FiftyOne dataset.

    NAME is revos, reasonvos, mevis, ref-youtube-vos, ref-davis17 or lv-vis, in the official
    layout; or synthetic, for made-up videos that are written to DIR first. Images stay where they
    are. The same command adds what is missing, also after Ctrl-C.

    \b
    Examples:
      revseg import reasonvos data/ReasonVOS
      revseg import mevis data/mevis --split valid_u
      revseg import synthetic data/synthetic --count 20
    """
    from fiftyone_revseg.evaluation.benchmarks import open_benchmark

    with in_one_sentence(interrupted=GOES_ON):
        if benchmark == SYNTHETIC:
            split = split or "test"
            dataset_name = dataset_name or f"revseg-{SYNTHETIC}-{split}"
            opened = _write_synthetic(directory, split, count, not no_masks)
        else:
            opened = open_benchmark(benchmark, directory, split, not no_masks)
        # Says in one sentence if there is no database. Before anything else imports FiftyOne, see
        # there
        list_datasets()
        from fiftyone_revseg.dataset.collection import count_samples
        from fiftyone_revseg.evaluation.benchmarks.importer import import_opened

        with RunBars("Importing") as bars:
            dataset, summary = import_opened(
                opened, dataset_name, max_videos, progress=bars, videos=videos
            )
    echo(f"Dataset {dataset.name!r}: {summary}")
    if not count_samples(dataset):
        raise click.ClickException("No video could be imported")
    echo("Next:")
    echo(f"  revseg apply {shlex.quote(dataset.name)} --query-field queries")
    if opened.has_truth:
        echo(f"  revseg evaluate {shlex.quote(dataset.name)}")


def _write_synthetic(directory: Path, split: str, count: int, masks: bool) -> Any:
    from fiftyone_revseg.evaluation.benchmarks import open_benchmark
    from fiftyone_revseg.synthetic.mevis_layout import write_mevis

    echo(f"Writing {count} made-up videos to {directory / split}", err=True)
    with StageBars() as bars:
        root = write_mevis(directory, split, count, progress=bars)
    return open_benchmark("mevis", root, split, masks)
