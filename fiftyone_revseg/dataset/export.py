"""Results as files that other tools read: masks, boxes and trajectories of whole videos.

FiftyOne's own exporters know images, and boxes on videos; what they can do is left to them, see
docs/export.md.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar

import fiftyone.core.labels as fol
import numpy as np
from PIL import Image

from fiftyone_revseg.dataset.collection import check_collection, count_samples
from fiftyone_revseg.dataset.expressions import value_of
from fiftyone_revseg.dataset.frame_numbers import index_of
from fiftyone_revseg.dataset.labelled_videos import (
    LabelledVideo,
    group_by_text,
    reason_of,
    union,
    walk_videos,
)
from fiftyone_revseg.dataset.schema import valid_label_field
from fiftyone_revseg.files import check_writable, to_json
from fiftyone_revseg.files.written import Written, holds_only_ours
from fiftyone_revseg.masks.pictures import save_index_mask
from fiftyone_revseg.masks.rle import RLE, encode_masks, rle_areas, rle_box
from fiftyone_revseg.progress import OnProgress
from fiftyone_revseg.version import __version__

_JPEG_QUALITY = 95
_FOLDERS = ("Annotations", "JPEGImages")
_NAMED = 5  # queries, in the reason why a video has none that is meant


@dataclass
class ExportSummary:
    """What was exported.

    Attributes:
        directory: where the files are
        format: one of :data:`FORMATS`
        total: the number of videos, clips or groups
        exported: how many of them were exported
        skipped: id -> why it was not, in words
        notes: what a reader of the files must know, a sentence each
    """

    directory: str
    format: str
    total: int = 0
    exported: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.exported} of {self.total} exported as '{self.format}' to {self.directory}"]
        skipped = group_by_text({i: [reason] for i, reason in self.skipped.items()})
        lines += [f"  skipped: {line}" for line in skipped]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def export_results(
    samples: Any,
    directory: str | Path,
    format: str = "coco-tracks",
    label_field: str = "revseg",
    overwrite: bool = False,
    images: bool = False,
    group_slice: str | None = None,
    progress: bool | OnProgress | None = None,
    queries: Collection[str] = (),
    objects: Collection[int] = (),
) -> ExportSummary:
    """Writes the results on the videos of a collection to files.

    A file is whole or not there at all. What a view filters out is not exported.

    Examples::

        print(export_results(dataset, "tracks"))
        accepted = make_view(dataset, "accepted")
        export_results(accepted, "masks", "youtube-vos", images=True)

    Args:
        samples: a :class:`fiftyone.core.dataset.Dataset` or view: videos, clips, or ordered
            dynamic groups of images
        directory: where to write; created if missing
        format ("coco-tracks"): one of :data:`FORMATS`
        label_field ("revseg"): the label field, with or without "frames."
        overwrite (False): whether to write into a directory that is not empty. What an earlier
            export wrote there is replaced, and nothing else
        images (False): whether to write the frames as JPEGs, too; for "youtube-vos" and
            "coco-frames"
        group_slice (None): the slice with the videos, if the dataset is grouped
        progress (None): whether to show a progress bar; or a function that is called with a
            :class:`fiftyone_revseg.progress.RunProgress`. By default, as FiftyOne is
            configured
        queries (()): only what was found for these queries, of videos that were asked one of
            them. By default, for all
        objects (()): only the objects of these indices, of videos that have one of them. By
            default, all

    Returns:
        an :class:`ExportSummary`; ``print`` it: it says what was skipped, and why

    Raises:
        ValueError: if an argument is not valid, or there is nothing to export; nothing has been
            written then
        NotWritableError: (a ValueError) if nothing can be written there
    """
    make = FORMATS.get(format)
    if make is None:
        raise ValueError(f"There is no format {format!r}. Formats are: {', '.join(FORMATS)}")
    if images and not make.has_pictures:
        raise ValueError(f"The format '{format}' has no pictures: leave out images=True")
    label_field = valid_label_field(label_field)
    samples = check_collection(samples, group_slice)
    if not count_samples(samples):
        raise ValueError("There is nothing to export: there are no videos in this view")
    wanted = _Wanted(frozenset(query.strip() for query in queries), frozenset(objects))
    videos = walk_videos(samples, [label_field], progress, "Exporting")
    directory = check_directory(directory, overwrite)
    check_writable(directory)

    summary = ExportSummary(str(directory), format, total=count_samples(samples))
    created = not directory.exists()
    remarks: dict[str, list[str]] = {}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            exporter = make(directory, label_field, images, stack, wanted)
            for video in videos:
                try:
                    exporter.add(video)
                except OSError:  # nothing can be written
                    raise
                except Exception as error:  # what is wrong with one video must not stop the rest
                    summary.skipped[video.id] = reason_of(error)
                    continue
                summary.exported += 1
                remarks[video.id] = getattr(video, "remarks", [])
            if not summary.exported:
                reason = next(iter(summary.skipped.values()))
                raise ValueError(
                    f"There is nothing to export in '{label_field}' of {summary.total} videos: "
                    f"{reason}"
                )
            exporter.finish()
            summary.notes = exporter.notes() + group_by_text(remarks)
    except OSError as error:  # for example of a full disk
        raise ValueError(f"Nothing more can be written to {directory}: {error}") from error
    finally:
        _remove_if_empty(*(directory / name for name in _FOLDERS))
        if created:
            _remove_if_empty(directory)
    return summary


def check_directory(directory: str | Path, overwrite: bool = False) -> Path:
    """Checks that results can be written to a directory.

    Args:
        directory: the directory; it need not exist
        overwrite (False): whether it may have something in it

    Returns:
        its absolute path

    Raises:
        ValueError: if nothing can be, or should be, written there
    """
    if not str(directory).strip():
        raise ValueError("Name the directory to write to")
    path = Path(directory).expanduser().absolute()
    if not path.exists():
        return path
    if not path.is_dir():
        raise ValueError(f"{path} is a file: name a directory to write to")
    if not overwrite and not holds_only_ours(path):
        raise ValueError(
            f"{path} is not empty: name another directory, or overwrite, which replaces what an "
            "earlier export wrote there and leaves all else"
        )
    return path


def _remove_if_empty(*folders: Path) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


@dataclass(frozen=True)
class _Wanted:
    """What of a video is exported: all where nothing is named.

    Attributes:
        queries: the queries
        objects: the indices of objects
    """

    queries: frozenset[str] = frozenset()
    objects: frozenset[int] = frozenset()

    def holds(self, label: Any) -> bool:
        """Whether a detection or an answer is meant."""
        of_query = not self.queries or getattr(label, "query", None) in self.queries
        return of_query and (not self.objects or label.index in self.objects)

    def missing(self, asked: Collection[str]) -> str:
        """What is not in a video with nothing that is meant, of the queries it was asked."""
        if self.queries and not self.queries & set(asked):
            known = ", ".join(repr(query) for query in list(asked)[:_NAMED]) or "none"
            return f"it was asked {known}, not {_listed(self.queries)}"
        of = f" of {_listed(self.queries)}" if self.queries else ""
        return f"there is no object {_listed(self.objects)}{of}" if self.objects else ""


@dataclass
class _Exporter:
    """Writes one video after the other.

    Attributes:
        directory: where to
        label_field: the label field
        images: whether to write the frames, too
        stack: puts files of all videos in their places when it is left, unless by an error
        wanted: what of a video is written
        has_pictures: whether the frames can be written, too

    Raises:
        NotOursError: if a file that would be replaced was not written by an export
    """

    directory: Path
    label_field: str
    images: bool
    stack: ExitStack
    wanted: _Wanted = _Wanted()
    has_pictures: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.written = Written(self.directory)

    def add(self, video: LabelledVideo) -> None:
        """Exports a video; raises a ``ValueError`` if it has nothing to export."""
        raise NotImplementedError

    def finish(self) -> None:
        """Writes what is about all videos."""

    def notes(self) -> list[str]:
        """Says what a reader of the files must know."""
        return []

    def open(self, name: str) -> IO[str]:
        """Opens a file for what is about all videos."""
        partial = self.stack.enter_context(self.written.replacing(self.directory / name))
        return self.stack.enter_context(open(partial, "w", encoding="utf-8"))

    def _write_images(self, video: LabelledVideo, folder: Path) -> None:
        with video.open() as opened:
            for k, frame in opened.walk(0):
                path = folder / f"{_frame_name(video.numbers.start + k)}.jpg"
                Image.fromarray(frame).save(path, quality=_JPEG_QUALITY)

    def frames(self, video: LabelledVideo) -> Iterator[tuple[int, dict[int, list[fol.Detection]]]]:
        """The frames with labels: frame number, and index of the object -> its detections."""
        labelled, any_wanted = False, False
        for number, found in video.frames([self.label_field]):
            detections = found[self.label_field]
            if detections is None:
                continue
            labelled = True
            objects = defaultdict(list)
            for detection in detections:
                if detection.index is None:
                    raise ValueError(
                        f"Detections in '{self.label_field}' have no index, so they are no tracks "
                        "of objects"
                    )
                if self.wanted.holds(detection):
                    any_wanted = True
                    objects[detection.index].append(detection)
            yield number, dict(objects)
        if not labelled:
            raise ValueError(f"There are no labels in '{self.label_field}'")
        if not any_wanted and (missing := self.wanted.missing(self.asked(video))):
            raise ValueError(missing)

    def asked(self, video: LabelledVideo) -> list[str]:
        """What a video was asked, each query once."""
        return list(dict.fromkeys(answer["query"] for answer in video.answers(self.label_field)))


@dataclass
class _Coco(_Exporter):
    """One JSON file for all videos. Its annotations are written as they come: they need not fit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._categories: dict[str, int] = {}
        self._count = 0
        self._file = self.open("instances.json")
        head = json.dumps({"description": f"fiftyone-revseg {__version__}"})
        self._file.write(f'{{"info": {head}, "annotations": [')

    def _annotate(self, label: str, owner: dict[str, int], values: dict[str, Any]) -> None:
        self._count += 1
        category = self._categories.setdefault(label, len(self._categories) + 1)
        row = {"id": self._count, **owner, "category_id": category, **values}
        self._write_row(row, self._count)

    def _write_row(self, row: dict[str, Any], number: int) -> None:
        self._file.write(("," if number > 1 else "") + "\n" + _json(row))

    def finish(self) -> None:
        names = [{"id": i, "name": name} for name, i in self._categories.items()]
        self._file.write(f',\n"categories": {_json(names)}}}\n')


@dataclass
class _CocoTracks(_Coco):
    """YouTube-VIS's form of COCO: one annotation per object and video, one RLE per frame."""

    _videos: list[dict[str, Any]] = field(default_factory=list)

    def add(self, video: LabelledVideo) -> None:
        tracks: dict[int, _Track] = {}
        for number, objects in self.frames(video):
            for index, detections in objects.items():
                if index not in tracks:
                    tracks[index] = _Track(detections[0], len(video.numbers))
                tracks[index].add(number - video.numbers.start, detections, video.size)
        width, height = video.size
        size = {"width": width, "height": height, "length": len(video.numbers)}
        video_id = len(self._videos) + 1
        files = [f"{video.name}/{_frame_name(number)}.jpg" for number in video.numbers]
        self._videos.append(
            {
                "id": video_id,
                **size,
                "file_names": files,
                "name": video.name,
                "filepath": video.filepath,
                "sample_id": video.id,
            }
        )
        for index, track in sorted(tracks.items()):
            names = ("segmentations", "bboxes", "areas")
            masks = dict(zip(names, track.columns(), strict=True))
            about = {"score": track.score, "query": track.query, "index": index}
            values = {"iscrowd": 0, **size, **masks, **about}
            self._annotate(track.label, {"video_id": video_id}, values)

    def finish(self) -> None:
        self._file.write(f'],\n"videos": {_json(self._videos)}')
        super().finish()


class _Track:
    """One object in one video, as an annotation."""

    def __init__(self, first: fol.Detection, length: int):
        self.label = first.label or ""
        self.query = getattr(first, "query", None)
        self._scores: list[float] = []
        self._rles: list[RLE | None] = [None] * length

    def add(self, position: int, detections: list[fol.Detection], size: tuple[int, int]) -> None:
        self._scores += [float(d.confidence) for d in detections if d.confidence is not None]
        (self._rles[position],) = encode_masks(union(detections, size)[None])

    @property
    def score(self) -> float | None:
        return float(np.mean(self._scores)) if self._scores else None

    def columns(self) -> tuple[list[Any], list[Any], list[Any]]:
        """The masks, their boxes and their areas."""
        boxes = [None if rle is None else _xywh(rle_box(rle)) for rle in self._rles]
        counts = rle_areas(self._rles).tolist()
        areas = [rle and count for rle, count in zip(self._rles, counts, strict=True)]
        return self._rles, boxes, areas


@dataclass
class _CocoFrames(_Coco):
    """COCO as it is for images: every frame is one, and every object on it has one annotation.

    Masks are run-length codes: polygons fill holes, and drop what is one pixel wide.
    """

    has_pictures = True
    _videos: list[tuple[str, tuple[int, int], range, int]] = field(default_factory=list)
    _images: int = 0

    def add(self, video: LabelledVideo) -> None:
        # All of a video, or nothing: what is written to the file stays there
        rows = [
            row for number, found in self.frames(video) for row in self._rows(video, number, found)
        ]
        if self.images:
            target = self.directory / _FOLDERS[1] / video.name
            with self.written.replacing_folder(target) as folder:
                self._write_images(video, folder)
        first = self._images + 1
        for number, label, row in rows:
            self._annotate(label, {"image_id": first + number - video.numbers.start}, row)
        self._videos.append((video.name, video.size, video.numbers, first))
        self._images += len(video.numbers)

    def _rows(
        self, video: LabelledVideo, number: int, found: dict[int, list[fol.Detection]]
    ) -> Iterator[tuple[int, str, dict[str, Any]]]:
        for index, detections in sorted(found.items()):
            track = _Track(detections[0], 1)
            track.add(0, detections, video.size)
            (rle,), (box,), (area,) = track.columns()
            if area:
                found_by = {"query": track.query, "score": track.score}
                about = {"area": area, "iscrowd": 0, "index": index, **found_by}
                yield number, track.label, {"segmentation": rle, "bbox": box, **about}

    def finish(self) -> None:
        self._file.write('],\n"images": [')
        for name, (width, height), numbers, first in self._videos:
            for position, number in enumerate(numbers):
                image = {
                    "id": first + position,
                    "file_name": f"{name}/{_frame_name(number)}.jpg",
                    "width": width,
                    "height": height,
                    "video": name,
                    "frame_number": number,
                }
                self._write_row(image, first + position)
        self._file.write("]")
        super().finish()


@dataclass
class _YouTubeVOS(_Exporter):
    """A folder of palette PNGs for each video, in which an object has its index as a colour."""

    has_pictures = True
    _meta: dict[str, Any] = field(default_factory=dict)
    _expressions: dict[str, Any] = field(default_factory=dict)
    _overlapping: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._lists = [self.directory / f"{name}.json" for name in ("meta", "meta_expressions")]
        self.written.check(*self._lists)

    def add(self, video: LabelledVideo) -> None:
        kinds = _FOLDERS if self.images else _FOLDERS[:1]
        targets = [self.directory / kind / video.name for kind in kinds]
        self.written.check(*targets)
        with ExitStack() as stack:
            folders = [stack.enter_context(self.written.replacing_folder(t)) for t in targets]
            self._write_masks(video, folders[0])
            if self.images:
                self._write_images(video, folders[1])
            for path in self._lists:  # of an earlier export: not of what is here from now on
                self.written.check(path)
                path.unlink(missing_ok=True)

    def _write_masks(self, video: LabelledVideo, folder: Path) -> None:
        objects: dict[str, dict[str, Any]] = {}
        queries: dict[str, list[str]] = {}
        written, overlapping = set(), 0
        for number, found in self.frames(video):
            for index in found:
                if not 1 <= index <= 255:
                    raise ValueError(f"A PNG holds objects with an index of 1 to 255, not {index}")
            canvases: list[np.ndarray | None] = [None] * max(found, default=0)
            for index, detections in sorted(found.items()):
                canvases[index - 1] = union(detections, video.size)
                label = detections[0].label
                entry = objects.setdefault(str(index), {"category": label, "frames": []})
                entry["frames"].append(_frame_name(number))
                query = getattr(detections[0], "query", None)
                if query and str(index) not in queries.setdefault(query, []):
                    queries[query].append(str(index))
            overlapping += _overlap(canvases)
            save_index_mask(folder / f"{_frame_name(number)}.png", canvases, video.size)
            written.add(number)
        for number in video.numbers:
            if number not in written:
                save_index_mask(folder / f"{_frame_name(number)}.png", [], video.size)
        self._overlapping += overlapping
        self._meta[video.name] = {"objects": objects}
        self._expressions[video.name] = {
            "expressions": {
                str(i): {"exp": query, "obj_ids": ids}
                for i, (query, ids) in enumerate(queries.items())
            },
            "frames": [_frame_name(number) for number in video.numbers],
        }

    def finish(self) -> None:
        for path, content in zip(self._lists, (self._meta, self._expressions), strict=True):
            self.open(path.name).write(_json({"videos": content}))

    def notes(self) -> list[str]:
        if not self._overlapping:
            return []
        return [
            f"objects overlap in {self._overlapping} frames, where a PNG shows only the one with "
            "the lower index: 'coco-tracks' keeps all"
        ]


class _MOT(_Exporter):
    """A text file for each video, in MOTChallenge's form; it has boxes but no masks."""

    def add(self, video: LabelledVideo) -> None:
        rows = []
        for number, objects in self.frames(video):
            for index, detections in objects.items():
                if index < 0:
                    raise ValueError(f"MOTChallenge has no objects with a negative index ({index})")
                rows += [_mot_row(number, index, found, video.size) for found in detections]
        lines = []
        for row in sorted(rows):
            cells = [str(row[0]), str(row[1]), *(f"{value:.10g}" for value in row[2:])]
            lines.append(",".join(cells) + "\n")
        with self.written.replacing(self.directory / f"{video.name}.txt") as partial:
            partial.write_text("".join(lines), encoding="utf-8")


@dataclass
class _JSONLines(_Exporter):
    """One line for each video and query, with all that was asked and replied; it has no masks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._file = self.open("trajectories.jsonl")

    def add(self, video: LabelledVideo) -> None:
        records = video.records(self.label_field)
        if not records:
            raise ValueError(f"There is no trajectory in '{self.label_field}'")
        answers = [a for a in video.answers(self.label_field) if self.wanted.holds(a)]
        lines = []
        for record in records:
            if self.wanted.queries and record.query not in self.wanted.queries:
                continue
            own = [
                _answer(answer)
                for answer in answers
                if answer["query"] == record.query
                and (not record.support or tuple(answer["support"] or ()) == record.support)
            ]
            line = {
                "video": video.name,
                "filepath": video.filepath,
                "sample_id": video.id,
                "query": record.query,
                "answers": own,
                **record.document,
            }
            if own or not self.wanted.objects:
                lines.append(_json(line) + "\n")
        if not lines:
            raise ValueError(self.wanted.missing(self.asked(video)))
        self._file.write("".join(lines))


#: Name of a format -> what writes it
FORMATS: dict[str, type[_Exporter]] = {
    "coco-tracks": _CocoTracks,
    "coco-frames": _CocoFrames,
    "youtube-vos": _YouTubeVOS,
    "mot": _MOT,
    "jsonl": _JSONLines,
}


def _listed(values: Collection[Any]) -> str:
    return " or ".join(repr(value) for value in sorted(values))


def _frame_name(number: int) -> str:
    """YouTube-VOS counts frames from 0."""
    return f"{index_of(number):05d}"


def _xywh(box_xyxy_px: np.ndarray) -> list[float]:
    x1, y1, x2, y2 = (float(v) for v in box_xyxy_px)
    return [x1, y1, x2 - x1, y2 - y1]


def _overlap(masks: list[np.ndarray | None]) -> bool:
    present = [mask for mask in masks if mask is not None]
    return len(present) > 1 and bool((np.sum(present, axis=0, dtype=np.int32) > 1).any())


def _mot_row(
    number: int, index: int, detection: fol.Detection, size: tuple[int, int]
) -> tuple[float, ...]:
    x, y, w, h = np.array(detection.bounding_box) * [*size, *size]
    confidence = 1.0 if detection.confidence is None else detection.confidence
    # MOTChallenge counts frames, objects and pixels from 1; what follows is for boxes in 3D
    return (number, index, x + 1, y + 1, w, h, confidence, -1, -1, -1)


def _answer(answer: fol.Classification) -> dict[str, Any]:
    names = ("label", "confidence", "index", "keyframe", "support", "status", "reason", "corrected")
    values = {name: getattr(answer, name, None) for name in names}
    known = {name: value_of(answer, name) for name in ("certainty", "certainty_raw", "agreement")}
    values |= {name: value for name, value in known.items() if value is not None}
    return {**values, "tags": list(answer.tags or ())}


def _json(value: Any) -> str:
    # Dates of corrections are no JSON
    return to_json(value, ensure_ascii=False, default=str)
