"""The videos of a collection: whole videos, clips, or ordered groups of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
from bson import ObjectId

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.frame_numbers import Support, frame_range_of, index_of, number_of
from fiftyone_revseg.video import Video, open_video


@dataclass(frozen=True)
class VideoRef:
    """One video of a collection: a whole video, a clip, or a group of images in their order.

    Attributes:
        dataset: the :class:`fiftyone.core.dataset.Dataset`; of a clip, the one with whole videos
        sample_id: the sample that gets the sample-level fields; of a clip, the sample that it is
            a part of; of a group of images, the first one
        filepath: the path of the video, or of the first image
        support: the first and last frame number of a clip; None for a whole video
        clip_id: the id of the clip in its view
        clips: the dataset of the clip, which has sample-level fields of its own
        images: the (sample id, path) of every image of a group, in order
    """

    dataset: fo.Dataset = field(repr=False, compare=False)
    sample_id: str
    filepath: str
    support: Support | None = None
    clip_id: str | None = None
    clips: fo.Dataset = field(default=None, repr=False, compare=False)
    images: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def id(self) -> str:
        """The id of the sample, of the clip, or of the first image."""
        return self.clip_id or self.sample_id

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all that it consists of: the sample, the clip, or the images of a group."""
        return tuple(i for i, _ in self.images) or (self.id,)

    @property
    def sample_ids(self) -> tuple[str, ...]:
        """The ids of its samples in the dataset: more than one for a group of images."""
        return tuple(i for i, _ in self.images) or (self.sample_id,)

    @property
    def source(self) -> str | tuple[str, ...]:
        """The path of the video; of a group, those of its images, in order."""
        return tuple(path for _, path in self.images) or self.filepath

    @property
    def frame_range(self) -> tuple[int, int] | None:
        """The 0-based, half-open range of frames of a clip; None for a whole video."""
        return None if self.support is None else frame_range_of(self.support)

    @property
    def title(self) -> str:
        """The name that a person knows the video by."""
        name = Path(self.filepath).name
        if self.images:
            return f"{name} and {len(self.images) - 1} more"
        if self.support is not None:
            name += ", frames {}-{}".format(*self.support)
        return name

    @property
    def by_number(self) -> dict[int, str]:
        """Frame number -> the id of the image, of a group."""
        return {number_of(k): i for k, (i, _) in enumerate(self.images)}

    @property
    def documents(self) -> Any:
        """The database's collection of what has the detections: frames, or images."""
        return store.label_documents(self.dataset)

    def frame(self, number: int) -> store.Document:
        """Returns what names the document of a frame."""
        if self.images:
            return {"_id": ObjectId(self.sample_ids[index_of(number)])}
        return {"_sample_id": ObjectId(self.sample_id), "frame_number": number}

    def frames_within(self, support: Sequence[int] | None) -> store.Document:
        """Returns what names the documents of the frames from the first to the last; or of all."""
        if self.images:
            ids = self.sample_ids[slice(*frame_range_of(support))] if support else self.sample_ids
            return {"_id": {"$in": [ObjectId(i) for i in ids]}}
        this = {"_sample_id": ObjectId(self.sample_id)}
        if support is None:
            return this
        return {**this, "frame_number": {"$gte": support[0], "$lte": support[1]}}

    def number_of(self, document: store.Document) -> int:
        """Returns the frame number of one of :attr:`documents`."""
        if not self.images:
            return document["frame_number"]
        return number_of(self.sample_ids.index(str(document["_id"])))

    def open(self) -> Video:
        """Opens the video, see :func:`fiftyone_revseg.video.open_video`; of a clip, its part."""
        return open_video(self.source, self.frame_range)


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
        stage = store.grouping(samples)
        if stage is None or not stage.order_by:
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


def count_samples(samples: Any) -> int:
    """Counts the samples of a collection; of dynamic groups, the groups.

    ``len(dataset)``, ``dataset.count()`` and the truth of a dataset or of a view of all of it are
    the database server's estimate, which is wrong after the server was killed: often 0.

    Args:
        samples: a :class:`fiftyone.core.collections.SampleCollection`
    """
    return int(samples.count("id"))


def source_dataset(samples: Any) -> fo.Dataset:
    """Returns the dataset that a collection is of; of clips, the one with the whole videos."""
    if isinstance(samples, fo.Dataset):
        return samples
    return fo.load_dataset(samples.dataset_name)


def select_by_id(dataset: fo.Dataset, ids: Sequence[str]) -> Any:
    """Returns a view of some samples, whichever slice of a grouped dataset they are in."""
    return in_all_slices(dataset).select(ids)


def in_all_slices(samples: Any) -> Any:
    """Returns the videos of a grouped collection, whichever slice they are in; all else as it is.

    Args:
        samples: a :class:`fiftyone.core.collections.SampleCollection`
    """
    if samples.media_type == "group" and not is_image_groups(samples):
        return samples.select_group_slices(media_type="video")
    return samples


def field_values(samples: Any, name: str) -> dict[str, Any]:
    """Returns the values of a sample-level field by the ids of samples, or of clips.

    Clips have the fields of their samples only if they were asked for: this has them always. Of
    groups of images, it has those of all images; empty if there is no such field.
    """
    if is_clips(samples) and not samples.has_field(name):
        ids, sources = samples.values(["id", "sample_id"])
        whole = select_by_id(source_dataset(samples), list(dict.fromkeys(sources)))
        by_source = field_values(whole, name)
        return {i: by_source[s] for i, s in zip(ids, sources, strict=True) if s in by_source}
    if is_image_groups(samples):
        samples = source_dataset(samples)
    if not samples.has_field(name):
        return {}
    return dict(zip(*samples.values(["id", name]), strict=True))


def first_value(values: dict[str, Any], ids: Iterable[str]) -> Any:
    """Returns the first value of the images of a video that says something; None if none does."""
    return next((values[i] for i in ids if values.get(i)), None)


def is_clips(samples: Any) -> bool:
    """Returns whether a collection holds clips, each a part of a sample's video."""
    return isinstance(samples, fo.core.clips.ClipsView)


def is_image_groups(samples: Any) -> bool:
    """Returns whether a collection holds dynamic groups of images."""
    if not store.is_dynamic_groups(samples):
        return False
    return source_dataset(samples).media_type == "image"


def list_videos(samples: Any) -> list[VideoRef]:
    """Lists the videos of a collection, without loading samples.

    Args:
        samples: what :func:`check_collection` returned

    Returns:
        a list of :class:`VideoRef`, in the order of the samples
    """
    if not count_samples(samples):
        return []
    dataset = source_dataset(samples)
    if is_image_groups(samples):
        return [video_of(group, dataset) for group in samples.iter_dynamic_groups()]
    if is_clips(samples):
        clips = samples.first().dataset
        return [
            VideoRef(dataset, source, path, (int(first), int(last)), clip_id, clips)
            for clip_id, source, (first, last), path in zip(
                *samples.values(["id", "sample_id", "support", "filepath"]), strict=True
            )
        ]
    ids, paths = samples.values(["id", "filepath"])
    return [VideoRef(dataset, *own) for own in zip(ids, paths, strict=True)]


def video_of(sample: Any, dataset: fo.Dataset = None) -> VideoRef:
    """Returns the reference to one video.

    Args:
        sample: a :class:`fiftyone.core.sample.Sample` or view of one: a video or a clip; or the
            images of one group, in their order, as ``iter_dynamic_groups()`` gives them
        dataset (None): the dataset with whole videos, where it is known already
    """
    if isinstance(sample, foc.SampleCollection):
        dataset = source_dataset(sample) if dataset is None else dataset
        images = tuple(zip(*sample.values(["id", "filepath"]), strict=True))
        first = images[0] if images else ("", "")
        return VideoRef(dataset, first[0], first[1], images=images)
    if not (sample.has_field("support") and sample.has_field("sample_id")):
        own = sample.dataset if dataset is None else dataset
        return VideoRef(own, sample.id, sample.filepath)
    if dataset is None:
        dataset = source_dataset(store.collection_of(sample))
    first, last = sample.support
    return VideoRef(
        dataset,
        sample.sample_id,
        sample.filepath,
        (first, last),
        sample.id,
        sample.dataset,
    )


def members_of(videos: Iterable[VideoRef]) -> dict[ObjectId, tuple[str, int]]:
    """Maps samples to the videos that they are of, or a part of.

    Returns:
        id of a sample -> the ``sample_id`` of its video, and of an image its frame number
    """
    return {
        ObjectId(member): (video.sample_id, number_of(k))
        for video in videos
        for k, member in enumerate(video.sample_ids)
    }


def group_of(samples: Any, sample: Any) -> Any | None:
    """Finds the images that one image makes up a video with.

    Args:
        samples: the collection that the sample is seen in
        sample: the :class:`fiftyone.core.sample.Sample` or view of one

    Returns:
        a view of the images in their order; None if the collection is no grouping of images, or
        the image is in none of its groups
    """
    stage = store.grouping(samples) if is_image_groups(samples) else None
    if stage is None or sample.media_type != "image":
        return None
    names = stage.field_or_expr
    if isinstance(names, str):
        return samples.get_dynamic_group(sample[names])
    if isinstance(names, (list, tuple)):
        return samples.get_dynamic_group([sample[name] for name in names])
    # Grouped by an expression, which only the database can evaluate
    groups = samples.iter_dynamic_groups()
    return next((group for group in groups if sample.id in group.values("id")), None)
