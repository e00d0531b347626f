"""Objects as the database has them: found by their index, or by the id of one of their labels.

Everything is read and written as raw documents: FiftyOne would load, and write back, the masks of
all other objects in the same frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
from bson import ObjectId

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.collection import VideoRef, source_dataset, video_of
from fiftyone_revseg.dataset.frame_numbers import frame_range_of, index_of, number_of
from fiftyone_revseg.dataset.playback import Playback, measure_playback
from fiftyone_revseg.dataset.record import Record, Results
from fiftyone_revseg.dataset.record import find_object as find_record
from fiftyone_revseg.dataset.schema import valid_label_field
from fiftyone_revseg.video import VideoError

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Place(VideoRef):
    """Where the labels of one video are.

    Attributes:
        label_field: the label field
    """

    label_field: str

    @property
    def owners(self) -> list[tuple[fo.Dataset, ObjectId]]:
        """The documents with sample-level fields, that of ``sample_id`` last."""
        owners = [(self.clips, ObjectId(self.clip_id))] if self.clip_id else []
        owners += [(self.dataset, ObjectId(i)) for i in self.sample_ids[1:]]
        return [*owners, (self.dataset, ObjectId(self.sample_id))]

    @cached_property
    def playback(self) -> Playback | None:
        """How the App plays the video; None for images, or if it cannot be read."""
        if self.images:
            return None
        _id = ObjectId(self.sample_id)
        samples = store.sample_documents(self.dataset)
        found = samples.find_one({"_id": _id}, {"metadata": True}) or {}
        try:
            return measure_playback(self.filepath, SimpleNamespace(**(found.get("metadata") or {})))
        except VideoError:
            return None

    @property
    def frames(self) -> Any:
        """The collection whose documents have the detections."""
        return store.label_documents(self.dataset)

    def frame(self, number: int) -> Document:
        """Returns what names the document of a frame."""
        if self.images:
            return {"_id": ObjectId(self.sample_ids[index_of(number)])}
        return {"_sample_id": ObjectId(self.sample_id), "frame_number": number}

    def frames_within(self, support: Sequence[int]) -> Document:
        """Returns what names the documents of all frames from the first to the last."""
        if self.images:
            ids = self.sample_ids[slice(*frame_range_of(support))]
            return {"_id": {"$in": [ObjectId(i) for i in ids]}}
        numbers = {"$gte": support[0], "$lte": support[1]}
        return {"_sample_id": ObjectId(self.sample_id), "frame_number": numbers}

    def number_of(self, document: Document) -> int:
        """Returns the frame number of a document that a collection of frames gave back."""
        if not self.images:
            return document["frame_number"]
        return number_of(self.sample_ids.index(str(document["_id"])))


@dataclass(frozen=True)
class StoredObject:
    """One object of one video.

    Attributes:
        place: where its labels are
        answer: its answer
    """

    place: Place
    answer: Document

    @property
    def index(self) -> int:
        """Its number among the objects of the video, from 1."""
        return self.answer["index"]

    @property
    def label(self) -> str:
        """Its description."""
        return self.answer["label"]

    @property
    def support(self) -> list[int]:
        """The first and last frame number that was segmented."""
        return list(self.answer["support"])

    @cached_property
    def instance(self) -> Document | None:
        """What links its detections, that of the one nearest to the key frame; None for none."""
        nearest = None
        for number, detection in _labels(self.place, self.support, {"index": self.index}):
            distance = abs(number - (self.answer.get("keyframe") or 0))
            if detection.get("instance") and (nearest is None or distance < nearest[0]):
                nearest = (distance, detection["instance"])
        return nearest and nearest[1]

    def owns(self, detection: Document) -> bool:
        """Returns whether a detection within the support is one of this object."""
        if detection.get("index") != self.index:
            return False
        # Clips that overlap may both have an object of this index in the same frame
        instance = detection.get("instance")
        return not instance or not self.instance or instance["_id"] == self.instance["_id"]


def find_place(sample: Any, label_field: str = "revseg") -> Place:
    """Finds out where the labels of a video are.

    Args:
        sample: a :class:`fiftyone.core.sample.Sample` or view of one: a video or a clip; or the
            images of one group, in their order, as ``iter_dynamic_groups()`` gives them
        label_field ("revseg"): the label field

    Returns:
        a :class:`Place`

    Raises:
        ValueError: if there is no result of this label field
    """
    label_field = valid_label_field(label_field)
    if isinstance(sample, foc.SampleCollection):
        grouped = store.is_dynamic_groups(sample)
        if grouped or source_dataset(sample).media_type != "image":
            raise ValueError(
                "Give one video at a time: a sample, or the images of one group in their order, "
                "next(view.iter_dynamic_groups())"
            )
    elif sample.media_type != "video":
        raise ValueError(
            f"A sample of media type '{sample.media_type}' is no video: give a video, or all "
            "images of one in their order, next(view.iter_dynamic_groups())"
        )
    elif not sample.in_dataset:
        raise ValueError("This sample is in no dataset, so there is no result to correct")
    place = Place(**vars(video_of(sample)), label_field=label_field)
    if not place.dataset.has_field(f"{place.label_field}_answers"):
        raise ValueError(f"There is no label field '{place.label_field}': segment the video first")
    # The first image has the trajectory, so a part of a group, or one in another order, has none
    if not place.sample_id or not read_values(place).records:
        raise ValueError(
            f"There is no whole result in label field '{place.label_field}' of this video: "
            "segment it first"
        )
    return place


def list_objects(place: Place) -> list[StoredObject]:
    """Lists the objects of a video; of a clip, only those of the clip."""
    answers = read_values(place).answers
    answers = [a for a in answers if a.get("index") is not None and a.get("support")]
    if place.support is not None:
        answers = [a for a in answers if list(a["support"]) == list(place.support)]
    return [StoredObject(place, answer) for answer in answers]


def find_object(
    place: Place, index: int | str, support: Sequence[int] | None = None
) -> StoredObject:
    """Finds one object.

    Args:
        place: where its labels are
        index: its ``index``; or the id of one of its labels: a detection, an answer, a key frame
        support (None): the first and last frame number of its clip, where several clips have an
            object with this index

    Returns:
        a :class:`StoredObject`

    Raises:
        ValueError: if there is none, or more than one
    """
    objects = list_objects(place)
    if support is not None:
        objects = [o for o in objects if o.support == list(support)]
    if isinstance(index, str):
        found = [o for o in objects if _has_label(o, index)]
        what = f"label {index}"
    else:
        found = [o for o in objects if o.index == index]
        what = f"index {index}"
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"There is one object with {what} in each of several clips: say in which, support="
            f"{' or '.join(str(o.support) for o in found)}"
        )
    have = ", ".join(f"{o.index} ({o.label})" for o in objects) or "none"
    raise ValueError(f"There is no object with {what} in this video; its objects: {have}")


def read_values(place: Place, owner: tuple[fo.Dataset, ObjectId] | None = None) -> Results:
    """Reads the sample-level fields as they are in the database.

    Args:
        place: where they are
        owner (None): one of ``place.owners``. By default, that of ``place.sample_id``

    Returns:
        the :class:`fiftyone_revseg.dataset.record.Results`, empty where there are none
    """
    dataset, sample_id = owner or place.owners[-1]
    name = place.label_field
    fields = {f"{name}_{suffix}": True for suffix in ("answers", "keyframes", "trajectory")}
    found = store.sample_documents(dataset).find_one({"_id": sample_id}, fields)
    if found is None:
        raise ValueError(f"Sample {sample_id} is not in the dataset any more")
    return Results.from_document(found, name)


def change_values(
    place: Place,
    owner: tuple[fo.Dataset, ObjectId],
    change: Callable[[Results], Document | None],
) -> None:
    """Changes sample-level fields in one write, made of what is stored at that moment.

    Args:
        place: where they are
        owner: one of ``place.owners``
        change: gets what :func:`read_values` returns, and returns the fields to set, by their
            names; None if there is nothing to change
    """
    dataset, sample_id = owner
    saved = False
    while not saved:
        stored = read_values(place, owner)
        # Every answer has an id of its own: where they are the same, so is all else
        before = deepcopy(stored.answers)
        values = change(stored)
        if values is None:
            return
        unchanged = {"_id": sample_id, f"{place.label_field}_answers.classifications": before}
        update = {"$set": {**values, "last_modified_at": datetime.now(timezone.utc)}}
        saved = bool(store.sample_documents(dataset).update_one(unchanged, update).matched_count)
    store.reload_sample(dataset, sample_id)


def read_detections(stored: StoredObject) -> dict[int, list[Document] | None]:
    """Reads the detections of one object, and those that belong to none.

    A detection that a person drew has no index, as long as nobody gives it one.

    Args:
        stored: the object

    Returns:
        frame number -> raw detections with their masks; None where a frame has no detections
        field yet; frames that are not in the database are left out
    """
    place, name = stored.place, stored.place.label_field
    wanted = {"$in": [{"$ifNull": ["$$d.index", None]}, [stored.index, None]]}
    own = {"$filter": {"input": f"${name}.detections", "as": "d", "cond": wanted}}
    is_list = {"$isArray": f"${name}.detections"}
    fields = {"frame_number": 1, "own": {"$cond": [is_list, own, None]}}
    found: dict[int, list[Document] | None] = {}
    for document in place.frames.aggregate(
        [{"$match": place.frames_within(stored.support)}, {"$project": fields}]
    ):
        found[place.number_of(document)] = document["own"]
    return found


def record_of(stored: StoredObject) -> tuple[Record, int]:
    """Returns the record that an object's answer belongs to, and its position among the choices.

    Raises:
        ValueError: if there is none any more
    """
    found = find_record(read_values(stored.place).records, stored.index, stored.support)
    if found is None:
        raise ValueError(
            f"The answer of object {stored.index} belongs to no result any more: segment the "
            "video again"
        )
    return found


def _has_label(stored: StoredObject, label_id: str) -> bool:
    if not ObjectId.is_valid(label_id):
        return False
    _id = ObjectId(label_id)
    for owner in stored.place.owners:
        values = read_values(stored.place, owner)
        for label in values.answers + values.keyframes:
            if label["_id"] == _id and label.get("index") == stored.index:
                around = label.get("support") or stored.support
                return stored.support[0] <= around[0] and around[1] <= stored.support[1]
    found = _labels(stored.place, stored.support, {"_id": _id})
    return any(stored.owns(detection) for _, detection in found)


def _labels(
    place: Place, support: Sequence[int], match: Document
) -> Iterator[tuple[int, Document]]:
    """Detections without their masks, with their frame numbers."""
    root = f"{place.label_field}.detections"
    fields = {f"{root}.{name}": True for name in ("_id", "index", "instance")}
    ((name, value),) = match.items()
    query = {**place.frames_within(support), f"{root}.{name}": value}
    for document in place.frames.find(query, {"frame_number": True, **fields}):
        for detection in document[place.label_field]["detections"]:
            if detection.get(name) == value:
                yield place.number_of(document), detection
