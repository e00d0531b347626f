"""The masks of a sample as arrays: what detections in a database, or in files, stand for.

Videos, clips and ordered groups of images look the same from here: a video has a size, frame
numbers, and detections on them. Masks are decoded one frame at a time, so the length of a video
does not matter.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import fiftyone as fo
import fiftyone.core.labels as fol
import numpy as np
from PIL import Image
from pymongo.errors import PyMongoError

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.collection import (
    VideoRef,
    count_samples,
    is_clips,
    is_image_groups,
    source_dataset,
    video_of,
)
from fiftyone_revseg.dataset.extent import Extents
from fiftyone_revseg.dataset.frame_numbers import index_of, number_of, numbers_of
from fiftyone_revseg.dataset.record import Record, records_of
from fiftyone_revseg.dataset.schema import valid_label_field
from fiftyone_revseg.dataset.stored_detection import StoredDetection, check_detection
from fiftyone_revseg.files.names import safe_name, safe_names
from fiftyone_revseg.progress import OnProgress, walked
from fiftyone_revseg.video.diagnosis import check_frame_size
from fiftyone_revseg.video.images import is_pattern

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_SAMPLE_FIELDS = ("answers", "status", "trajectory")  # what is read beside the masks


@dataclass(frozen=True, kw_only=True)
class LabelledVideo(VideoRef):
    """One video, clip or group of images, and how to get at its labels.

    Attributes:
        name: a name for files, which no other video of the collection has on any file system
        values: the sample-level fields, such as "revseg_status"
        size: the (width, height) in pixels
        numbers: its frame numbers, in order; of a clip, those in the whole video
        remarks: what a reader of the results must know, in words that are the same for all videos
            of which they are true; complete once its frames were walked over
        unusable: why it cannot be read, in words, if not even its size is known; "" if it is
    """

    name: str
    values: dict[str, Any] = field(repr=False)
    size: tuple[int, int] = (0, 0)
    numbers: range = range(0)
    remarks: list[str] = field(default_factory=list, repr=False)
    unusable: str = ""
    _source: Any = field(default=None, repr=False)

    @property
    def frame_range(self) -> tuple[int, int] | None:
        """The 0-based, half-open range of its frames; None for images."""
        if self.images:
            return None
        return index_of(self.numbers.start), index_of(self.numbers.stop)

    def frames(self, label_fields: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Walks over the frames that have labels, without keeping what it has passed.

        Args:
            label_fields: the label fields, without "frames."

        Yields:
            the frame number, which is one of :attr:`numbers`, and a dict that maps each label
            field to its list of :class:`fiftyone.core.labels.Detection` (or
            :class:`StoredDetection`, which reads like one), or to None where the frame has no such
            value

        Raises:
            ValueError: if the video cannot be read, or a label cannot be what it should be; the
                message says why, or names it
        """
        if self.unusable:
            raise ValueError(self.unusable)
        for number, stored in _stored_frames(self._source, label_fields, bool(self.images)):
            if number not in self.numbers:
                if any(stored.values()) and _OUTSIDE not in self.remarks:
                    self.remarks.append(_OUTSIDE)
                continue
            yield number, {name: _detections(v, number, name) for name, v in stored.items()}

    def answers(self, label_field: str) -> list[fol.Classification]:
        """The answers in a label field; [] where it comes without any."""
        found = self.values.get(f"{label_field}_answers")
        return list(found.classifications) if found is not None else []

    def records(self, label_field: str) -> list[Record]:
        """The records in a label field; [] where it comes without any."""
        return records_of(self.values.get(f"{label_field}_trajectory"))


_OUTSIDE = "labels on frames that the video does not have were left out"


def masks_path(samples: Any, label_field: str) -> str:
    """Returns the path of a field with the detections of objects, after checking that it is one.

    Args:
        samples: a :class:`fiftyone.core.collections.SampleCollection`
        label_field: the label field, with or without "frames."

    Returns:
        the path, such as ``"frames.revseg"``; of images, ``"revseg"``

    Raises:
        ValueError: if there is no such field, or it holds something else
    """
    name = valid_label_field(label_field)
    path = name if is_image_groups(samples) else f"frames.{name}"
    found = samples.get_field(path)
    if found is None or getattr(found, "document_type", None) is not fo.Detections:
        known = ", ".join(detection_fields(samples)) or "none"
        what = "There is no field" if found is None else "There are no detections in"
        raise ValueError(f"{what} '{path}'. Label fields with detections are: {known}")
    return path


def detection_fields(samples: Any) -> list[str]:
    """Lists the label fields that may hold masks of objects, without "frames."."""
    if samples.media_type == "video":
        schema = samples.get_frame_field_schema() or {}
    else:
        schema = samples.get_field_schema()
    return [k for k, v in schema.items() if getattr(v, "document_type", None) is fo.Detections]


def iter_videos(samples: Any, label_fields: Sequence[str]) -> Iterator[LabelledVideo]:
    """Walks over the videos of a collection.

    Args:
        samples: what :func:`fiftyone_revseg.dataset.collection.check_collection` returned
        label_fields: the label fields that are of interest, without "frames."

    Yields:
        a :class:`LabelledVideo`, which says why where the video cannot be read

    Raises:
        ValueError: if there are no such fields
    """
    paths = [masks_path(samples, name) for name in label_fields]
    beside = [f"{name}_{suffix}" for name in label_fields for suffix in _SAMPLE_FIELDS]
    beside = [name for name in beside if samples.has_field(name)]
    extents, dataset = Extents(), source_dataset(samples)
    if is_image_groups(samples):
        for group in samples.iter_dynamic_groups():
            group = group.select_fields([*paths, *beside])
            video = video_of(group, dataset)
            # A group has no name of its own, and its first image may be called as that of another
            name = safe_name(f"{_stem(video.filepath)}-{video.id}")
            # One image alone holds the trajectory, and all of them the rest
            values = {name: next(filter(None, group.values(name)), None) for name in beside}
            yield _labelled(video, name, values, group, extents)
        return
    names = _names(samples)
    for sample in samples.select_fields([*paths, *beside]).iter_samples():
        values = {k: sample[k] for k in beside}
        yield _labelled(video_of(sample, dataset), names[sample.id], values, sample, extents)


def reason_of(error: Exception) -> str:
    """Says in words what keeps one video from being worked on, so that the others go on.

    Args:
        error: what was raised

    Returns:
        the reason

    Raises:
        PyMongoError: if that is what the error is: without its database, nothing goes on
    """
    if isinstance(error, PyMongoError):
        raise error
    if isinstance(error, (RuntimeError, ValueError)) and str(error):
        return " ".join(str(error).split())
    logger.warning("A video cannot be worked on", exc_info=error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def group_by_text(texts: Mapping[str, Sequence[str]]) -> list[str]:
    """Says what is true of videos, once for all of which it is.

    Args:
        texts: id of a video -> what is to be said about it

    Returns:
        lines that end in the id of the video, or in the number of them and the first id
    """
    ids: dict[str, list[str]] = {}
    for video_id, said in texts.items():
        for text in said:
            ids.setdefault(text, []).append(video_id)
    return [
        f"{text} ({own[0] if len(own) == 1 else f'{len(own)} samples, first {own[0]}'})"
        for text, own in ids.items()
    ]


def with_progress(
    videos: Iterable[_T],
    total: int,
    progress: bool | OnProgress | None,
    title: str,
) -> Iterator[_T]:
    """Walks over videos while saying how far that is, see :func:`fiftyone_revseg.progress.walked`.

    Args:
        videos: see :func:`iter_videos`; or their names, or what else has one
        total: how many there are
        progress: as there; None for what FiftyOne is configured to do
        title: what is done to them, for people
    """
    show = fo.config.show_progress_bars if progress is None else progress
    return walked(videos, total, show, title)


def walk_videos(
    samples: Any, label_fields: Sequence[str], progress: bool | OnProgress | None, title: str
) -> Iterator[LabelledVideo]:
    """Walks over the videos of a collection while saying how far that is.

    What :func:`iter_videos` and :func:`with_progress` say holds, but the fields are checked at
    once: before the first video is asked for.
    """
    for name in label_fields:
        masks_path(samples, name)
    count = count_samples(samples)
    videos = iter_videos(samples, label_fields) if count else ()
    return with_progress(videos, count, progress, title)


def object_masks(sample: Any, label_field: str, size: tuple[int, int, int]) -> np.ndarray:
    """Collects the masks of a sample's objects on all frames.

    Args:
        sample: a :class:`fiftyone.core.sample.Sample` of a video
        label_field: the label field, without "frames."
        size: the number of frames, the height and the width in pixels

    Returns:
        (objects, T, H, W) bool, in the order of the objects' indices; of one object that is
        nowhere, where there are none
    """
    found: dict[int, np.ndarray] = {}
    for number, stored in _stored_frames(sample, [label_field]):
        for detection in _detections(stored[label_field], number, label_field) or ():
            masks = found.setdefault(detection.index, np.zeros(size, bool))
            paste(masks[index_of(number)], detection)
    if not found:
        return np.zeros((1, *size), bool)
    return np.stack([found[index] for index in sorted(found, key=lambda i: (i is None, i))])


def union(detections: Iterable[fol.Detection], size: tuple[int, int]) -> np.ndarray:
    """Returns (H, W) bool, true where any of the detections of a frame of ``size`` (w, h) is."""
    canvas = np.zeros((size[1], size[0]), bool)
    for detection in detections:
        paste(canvas, detection)
    return canvas


def paste(canvas: np.ndarray, detection: fol.Detection) -> None:
    """Adds a detection's mask to the ``(H, W)`` bool canvas of its frame.

    A detection without a mask counts as the whole of its box. A mask of another resolution than
    that of its box in the frame is scaled to it, as the App does.

    Raises:
        ValueError: if the file with the mask cannot be read
    """
    height, width = canvas.shape
    x, y, w, h = detection.bounding_box
    left, top = round(x * width), round(y * height)
    rows, columns = round((y + h) * height) - top, round((x + w) * width) - left
    mask = _mask_of(detection)
    if mask is None:
        mask = np.ones((max(rows, 0), max(columns, 0)), bool)
    elif abs(mask.shape[0] - rows) > 1 or abs(mask.shape[1] - columns) > 1:  # not just rounding
        if not mask.size:
            raise ValueError(f"the mask in the box {list(detection.bounding_box)} has no pixels")
        mask = _scaled(mask, max(rows, 1), max(columns, 1))
    # Boxes of other tools may reach out of the frame
    skip_y, skip_x = max(-top, 0), max(-left, 0)
    target = canvas[max(top, 0) : top + mask.shape[0], max(left, 0) : left + mask.shape[1]]
    target |= mask[skip_y : skip_y + target.shape[0], skip_x : skip_x + target.shape[1]]


def _mask_of(detection: fol.Detection) -> np.ndarray | None:
    try:
        mask = detection.mask
    except Exception as error:  # whatever the stored bytes are
        raise ValueError(f"a mask in the database is damaged ({error})") from error
    if mask is None:
        if not detection.mask_path:
            return None
        mask = _read_mask(detection)
    mask = np.asarray(mask)
    if mask.ndim != 2:
        where = f"in {detection.mask_path}" if detection.mask_path else "in the database"
        raise ValueError(
            f"the mask {where} has the shape {mask.shape}: a mask has rows and columns, and one"
            " value for each pixel"
        )
    return mask > 0


def _read_mask(detection: fol.Detection) -> Any:
    path = detection.mask_path
    try:
        with Image.open(path) as image:
            check_frame_size(path, *image.size)
        mask = detection.get_mask()
        if mask is None:
            raise ValueError("it is no picture")
    except Exception as error:
        raise ValueError(
            f"The mask in {path} cannot be read ({error}): put the file back, or segment the video "
            "again"
        ) from error
    return mask


def _scaled(mask: np.ndarray, rows: int, columns: int) -> np.ndarray:
    y = (np.arange(rows) * mask.shape[0]) // rows
    x = (np.arange(columns) * mask.shape[1]) // columns
    return mask[y][:, x]


def _stored_frames(
    source: Any, names: Sequence[str], images: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Frame numbers, and the values of fields as they are stored."""
    if images:
        for k, sample in enumerate(source.iter_samples()):
            yield number_of(k), {name: sample[name] for name in names}
        return
    # FiftyOne's own iterators keep every frame that they have passed, with its masks decoded.
    # These documents are those of the view, too: what it filters out is not there
    for stored in store.iter_frames(source):
        yield stored["frame_number"], {name: stored.get(name) for name in names}


def _detections(stored: Any, number: int, name: str) -> list[Any] | None:
    """The detections in a field of a frame, each of which was checked."""
    if stored is None:
        return None
    try:
        if isinstance(stored, dict):
            found: list[Any] = [StoredDetection(values) for values in stored["detections"] or ()]
        else:
            found = list(stored.detections)
        for detection in found:
            check_detection(detection)
    except Exception as error:
        why = error if isinstance(error, ValueError) else "it holds no list of detections"
        raise ValueError(f"Frame {number} of '{name}' cannot be used: {why}") from error
    return found


def _labelled(
    video: VideoRef, name: str, values: dict[str, Any], source: Any, extents: Extents
) -> LabelledVideo:
    clip = video.support

    def metadata() -> Any:
        return (source.first() if video.images else source).metadata

    def last_labelled() -> int:
        return max(source.frames.keys(), default=0)

    found = LabelledVideo(**vars(video), name=name, values=values, _source=source)
    try:
        extent = extents.of(video, values, metadata, last_labelled)
        if clip is not None and not 1 <= clip[0] <= clip[1] <= extent.count:
            raise ValueError(
                f"The clip is of frames {clip[0]} to {clip[1]}, and its video has {extent.count}"
            )
    except Exception as error:
        return replace(found, unusable=reason_of(error))
    numbers = numbers_of(video.frame_range or (0, extent.count))
    remarks = [extent.note] if extent.note else []
    return replace(found, size=extent.size, numbers=numbers, remarks=remarks)


def _names(samples: Any) -> dict[str, str]:
    """The names of all videos by their ids; those that would have the same one get the id, too."""
    ids, filepaths = samples.values(["id", "filepath"])
    names = [_stem(filepath) for filepath in filepaths]
    if is_clips(samples):
        supports = samples.values("support")
        names = [f"{n}_{s[0]:05d}-{s[1]:05d}" for n, s in zip(names, supports, strict=True)]
    counts = Counter(names)
    names = [n if counts[n] == 1 else f"{n}-{i}" for i, n in zip(ids, names, strict=True)]
    safe = safe_names(names)
    return {i: safe[name] for i, name in zip(ids, names, strict=True)}


def _stem(filepath: str) -> str:
    path = Path(filepath)
    # Of a pattern such as "walk/%05d.jpg", the folder has the name
    return path.parent.name if is_pattern(filepath) else path.stem
