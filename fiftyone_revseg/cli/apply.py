"""``revseg apply``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fiftyone_revseg.cli import options
from fiftyone_revseg.cli.bars import RunBars
from fiftyone_revseg.cli.datasets import open_collection
from fiftyone_revseg.cli.one_sentence import GOES_ON, in_one_sentence
from fiftyone_revseg.cli.output import echo
from fiftyone_revseg.types import ANSWERED

if TYPE_CHECKING:
    from fiftyone_revseg.dataset import RunSummary

_OVERWRITE: dict[str, bool | str] = {"none": False, "changed": "changed", "all": True}


@click.command(short_help="Segment the videos of a FiftyOne dataset.")
@click.argument("dataset_name", metavar="DATASET")
@options.view
@click.option(
    "--query",
    "queries",
    multiple=True,
    metavar="TEXT",
    help="What to ask of every video; may be given several times.",
)
@click.option(
    "--query-field",
    metavar="FIELD",
    help="The field with each video's own query, or list of queries; where it is empty, --query"
    " is asked.",
)
@options.model
@options.server
@options.spec
@options.box_convention
@options.thinking
@options.tracker
@options.frames
@options.looking_again
@options.field(
    "--label-field", "revseg", "Where the labels go; the other fields are named after it."
)
@click.option(
    "--overwrite",
    type=click.Choice(list(_OVERWRITE)),
    default="none",
    show_default=True,
    help="Which finished videos to do again: none, those finished with other settings or queries,"
    " or all.",
)
@options.replace_foreign_labels
@options.replace_corrections
@click.option(
    "--confidence",
    "confidence_thresh",
    type=options.Number(0, 1),
    metavar="X",
    help="Leave out masks with a lower confidence.",
)
@options.calibration
@options.group_slice("segment")
@options.group_by
@options.order_by
@options.number("--limit", "Only the first N videos.")
@click.option(
    "--masks-dir",
    type=options.NamedPath(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the masks there, as PNG files, instead of into the database.",
)
@options.device
@options.dtype
@options.quantization
@options.device_map
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    help="Run in this process, or on workers of Ray, each with the model.  [default: local, or ray"
    " with any of the next options]",
)
@options.number("--workers", "How many workers.  [default: one for each GPU, 2 without GPUs]")
@click.option(
    "--gpus-per-worker",
    type=options.Number(0),
    metavar="X",
    help="GPUs of each worker, such as 1 or 0.5.  [default: 1, or 0 if there are none]",
)
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="The Ray cluster with the workers.  [default: RAY_ADDRESS, else this machine]",
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Only a part of the videos, such as 2/8, the second of eight; for schedulers that start"
    " a command several times.",
)
@options.flag(
    "--dry-run",
    "Only estimate what the model would be asked: requests, pictures and tokens.",
)
@click.option(
    "--prices",
    type=options.Number(0),
    nargs=2,
    metavar="READ WRITTEN",
    help="With --dry-run, what a million tokens cost that the model reads, and that it writes.",
)
@options.number(
    "--tokens-per-picture",
    "With --dry-run, how many the model's host counts.  [default: one for each 28 x 28 pixels]",
)
@options.flag(
    "--anyway", "Begin although another run is at work on the same videos and label field."
)
def apply(
    dataset_name,
    view,
    queries,
    query_field,
    label_field,
    overwrite,
    replace_foreign_labels,
    group_slice,
    group_by,
    order_by,
    limit,
    masks_dir,
    engine,
    workers,
    gpus_per_worker,
    address,
    shard,
    dry_run,
    prices,
    tokens_per_picture,
    **how,
) -> None:
    """Segments the videos of the FiftyOne dataset DATASET, and writes the answers into it.

    Every video is saved as soon as it is done. Ctrl-C, or even a crash, loses no more than the
    video that is worked on: the same command goes on from there, as it keeps what is finished. A
    video is finished when its queries were answered, whatever the answer; one that could not be
    read or ended in an error is tried again.

    \b
    Exit codes:
      0    every query of this run was answered: with masks, or that there is no such object
      1    some were not (the last line counts them), or nothing could be done at all
      2    the command line is wrong
      130  it was interrupted with Ctrl-C
    What earlier runs left in the dataset does not count here; revseg status tells all.

    \b
    Examples:
      revseg apply my-videos --query "the object that appears last"
      revseg apply my-videos --query-field query --model revseg-qwen2.5-vl-7b
      revseg apply my-images --query "the red star" --group-by scene --order-by frame_number
      revseg apply my-videos --query-field query --workers 4
      revseg apply my-videos --query-field query --shard 2/8
      revseg apply my-videos --query "the dog" --server gemini --model gemini-3.8-flash --dry-run
    """
    if not queries and not query_field:
        raise click.UsageError("There is nothing to ask: give --query TEXT or --query-field FIELD")
    from fiftyone_revseg.reasoning.queries import refusal

    for why in filter(None, map(refusal, queries)):
        raise click.UsageError(why.replace("The query", "A --query"))
    if bool(group_by) != bool(order_by):
        raise click.UsageError("--group-by and --order-by go together")
    if (prices or tokens_per_picture) and not dry_run:
        raise click.UsageError("--prices and --tokens-per-picture go with --dry-run")
    of_ray = [workers, gpus_per_worker, address]
    if engine == "local" and of_ray != [None, None, None]:
        raise click.UsageError("--workers, --gpus-per-worker and --address go with --engine ray")
    on_ray = engine == "ray" or of_ray != [None, None, None]
    if shard is not None:
        from fiftyone_revseg.engine.shards import Shard

        try:
            shard = Shard.parse(shard)
        except ValueError as error:
            raise click.UsageError(f"--shard: {error}") from error

    # Before anything else imports FiftyOne, see there
    samples = open_collection(dataset_name, view, group_by, order_by, group_slice)

    from fiftyone_revseg.dataset import segment_view
    from fiftyone_revseg.dataset.certainty_map import read_map
    from fiftyone_revseg.dataset.collection import check_collection, source_dataset
    from fiftyone_revseg.dataset.demonstration import demonstration_notice
    from fiftyone_revseg.dataset.jobs import make_jobs
    from fiftyone_revseg.dataset.ownership import check_label_field
    from fiftyone_revseg.dataset.schema import valid_label_field
    from fiftyone_revseg.files import check_writable

    samples = samples if limit is None else samples.limit(limit)
    with in_one_sentence(RuntimeError, interrupted=GOES_ON, words={"anyway=True": "--anyway"}):
        # What can be wrong is found out first: loading takes long
        label_field = valid_label_field(label_field)
        videos = check_collection(samples, group_slice)
        check_label_field(source_dataset(videos), label_field, replace_foreign_labels)
        if masks_dir is not None:
            check_writable(masks_dir)
        how["calibration"] = read_map(how["calibration"])
        if not make_jobs(videos.limit(1), None, query_field):
            echo("There are no videos, so there is nothing to do")
            return
        loading = options.loading(how)
        if dry_run:
            from fiftyone_revseg.dataset.estimate import estimate_view

            cost = estimate_view(
                samples,
                loading.chain_spec(),
                list(queries) or None,
                query_field,
                label_field,
                _OVERWRITE[overwrite],
                group_slice,
                shard,
                how["replace_corrections"],
                tokens_per_picture,
            )
            echo(str(cost))
            if prices:
                echo(f"At these prices: about {cost.money(*prices):,.2f} at most")
            return
        if words := demonstration_notice(videos, loading):
            echo(words, err=True)
        with ExitStack() as stack:
            ray_engine = None
            if on_ray:
                from fiftyone_revseg.engine.ray import RayEngine

                ray_engine = RayEngine(
                    loading, workers, gpus_per_worker=gpus_per_worker, address=address
                )
                stack.enter_context(ray_engine)
            # Where workers have the models, this process only knows of them
            pipeline = ray_engine.pipeline if ray_engine else loading.load()
            summary = segment_view(
                samples,
                pipeline,
                list(queries) or None,
                query_field,
                label_field,
                overwrite=_OVERWRITE[overwrite],
                group_slice=group_slice,
                masks_dir=masks_dir,
                progress=stack.enter_context(RunBars()),
                engine=ray_engine,
                shard=shard,
                replace_foreign_labels=replace_foreign_labels,
                **how,
            )
    _report(summary, dataset_name)


def _report(summary: RunSummary, dataset_name: str) -> None:
    # What segment_view says is for Python
    text = str(summary).replace('overwrite="changed"', "--overwrite changed")
    echo(text.replace("replace_corrections=True", "--replace-corrections"))
    failed = {s: n for s, n in sorted(summary.counts.items()) if s not in ANSWERED}
    if failed:
        counted = ", ".join(f"{status} {n}" for status, n in failed.items())
        raise click.ClickException(
            f"{sum(failed.values())} of {summary.done} were not answered: {counted}"
            f" (revseg status {dataset_name} says why)"
        )
