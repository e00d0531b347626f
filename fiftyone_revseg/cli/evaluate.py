"""``revseg evaluate``."""

from __future__ import annotations

from pathlib import Path

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.datasets import open_collection
from fiftyone_revseg.cli.one_sentence import in_one_sentence
from fiftyone_revseg.cli.output import echo


@click.command(short_help="Score predicted masks of a FiftyOne dataset against true ones.")
@click.argument("dataset_name", metavar="DATASET")
@options.field("--field", "revseg", "The label field with the predictions.", "pred_field")
@options.field("--gt", "ground_truth", "The label field with the true masks.", "gt_field")
@options.expressions
@click.option(
    "--key",
    "eval_key",
    metavar="KEY",
    help="Keep the evaluation in the dataset under this name, for FiftyOne's Model Evaluation"
    " panel, with fields to sort and filter by.",
)
@options.view
@click.option(
    "--benchmark",
    metavar="NAME",
    help="The benchmark whose rules hold: revos, ref-davis17, ...; '' for none.  [default: the one"
    " that the dataset was imported from]",
)
@options.group_slice("score")
@options.group_by
@options.order_by
@options.number("--workers", "Processes.  [default: one per core]", least=0)
@click.option(
    "-o",
    "--output",
    multiple=True,
    type=options.NamedPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the table to FILE.md or FILE.csv, or everything to FILE.json; may be repeated.",
)
def evaluate(dataset_name, view, group_slice, group_by, order_by, eval_key, output, **how) -> None:
    """Scores the predicted masks in the FiftyOne dataset DATASET: J, F and J&F.

    Prints a table by kind of expression, what is missing, and the protocol of the figures. A
    prediction that is missing counts as zero.

    \b
    Examples:
      revseg evaluate reasonvos
      revseg evaluate my-videos --field revseg --key nano -o results.md -o results.json
    """
    from fiftyone_revseg.evaluation.tables import check_path, to_text, write_table

    with in_one_sentence():
        for path in output:
            check_path(path)
        # Before anything else imports FiftyOne, see there
        samples = open_collection(dataset_name, view, group_by, order_by, group_slice)

        from fiftyone_revseg.evaluation.evaluate import evaluate_view

        evaluation = evaluate_view(samples, group_slice=group_slice, eval_key=eval_key, **how)
        echo(to_text(evaluation))
        for path in output:
            echo(f"Wrote {write_table(evaluation, path)}", err=True)
    if eval_key is not None:
        echo(f"Kept as '{eval_key}': see the Model Evaluation panel of the App", err=True)
