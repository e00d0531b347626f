"""What there is to do on a collection: one job per video, clip or group of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fiftyone as fo

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.counting import count_samples
from fiftyone_revseg.engine import EngineJob
from fiftyone_revseg.pipeline import Progress, RevSeg, Segmentation
from fiftyone_revseg.reasoning.queries import refusal
from fiftyone_revseg.video import open_video

Support = tuple[int, int]


@dataclass(frozen=True)
class Job:
    """One video and what to ask about it.

    Attributes:
        sample_id: the sample that gets the sample-level fields; of a clip, the sample that it is
            a part of; of a group of images, the first one
        filepath: the path of the video, or of the first image
        queries: the queries
        support: the first and last frame number of a clip; None for a whole video
        clip_id: the id of the clip in its view
        images: the (sample id, path) of every image of a group, in order
    """

    sample_id: str
    filepath: str
    queries: tuple[str, ...]
    support: Support | None = None
    clip_id: str | None = None
    images: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def frame_range(self) -> tuple[int, int] | None:
        """The 0-based, half-open range of frames of a clip; None for a whole video."""
        return None if self.support is None else (self.support[0] - 1, self.support[1])


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


def check_collection(samples: Any, group_slice: str | None = None) -> Any:
    """Finds the videos in a collection.

    Args:
        samples: a :class:`fiftyone.core.collections.SampleCollection`
        group_slice (None): the slice of a grouped dataset to look at

    Returns:
        a collection of videos or clips, or of ordered dynamic groups of images

    Raises:
        ValueError: if there are none; the message says what to do
    """
    if is_image_groups(samples):
        if not _order_of(samples):
            raise ValueError(
                "A group of images is a video only if it has an order: group them with "
                'dataset.group_by("scene", order_by="frame_number")'
            )
        return samples
    if samples.media_type == "group":
        slices = samples.group_media_types
        videos = [name for name, media_type in slices.items() if media_type == "video"]
        if group_slice is None:
            raise ValueError(
                "This dataset is grouped: choose the slice with the videos to segment, "
                f"group_slice={videos[0] if videos else next(iter(slices), 'left')!r} "
                f"(slices with videos: {', '.join(videos) or 'none'})"
            )
        if group_slice not in videos:
            raise ValueError(
                f"There are no videos in the slice {group_slice!r}: slices with videos are "
                f"{', '.join(videos) or 'none'}"
            )
        return samples.select_group_slices(group_slice)
    if samples.media_type not in ("video", None):  # None: an empty dataset
        raise ValueError(
            f"ReVSeg segments videos, and these are samples of media type "
            f"'{samples.media_type}'. Images that are frames of videos must be grouped in their "
            'order: dataset.group_by("scene", order_by="frame_number")'
        )
    if store.is_frames_or_patches(samples):
        raise ValueError("ReVSeg segments videos: pass the dataset or a view of its videos")
    return samples


def make_jobs(
    samples: Any,
    queries: str | Sequence[str] | None = None,
    prompt_field: str | None = None,
) -> list[Job]:
    """Lists what there is to do, without loading samples.

    Args:
        samples: what :func:`check_collection` returned
        queries (None): the query or queries for every sample whose prompt field holds none
        prompt_field (None): the field that holds each sample's query, or list of queries

    Returns:
        a list of :class:`Job`, in the order of the samples

    Raises:
        ValueError: if there is no such field
    """
    if not count_samples(samples):
        return []
    if is_image_groups(samples):
        return _jobs_of_groups(samples, queries, prompt_field)
    if is_clips(samples):
        return _jobs_of_clips(samples, queries, prompt_field)
    ids, paths = samples.values(["id", "filepath"])
    asked = _values(samples, prompt_field)
    return [
        Job(sample_id, path, resolve_queries(value, queries))
        for sample_id, path, value in zip(ids, paths, asked, strict=True)
    ]


def source_dataset(samples: Any) -> fo.Dataset:
    """Returns the dataset that a collection is of; of clips, the one with the whole videos."""
    if isinstance(samples, fo.Dataset):
        return samples
    return fo.load_dataset(samples.dataset_name)


def select_by_id(dataset: fo.Dataset, ids: Sequence[str]) -> Any:
    """Returns a view of some samples, whichever slice of a grouped dataset they are in."""
    if dataset.media_type == "group":
        return dataset.select_group_slices(media_type="video").select(ids)
    return dataset.select(ids)


def is_clips(samples: Any) -> bool:
    """Returns whether a collection holds clips, each a part of a sample's video."""
    return isinstance(samples, fo.core.clips.ClipsView)


def is_image_groups(samples: Any) -> bool:
    """Returns whether a collection holds dynamic groups of images."""
    if not store.is_dynamic_groups(samples):
        return False
    return source_dataset(samples).media_type == "image"


def _order_of(samples: Any) -> Any:
    stage = store.grouping(samples)
    return stage and stage.order_by


def _jobs_of_clips(
    clips: Any, queries: str | Sequence[str] | None, prompt_field: str | None
) -> list[Job]:
    ids, sources, supports, paths = clips.values(["id", "sample_id", "support", "filepath"])
    if prompt_field and not clips.has_field(prompt_field):
        # Clips have the fields of their samples only if they were asked for
        source = source_dataset(clips)
        view = select_by_id(source, list(dict.fromkeys(sources)))
        by_id = dict(zip(view.values("id"), _values(view, prompt_field), strict=True))
        asked = [by_id[sample_id] for sample_id in sources]
    else:
        asked = _values(clips, prompt_field)
    return [
        Job(source, path, resolve_queries(value, queries), (int(first), int(last)), clip_id)
        for clip_id, source, (first, last), path, value in zip(
            ids, sources, supports, paths, asked, strict=True
        )
    ]


def _jobs_of_groups(
    groups: Any, queries: str | Sequence[str] | None, prompt_field: str | None
) -> list[Job]:
    jobs = []
    for group in groups.iter_dynamic_groups():
        ids, paths = group.values(["id", "filepath"])
        # All images of a group may repeat the query; the first that has one decides
        asked = next((value for value in _values(group, prompt_field) if value), None)
        images = tuple(zip(ids, paths, strict=True))
        jobs.append(Job(ids[0], paths[0], resolve_queries(asked, queries), images=images))
    return jobs


def _values(samples: Any, field_name: str | None) -> list[Any]:
    if field_name is None:
        return [None] * count_samples(samples)
    if field_name.startswith("frames."):
        raise ValueError(
            f"Queries are asked about whole videos: prompt_field={field_name!r} is a field of "
            "frames, so name a field of samples"
        )
    kind = samples.get_field(field_name)
    texts = kind.field if isinstance(kind, fo.ListField) else kind
    if kind is None:
        raise ValueError(
            f"There is no field '{field_name}' with queries. Fields with text are: "
            f"{', '.join(_text_fields(samples)) or 'none'}. To ask the same of all samples, give "
            "the query itself"
        )
    if texts is not None and not isinstance(texts, fo.StringField):
        raise ValueError(
            f"Field '{field_name}' holds no queries: it must hold text or lists of text, not {kind}"
        )
    return list(samples.values(field_name))


def _text_fields(samples: Any) -> list[str]:
    schema = samples.get_field_schema()
    return [
        name
        for name, kind in schema.items()
        if name != "filepath"
        and isinstance(kind.field if isinstance(kind, fo.ListField) else kind, fo.StringField)
        and name != "tags"
    ]


def name_of_video(job: Job) -> str:
    """Returns the name that a person knows the job's video by."""
    if job.images:
        return f"{Path(job.filepath).name} and {len(job.images) - 1} more"
    name = Path(job.filepath).name
    return name if job.support is None else f"{name}, frames {job.support[0]}-{job.support[1]}"


def engine_job(job: Job) -> EngineJob:
    """Returns what an engine is told of a job, which is its key."""
    video = tuple(path for _, path in job.images) or job.filepath
    return EngineJob(video, job.queries, job.frame_range, job)


def segment_job(pipeline: RevSeg, job: Job, progress: Progress | None = None) -> list[Segmentation]:
    """Segments the video of one job.

    Args:
        pipeline: a :class:`fiftyone_revseg.pipeline.RevSeg`
        job: a :class:`fiftyone_revseg.dataset.collection.Job`
        progress (None): see :data:`fiftyone_revseg.pipeline.Progress`

    Returns:
        a list of :class:`fiftyone_revseg.pipeline.Segmentation`, one per query; never an
        exception
    """
    try:
        if not job.images:
            return pipeline.segment(job.filepath, job.queries, job.frame_range, progress)
        with open_video([path for _, path in job.images]) as video:
            return pipeline.segment(video, job.queries, progress=progress)
    except Exception as error:
        return [pipeline.failed(job.filepath, query, error) for query in job.queries]
