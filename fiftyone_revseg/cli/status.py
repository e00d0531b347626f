"""``revseg status``."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import click

from fiftyone_revseg.cli.datasets import list_names, open_dataset
from fiftyone_revseg.cli.output import echo
from fiftyone_revseg.files import to_json
from fiftyone_revseg.text.escape import one_line
from fiftyone_revseg.types import ANSWERED

_SHOWN = 20  # reasons; more are listed by --json


@click.command(short_help="Say what was done to a FiftyOne dataset, and what failed.")
@click.argument("dataset_name", metavar="DATASET")
@click.option(
    "--label-field", metavar="FIELD", help="Only this one.  [default: all that have been written]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def status(dataset_name, label_field, as_json) -> None:
    """Says what was done to the FiftyOne dataset DATASET.

    First the runs, with what they did; then, for each label field, how many samples there are with
    each status, and why those that were not answered were not. Nothing is changed.

    A run that is at work gives signs of life; one that was killed stopped giving them.

    \b
    Examples:
      revseg status my-videos
      revseg status my-videos --json | jq '.label_fields.revseg.statuses'
    """
    dataset = open_dataset(dataset_name)  # before anything else imports FiftyOne, see there

    from fiftyone_revseg.dataset import list_runs
    from fiftyone_revseg.dataset.collection import count_samples, in_all_slices
    from fiftyone_revseg.dataset.explain import label_fields

    names = label_fields(dataset)
    if label_field is not None:
        label_field = label_field.removeprefix("frames.")
        if label_field not in names:
            raise click.ClickException(
                f"Nothing was segmented into {label_field!r} in dataset {dataset_name!r}:"
                f" {list_names(label_field, names)}"
            )
        names = [label_field]
    runs = [run for run in list_runs(dataset) if label_field in (None, run["label_field"])]
    about = {
        "dataset": dataset_name,
        "samples": count_samples(in_all_slices(dataset)),
        "runs": runs,
        "label_fields": {name: describe(dataset, name) for name in names},
    }
    if as_json:
        echo(to_json(about, indent=2, ensure_ascii=False, default=str))
        return
    for line in _lines(about):
        echo(line)


def describe(dataset: Any, label_field: str) -> dict[str, Any]:
    """Counts how the samples of a dataset ended.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        label_field: a label field that has been written into it

    Returns:
        a dict with "statuses", status -> number of samples, where "" stands for those that were
        not segmented; and "failures", a list of dicts with "status", "reason", "samples" (how
        many) and "first" (the id of one), the most frequent first. In a reason, "..." stands for
        the sample's own path, so that what is wrong with many files is one reason; and
        "corrected", how many samples have objects that a person corrected or accepted
    """
    from fiftyone_revseg.dataset import count_statuses
    from fiftyone_revseg.dataset.changes import count_corrected
    from fiftyone_revseg.dataset.collection import in_all_slices
    from fiftyone_revseg.dataset.runs import without_path

    videos = in_all_slices(dataset)
    name = f"{label_field}_answers.classifications"
    failed = videos.match(_is_failed(label_field))
    columns = failed.values(["id", "filepath", f"{name}.status", f"{name}.reason"])
    samples = Counter[tuple[str, str]]()
    first: dict[tuple[str, str], str] = {}
    for sample_id, path, statuses, reasons in zip(*columns, strict=True):
        pairs = zip(statuses or (), reasons or (), strict=True)
        own = {(s, without_path(r or "", path)) for s, r in pairs if s not in ANSWERED}
        samples.update(own)
        for key in own:
            first.setdefault(key, sample_id)
    return {
        "statuses": count_statuses(videos, label_field),
        "failures": [
            {"status": key[0], "reason": key[1], "samples": n, "first": first[key]}
            for key, n in samples.most_common()
        ],
        "corrected": count_corrected(dataset, label_field),
    }


def _is_failed(label_field: str) -> Any:
    from fiftyone import ViewField

    # A sample's status is that of its first query without an object, so another may hide behind it
    answers = ViewField(f"{label_field}_answers.classifications")
    return answers.filter(~ViewField("status").is_in(list(ANSWERED))).length() > 0


def _lines(about: dict[str, Any]) -> list[str]:
    samples = about["samples"]
    lines = [f"{about['dataset']}: {samples} sample{'' if samples == 1 else 's'}"]
    if not about["label_fields"]:
        return [*lines, "Nothing has been segmented: revseg apply does"]
    for run in about["runs"]:
        lines += ["", *_lines_of_run(run)]
    for name, found in about["label_fields"].items():
        lines += ["", f"{name}: samples by status"]
        width = max(len(status) for status in (*found["statuses"], "not segmented"))
        lines += [
            f"  {status or 'not segmented':{width}}  {n}" for status, n in found["statuses"].items()
        ]
        lines += [
            f"  {failure['status']}: {one_line(failure['reason'])} ({_count(failure)})"
            for failure in found["failures"][:_SHOWN]
        ]
        if found["corrected"]:
            lines.append(
                f"  {found['corrected']} corrected or accepted by a person, which every run keeps"
                " (--replace-corrections redoes)"
            )
        if len(found["failures"]) > _SHOWN:
            lines.append(f"  and {len(found['failures']) - _SHOWN} more reasons, see --json")
    return lines


def _lines_of_run(run: dict[str, Any]) -> list[str]:
    from tqdm import tqdm

    state = run["state"]
    if state == "running":
        where = f"process {run['pid']} on {run['host']}" if run.get("pid") else "where it ran"
        state = f"running, {where}" if run["alive"] else f"killed, {where}: no sign of life"
    started = datetime.fromisoformat(run["started"]).astimezone()
    counts = ", ".join(f"{status} {n}" for status, n in sorted(run["counts"].items()))
    done = f"{sum(run['counts'].values())} of {run['total']} done"
    if run["skipped"]:
        done += f", {run['skipped']} finished before"
    if run["seconds"]:
        done += f", in {tqdm.format_interval(run['seconds'])}"
    return [
        f"{run['run_key']}: {state}",
        f"  started {started:%Y-%m-%d %H:%M}, {run['model']}, {run['device']}",
        f"  {done}" + (f": {counts}" if counts else ""),
    ]


def _count(failure: dict[str, Any]) -> str:
    if failure["samples"] == 1:
        return failure["first"]
    return f"{failure['samples']} samples, first {failure['first']}"
