"""Writes a correction: one object's labels are replaced, all others stay byte for byte.

The order is what makes it safe to kill. First the correction is noted as pending, with its boxes,
and the object's answer says "error". Then the frames are written, and last, in one write, the
sample-level fields.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from typing import Any

import fiftyone as fo
import fiftyone.core.labels as fol
import numpy as np
from pymongo import UpdateOne

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.frame_numbers import index_of
from fiftyone_revseg.dataset.labels import track_detection
from fiftyone_revseg.dataset.objects import Document, StoredObject, change_values, read_values
from fiftyone_revseg.dataset.prompt_boxes import checked_box
from fiftyone_revseg.dataset.record import Record, Results, status_of
from fiftyone_revseg.dataset.record import find_object as find_record
from fiftyone_revseg.dataset.schema import declare_fields
from fiftyone_revseg.tracking import MaskTrack
from fiftyone_revseg.types import Status

#: Tags of :mod:`fiftyone_revseg.dataset.review`: they were about the masks before
REVIEW_TAGS = ("accepted", "rejected")

_PENDING = "a correction was interrupted: propagate the object again, it goes on from its boxes"

# What a new detection brings; whatever else its element of the list has stays as it is
_REPLACED = ("label", "bounding_box", "mask", "confidence", "index", "instance", "query")


def make_entry(
    stored: StoredObject, kind: str, number: int, box: Sequence[float], by: str | None
) -> Document:
    if by is None:
        by = ""
        with suppress(Exception):  # a container may have no user at all
            by = getpass.getuser()
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    entry = {"index": stored.index, "frame_number": number, "box": list(box), "kind": kind}
    return {**entry, "when": now, "by": by}


def write_correction(
    stored: StoredObject,
    detections: Mapping[int, list[Document] | None],
    track: MaskTrack,
    prompts: Mapping[int, list[float]],
    entries: list[Document],
    confidence: float | None,
    drawn: Mapping[int, list[float]] | None = None,
) -> None:
    """Writes a correction; ``drawn`` are the boxes where they are stored, if that is elsewhere."""
    place = stored.place
    declare_fields(place.dataset, place.label_field)
    if place.clip_id:
        declare_fields(place.clips, place.label_field)
    writes = _frame_writes(stored, detections, track, drawn or prompts)
    change_values(place, place.owners[-1], lambda values: _pending(stored, values, entries))
    store.write_documents(place.dataset, writes, frames=not place.images)
    keyframe: Any = stored.answer.get("keyframe")
    keyframe = keyframe if keyframe in prompts else next(iter(prompts))
    for owner in place.owners:  # the one that says that all is done comes last
        change_values(
            place,
            owner,
            partial(_done, stored, entries, keyframe, confidence, str(owner[1])),
        )


def _pending(stored: StoredObject, values: Results, entries: list[Document]) -> Document:
    """Notes a correction before anything is written."""
    record = _keep_entries(stored, values, [{**entry, "pending": True} for entry in entries])
    record.document["status"] = str(Status.ERROR)
    answer = _answer(stored, values)
    answer.update(corrected=True, status=str(Status.ERROR), reason=_PENDING)
    return _fields(stored, values)


def _done(
    stored: StoredObject,
    entries: list[Document],
    keyframe: int,
    confidence: float | None,
    sample_id: str,
    values: Results,
) -> Document | None:
    """What the sample-level fields of one document are after a correction."""
    place, answers = stored.place, values.answers
    if not any(_is_same(stored, a) for a in answers):
        return None  # a view of clips that was made anew has no answers
    answer = _answer(stored, values)
    answer.update(
        corrected=True,
        keyframe=keyframe,
        confidence=confidence,
        status=str(Status.OK),
        reason="",
        tags=_without_review(answer),
    )
    values.keyframes = _keyframes(stored, values, keyframe, confidence, sample_id)
    if values.records:
        record = _keep_entries(stored, values, entries)
        others = [
            a
            for a in answers
            if a.get("query") == stored.answer.get("query")
            and list(a.get("support") or ()) == stored.support
            and a.get("status") != str(Status.OK)
        ]
        record.document["status"] = str(Status.OK)
        record.document["reason"] = "; ".join(a.get("reason") or "" for a in others)
    fields = _fields(stored, values)
    if place.images and not values.records:
        del fields[f"{place.label_field}_trajectory"]
        del fields[f"{place.label_field}_reasoning"]
        first = read_values(place).records
        found = find_record(first, stored.index, stored.support)
        done = Record({"status": str(Status.OK)})
        statuses = [done if found and record is found[0] else record for record in first]
        fields[f"{place.label_field}_status"] = status_of(statuses)
    return fields


def _fields(stored: StoredObject, values: Results) -> Document:
    """The fields with these values, as they go to the database."""
    return values.to_fields(stored.place.label_field, bool(stored.place.images))


def _is_same(stored: StoredObject, answer: Document) -> bool:
    if answer.get("index") != stored.index:
        return False
    return list(answer.get("support") or ()) == stored.support


def _answer(stored: StoredObject, values: Results) -> Document:
    for answer in values.answers:
        if _is_same(stored, answer):
            return answer
    raise ValueError(
        f"Object {stored.index} ({stored.label}) is gone: the video was segmented again meanwhile"
    )


def _keep_entries(stored: StoredObject, values: Results, entries: list[Document]) -> Record:
    """Adds corrections to the object's record, instead of those that were interrupted."""
    _answer(stored, values)
    found = find_record(values.records, stored.index, stored.support)
    if found is None:
        raise ValueError("The result is gone: the video is being segmented again")
    record, _ = found
    kept = [e for e in record.corrections if not (e.get("pending") and e["index"] == stored.index)]
    record.document["corrections"] = kept + entries
    return record


def _keyframes(
    stored: StoredObject,
    values: Results,
    number: int,
    confidence: float | None,
    sample_id: str,
) -> list[Document]:
    """The key frames, in which that of the object is the one given."""
    place, keyframes = stored.place, values.keyframes
    first, last = stored.support
    attributes = {"confidence": confidence, "query": stored.answer.get("query")}
    if place.images:  # the image that is the key frame has the label
        others = [k for k in keyframes if k.get("index") != stored.index]
        if place.sample_ids[index_of(number)] != sample_id:
            return others
        label = fol.Classification(label=stored.label, index=stored.index, **attributes)
        return [*others, label.to_dict()]
    for keyframe in keyframes:
        start, stop = keyframe["support"]
        if keyframe.get("index") == stored.index and first <= start and stop <= last:
            keyframe.update(support=[number, number], confidence=confidence)
            return keyframes
    label = fol.TemporalDetection(
        label=stored.label, support=[number, number], index=stored.index, **attributes
    )
    return [*keyframes, label.to_dict()]


def _frame_writes(
    stored: StoredObject,
    detections: Mapping[int, list[Document] | None],
    track: MaskTrack,
    prompts: Mapping[int, list[float]],
) -> list[UpdateOne]:
    """One or two updates for every frame, each of the object's own element of the list alone."""
    place = stored.place
    name, (first, last) = place.label_field, stored.support
    attributes = {
        "label": stored.label,
        "index": stored.index,
        "query": stored.answer.get("query"),
        "instance": fo.Instance(),
    }
    made = {}
    for k in track.visible_frames:
        detection = track_detection(track, k, **attributes)
        if detection is not None:
            made[first + k] = _with_instance(detection, stored)
    now = datetime.now(timezone.utc)
    changed = {"last_modified_at": now}
    created = store.created(place.dataset, now)
    writes: list[Any] = []
    for number in range(first, last + 1):
        frame, new, found = place.frame(number), made.get(number), detections.get(number)
        root = f"{name}.detections"
        if found is None:
            value = {"_cls": "Detections", "detections": [new] if new else []}
            update = {"$set": {name: value, **changed}}
            if not place.images:
                update["$setOnInsert"] = created
            writes.append(UpdateOne(frame, update, upsert=not place.images))
            continue
        prompt = prompts.get(number)
        own = [d["_id"] for d in found if stored.owns(d) or _is_prompt(d, prompt)]
        if new is not None and own:
            (element,) = (d for d in found if d["_id"] == own[0])
            values = {f"{root}.$[own].{key}": new.get(key) for key in _REPLACED}
            if element.get("mask_path"):  # masks of corrections are always in the database
                values[f"{root}.$[own].mask_path"] = None
            values[f"{root}.$[own].tags"] = _without_review(element)
            this: list[Any] = [{"own._id": own.pop(0)}]
            writes.append(UpdateOne(frame, {"$set": {**values, **changed}}, array_filters=this))
        elif new is not None:
            writes.append(UpdateOne(frame, {"$push": {root: new}, "$set": changed}))
        if own:
            gone = {root: {"_id": {"$in": own}}}
            writes.append(UpdateOne(frame, {"$pull": gone, "$set": changed}))
    return writes


def _without_review(label: Document) -> list[str]:
    return [tag for tag in label.get("tags") or () if tag not in REVIEW_TAGS]


def _with_instance(detection: fol.Detection, stored: StoredObject) -> Document:
    document = detection.to_dict()
    if stored.instance:
        document["instance"] = stored.instance
    return document


def _is_prompt(detection: Document, box: Sequence[float] | None) -> bool:
    """Whether a detection that belongs to no object is what a person drew as this prompt."""
    if box is None or detection.get("index") is not None or detection.get("mask"):
        return False
    with suppress(ValueError):
        return bool(np.allclose(checked_box(0, detection["bounding_box"]), box))
    return False
