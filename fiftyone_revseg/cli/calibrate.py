"""``revseg calibrate``."""

from __future__ import annotations

from pathlib import Path

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.datasets import open_collection
from fiftyone_revseg.cli.one_sentence import in_one_sentence
from fiftyone_revseg.cli.output import echo


@click.command(short_help="Measure how well certainties tell right answers from wrong ones.")
@click.argument("dataset_name", metavar="DATASET")
@options.field("--label-field", "revseg", "The label field with the answers.", "pred_field")
@options.field("--truth", "ground_truth", "The label field with the true masks.", "gt_field")
@options.expressions
@click.option(
    "--threshold",
    type=options.Number(0, 1, min_open=True),
    default=0.5,
    show_default=True,
    metavar="X",
    help="The J&F from which on an answer is right.",
)
@click.option(
    "--share",
    type=options.Number(0, 1, min_open=True),
    default=0.2,
    show_default=True,
    metavar="X",
    help="The share of the queue that is corrected.",
)
@options.flag("--fit", "Make a file that makes certainties true, for revseg apply --calibration.")
@click.option(
    "-o",
    "--out",
    type=options.NamedPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --fit, where to write it.  [default: calibration/DATASET-FIELD.json in"
    " ~/.fiftyone/revseg, or where REVSEG_HOME says]",
)
@click.option(
    "--picture",
    type=options.NamedPath(dir_okay=False, path_type=Path),
    metavar="FILE.png",
    help="Draw what correcting the queue wins, and whether certainties are true.",
)
@options.flag("--json", "Print JSON for programs.")
@options.view
@options.group_slice("look at")
@options.group_by
@options.order_by
@options.number("--workers", "Processes.  [default: one per core]", least=0)
def calibrate(
    dataset_name,
    view,
    group_slice,
    group_by,
    order_by,
    threshold,
    share,
    fit,
    out,
    picture,
    json,
    **how,
) -> None:
    """Measures in the FiftyOne dataset DATASET how well certainties tell right from wrong.

    Answers get a certainty where the model judges its tracks (revseg apply --verdict). This
    compares them with true masks: how probable it is that a right answer is more certain than a
    wrong one (AUROC; 0.5 is a coin), how far certainties are from the shares of right answers
    (calibration error), and how much of J&F is won by correcting the least certain answers first.

    With --fit, it makes a file with which 0.8 means right in 8 of 10. It holds for the models
    and for videos such as these.

    \b
    Examples:
      revseg calibrate my-videos --picture calibration.png
      revseg calibrate my-videos --fit -o certainty.json
      revseg apply others --query-field query --verdict --calibration certainty.json
    """
    if out is not None and not fit:
        raise click.UsageError("-o goes with --fit")
    with in_one_sentence():
        from fiftyone_revseg.files import check_writable, replacing, to_json

        for path in filter(None, (out, picture)):
            check_writable(path, folder=False)
        # Before anything else imports FiftyOne, see there
        samples = open_collection(dataset_name, view, group_by, order_by, group_slice)

        from fiftyone_revseg.dataset.certainty_map import default_path
        from fiftyone_revseg.evaluation.calibrate import calibrate as measure
        from fiftyone_revseg.evaluation.calibration_plot import draw
        from fiftyone_revseg.evaluation.evaluate import evaluate_view

        evaluation = evaluate_view(samples, group_slice=group_slice, **how)
        found = measure(evaluation, threshold, share)
        echo(to_json(found.to_dict(), indent=2) if json else str(found))
        if picture is not None:
            with replacing(picture) as partial:
                partial.write_bytes(draw(found))
            echo(f"Drew {picture}", err=True)
        if fit:
            path = found.fit().save(out or default_path(dataset_name, found.label_field))
            echo(f"Wrote {path}: revseg apply --calibration {path}", err=True)
