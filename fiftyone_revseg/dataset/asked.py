"""What a label field was asked, and what asking it again would do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from fiftyone import ViewField as F

from fiftyone_revseg.dataset.collection import is_clips, is_image_groups
from fiftyone_revseg.dataset.jobs import make_jobs
from fiftyone_revseg.dataset.resume import RETRIED

_LONGEST = 30  # characters of a query in the name of a field


@dataclass(frozen=True)
class Compared:
    """What the videos of a collection were asked, against what is to be asked now.

    Attributes:
        open: how many have no answer
        same: how many answered these very queries
        other: how many answered others
    """

    open: int = 0
    same: int = 0
    other: int = 0


def asked_queries(samples: Any, label_field: str | None) -> dict[str, int]:
    """Counts in how many samples each query was asked.

    Args:
        samples: a :class:`fiftyone.core.collections.SampleCollection`
        label_field: the label field

    Returns:
        query -> how many samples have an answer to it, whatever the answer; the most often asked
        first, and nothing where the field knows no answers
    """
    counts = Counter(query for own in _asked(samples, label_field) for query in own)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def compare_asked(
    videos: Any,
    label_field: str,
    queries: str | Sequence[str] | None = None,
    prompt_field: str | None = None,
) -> Compared | None:
    """Tells what is to be asked from what was, without loading samples.

    Args:
        videos: what :func:`fiftyone_revseg.dataset.collection.check_collection` returned
        label_field: the label field
        queries (None): the query or queries for every video
        prompt_field (None): the field with each video's own

    Returns:
        a :class:`Compared`; None for clips and groups of images, of which several share samples

    Raises:
        ValueError: if there is no such field of queries
    """
    if is_clips(videos) or is_image_groups(videos):
        return None
    jobs = make_jobs(videos, queries, prompt_field)
    status = f"{label_field}_status"
    if not (videos.has_field(status) and videos.has_field(f"{label_field}_answers")):
        return Compared(open=len(jobs))
    statuses = videos.values(status)
    counts = Counter(
        "open"
        if ended is None or ended in RETRIED
        else ("same" if {query.strip() for query in job.queries} == set(asked) else "other")
        for job, ended, asked in zip(jobs, statuses, _asked(videos, label_field), strict=True)
    )
    return Compared(**counts)


def field_for(dataset: Any, label_field: str, queries: Sequence[str]) -> str:
    """Names a label field for the answers to queries that another label field was not asked.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        label_field: the other label field
        queries: the queries

    Returns:
        the name of a field that does not exist, or was asked these queries only
    """
    words = re.sub(r"[^a-z0-9]+", "_", queries[0].lower())[:_LONGEST].strip("_")
    name = f"{label_field}_{words or 2}"
    schema = {*dataset.get_field_schema(), *(dataset.get_frame_field_schema() or {})}
    number = 2
    free = name
    while not _is_for(dataset, free, queries, schema):
        free, number = f"{name}_{number}", number + 1
    return free


def _is_for(dataset: Any, name: str, queries: Sequence[str], schema: Collection[str]) -> bool:
    asked = asked_queries(dataset, name)
    if asked:
        return set(asked) <= {query.strip() for query in queries}
    return not any(field == name or field.startswith(f"{name}_") for field in schema)


def _asked(samples: Any, label_field: str | None) -> list[list[str]]:
    """What each sample was asked, each query once."""
    answers = f"{label_field}_answers"
    if not (label_field and samples.has_field(answers)):
        return []
    asked = samples.values(F(f"{answers}.classifications").map(F("query")).unique())
    return [[query for query in own or () if isinstance(query, str)] for own in asked]
