"""Copies of a dataset's videos that the App plays right, in the place of the originals.

Samples keep their ids and labels: a copy has the same frames with the same numbers, so that all
labels, records and supports of clips stay right. Where the original is, is in a field.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.metadata as fom
from bson import ObjectId

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.collection import source_dataset
from fiftyone_revseg.dataset.playback import measure_playback
from fiftyone_revseg.dataset.playback_fields import (
    FRAMES_OFF,
    PROBLEM,
    VideoFile,
    declare,
    video_files,
    whole_videos,
)
from fiftyone_revseg.dataset.reporter import Reporter
from fiftyone_revseg.files.names import safe_name
from fiftyone_revseg.progress import OnProgress
from fiftyone_revseg.video import VideoError, check_playable, write_playable

#: Where the original of a copy is, and what FiftyOne knew of it
ORIGINAL, ORIGINAL_METADATA = "original_filepath", "original_metadata"

_Report = Callable[[int, int], None]  # called with what is done of a video, and of how much
_FIELDS = {
    PROBLEM: fo.StringField,
    FRAMES_OFF: fo.IntField,
    ORIGINAL: fo.StringField,
}


@dataclass
class PlayableSummary:
    """What was done.

    Attributes:
        total: the number of videos
        changed: id of a sample -> the file that it has now
        unchanged: how many were left as they are, as they play right
        sound_left_out: the names of videos whose copies have no sound, though they had
        failures: why there is no copy, in words -> the ids of the samples
        seconds: the wall time in seconds
    """

    total: int = 0
    changed: dict[str, str] = field(default_factory=dict, repr=False)
    unchanged: int = 0
    sound_left_out: list[str] = field(default_factory=list, repr=False)
    failures: dict[str, list[str]] = field(default_factory=dict, repr=False)
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [
            f"{len(self.changed)} of {self.total} videos changed in {self.seconds:.1f} s, "
            f"{self.unchanged} left as they are"
        ]
        if self.sound_left_out:
            lines.append(
                f"  without sound, as it would be out of step: {', '.join(self.sound_left_out)}"
            )
        for reason, ids in self.failures.items():
            lines.append(f"  {reason} ({len(ids)}, first {ids[0]})")
        return "\n".join(lines)


def default_directory(dataset: fo.Dataset) -> Path:
    """Where copies are written unless another directory is named."""
    return Path(fo.config.default_dataset_dir) / safe_name(dataset.name) / "playable"


def make_playable(
    samples: Any,
    directory: str | Path | None = None,
    everything: bool = False,
    progress: bool | OnProgress | None = None,
) -> PlayableSummary:
    """Makes copies of the videos that the App plays wrongly, and puts them in their place.

    A copy has the same frames at a constant rate, see
    :func:`fiftyone_revseg.video.write_playable`. It is written, read back and compared, and only
    then its sample's ``filepath`` and ``metadata`` are changed, in one write, which also notes the
    original in ``original_filepath``. The id and all labels stay as they are, and the original
    file is not touched. Whatever interrupts that, the same call goes on from there. One video that
    cannot be read or written does not keep the others from it.

    Of clips, the whole videos are changed: frame numbers stay what they are.

    Examples::

        print(make_playable(dataset))
        print(restore_originals(dataset))  # takes it back

    Args:
        samples: a :class:`fiftyone.core.dataset.Dataset` or view
        directory (None): where to write the copies. By default, :func:`default_directory`
        everything (False): whether to make copies of videos that play right, too
        progress (None): whether to show a progress bar; or a function that is called with a
            :class:`fiftyone_revseg.progress.RunProgress`, and raises
            ``KeyboardInterrupt`` to stop

    Returns:
        a :class:`PlayableSummary`; ``print`` it

    Raises:
        ValueError: if there are no videos, or a field of that name holds something else
    """
    videos = _videos(samples)
    dataset = source_dataset(videos)
    _declare(dataset)
    folder = Path(directory) if directory is not None else default_directory(dataset)
    made: dict[str, Path] = {}  # of the same file in several samples, there is one copy

    def change(sample: VideoFile, report: _Report) -> str:
        if sample.original and os.path.exists(sample.filepath):
            return ""
        source = sample.original or sample.filepath
        if not (
            everything
            or sample.original
            or measure_playback(sample.filepath, sample.metadata).problem
        ):
            return ""
        path = made.get(source) or folder.absolute() / sample.id / _file_name(source)
        if source not in made:
            if not path.exists():
                if write_playable(source, path, report).sound == "left out":
                    summary.sound_left_out.append(sample.name)
            elif not check_playable(source, path, report):
                raise VideoError(
                    f"{path} is something else than a copy of {source}: move it away, or name "
                    "another directory"
                )
        made[source] = path
        metadata = fom.VideoMetadata.build_for(str(path))
        _check_right(path, metadata)
        original = {} if sample.original else {ORIGINAL: source, ORIGINAL_METADATA: sample.metadata}
        _write(dataset, sample, {"filepath": str(path), "metadata": metadata, **original})
        return str(path)

    return _each(videos, change, progress, summary := PlayableSummary())


def restore_originals(samples: Any, progress: bool | OnProgress | None = None) -> PlayableSummary:
    """Puts the originals back in the place of copies that :func:`make_playable` made.

    The copies stay on the disk, and may be deleted.

    Args:
        samples: a :class:`fiftyone.core.dataset.Dataset` or view
        progress (None): see :func:`make_playable`

    Returns:
        a :class:`PlayableSummary`

    Raises:
        ValueError: if there are no videos
    """
    videos = _videos(samples)
    dataset = source_dataset(videos)
    _declare(dataset)

    def change(sample: VideoFile, report: _Report) -> str:
        if not sample.original:
            return ""
        if "%" not in sample.original and not os.path.exists(sample.original):
            raise VideoError(f"the original {sample.original} is not there: put it back first")
        values = {"filepath": sample.original, "metadata": sample.original_metadata}
        _write(dataset, sample, {**values, ORIGINAL: None, ORIGINAL_METADATA: None})
        return sample.original

    return _each(videos, change, progress, PlayableSummary())


def _videos(samples: Any) -> Any:
    videos = whole_videos(samples)
    if videos is None:
        raise ValueError(
            "Images in groups are shown one by one, each with its own labels: there is nothing to "
            "make playable"
        )
    return videos


def _declare(dataset: fo.Dataset) -> None:
    declare(dataset, _FIELDS)
    if dataset.get_field(ORIGINAL_METADATA) is None:
        dataset.add_sample_field(
            ORIGINAL_METADATA, fo.EmbeddedDocumentField, embedded_doc_type=fom.VideoMetadata
        )


def _each(
    videos: Any,
    change: Callable[[VideoFile, _Report], str],
    progress: bool | OnProgress | None,
    summary: PlayableSummary,
) -> PlayableSummary:
    """Changes one video after the other; what fails is noted, and the others go on.

    Args:
        videos: the videos
        change: returns the path of the file that the sample has now; "" if it was left as it is
        progress: see :func:`make_playable`
        summary: takes what came of it
    """
    started = time.perf_counter()
    files = list(video_files(videos, ORIGINAL, ORIGINAL_METADATA))
    summary.total = len(files)
    with Reporter(progress, len(files), "Copying") as reporter:
        reporter.count()
        for file in files:
            reporter.start(file.name)
            try:
                if path := change(file, partial(reporter, "write")):
                    summary.changed[file.id] = path
                else:
                    summary.unchanged += 1
            except (VideoError, OSError, ValueError, RuntimeError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                if isinstance(error, OSError):
                    reason = f"the copy cannot be written: {error.strerror or reason}"
                summary.failures.setdefault(reason, []).append(file.id)
            reporter.finish()
    summary.seconds = time.perf_counter() - started
    return summary


def _file_name(source: str) -> str:
    path = Path(source)
    # Of a pattern such as "walk/%05d.jpg", the folder has the name. Exports are named by it
    stem = path.parent.name if "%" in path.name else path.stem
    return safe_name(f"{stem}.mp4")


def _check_right(path: Path, metadata: Any) -> None:
    playback = measure_playback(str(path), metadata)
    if playback.problem or playback.rounded:
        path.unlink(missing_ok=True)
        raise VideoError(f"the copy would not play right either: {playback.problem or 'rounded'}")


def _write(dataset: fo.Dataset, sample: VideoFile, values: dict[str, Any]) -> None:
    """Changes a sample in one write, if it still has the file that was looked at."""
    fields = {
        name: value.to_dict() if isinstance(value, fom.Metadata) else value
        for name, value in values.items()
    }
    fields.update({PROBLEM: None, FRAMES_OFF: None})
    found = store.sample_documents(dataset).update_one(
        {"_id": ObjectId(sample.id), "filepath": sample.filepath},
        store.setting(fields),
    )
    if not found.matched_count:
        raise ValueError(
            f"sample {sample.id} has another file than when this began, or is gone: try again"
        )
    store.reload_sample(dataset, sample.id)
