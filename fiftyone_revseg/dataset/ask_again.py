"""Asking again: a query is put in other words, or to another model, and its answer is replaced.

Answers to other queries stay as they are, masks and numbers included. As all corrections, it can be
undone, see :mod:`fiftyone_revseg.dataset.undo`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fiftyone as fo
from bson import ObjectId
from pymongo import UpdateOne

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.correct import pipeline_of
from fiftyone_revseg.dataset.former import Former, keep, read_placed
from fiftyone_revseg.dataset.frame_numbers import numbers_of
from fiftyone_revseg.dataset.jobs import check_queries
from fiftyone_revseg.dataset.labels import SampleLabels, make_labels
from fiftyone_revseg.dataset.model import RevSegModel
from fiftyone_revseg.dataset.objects import StoredObject, find_asked, find_place, list_objects
from fiftyone_revseg.dataset.place import Place
from fiftyone_revseg.dataset.record import (
    Record,
    Results,
    find_query,
    number_objects,
    settings_of,
)
from fiftyone_revseg.dataset.sample_edit import edit_main, edit_samples, is_about, note
from fiftyone_revseg.dataset.schema import declare_fields
from fiftyone_revseg.dataset.size_limit import make_fit
from fiftyone_revseg.dataset.store import Document
from fiftyone_revseg.pipeline import Progress, RevSeg, Segmentation
from fiftyone_revseg.types import Status

_UNFINISHED = "asking again was interrupted: ask again, or undo"


@dataclass(frozen=True)
class AskedAgain:
    """What came of asking again.

    Attributes:
        sample_id: the sample
        label_field: the label field
        was: the query before
        query: the query now
        status: how it ended, see :class:`fiftyone_revseg.types.Status`
        reason: why, where it is not "ok"
        objects: index -> description, of what was found
        seconds: the wall time in seconds
    """

    sample_id: str
    label_field: str
    was: str
    query: str
    status: str
    reason: str
    objects: dict[int, str]
    seconds: float

    def __str__(self) -> str:
        found = ", ".join(f"object {index} ({label})" for index, label in self.objects.items())
        said = found or {str(Status.NO_TARGET): "no such object"}.get(self.status, self.status)
        asked = "" if self.was == self.query else f' in place of "{self.was}"'
        why = f" ({self.reason})" if self.reason else ""
        return f'"{self.query}"{asked}: {said}{why}, {self.seconds:.1f} s'


def ask_again(
    sample: Any,
    query: str | None = None,
    new_query: str | None = None,
    model: RevSegModel | RevSeg | str | Path = "revseg-nano",
    label_field: str = "revseg",
    support: Sequence[int] | None = None,
    progress: Progress | None = None,
    by: str | None = None,
) -> AskedAgain:
    """Asks a query again, in other words if you like, and replaces its answer.

    The whole chain runs: key frame, box, masks. To ask about one object in one frame only, see
    :func:`fiftyone_revseg.dataset.correct.reground`.

    Args:
        sample: a :class:`fiftyone.core.sample.Sample` or view of one: a video or a clip; or the
            images of one group, as ``iter_dynamic_groups()`` gives them
        query (None): the query whose answer is replaced. By default, the only one
        new_query (None): what to ask in its place. By default, the same
        model ("revseg-nano"): a :class:`RevSegModel`, a :class:`fiftyone_revseg.pipeline.RevSeg`,
            a preset, a hub id or a path
        label_field ("revseg"): the label field
        support (None): the first and last frame number of the clip, where several clips of a video
            have answers to this query
        progress (None): called as ``progress(stage, done, total)``
        by (None): who asks. By default, the name of the user that runs this

    Returns:
        an :class:`AskedAgain`; ``print`` it. That there is no such object is an answer, too

    Raises:
        ValueError: if there is no such answer, or the model gave none because of an error; nothing
            has been written then
    """
    started = time.perf_counter()
    place = find_place(sample, label_field)
    record = find_asked(place, query, support)
    asked = record.query if new_query is None else new_query
    check_queries(asked)
    frames: Any = record.frames
    if asked != record.query and find_query(place.read().records, asked, frames) is not None:
        raise ValueError(f"'{asked}' was asked about this video, too: ask that again")
    pipeline = pipeline_of(model)
    with replace(place, support=record.support).open() as video:
        (answer,) = pipeline.segment(video, [asked], progress=progress)
    if answer.status in (Status.UNREADABLE, Status.ERROR):
        raise ValueError(f"There is no answer: {answer.reason}. Nothing was changed")
    labels = make_labels([answer], support=record.support, settings=settings_of(pipeline))
    labels = make_fit(labels, place.stored(), place.label_field, frames)
    found = _Replacement.of(place, record, answer, labels, by)
    found.write()
    objects = {
        index: choice.description
        for index, choice in zip(found.indices, answer.trajectory.choices, strict=False)
    }
    about = (record.query, asked, str(answer.status), answer.reason, objects)
    seconds = time.perf_counter() - started
    return AskedAgain(place.sample_id, place.label_field, *about, seconds)


@dataclass(frozen=True)
class _Replacement:
    """An answer that takes the place of another one.

    Attributes:
        place: where the labels are
        record: the record of the answer before
        labels: what is written; its objects are numbered from 1
        indices: the numbers that they get; further ones are those of objects that are gone
        entry: what the new record is to say of it
        instances: what links the detections of each object
    """

    place: Place
    record: Record
    labels: SampleLabels
    indices: list[int]
    entry: Document
    instances: list[fo.Instance]

    @classmethod
    def of(
        cls,
        place: Place,
        record: Record,
        answer: Segmentation,
        labels: SampleLabels,
        by: str | None,
    ) -> _Replacement:
        frames: Any = record.frames
        records = place.read().records
        free = number_objects(records, frames)
        old = list((find_query(records, record.query, frames) or record).indices or ())
        count = len(answer.trajectory.choices)
        indices = [*old, *range(free, free + max(0, count - len(old)))]
        instances = [fo.Instance() for _ in range(count)]
        entry = note("asked again", by, was=record.query, indices=indices)
        entry["instances"] = [ObjectId(instance.id) for instance in instances]
        earlier = (e for e in record.corrections if e.get("unfinished") and "indices" in e)
        begun = next(earlier, None)
        if begun is None:
            former = Former.of(place, record, _objects_of(place, record), answer.query, indices)
            entry["former"] = keep(place.dataset, former)
        else:  # what that left is no state to come back to
            entry["former"] = begun["former"]
            entry["instances"] += begun["instances"]
        return cls(place, record, labels, indices, entry, instances)

    def write(self) -> None:
        """Writes all of it."""
        place = self.place
        for dataset, _ in place.owners:
            declare_fields(dataset, place.label_field)
        writes = list(self._frame_writes())
        edit_main(place, self._mark)
        store.write_documents(place.dataset, writes, frames=not place.images)
        edit_samples(place, self._finish)

    def _frame_writes(self) -> list[UpdateOne]:
        place, name, writes = self.place, self.place.label_field, []
        frames: Any = self.record.frames
        old = read_placed(place, frames, _objects_of(place, self.record), self.entry["instances"])
        root = f"{name}.detections"
        for number in numbers_of((frames[0] - 1, frames[1])):
            placed = old.get(number, ())
            gone = [d["_id"] for _, d in placed if d.get("index") is not None]
            this = place.frame(number)
            if gone:
                pull: Any = {root: {"_id": {"$in": gone}}}
                writes.append(UpdateOne(this, {"$pull": pull, **store.setting({})}))
            new = [self._numbered(d) for d in self._detections(number)]
            if new:
                push: Any = {root: {"$each": new}}
                writes.append(UpdateOne(this, {"$push": push, **store.setting({})}))
        return writes

    def _detections(self, number: int) -> list[Document]:
        found = self.labels.frames.get(number)
        return [] if found is None else [d.to_dict() for d in found.detections]

    def _numbered(self, label: Document) -> Document:
        """A label with the number that its object gets."""
        if label.get("index") is None:
            return label
        position = label["index"] - 1
        label["index"] = self.indices[position]
        if "instance" in label:
            label["instance"] = {"_cls": "Instance", "_id": ObjectId(self.instances[position].id)}
        return label

    def _mark(self, values: Results, sample_id: str) -> None:
        for answer in filter(self._is_old, values.answers):
            answer.update(status=str(Status.ERROR), reason=_UNFINISHED)
        found = find_query(values.records, self.record.query, self.record.frames or ())
        if found is None:
            raise ValueError("The answer is gone: the video was segmented again meanwhile")
        left = [e for e in found.corrections if not (e.get("unfinished") and "indices" in e)]
        found.document["corrections"] = [*left, {**self.entry, "unfinished": True}]
        found.document.update(status=str(Status.ERROR), reason=_UNFINISHED)

    def _finish(self, values: Results, sample_id: str) -> None:
        new = self.labels.results
        answers = [{**self._numbered(a), "_id": ObjectId(), "corrected": True} for a in new.answers]
        keyframes = [{**self._numbered(k), "_id": ObjectId()} for k in new.keyframes]
        at = [n for n, a in enumerate(values.answers) if self._is_old(a)]
        first = at[0] if at else len(values.answers)
        values.answers = [a for a in values.answers if not self._is_old(a)]
        values.answers[first:first] = answers
        values.keyframes = [k for k in values.keyframes if not self._has_keyframe(k)]
        values.keyframes += self._keyframes_at(keyframes, sample_id)
        number_objects(values.records, self.record.frames or ())
        for n, record in enumerate(values.records):
            if record.query == self.record.query and record.frames == self.record.frames:
                document = dict(new.records[0].document)
                document.update(indices=self.indices, corrections=[self.entry])
                values.records[n] = Record(document)

    def _is_old(self, answer: Document) -> bool:
        return is_about(answer, self.record.query, self.record.frames)

    def _has_keyframe(self, keyframe: Document) -> bool:
        frames: Any = self.record.frames
        around = keyframe.get("support") or frames  # images have none
        inside = frames[0] <= around[0] and around[1] <= frames[1]
        return bool(inside and keyframe.get("index") in self.indices)

    def _keyframes_at(self, keyframes: list[Document], sample_id: str) -> list[Document]:
        """The key frames as one document has them: of images, the one that is it has the label."""
        if not self.place.images:
            return keyframes
        by_number = self.place.by_number
        return [
            fo.Classification(
                label=k["label"],
                confidence=k.get("confidence"),
                query=k.get("query"),
                index=k.get("index"),
            ).to_dict()
            for k in keyframes
            if by_number[k["support"][0]] == sample_id
        ]


def _objects_of(place: Place, record: Record) -> list[StoredObject]:
    """The objects of a record's answer."""
    about = (record.query, record.frames)
    return [stored for stored in list_objects(place) if (stored.query, stored.support) == about]
