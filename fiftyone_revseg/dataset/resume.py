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
from fiftyone_revseg.dataset.collection import VideoRef, members_of
from fiftyone_revseg.dataset.frame_numbers import Support, numbers_within, overlap
from fiftyone_revseg.dataset.record import Record, differences, fingerprint, records_of
from fiftyone_revseg.engine import EngineJob
from fiftyone_revseg.types import Status

#: Not the model's answers but what kept it from answering, so it is worth another try
RETRIED = (str(Status.UNREADABLE), str(Status.ERROR))

_CHUNK = 1000  # samples per request to the database
_COMPARED = ("fingerprint", "status", "support", "settings")  # of a record


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

    todo: list[EngineJob] = field(repr=False)
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
    jobs: Sequence[EngineJob],
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
        jobs: all jobs, see :func:`fiftyone_revseg.dataset.jobs.make_jobs`
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
        ids = list(dict.fromkeys(job.key.sample_id for job in chunk))
        records = _stored_records(dataset, label_field, ids)
        owned = [_own(job.key, records.get(job.key.sample_id, [])) for job in chunk]
        if overwrite is True:
            states = ["open"] * len(chunk)
        else:
            answered = [job.key for job, own in zip(chunk, owned, strict=True) if _answered(own)]
            written = _written(dataset, label_field, answered)
            pairs = zip(chunk, owned, strict=True)
            states = [_state(job, own, settings, written) for job, own in pairs]
        keys = [job.key for job in chunk]
        redone = ("open", "other") if overwrite else ("open",)
        by_person: dict[str, list[Support | None]] = {}
        if not replace_corrections:
            again = [key for key, state in zip(keys, states, strict=True) if state in redone]
            by_person = find_changed(dataset, label_field, again)
            if not overwrite:  # only to say how many would be redone, so without their frames
                other = [key for key, state in zip(keys, states, strict=True) if state == "other"]
                more = find_changed(dataset, label_field, other, frames=False)
                by_person = {**more, **by_person}
        for job, own, state in zip(chunk, owned, states, strict=True):
            keep = is_kept(job.key, by_person)
            if state in redone and not keep:
                todo.append(job)
                continue
            skipped += 1
            if state in redone:
                corrected += 1
            elif state == "other" and not keep:
                changed.update(_what_changed(own, job, settings))
    return Plan(todo, skipped, dict(changed), corrected)


def is_changed(dataset: fo.Dataset, label_field: str, video: VideoRef) -> bool:
    """Returns whether a result on a video would replace what a person changed."""
    if not dataset.has_field(f"{label_field}_trajectory"):
        return False
    return is_kept(video, find_changed(dataset, label_field, [video]))


def is_kept(video: VideoRef, by_person: dict[str, list[Support | None]]) -> bool:
    """Returns whether a result would replace what a person changed, be it in a part of it."""
    return any(overlap(video.support, part) for part in by_person.get(video.sample_id, ()))


def _state(
    job: EngineJob,
    own: list[Record],
    settings: dict[str, Any],
    written: dict[str, set[int]],
) -> str:
    """Whether a job is "open", or finished with the "same" or with "other" settings or queries."""
    if not (_answered(own) and _is_whole(job.key, own, written)):
        return "open"
    wanted = [fingerprint(settings, query, job.key.support) for query in job.queries]
    return "same" if [record.fingerprint for record in own] == wanted else "other"


def _own(video: VideoRef, records: Iterable[Record]) -> list[Record]:
    """The records of the very frames that the reference is to."""
    return [record for record in records if record.support == video.support]


def _answered(own: list[Record]) -> bool:
    return bool(own) and all(record.status not in RETRIED for record in own)


def _stored_records(
    dataset: fo.Dataset, label_field: str, ids: list[str]
) -> dict[str, list[Record]]:
    """Reads of every record only what is compared here: trajectories are long."""
    name = f"{label_field}_trajectory"
    about = ("trajectory.frame_table.frame_count", "trajectory.query")
    fields = [f"{name}.segmentations.{part}" for part in (*_COMPARED, *about)]
    this = {"_id": {"$in": [ObjectId(i) for i in ids]}}
    stored = {}
    for document in store.sample_documents(dataset).find(this, fields):
        records = records_of(document.get(name))
        # What was not written by this version has nothing to compare with
        if all({*_COMPARED, "trajectory"} <= record.document.keys() for record in records):
            stored[str(document["_id"])] = records
    return stored


def _written(
    dataset: fo.Dataset, label_field: str, videos: Sequence[VideoRef]
) -> dict[str, set[int]]:
    """The frame numbers that have labels, by sample.

    ``apply_model`` saves a sample before its frames, so one that looks done may lack some.
    """
    if not videos:
        return {}
    members, key = members_of(videos), store.owner_key(dataset)
    # FiftyOne's own aggregations would read every mask for this
    found = store.label_documents(dataset).aggregate(
        [
            {"$match": {key: {"$in": list(members)}, label_field: {"$ne": None}}},
            {"$group": {"_id": f"${key}", "numbers": {"$push": "$frame_number"}}},
        ],
        allowDiskUse=True,
    )
    written: dict[str, set[int]] = {}
    for document in found:
        sample_id, number = members[document["_id"]]
        numbers = [number] if key == "_id" else document["numbers"]
        written.setdefault(sample_id, set()).update(numbers)
    return written


def _is_whole(video: VideoRef, own: list[Record], written: dict[str, set[int]]) -> bool:
    numbers = len(numbers_within(written.get(video.sample_id, set()), video.support))
    return numbers >= max(record.frame_count for record in own)


def _what_changed(own: list[Record], job: EngineJob, settings: dict[str, Any]) -> list[str]:
    """Each difference once, in words."""
    found: dict[str, None] = {}
    for record in own:
        found.update(dict.fromkeys(differences(record.settings, settings)))
    if [record.query for record in own] != list(job.queries):
        found["the query"] = None
    return list(found)
