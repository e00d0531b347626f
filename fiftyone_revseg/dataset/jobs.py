"""What there is to ask about the videos of a collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fiftyone as fo

from fiftyone_revseg.dataset.collection import (
    VideoRef,
    field_values,
    first_value,
    is_clips,
    list_videos,
)
from fiftyone_revseg.dataset.schema import fields_with_text
from fiftyone_revseg.engine import EngineJob
from fiftyone_revseg.engine.shards import Shard
from fiftyone_revseg.reasoning.queries import refusal


def check_queries(queries: Any) -> None:
    """Checks what is to be asked of every sample, before anything is loaded or made.

    Args:
        queries: a query, a list of queries, or None where each sample has its own

    Raises:
        ValueError: if there is none, or one of them says nothing
    """
    if queries is None:
        return
    texts = queries if isinstance(queries, (list, tuple)) else [queries]
    for text in texts:
        why = refusal(text)
        if why:
            raise ValueError(why)
    if not texts:
        raise ValueError("The list of queries is empty: say what to look for")


def resolve_queries(value: Any, default: str | Sequence[str] | None) -> tuple[str, ...]:
    """Decides what to ask about one sample.

    Args:
        value: what the sample's prompt field holds: a text, a list of texts, or nothing
        default: the query or queries to ask where it holds nothing

    Returns:
        a tuple of queries; one empty query where there is nothing to ask, as the chain says in
        words what is missing
    """
    for queries in (value, default):
        if not isinstance(queries, (list, tuple)):
            queries = [queries]
        # What is not text cannot be asked, but must not be dropped in silence either
        texts = tuple(query if isinstance(query, str) else "" for query in queries)
        if any(text.strip() for text in texts):
            return texts
    return ("",)


def make_job(video: VideoRef, queries: tuple[str, ...]) -> EngineJob:
    """Makes the job of asking queries about a video, which is its key."""
    return EngineJob(video.source, queries, video.frame_range, video)


def make_jobs(
    samples: Any,
    queries: str | Sequence[str] | None = None,
    prompt_field: str | None = None,
) -> list[EngineJob]:
    """Lists what there is to do, without loading samples.

    Args:
        samples: what :func:`fiftyone_revseg.dataset.collection.check_collection` returned
        queries (None): the query or queries for every sample whose prompt field holds none
        prompt_field (None): the field that holds each sample's query, or list of queries

    Returns:
        a list of :class:`fiftyone_revseg.engine.EngineJob`, in the order of the samples; their
        keys are their :class:`fiftyone_revseg.dataset.collection.VideoRef`

    Raises:
        ValueError: if there is no such field
    """
    videos = list_videos(samples)
    asked = _asked(samples, videos, prompt_field) if videos else []
    return [
        make_job(video, resolve_queries(value, queries))
        for video, value in zip(videos, asked, strict=True)
    ]


def jobs_in(shard: Shard | None, jobs: list[EngineJob]) -> list[EngineJob]:
    """Returns the jobs of a shard, or all. Clips of one video go together, into one sample."""
    if shard is None:
        return jobs
    return [job for job in jobs if shard.holds(job.key.sample_id)]


def _asked(samples: Any, videos: Sequence[VideoRef], field_name: str | None) -> list[Any]:
    """What the prompt field says about each video."""
    if field_name is None:
        return [None] * len(videos)
    # Clips have the fields of their samples only if they were asked for
    lacking = is_clips(samples) and not samples.has_field(field_name)
    _check_prompt_field(videos[0].dataset if lacking else samples, field_name)
    said = field_values(samples, field_name)
    # All images of a group may repeat the query; the first that has one decides
    return [first_value(said, video.ids) for video in videos]


def _check_prompt_field(samples: Any, field_name: str) -> None:
    if field_name.startswith("frames."):
        raise ValueError(
            f"Queries are asked about whole videos: prompt_field={field_name!r} is a field of "
            "frames, so name a field of samples"
        )
    kind = samples.get_field(field_name)
    texts = kind.field if isinstance(kind, fo.ListField) else kind
    if kind is None:
        known = ", ".join(fields_with_text(samples)) or "none"
        raise ValueError(
            f"There is no field '{field_name}' with queries. Fields with text are: {known}. To ask "
            "the same of all samples, give the query itself"
        )
    if texts is not None and not isinstance(texts, fo.StringField):
        raise ValueError(
            f"Field '{field_name}' holds no queries: it must hold text or lists of text, not {kind}"
        )
