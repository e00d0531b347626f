"""``revseg submit``, ``revseg validate`` and ``revseg load-predictions``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.datasets import open_collection, open_dataset
from fiftyone_revseg.cli.one_sentence import in_one_sentence
from fiftyone_revseg.cli.output import echo
from fiftyone_revseg.text.escape import one_line

_BENCHMARKS = ("mevis", "ref-youtube-vos")

_benchmark = click.Choice(_BENCHMARKS)
_file = options.NamedPath(dir_okay=False, path_type=Path)
_existing = options.NamedPath(exists=True, path_type=Path)


@click.command(short_help="Write the archive that a benchmark's server scores.")
@click.argument("dataset_name", metavar="DATASET")
@click.argument("path", metavar="OUT.zip", type=_file)
@options.field("--field", "revseg", "The label field with the predictions.", "label_field")
@options.view
@click.option("--benchmark", type=_benchmark, help="Whose server.  [default: what was imported]")
@click.option(
    "--meta",
    type=_existing,
    metavar="PATH",
    help="The benchmark's folder or meta_expressions.json.  [default: where it was imported from]",
)
def submit(dataset_name, path, label_field, view, benchmark, meta) -> None:
    """Writes the predictions in DATASET, an imported benchmark, as the archive OUT.zip.

    For MeViS and Ref-YouTube-VOS, the masks of whose "valid" splits only their servers have. An
    expression without a prediction gets empty masks, and is counted. The archive is checked then.

    \b
    Exit codes:
      0  the archive is as the server wants it
      1  it is not, or it could not be written

    \b
    Example:
      revseg import mevis /data/MeViS --split valid
      revseg apply mevis-valid --query-field queries --model revseg-qwen2.5-vl-7b
      revseg submit mevis-valid mevis.zip
    """
    samples = open_collection(dataset_name, view)  # before anything else imports FiftyOne

    from fiftyone_revseg.dataset.collection import source_dataset
    from fiftyone_revseg.evaluation.submission import write_submission

    with in_one_sentence():
        summary = write_submission(
            samples, label_field, benchmark, path, meta, progress=sys.stderr.isatty()
        )
    echo(str(summary))
    imported = source_dataset(samples).info.get("benchmark") or {}
    meta = meta or imported.get("root")
    if meta is None:
        echo("It was not checked: revseg validate does that", err=True)
        return
    _check(path, Path(meta), summary.benchmark, None)


@click.command(short_help="Check an archive before it is sent to a server.")
@click.argument("path", metavar="ARCHIVE.zip", type=_file)
@click.argument("directory", metavar="DIR", type=_existing)
@click.option("--benchmark", type=_benchmark, required=True, help="Whose server.")
@click.option(
    "--images",
    type=options.NamedPath(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="The folders of frames, for the sizes of the masks.  [default: those in DIR]",
)
def validate(path, directory, benchmark, images) -> None:
    """Checks ARCHIVE.zip, whoever made it, against the benchmark in DIR.

    DIR is the benchmark's folder or its meta_expressions.json. Checked are the names of all masks
    and that there are no other files, and their sizes, form and values. FiftyOne is not needed.

    \b
    Exit codes:
      0  the archive is as the server wants it
      1  it is not: each problem is a line

    \b
    Example:
      revseg validate mevis.zip /data/MeViS --benchmark mevis
    """
    _check(path, directory, benchmark, images)


def _check(path: Path, meta: Path, benchmark: str, images: Path | None) -> None:
    from fiftyone_revseg.evaluation.submission_check import validate_submission

    with in_one_sentence():
        problems = validate_submission(path, meta, benchmark, images, progress=sys.stderr.isatty())
    for problem in problems:
        echo(one_line(problem))
    if problems:
        raise click.ClickException(f"{path} is not as the server of {benchmark} wants it")
    echo(f"{path} is as the server wants it")


@click.command("load-predictions", short_help="Load anybody's masks, to score or see them.")
@click.argument("dataset_name", metavar="DATASET")
@click.argument("source", metavar="ARCHIVE", type=_existing)
@click.option(
    "--field", "label_field", required=True, metavar="NAME", help="The label field to write."
)
@click.option("--model", default="", metavar="NAME", help="The method.  [default: the file's name]")
@options.flag("--overwrite", "Replace the results in the label field.")
@options.replace_foreign_labels
@options.replace_corrections
def load_predictions(dataset_name, source, label_field, **how) -> None:
    """Loads masks of any method into DATASET, an imported benchmark.

    ARCHIVE is a zip file or a folder with VIDEO/EXPRESSION/FRAME.png, as most methods for
    referring video segmentation write them; there may be folders around that.

    \b
    Example:
      revseg load-predictions mevis-valid_u results.zip --field theirs
      revseg evaluate mevis-valid_u --field theirs
    """
    dataset = open_dataset(dataset_name)  # before anything else imports FiftyOne, see there

    from fiftyone_revseg.evaluation import predictions

    with in_one_sentence():
        loaded = predictions.load_predictions(
            dataset, source, label_field, progress=sys.stderr.isatty(), **how
        )
    echo(str(loaded))
