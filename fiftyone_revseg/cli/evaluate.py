"""``revseg evaluate``."""

from __future__ import annotations

from pathlib import Path

import click

from fiftyone_revseg.cli.output import echo


@click.command(short_help="Score predicted masks of a FiftyOne dataset against true ones.")
@click.argument("dataset_name", metavar="DATASET")
@click.option(
    "--field",
    default="revseg",
    show_default=True,
    metavar="FIELD",
    help="The label field with the predictions.",
)
@click.option(
    "--gt",
    default="ground_truth",
    show_default=True,
    metavar="FIELD",
    help="The label field with the true masks.",
)
@click.option(
    "--query-field",
    metavar="FIELD",
    help="The field with each video's query, or list of queries.  [default: its expressions]",
)
@click.option(
    "--key",
    metavar="KEY",
    help="Keep the evaluation in the dataset under this name, for FiftyOne's Model Evaluation"
    " panel, with fields to sort and filter by.",
)
@click.option("--view", metavar="NAME", help="Only this saved view of the dataset.")
@click.option(
    "--benchmark",
    metavar="NAME",
    help="The benchmark whose rules hold: revos, ref-davis17, ...; '' for none.  [default: the one"
    " that the dataset was imported from]",
)
@click.option("--group-slice", metavar="NAME", help="Of a grouped dataset, the slice to score.")
@click.option(
    "--group-by", metavar="FIELD", help="Images are frames: the field that tells videos apart."
)
@click.option("--order-by", metavar="FIELD", help="With --group-by, the field with their order.")
@click.option(
    "--workers", type=click.IntRange(0), metavar="N", help="Processes.  [default: one per core]"
)
@click.option(
    "-o",
    "--output",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the table to FILE.md or FILE.csv, or everything to FILE.json; may be repeated.",
)
def evaluate(
    dataset_name,
    field,
    gt,
    query_field,
    key,
    view,
    benchmark,
    group_slice,
    group_by,
    order_by,
    workers,
    output,
) -> None:
    """Scores the predicted masks in the FiftyOne dataset DATASET: J, F and J&F.

    Prints a table by kind of expression, what is missing, and the protocol of the figures. A
    prediction that is missing counts as zero.

    \b
    Examples:
      revseg evaluate reasonvos
      revseg evaluate my-videos --field revseg --key nano -o results.md -o results.json
    """
    from fiftyone_revseg.cli.datasets import open_collection
    from fiftyone_revseg.evaluation.tables import check_path, to_text, write_table

    try:
        for path in output:
            check_path(path)
        # Before anything else imports FiftyOne, see there
        samples = open_collection(dataset_name, view, group_by, order_by, group_slice)

        from fiftyone_revseg.evaluation.evaluate import evaluate_view

        evaluation = evaluate_view(
            samples,
            field,
            gt,
            queries=query_field,
            eval_key=key,
            benchmark=benchmark,
            workers=workers,
            group_slice=group_slice,
        )
        echo(to_text(evaluation))
        for path in output:
            echo(f"Wrote {write_table(evaluation, path)}", err=True)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if key is not None:
        echo(f"Kept as '{key}': see the Model Evaluation panel of the App", err=True)
