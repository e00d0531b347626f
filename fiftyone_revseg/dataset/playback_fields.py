"""Which videos of a dataset the App plays wrongly, as fields of their samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fiftyone as fo

from fiftyone_revseg.dataset.collection import (
    check_collection,
    in_all_slices,
    is_clips,
    is_image_groups,
    select_by_id,
    source_dataset,
)
from fiftyone_revseg.dataset.labelled_videos import with_progress
from fiftyone_revseg.dataset.playback import measure_playback
from fiftyone_revseg.progress import OnProgress
from fiftyone_revseg.video import VideoError

#: What is wrong with how the App plays a video, in words; None if nothing is
PROBLEM = "playback_problem"
#: By how many frames it is wrong where it is worst; negative if too early a picture is shown
FRAMES_OFF = "playback_frames_off"

_FIELDS = {PROBLEM: fo.StringField, FRAMES_OFF: fo.IntField}


@dataclass
class PlaybackSummary:
    """How the App plays the videos of a collection.

    Attributes:
        total: the number of videos
        problems: id of a sample -> what is wrong, in words
        names: id of a sample -> the name of its video's file, of those with a problem
        rounded: the names of videos whose times are rounded, so that the picture before may be
            shown where a frame is sought; otherwise they play right
        unreadable: name of a video -> why it cannot be read
    """

    total: int = 0
    problems: dict[str, str] = field(default_factory=dict, repr=False)
    names: dict[str, str] = field(default_factory=dict, repr=False)
    rounded: list[str] = field(default_factory=list, repr=False)
    unreadable: dict[str, str] = field(default_factory=dict, repr=False)


def mark_playback(samples: Any, progress: bool | OnProgress | None = None) -> PlaybackSummary:
    """Measures how the App plays videos, and writes that to fields of their samples.

    The fields are :data:`PROBLEM` and :data:`FRAMES_OFF`. Of clips, the whole videos are measured.
    Images in ordered groups have no times: the App shows each with its own labels.

    Args:
        samples: a :class:`fiftyone.core.dataset.Dataset` or view
        progress (None): whether to show a progress bar; or a function that is called with a
            :class:`fiftyone_revseg.progress.RunProgress`

    Returns:
        a :class:`PlaybackSummary`

    Raises:
        ValueError: if there are no videos, or a field of that name holds something else
    """
    summary = PlaybackSummary()
    videos = whole_videos(samples)
    if videos is None:
        return summary
    dataset = source_dataset(videos)
    declare(dataset, _FIELDS)
    found: dict[str, dict[str, Any]] = {name: {} for name in _FIELDS}
    ids = videos.values("id")
    rows = with_progress(video_files(videos), len(ids), progress, "Measuring playback")
    for row in rows:
        summary.total += 1
        problem = off = None
        try:
            playback = measure_playback(row.filepath, row.metadata)
        except VideoError as error:
            summary.unreadable[row.name] = str(error)
        else:
            problem, off = playback.problem or None, playback.frames_off
            if problem:
                summary.problems[row.id], summary.names[row.id] = problem, row.name
            elif playback.rounded:
                summary.rounded.append(row.name)
        found[PROBLEM][row.id], found[FRAMES_OFF][row.id] = problem, off
    if ids:
        target = select_by_id(dataset, ids)
        for name, values in found.items():
            target.set_values(name, values, key_field="id")
    return summary


def whole_videos(samples: Any) -> Any:
    """Finds the samples whose files are videos.

    Args:
        samples: a :class:`fiftyone.core.collections.SampleCollection`

    Returns:
        a collection; of clips, that of the samples that they are parts of. None for images in
        ordered groups, which are no videos

    Raises:
        ValueError: if there are none
    """
    if is_image_groups(samples):
        return None
    samples = check_collection(in_all_slices(samples))
    if not is_clips(samples):
        return samples
    return select_by_id(source_dataset(samples), list(dict.fromkeys(samples.values("sample_id"))))


def declare(dataset: fo.Dataset, fields: dict[str, Any]) -> None:
    """Declares sample fields where they are new.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        fields: name -> type

    Raises:
        ValueError: if there is one that holds something else
    """
    for name, kind in fields.items():
        existing = dataset.get_field(name)
        if existing is None:
            dataset.add_sample_field(name, kind)
        elif not isinstance(existing, kind):
            raise ValueError(
                f"Field '{name}' of dataset '{dataset.name}' holds something else already "
                f"({existing}): rename it first"
            )


@dataclass(frozen=True)
class VideoFile:
    """The file of a sample, and what FiftyOne knows of it.

    Attributes:
        id: the id of the sample
        filepath: the path of the file
        metadata: its :class:`fiftyone.core.metadata.VideoMetadata`, or None
        original: the path of the original, if the file is a copy that plays right
        original_metadata: that of the original
    """

    id: str
    filepath: str
    metadata: Any
    original: str | None = None
    original_metadata: Any = None

    @property
    def name(self) -> str:
        """The name of the file."""
        return Path(self.filepath).name


def video_files(videos: Any, *more: str) -> Iterator[VideoFile]:
    """Walks over the files of what :func:`whole_videos` found.

    Args:
        videos: the collection
        *more: the fields with the original and its metadata
    """
    for sample in videos.select_fields(["metadata", *more]).iter_samples():
        values = (sample[name] for name in more)
        yield VideoFile(sample.id, sample.filepath, sample.metadata, *values)
