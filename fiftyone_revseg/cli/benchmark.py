"""``revseg benchmark``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.bars import RunBars
from fiftyone_revseg.cli.datasets import list_datasets
from fiftyone_revseg.cli.one_sentence import GOES_ON, in_one_sentence
from fiftyone_revseg.cli.output import echo
from fiftyone_revseg.text.escape import one_line


@click.command(short_help="Import, segment and score a benchmark, and report on it.")
@click.argument("name", metavar="NAME")
@click.argument("directory", metavar="DIR", type=options.NamedPath(file_okay=False, path_type=Path))
@options.model
@options.server
@options.spec
@options.box_convention
@options.thinking
@options.tracker
@options.frames
@options.looking_again
@click.option(
    "--split", metavar="NAME", help="A split.  [default: the one that figures are reported on]"
)
@options.field(
    "--field", "revseg", "The label field to write; of each model, another one.", "label_field"
)
@options.folder("Where the table and the report go.  [default: runs/DATASET-FIELD]")
@options.max_videos
@click.option(
    "--dataset",
    "dataset_name",
    metavar="NAME",
    help="The dataset to import into.  [default: benchmark and split]",
)
@options.flag(
    "--overwrite", "Ask again what another model was asked, or the same one with other settings."
)
@options.device
@options.dtype
@options.quantization
@options.device_map
def benchmark(name, directory, split, label_field, **how) -> None:
    """Measures a model on the benchmark NAME, whose official folder is DIR.

    Imports it, asks all expressions, scores the masks and writes results.md, results.csv,
    results.json and a report. NAME is one of those of revseg import, or "synthetic": made-up
    videos, which are written to DIR. Of a split that only a server can score, the archive for it
    is written instead. After Ctrl-C, the same command goes on where it was.

    \b
    Examples:
      revseg benchmark synthetic data/synthetic --max-videos 20
      revseg benchmark reasonvos data/ReasonVOS --model revseg-qwen2.5-vl-7b
      revseg benchmark mevis data/MeViS --split valid --model revseg-qwen2.5-vl-7b
    """
    list_datasets()  # before anything else imports FiftyOne, see there

    from fiftyone_revseg.dataset.schema import valid_label_field
    from fiftyone_revseg.evaluation.benchmark_run import SYNTHETIC, run_benchmark
    from fiftyone_revseg.evaluation.benchmarks import BENCHMARKS, open_benchmark
    from fiftyone_revseg.evaluation.tables import to_text

    with in_one_sentence(
        RuntimeError, interrupted=GOES_ON, words={"or overwrite": "or --overwrite"}
    ):
        # What can be wrong is found out first: loading takes long
        if name not in (*BENCHMARKS, SYNTHETIC):
            known = ", ".join((*BENCHMARKS, SYNTHETIC))
            raise ValueError(f"There is no benchmark {name!r}: choose from {known}")
        if name != SYNTHETIC:
            open_benchmark(name, directory, split)
        label_field = valid_label_field(label_field)
        pipeline = options.loading(how).load()
        run = run_benchmark(name, directory, pipeline, split, label_field, bars=_titled_bars, **how)
    if run.evaluation is not None:
        echo(to_text(run.evaluation))
    if run.submission is not None:
        echo(str(run.submission))
    for path in run.files:
        echo(f"Wrote {path}", err=True)
    for problem in run.problems:
        echo(one_line(problem))
    if run.problems:
        raise click.ClickException(f"The archive is not as the server of {name} wants it")


def _titled_bars(title: str) -> RunBars:
    if not sys.stderr.isatty():
        echo(f"{title} ...", err=True)  # where a bar would say it
    return RunBars(title)
