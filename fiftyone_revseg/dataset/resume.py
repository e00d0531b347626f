"""Which jobs are done already, and with which settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import fiftyone as fo
from bson import ObjectId

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.changes import find_changed
from fiftyone_revseg.dataset.collection import Job, Support, select_by_id
from fiftyone_revseg.dataset.record import differences, fingerprint
from fiftyone_revseg.dataset.writer import numbers_within
from fiftyone_revseg.types import Status

#: Not the model's answers but what kept it from answering, so it is worth another try
RETRIED = (str(Status.UNREADABLE), str(Status.ERROR))

_CHUNK = 1000  # samples per request to the database


@dataclass(frozen=True)
class Plan:
    """What is left to do.

    Attributes:
        todo: the jobs to do
        skipped: how many are finished
        changed: for each difference of settings or queries, in words, how many of the skipped
            jobs were finished with the other one
        corrected: how many of the skipped jobs would be done again, had no person corrected,
            accepted or changed their labels
    """

    todo: list[Job] = field(repr=False)
    skipped: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    corrected: int = 0


def check_overwrite(overwrite: bool | str) -> None:
    """Raises a ``ValueError`` if ``overwrite`` is not what :func:`plan` takes."""
    if overwrite not in (False, "changed", True):
        raise ValueError(f'overwrite must be False, "changed" or True, not {overwrite!r}')


def plan(
    dataset: fo.Dataset,
    label_field: str,
    jobs: Sequence[Job],
    settings: dict[str, Any],
    overwrite: bool | str = False,
    replace_corrections: bool = False,
) -> Plan:
    """Decides which jobs to do.

    A job is finished if its queries have been answered, whatever the answer, and all its frames
    are written. One that could not be answered (its video could not be read, or there was an
    error) is done again. A job whose labels a person corrected, accepted or changed, be it on a
    part of its frames, is never done again, as that would undo the person's work; unless
    ``replace_corrections`` is set.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        label_field: the label field
        jobs: all jobs
        settings: those of this run, see :func:`fiftyone_revseg.dataset.record.settings_of`
        overwrite (False): False to skip finished jobs, "changed" to skip those that were finished
            with the same settings and queries, True to skip none
        replace_corrections (False): whether what a person changed may be replaced

    Returns:
        a :class:`Plan`
    """
    if not dataset.has_field(f"{label_field}_trajectory"):
        return Plan(list(jobs))

    todo, skipped, corrected, changed = [], 0, 0, Counter[str]()
    for start in range(0, len(jobs), _CHUNK):
        chunk = jobs[start : start + _CHUNK]
        ids = list(dict.fromkeys(job.sample_id for job in chunk))
        records = _stored_records(dataset, label_field, ids)
        owned = [_own(job, records.get(job.sample_id, [])) for job in chunk]
        if overwrite is True:
            states = ["open"] * len(chunk)
        else:
            answered = [job for job, own in zip(chunk, owned, strict=True) if _answered(own)]
            written = _written(dataset, label_field, answered)
            pairs = zip(chunk, owned, strict=True)
            states = [_state(job, own, settings, written) for job, own in pairs]
        redone = ("open", "other") if overwrite else ("open",)
        by_person: dict[str, list[Support | None]] = {}
        if not replace_corrections:
            by_state: dict[str, list[Job]] = {state: [] for state in ("open", "same", "other")}
            for job, state in zip(chunk, states, strict=True):
                by_state[state].append(job)
            by_person = changed_results(
                dataset, label_field, [job for state in redone for job in by_state[state]]
            )
            if not overwrite:  # only to say how many would be redone, so without their frames
                more = changed_results(dataset, label_field, by_state["other"], frames=False)
                by_person = {**more, **by_person}
        for job, own, state in zip(chunk, owned, states, strict=True):
            keep = is_kept(job, by_person)
            if state in redone and not keep:
                todo.append(job)
                continue
            skipped += 1
            if state in redone:
                corrected += 1
            elif state == "other" and not keep:
                changed.update(_what_changed(own, job, settings))
    return Plan(todo, skipped, dict(changed), corrected)


def changed_results(
    dataset: fo.Dataset, label_field: str, jobs: Sequence[Job], frames: bool = True
) -> dict[str, list[Support | None]]:
    """Finds the results of jobs that a person changed, see :func:`find_changed`."""
    if not jobs:
        return {}
    images = {job.sample_id: [i for i, _ in job.images] for job in jobs if job.images}
    ids = list(dict.fromkeys(job.sample_id for job in jobs))
    return find_changed(dataset, label_field, ids, images or None, frames)


def is_changed(dataset: fo.Dataset, label_field: str, job: Job) -> bool:
    """Returns whether a job would replace what a person changed."""
    if not dataset.has_field(f"{label_field}_trajectory"):
        return False
    return is_kept(job, changed_results(dataset, label_field, [job]))


def is_kept(job: Job, by_person: dict[str, list[Support | None]]) -> bool:
    """Returns whether a job would replace what a person changed, be it in a part of its frames."""
    return any(_overlap(job, support) for support in by_person.get(job.sample_id, ()))


def _state(
    job: Job,
    own: list[dict[str, Any]],
    settings: dict[str, Any],
    written: dict[str, set[int]],
) -> str:
    """Whether a job is "open", or finished with the "same" or with "other" settings or queries."""
    if not (_answered(own) and _is_whole(job, own, written)):
        return "open"
    wanted = [fingerprint(settings, query, job.support) for query in job.queries]
    return "same" if [record["fingerprint"] for record in own] == wanted else "other"


def _own(job: Job, records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records of the very frames that the job is about."""
    support = list(job.support) if job.support else None
    return [record for record in records if record["support"] == support]


def _answered(own: list[dict[str, Any]]) -> bool:
    return bool(own) and all(record["status"] not in RETRIED for record in own)


def _overlap(job: Job, support: Sequence[int] | None) -> bool:
    if job.support is None or support is None:
        return True
    return job.support[0] <= support[1] and support[0] <= job.support[1]


def _stored_records(
    dataset: fo.Dataset, label_field: str, ids: list[str]
) -> dict[str, list[dict[str, Any]]]:
    """Reads of every record only what is compared here: trajectories are long."""
    root = f"{label_field}_trajectory.segmentations"
    names = ("fingerprint", "status", "support", "settings")
    paths = [f"{root}.{name}" for name in names]
    counts = f"{root}.trajectory.frame_table.frame_count"
    queries = f"{root}.trajectory.query"
    columns = select_by_id(dataset, ids).values(["id", *paths, counts, queries])
    stored = {}
    for sample_id, *values in zip(*columns, strict=True):
        values = [value or [] for value in values]
        if len({len(value) for value in values}) > 1:
            continue  # not written by this version: nothing to compare with
        stored[sample_id] = [
            dict(zip((*names, "frame_count", "query"), record, strict=True))
            for record in zip(*values, strict=True)
        ]
    return stored


def _written(dataset: fo.Dataset, label_field: str, jobs: Sequence[Job]) -> dict[str, set[int]]:
    """The frame numbers that have labels, by sample; of images, 1 for each that has.

    ``apply_model`` saves a sample before its frames, so one that looks done may lack some.
    """
    if not jobs:
        return {}
    if jobs[0].images:
        every = [sample_id for job in jobs for sample_id, _ in job.images]
        have = set(select_by_id(dataset, every).exists(label_field).values("id"))
        return {
            job.sample_id: {n for n, (i, _) in enumerate(job.images, start=1) if i in have}
            for job in jobs
        }
    ids = [ObjectId(sample_id) for sample_id in {job.sample_id for job in jobs}]
    # FiftyOne's own aggregations would read every mask for this
    found = store.frame_documents(dataset).aggregate(
        [
            {"$match": {"_sample_id": {"$in": ids}, label_field: {"$ne": None}}},
            {"$group": {"_id": "$_sample_id", "numbers": {"$push": "$frame_number"}}},
        ],
        allowDiskUse=True,
    )
    return {str(document["_id"]): set(document["numbers"]) for document in found}


def _is_whole(job: Job, own: list[dict[str, Any]], written: dict[str, set[int]]) -> bool:
    numbers = len(numbers_within(written.get(job.sample_id, set()), job.support))
    return numbers >= max(record["frame_count"] for record in own)


def _what_changed(own: list[dict[str, Any]], job: Job, settings: dict[str, Any]) -> list[str]:
    """Each difference once, in words."""
    found: dict[str, None] = {}
    for record in own:
        found.update(dict.fromkeys(differences(record["settings"] or {}, settings)))
    if [record["query"] for record in own] != list(job.queries):
        found["the query"] = None
    return list(found)
