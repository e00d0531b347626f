"""``revseg report``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.datasets import open_dataset
from fiftyone_revseg.cli.one_sentence import in_one_sentence
from fiftyone_revseg.cli.output import echo


@click.command(short_help="Write an HTML and a Markdown report of an evaluation.")
@click.argument(
    "results", metavar="RESULTS.json", type=options.NamedPath(dir_okay=False, path_type=Path)
)
@options.folder("Where report.html, report.md and its pictures go.", required=True)
@click.option(
    "--dataset",
    "dataset_name",
    metavar="NAME",
    help="The dataset, for pictures of single cases.  [default: the one that was evaluated]",
)
@click.option("--worst", type=click.IntRange(0), default=6, show_default=True, metavar="N")
@click.option("--best", type=click.IntRange(0), default=3, show_default=True, metavar="N")
def report(results, out, dataset_name, worst, best) -> None:
    """Writes a report of an evaluation that revseg evaluate -o RESULTS.json wrote.

    It has the table, plots of the distribution of J&F, and the worst and the best cases as pictures
    with what the model thought. If the dataset or its videos are gone, there are no pictures.

    \b
    Example:
      revseg evaluate my-videos -o results.json
      revseg report results.json -o report
    """
    from fiftyone_revseg.evaluation.results import Evaluation

    with in_one_sentence():
        evaluation = Evaluation.load(results)
    samples = _dataset(dataset_name, evaluation.dataset)

    from fiftyone_revseg.evaluation.report import write_report

    with in_one_sentence():
        path = write_report(evaluation, out, samples, worst, best, sys.stderr.isatty())
    echo(f"Wrote {path}")


def _dataset(wanted: str | None, evaluated: str):
    """The dataset, which must be there if it was asked for."""
    try:
        return open_dataset(wanted or evaluated)
    except click.ClickException as error:
        if wanted:
            raise
        echo(f"There will be no pictures of single cases. {error.message}", err=True)
        return None
