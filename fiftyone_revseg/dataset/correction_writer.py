"""Writes a correction: one object's labels are replaced, all others stay byte for byte.

The order is what makes it safe to kill. First the correction is noted as pending, with its boxes,
and the object's answer says "error". Then the frames are written, and last, in one write, the
sample-level fields.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any

import fiftyone as fo
import fiftyone.core.labels as fol
from pymongo import UpdateMany, UpdateOne

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.former import keep_once
from fiftyone_revseg.dataset.frame_numbers import index_of
from fiftyone_revseg.dataset.heartbeat import user_name
from fiftyone_revseg.dataset.labels import track_detection
from fiftyone_revseg.dataset.objects import StoredObject, add_answer, record_of
from fiftyone_revseg.dataset.prompts import Prompt, ids_of
from fiftyone_revseg.dataset.record import (
    Record,
    Results,
    find_query,
    number_objects,
    status_of,
)
from fiftyone_revseg.dataset.record import find_object as find_record
from fiftyone_revseg.dataset.schema import declare_fields, points_field
from fiftyone_revseg.dataset.store import Document
from fiftyone_revseg.tracking import MaskTrack
from fiftyone_revseg.types import Status

#: Tags of :mod:`fiftyone_revseg.dataset.review`: they were about the masks before
REVIEW_TAGS = ("accepted", "rejected")

_PENDING = "a correction was interrupted: propagate the object again, it goes on from its boxes"

# What a new detection brings; whatever else its element of the list has stays as it is
_REPLACED = (
    *("label", "bounding_box", "mask", "confidence", "index", "instance", "query"),
    *("keyframe", "repaired"),
)

# What was said of the masks before
_UNKNOWN_NOW = ("certainty", "certainty_raw", "agreement", "reviewer", "reviewed_at")


def make_entry(
    stored: StoredObject, kind: str, number: int, box: Sequence[float], by: str | None
) -> Document:
    by = user_name() if by is None else by
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    entry = {"index": stored.index, "frame_number": number, "box": list(box), "kind": kind}
    return {**entry, "when": now, "by": by}


@dataclass(frozen=True)
class CorrectionWriter:
    """Writes one correction of one object.

    Attributes:
        stored: the object
        detections: what :func:`fiftyone_revseg.dataset.objects.read_detections` read
        track: its masks from now on
        prompts: frame number -> what it was tracked from
        entries: what the object's record is to say of it, see :func:`make_entry`
        confidence: the model's, of the box in the key frame
        kept: what was said in earlier corrections that it was tracked from, too
    """

    stored: StoredObject
    detections: Mapping[int, list[Document] | None]
    track: MaskTrack
    prompts: Mapping[int, Prompt]
    entries: list[Document]
    confidence: float | None = None
    kept: Mapping[int, Prompt] = field(default_factory=dict)

    def write(self) -> None:
        """Writes all of it."""
        place = self.stored.place
        declare_fields(place.dataset, place.label_field)
        if place.clip_id:
            declare_fields(place.clips, place.label_field)
        writes = self._frame_writes()
        self._keep_former()
        place.change(self._pending)
        store.write_documents(place.dataset, writes, frames=not place.images)
        for owner in place.owners:  # the one that says that all is done comes last
            place.change(partial(self._done, str(owner[1])), owner)

    @property
    def _keyframe(self) -> int:
        old: Any = self.stored.answer.get("keyframe")
        return old if old in self.prompts else next(iter(self.prompts))

    def _keep_former(self) -> None:
        """Keeps what is about to change, for :func:`fiftyone_revseg.dataset.undo.undo`."""
        record, _ = record_of(self.stored)
        key = keep_once(self.stored.place, record, self.stored)
        for entry in self.entries:
            entry["former"] = key

    def _pending(self, values: Results) -> Document:
        """Notes a correction before anything is written."""
        if self.stored.is_new and any(map(self._is_own, values.answers)):
            raise ValueError("Somebody else added an object meanwhile: add yours again")
        pending = []
        for entry in self.entries:
            labels = self.prompts[entry["frame_number"]].labels
            pending.append({**entry, "pending": True, "labels": list(labels)})
        record = self._keep(values, pending)
        record.document["status"] = str(Status.ERROR)
        answer = self._answer(values)
        answer.update(corrected=True, status=str(Status.ERROR), reason=_PENDING)
        return self._fields(values)

    def _done(self, sample_id: str, values: Results) -> Document | None:
        """What the sample-level fields of one document are after a correction."""
        stored, place, answers = self.stored, self.stored.place, values.answers
        if not (any(map(self._is_own, answers)) or (answers and stored.is_new)):
            return None  # a view of clips that was made anew has no answers
        answer = self._answer(values)
        answer.update(
            label=stored.label,
            corrected=True,
            keyframe=self._keyframe,
            confidence=self.confidence,
            status=str(Status.OK),
            reason="",
            tags=_without_review(answer),
            **{name: None for name in _UNKNOWN_NOW if name in answer},
        )
        values.keyframes = self._keyframes(values.keyframes, sample_id)
        if values.records:
            record = self._keep(values, self.entries)
            others = [
                a
                for a in answers
                if a.get("query") == stored.answer.get("query")
                and list(a.get("support") or ()) == stored.support
                and a.get("status") != str(Status.OK)
            ]
            record.document["status"] = str(Status.OK)
            record.document["reason"] = "; ".join(a.get("reason") or "" for a in others)
        fields = self._fields(values)
        if place.images and not values.records:
            del fields[f"{place.label_field}_trajectory"]
            del fields[f"{place.label_field}_reasoning"]
            first = place.read().records
            found = find_record(first, stored.index, stored.support)
            done = Record({"status": str(Status.OK)})
            statuses = [done if found and record is found[0] else record for record in first]
            fields[f"{place.label_field}_status"] = status_of(statuses)
        return fields

    def _fields(self, values: Results) -> Document:
        """The fields with these values, as they go to the database."""
        place = self.stored.place
        return values.to_fields(place.label_field, bool(place.images))

    def _is_own(self, answer: Document) -> bool:
        same = answer.get("index") == self.stored.index
        return same and list(answer.get("support") or ()) == self.stored.support

    def _answer(self, values: Results) -> Document:
        for answer in values.answers:
            if self._is_own(answer):
                return answer
        if self.stored.is_new:
            return add_answer(values.answers, self.stored.answer)
        raise ValueError(
            f"Object {self.stored.index} ({self.stored.label}) is gone: the video was segmented "
            "again meanwhile"
        )

    def _keep(self, values: Results, entries: list[Document]) -> Record:
        """Adds corrections to the object's record, instead of those that were interrupted."""
        self._answer(values)
        index = self.stored.index
        found = find_record(values.records, index, self.stored.support)
        if found is None and self.stored.is_new:
            number_objects(values.records, self.stored.support)
            asked = find_query(values.records, self.stored.query, self.stored.support)
            if asked is not None:
                asked.document["indices"].append(index)
                found = asked, len(asked.choices)
        if found is None:
            raise ValueError("The result is gone: the video is being segmented again")
        record, _ = found
        kept = [e for e in record.corrections if not (e.get("pending") and e["index"] == index)]
        record.document["corrections"] = kept + entries
        return record

    def _keyframes(self, keyframes: list[Document], sample_id: str) -> list[Document]:
        """The key frames, in which that of the object is the new one."""
        stored, place, number = self.stored, self.stored.place, self._keyframe
        first, last = stored.support
        about = {"index": stored.index, "confidence": self.confidence}
        about["query"] = stored.answer.get("query")
        if place.images:  # the image that is the key frame has the label
            others = [k for k in keyframes if k.get("index") != stored.index]
            if place.sample_ids[index_of(number)] != sample_id:
                return others
            return [*others, fol.Classification(label=stored.label, **about).to_dict()]
        support = [number, number]
        for keyframe in keyframes:
            start, stop = keyframe["support"]
            if keyframe.get("index") == stored.index and first <= start and stop <= last:
                keyframe.update(label=stored.label, support=support, confidence=self.confidence)
                return keyframes
        label = fol.TemporalDetection(label=stored.label, support=support, **about)
        return [*keyframes, label.to_dict()]

    def _frame_writes(self) -> list[UpdateOne]:
        """One or two updates for every frame, each of the object's own element of the list."""
        stored, place = self.stored, self.stored.place
        name, (first, last) = place.label_field, stored.support
        root, made = f"{name}.detections", self._new_detections()
        drawn = frozenset().union(*(prompt.labels for prompt in self.prompts.values()))
        writes: list[Any] = self._point_writes(drawn)
        for number in range(first, last + 1):
            frame, new, found = place.frame(number), made.get(number), self.detections.get(number)
            if found is None:
                value = {name: {"_cls": "Detections", "detections": [new] if new else []}}
                writes.append(
                    UpdateOne(frame, store.setting(value))
                    if place.images
                    else store.setting_frame(place.dataset, place.sample_id, number, value)
                )
                continue
            # What a person drew becomes the object's; so do the repeats that the App made of it
            own = [
                d["_id"]
                for d in found
                if stored.owns(d) or (d.get("index") is None and ids_of(d) & drawn)
            ]
            if new is not None and own:
                (element,) = (d for d in found if d["_id"] == own[0])
                values = {f"{root}.$[own].{key}": new.get(key) for key in _REPLACED}
                if element.get("mask_path"):  # masks of corrections are always in the database
                    values[f"{root}.$[own].mask_path"] = None
                values[f"{root}.$[own].tags"] = _without_review(element)
                gone_by = [name for name in _UNKNOWN_NOW if name in element]
                values |= {f"{root}.$[own].{name}": None for name in gone_by}
                this: list[Any] = [{"own._id": own.pop(0)}]
                writes.append(UpdateOne(frame, store.setting(values), array_filters=this))
            elif new is not None:
                writes.append(UpdateOne(frame, {"$push": {root: new}, **store.setting({})}))
            if own:
                gone = {root: {"_id": {"$in": own}}}
                writes.append(UpdateOne(frame, {"$pull": gone, **store.setting({})}))
        return writes

    def _new_detections(self) -> dict[int, Document]:
        """Frame number -> the detection there, as it goes to the database."""
        stored, made, instance = self.stored, {}, fo.Instance()
        about = {"index": stored.index, "query": stored.answer.get("query"), "instance": instance}
        for k in self.track.visible_frames:
            detection = track_detection(self.track, k, stored.label, **about)
            if detection is not None:
                document = detection.to_dict()
                document["instance"] = stored.instance or document["instance"]
                number = stored.support[0] + k
                if number in self.prompts or number in self.kept:
                    document["keyframe"] = True
                made[number] = document
        return made

    def _point_writes(self, drawn: Collection[Any]) -> list[Any]:
        """Takes away the points that the object was tracked from, and the App's repeats of them."""
        place, name = self.stored.place, points_field(self.stored.place.label_field)
        if not drawn or not place.dataset.has_field(name if place.images else f"frames.{name}"):
            return []
        ids = {"$in": list(drawn)}
        gone = {"$or": [{"_id": ids}, {"instance._id": ids}]}
        update = {"$pull": {f"{name}.polylines": gone}, **store.setting({})}
        return [UpdateMany(place.frames_within(self.stored.support), update)]


def _without_review(label: Document) -> list[str]:
    return [tag for tag in label.get("tags") or () if tag not in REVIEW_TAGS]
