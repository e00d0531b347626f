"""What a person changed in a result since it was written.

Whatever a person did is work that no run may undo unless it is told to: objects that were
corrected or accepted, and labels that were edited, added, deleted or tagged by hand. For the
latter, each result keeps a sum over all of its labels as they were written. Results of older
versions have none, so of those only that can be told which does not look like ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import fiftyone as fo
from bson import ObjectId

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.collection import VideoRef, members_of
from fiftyone_revseg.dataset.frame_numbers import Support, frame_range_of, is_within
from fiftyone_revseg.dataset.prompt_boxes import is_off_mask
from fiftyone_revseg.dataset.record import Record, records_of
from fiftyone_revseg.dataset.store import Document

#: A tag that asks for another result, so it keeps none from being replaced
REJECTED = "rejected"

# Copies have other ids and instances, and files with masks may move; tags are looked at apart
_LEFT_OUT = {"_id", "_cls", "instance", "tags", "mask_path", "reviewer", "reviewed_at"}
_SIZE = 8  # bytes of a sum


class LabelSum:
    """Adds up labels in any order, so that it shows when one of them was changed.

    Masks count as they are stored, and are not decoded. Ids, instances, tags, who gave
    them and when, and the paths of files do not count.
    """

    def __init__(self) -> None:
        self._total = 0

    def add(self, labels: Iterable[Document], ignored: Iterable[str] = ()) -> None:
        """Adds labels.

        Args:
            labels: raw documents of labels
            ignored: names of attributes that do not count
        """
        left_out = {*_LEFT_OUT, *ignored}
        for label in labels:
            content = {
                name: _plain(value)
                for name, value in label.items()
                if name not in left_out and value is not None and value not in ([], {}, "")
            }
            text = json.dumps(content, sort_keys=True, default=str).encode()
            self._total += int.from_bytes(hashlib.blake2b(text, digest_size=_SIZE).digest(), "big")

    def __str__(self) -> str:
        return f"{self._total % (1 << 8 * _SIZE):016x}"


def keep_sums(records: Sequence[Record], detections: LabelSum, answers: Sequence[Document]) -> None:
    """Keeps in the records of a result what was written with them.

    Args:
        records: the records of one job, changed in place
        detections: the sum of all its detections
        answers: raw documents of its answers
    """
    if records:
        of_answers = LabelSum()
        of_answers.add(answers)
        records[0].document["written"] = {"detections": str(detections), "answers": str(of_answers)}


def find_changed(
    dataset: fo.Dataset,
    label_field: str,
    videos: Sequence[VideoRef],
    frames: bool = True,
) -> dict[str, list[Support | None]]:
    """Finds the results that a person corrected, accepted or changed.

    Takes time linear in the number of frames that are looked at.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        label_field: the label field, without "frames."
        videos: where to look; of clips, at all of the video that they are a part of
        frames (True): whether to look at the detections, too, or only at what samples have

    Returns:
        id of a sample -> the frames of each such result: (first, last) of a clip, or None for
        the whole video
    """
    if not videos:
        return {}
    ignored = _of_evaluations(dataset)
    # The first image of a group has its record, unless the group had another order then
    members = members_of(videos)
    results = [
        result
        for document in _read_samples(dataset, label_field, list(members))
        for result in _results_of(document, members[document["_id"]][0], label_field, ignored)
    ]
    left = [result for result in results if not result.changed]
    if frames and left:
        _look_at_frames(dataset, label_field, left, members, ignored)
    found: dict[str, list[Support | None]] = {}
    for result in results:
        if result.changed:
            found.setdefault(result.sample_id, []).append(result.support)
    return found


def count_corrected(dataset: fo.Dataset, label_field: str) -> int:
    """Counts the samples with objects that were corrected or accepted.

    Labels that were edited by hand are not looked for, as that takes as long as reading all masks;
    see :func:`find_changed`.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        label_field: the label field, without "frames."

    Returns:
        how many samples; groups of images count once
    """
    records = f"{label_field}_trajectory.segmentations"
    if dataset.get_field(f"{label_field}_trajectory") is None:
        return 0
    tags = f"{label_field}_answers.classifications.tags"
    return store.sample_documents(dataset).count_documents(
        {
            f"{records}.0": {"$exists": True},
            "$or": [
                {f"{records}.corrections.0": {"$exists": True}},
                {tags: {"$elemMatch": {"$ne": REJECTED}}},
            ],
        }
    )


class _Result:
    """The records of one sample that were written together."""

    def __init__(self, sample_id: str, records: Sequence[Record], answers: Sequence[Document]):
        first = records[0]
        self.sample_id = sample_id
        self.support = first.support
        self.frames = first.frames
        self.written: Document = first.document.get("written") or {}
        self.size: Sequence[int] = first.trajectory.get("source_size") or ()
        self.answers = answers
        self.changed = any(record.corrections for record in records)
        self.detections = LabelSum()
        self.seen = 0  # frames with a value
        self.looks_changed = False  # as far as that can be told without a sum

    @property
    def frame_count(self) -> int:
        return len(range(*frame_range_of(self.frames))) if self.frames else 0

    def look_at_answers(self, ignored: set[str]) -> None:
        self.changed |= any(_is_tagged(answer) for answer in self.answers)
        if "answers" in self.written:
            total = LabelSum()
            total.add(self.answers, ignored)
            self.changed |= str(total) != self.written["answers"]

    def look_at(self, detections: Sequence[Document], ignored: set[str]) -> None:
        """Looks at the detections of one frame."""
        self.seen += 1
        self.changed |= any(_is_tagged(detection) for detection in detections)
        self.detections.add(detections, ignored)
        self.looks_changed |= any(not _is_like_ours(d) for d in detections)
        if not self.written and not self.looks_changed:
            labels = {a.get("index"): a.get("label") for a in self.answers}
            self.looks_changed = any(
                labels.get(d["index"], d["label"]) != d["label"] or self._is_off_mask(d)
                for d in detections
            )

    def _is_off_mask(self, detection: Document) -> bool:
        return not detection.get("mask_path") and is_off_mask(detection, self.size)

    def finish(self) -> None:
        # A run that was killed may have left a part of the frames, and a later result of a clip
        # may have replaced a part of a whole video's: then the sum says nothing
        if self.written and self.seen >= self.frame_count:
            self.changed |= str(self.detections) != self.written.get("detections")
        else:
            self.changed |= self.looks_changed


def _read_samples(
    dataset: fo.Dataset, label_field: str, ids: Sequence[ObjectId]
) -> Iterator[Document]:
    root = f"{label_field}_trajectory.segmentations"
    names = ["status", "support", "first_frame", "corrections.index", "written"]
    names += ["trajectory.frame_table.frame_count", "trajectory.source_size"]
    fields = dict.fromkeys([f"{root}.{name}" for name in names], True)
    fields[f"{label_field}_answers"] = True
    query = {"_id": {"$in": ids}, f"{root}.0": {"$exists": True}}
    return store.sample_documents(dataset).find(query, fields)


def _results_of(
    document: Document, sample_id: str, label_field: str, ignored: set[str]
) -> Iterator[_Result]:
    answers = _answers_of(document, label_field)
    by_support: dict[Support | None, list[Record]] = {}
    for record in records_of(document[f"{label_field}_trajectory"]):
        by_support.setdefault(record.support, []).append(record)
    for records in by_support.values():
        try:
            about = records[0].frames
        except (KeyError, TypeError):
            continue  # no record of ours
        own = [a for a in answers if (a.get("support") or about) == about]  # old ones have none
        result = _Result(sample_id, records, own)
        if not result.changed:
            result.look_at_answers(ignored)
        yield result


def _look_at_frames(
    dataset: fo.Dataset,
    label_field: str,
    results: Sequence[_Result],
    members: Mapping[ObjectId, tuple[str, int]],
    ignored: set[str],
) -> None:
    by_sample: dict[str, list[_Result]] = {}
    for result in results:
        by_sample.setdefault(result.sample_id, []).append(result)
    looked_at = {member: place for member, place in members.items() if place[0] in by_sample}
    for sample_id, number, document in _read_frames(dataset, label_field, looked_at):
        value = document.get(label_field)
        if not isinstance(value, dict):
            continue
        detections = value.get("detections") or []  # an emptied list is not stored at all
        about = [r for r in by_sample[sample_id] if r.frames and is_within(number, r.frames)]
        if not about:
            continue
        # A result of a part replaced what one of the whole had in its frames, never the reverse
        result = min(about, key=lambda one: one.frame_count)
        result.look_at(detections, ignored)
        if dataset.media_type == "image":
            result.answers = _answers_of(document, label_field)
            result.look_at_answers(ignored)
    for result in results:
        result.finish()


def _read_frames(
    dataset: fo.Dataset, label_field: str, members: Mapping[ObjectId, tuple[str, int]]
) -> Iterator[tuple[str, int, Document]]:
    """Yields the id of the sample, the frame number, and the document with the detections."""
    key = store.owner_key(dataset)
    names = [key, "frame_number", label_field, f"{label_field}_answers"]
    for document in store.label_documents(dataset).find({key: {"$in": list(members)}}, names):
        sample_id, number = members[document[key]]
        yield sample_id, number if key == "_id" else document["frame_number"], document


def _answers_of(document: Document, label_field: str) -> list[Document]:
    return (document.get(f"{label_field}_answers") or {}).get("classifications") or []


def _of_evaluations(dataset: fo.Dataset) -> set[str]:
    """The attributes that FiftyOne's evaluations give to labels, which no person did."""
    return {name for key in dataset.list_evaluations() for name in (key, f"{key}_id", f"{key}_iou")}


def _is_tagged(label: Document) -> bool:
    return any(tag != REJECTED for tag in label.get("tags") or ())


def _is_like_ours(detection: Document) -> bool:
    """Whether a detection has what all of ours have; those that a person drew have not."""
    if not isinstance(detection.get("index"), int) or not detection.get("instance"):
        return False
    has_mask = detection.get("mask") is not None or detection.get("mask_path")
    return isinstance(detection.get("query"), str) and bool(has_mask)


def _plain(value: Any) -> Any:
    """A value so that the same one looks the same, whoever saved it."""
    if isinstance(value, bytes):
        return hashlib.blake2b(value, digest_size=_SIZE).hexdigest()
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return round(float(value), 9)
    return value
