"""Undoing the last correction: objects become again what they were before it, mask by mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import UpdateOne

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.edit_objects import set_label
from fiftyone_revseg.dataset.former import (
    Former,
    Placed,
    forget,
    read_placed,
    read_points,
    recall,
)
from fiftyone_revseg.dataset.objects import StoredAnswer, find_object, find_place, list_objects
from fiftyone_revseg.dataset.place import Place
from fiftyone_revseg.dataset.record import Record, Results, find_query
from fiftyone_revseg.dataset.sample_edit import edit_main, edit_samples, is_about, set_status
from fiftyone_revseg.dataset.schema import points_field
from fiftyone_revseg.dataset.store import Document
from fiftyone_revseg.types import Status

_INTERRUPTED = "undoing a correction was interrupted: undo it again"


@dataclass(frozen=True)
class Undone:
    """What was undone.

    Attributes:
        sample_id: the sample
        label_field: the label field
        query: the query whose answer it was about
        kind: what kind of correction it was, such as "box" or "deleted"
        indices: the objects that it was about
        by: who had corrected
        when: when, as ISO 8601
    """

    sample_id: str
    label_field: str
    query: str
    kind: str
    indices: list[int]
    by: str
    when: str

    def __str__(self) -> str:
        objects = f" of object {' and '.join(map(str, self.indices))}" if self.indices else ""
        by = f" by {self.by}" if self.by else ""
        return f'undone: "{self.kind}"{objects}, the answer to "{self.query}"{by}, {self.when}'


def undo(
    sample: Any,
    index: int | None = None,
    label_field: str = "revseg",
    support: Sequence[int] | None = None,
) -> Undone:
    """Undoes the last correction: boxes, masks, answers and key frames are what they were before.

    Whatever a person did to an object counts: tracking it again, asking again, adding, deleting,
    renaming. What was before is kept until the answer is accepted. Called once more, it undoes the
    correction before that one. Judgments and corrections of other objects stay.

    Args:
        sample: a :class:`fiftyone.core.sample.Sample` or view of one: a video or a clip; or the
            images of one group, as ``iter_dynamic_groups()`` gives them
        index (None): the object, also one that was deleted. By default, the video's last
            correction, whichever object it was about
        label_field ("revseg"): the label field
        support (None): the first and last frame number of the object's clip, where several clips
            of a video have answers

    Returns:
        an :class:`Undone`; ``print`` it

    Raises:
        ValueError: if nothing was corrected, or it was accepted since; nothing has been written
            then
    """
    place = find_place(sample, label_field)
    record, entry = last_correction(place, index, support)
    if entry["kind"] == "renamed":
        stored = find_object(place, entry["index"], record.frames)
        set_label(stored, entry["was"], lambda entries: [e for e in entries if e != entry])
        indices = [stored.index]
    else:
        former = recall(entry["former"])
        if former is None:
            raise ValueError(
                "What was before the last correction is not here: it was done in another database"
            )
        _restore(place, record, former, entry)
        indices = former.indices
    about = (record.query, entry["kind"], indices, entry.get("by") or "", entry["when"])
    return Undone(place.sample_id, place.label_field, *about)


def last_correction(
    place: Place, index: int | None = None, support: Sequence[int] | None = None
) -> tuple[Record, Document]:
    """Finds what :func:`undo` would undo.

    Args:
        place: where the labels are
        index (None): the object. By default, any
        support (None): the first and last frame number of its clip. By default, any

    Returns:
        the record of the query, and the last that it says of the correction

    Raises:
        ValueError: if nothing was corrected, or what was before is not kept any more
    """
    support = support or place.support
    found: list[tuple[str, int, Record, Document]] = [
        (entry["when"], n, record, entry)
        for record in place.read().records
        for n, entry in enumerate(record.corrections)
        if (index is None or index in (entry.get("index"), *entry.get("indices", ())))
        and (support is None or record.frames == list(support))
    ]
    about = "on this video" if index is None else f"of object {index}"
    if not found:
        raise ValueError(f"Nothing was corrected {about}, so there is nothing to undo")
    _, n, record, entry = max(found, key=lambda one: one[:2])
    if not entry.get("former"):
        raise ValueError(
            f"The last correction {about} cannot be undone: what was before is kept until an "
            "answer is accepted, and older versions did not keep it"
        )
    later = record.corrections[n + 1 :]
    if "indices" in entry and later:
        others = " and ".join(str(e.get("index")) for e in later)
        raise ValueError(f"Object {others} was corrected since: undo that first")
    return record, entry


def forget_former(place: Place, stored: StoredAnswer) -> None:
    """Forgets what was before the corrections of an answer, which somebody accepted.

    What was before objects that are gone is forgotten with the last answer to their query.
    """
    keys: set[str] = set()

    def forget_in(values: Results, sample_id: str) -> None:
        found = find_query(values.records, stored.query, stored.support or ())
        if found is None:
            return
        own = [a for a in values.answers if is_about(a, stored.query, stored.support)]
        everything = all("accepted" in (a.get("tags") or ()) for a in own)
        for entry in found.corrections:
            mine = stored.index is not None and entry.get("index") == stored.index
            if (everything or mine) and (key := entry.pop("former", None)):
                keys.add(key)

    if any(e.get("former") for r in place.read().records for e in r.corrections):
        edit_samples(place, forget_in)
        forget(place.dataset, keys)


def _restore(place: Place, record: Record, former: Former, entry: Document) -> None:
    support, query = former.support, record.query
    objects = [
        stored
        for stored in list_objects(place)
        if stored.index in former.indices and stored.support == support
    ]
    current = read_placed(place, support, objects, entry.get("instances", ()))
    writes = [
        write
        for number in sorted({*former.frames, *current})
        for write in _frame_writes(
            place, number, former.frames.get(number, []), current.get(number, [])
        )
    ]

    writes += _point_writes(place, former.points, read_points(place, support))

    def mark(values: Results, sample_id: str) -> None:
        for answer in filter(former.has_answer, values.answers):
            answer.update(status=str(Status.ERROR), reason=_INTERRUPTED)
        if (own := find_query(values.records, query, support)) is not None:
            own.document.update(status=str(Status.ERROR), reason=_INTERRUPTED)

    def restore(values: Results, sample_id: str) -> None:
        was: Mapping[str, Placed] = former.labels.get(sample_id) or {}
        left = [a for a in values.answers if not former.has_answer(a)]
        values.answers = _put_back(left, was.get("answers", []))
        others = [k for k in values.keyframes if not former.has_keyframe(k)]
        values.keyframes = _put_back(others, was.get("keyframes", []))
        if (own := find_query(values.records, query, support)) is not None:
            _restore_record(own, former, entry, values.answers)

    edit_main(place, mark)
    store.write_documents(place.dataset, writes, frames=not place.images)
    edit_samples(place, restore)
    forget(place.dataset, [entry["former"]])


def _restore_record(
    record: Record, former: Former, entry: Document, answers: Sequence[Document]
) -> None:
    document = record.document
    left = [e for e in record.corrections if e.get("former") != entry["former"]]
    if "indices" in entry:  # another query took the place of this one
        numbers, left = record.indices or [], former.record.get("corrections") or []
        document.clear()
        document.update(former.record)
        own = former.record.get("indices") or []
        # Numbers that objects had are not given to others
        document["indices"] = [*own, *(n for n in numbers if n not in own)]
    document.pop("corrections", None)
    if left:
        document["corrections"] = left
    document.update({name: former.record.get(name) for name in ("status", "reason")})
    ok = [a for a in answers if is_about(a, record.query, record.frames)]
    if (record.status == str(Status.OK)) != any(a.get("status") == record.status for a in ok):
        set_status(record, answers)  # another object was corrected meanwhile


def _point_writes(
    place: Place, was: Mapping[int, Placed], now: Mapping[int, Placed]
) -> list[UpdateOne]:
    """The updates that put points back that an object was tracked from."""
    root, writes = f"{points_field(place.label_field)}.polylines", []
    for number, placed in was.items():
        there = {polyline["_id"] for _, polyline in now.get(number, ())}
        for position, polyline in placed:
            if polyline["_id"] not in there:
                put: Any = {root: {"$each": [polyline], "$position": position}}
                writes.append(UpdateOne(place.frame(number), {"$push": put, **store.setting({})}))
    return writes


def _put_back(labels: list[Document], placed: Placed) -> list[Document]:
    for position, label in sorted(placed, key=lambda one: one[0]):
        labels.insert(position, label)
    return labels


def _frame_writes(place: Place, number: int, was: Placed, now: Placed) -> Iterator[UpdateOne]:
    """The updates that put one frame's detections back in their places."""
    root, frame = f"{place.label_field}.detections", place.frame(number)
    loose = {d["_id"] for _, d in now if d.get("index") is None}
    # What belongs to no object, and is still there, was not touched
    back = [(n, d) for n, d in was if d.get("index") is not None or d["_id"] not in loose]
    gone = [d["_id"] for _, d in back] + [d["_id"] for _, d in now if d["_id"] not in loose]
    if gone:
        this: Any = {root: {"_id": {"$in": gone}}}
        yield UpdateOne(frame, {"$pull": this, **store.setting({})})
    for position, detection in sorted(back, key=lambda one: one[0]):
        put: Any = {root: {"$each": [detection], "$position": position}}
        yield UpdateOne(frame, {"$push": put, **store.setting({})})
