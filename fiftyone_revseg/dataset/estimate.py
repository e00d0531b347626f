"""What a run would ask of a model, without running it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fiftyone_revseg.dataset.collection import (
    check_collection,
    is_clips,
    is_image_groups,
    source_dataset,
)
from fiftyone_revseg.dataset.jobs import check_queries, jobs_in, make_jobs
from fiftyone_revseg.dataset.resume import check_overwrite, plan
from fiftyone_revseg.dataset.schema import valid_label_field
from fiftyone_revseg.engine.shards import Shard
from fiftyone_revseg.reasoning import ChainSpec
from fiftyone_revseg.reasoning.closer import frames_to_sample
from fiftyone_revseg.reasoning.cost import Cost, estimate_cost


def estimate_view(
    samples: Any,
    spec: ChainSpec,
    queries: str | Sequence[str] | None = None,
    prompt_field: str | None = None,
    label_field: str = "revseg",
    overwrite: bool | str = False,
    group_slice: str | None = None,
    shard: Shard | None = None,
    replace_corrections: bool = False,
    tokens_per_picture: int | None = None,
) -> Cost:
    """Estimates what :func:`fiftyone_revseg.segment_view` would ask of a model.

    Example::

        from fiftyone_revseg.dataset.estimate import estimate_view

        pipeline = revseg.load_pipeline("gemini-3.8-flash", server="gemini")
        print(estimate_view(dataset, pipeline.spec, queries="the dog that jumps last"))

    Args:
        samples: as for ``segment_view``, as is all that has its name there
        spec: how the model is asked
        queries (None): the query or queries for every sample
        prompt_field (None): the field with each sample's own
        label_field ("revseg"): the field that would be written
        overwrite (False): which samples would be redone. "changed" counts as if all settings had
            changed
        group_slice (None): the slice with the videos
        shard (None): the part of the samples
        replace_corrections (False): whether what a person changed would be redone
        tokens_per_picture (None): how many tokens the model's host counts for a picture. By
            default, one for each 28 x 28 pixels

    Returns:
        a :class:`fiftyone_revseg.reasoning.cost.Cost`. In how many windows videos are asked about
        is known of those with metadata; others count as short

    Raises:
        ValueError: if an argument is not valid
    """
    label_field = valid_label_field(label_field)
    check_overwrite(overwrite)
    check_queries(queries)
    samples = check_collection(samples, group_slice)
    jobs = jobs_in(shard, make_jobs(samples, queries, prompt_field))
    left = plan(source_dataset(samples), label_field, jobs, {}, overwrite, replace_corrections)
    asked = [job.key for job in left.todo for query in job.queries if query.strip()]
    windows = 0
    if spec.max_gap:
        durations = _durations(samples)
        counts = {id: _windows(spec, duration) for id, duration in durations.items()}
        windows = sum(counts.get(video.id, 0) for video in asked)
    return estimate_cost(spec, len(asked), tokens_per_picture, windows)


def _windows(spec: ChainSpec, duration: float | None) -> int:
    """In how many windows a video is asked about first; 0 where it is asked about as a whole."""
    count = frames_to_sample(spec, duration or 0) // spec.frames
    return count if count > 1 else 0


def _durations(samples: Any) -> dict[str, float | None]:
    """How many seconds videos and clips take, by their ids, where the metadata say it."""
    if is_image_groups(samples):
        return {}
    if is_clips(samples):
        rows = zip(*samples.values(["id", "support", "metadata.frame_rate"]), strict=True)
        return {i: (last - first + 1) / rate for i, (first, last), rate in rows if rate}
    return dict(zip(*samples.values(["id", "metadata.duration"]), strict=True))
