"""What objects were before a correction, kept until somebody accepts what came of it.

It is in files of the database: masks of a long video are too many for the document of a sample, and
would slow down everybody who reads it. FiftyOne's own store of a dataset is no place for it, as
the App's server sends all that is put there to browsers. The record of the answer has the key.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import bson
import fiftyone as fo
from fiftyone.core.odm import get_db_conn
from gridfs import GridFS, NoFile

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.objects import StoredObject
from fiftyone_revseg.dataset.place import Place
from fiftyone_revseg.dataset.record import Record
from fiftyone_revseg.dataset.schema import points_field
from fiftyone_revseg.dataset.store import Document

_FILES = "revseg_former"
_BY_FRAME = ("frames", "points")

#: Labels of a list, each with its position in it
Placed = list[tuple[int, Document]]


@dataclass(frozen=True)
class Former:
    """What a correction was about to change.

    Attributes:
        queries: the query that it was about, and the one that takes its place
        support: the first and last frame number of what was segmented
        indices: the objects that it was about, and those that it adds
        labels: id of a sample -> "answers" and "keyframes" of these objects, and the answer to the
            query where it had no object
        record: the record of the query
        frames: frame number -> the detections of these objects, and those that belong to none
        points: frame number -> the polylines that gave points to track from
    """

    queries: list[str]
    support: list[int]
    indices: list[int]
    labels: dict[str, dict[str, Placed]]
    record: Document
    frames: dict[int, Placed]
    points: dict[int, Placed]

    @classmethod
    def of(
        cls,
        place: Place,
        record: Record,
        objects: Sequence[StoredObject],
        query: str | None = None,
        indices: Sequence[int] = (),
    ) -> Former:
        """Reads it.

        Args:
            place: where the labels are
            record: the record of the query
            objects: those that will be changed, removed or added
            query (None): another query that will take the place of the record's own
            indices (()): of further objects that will be added
        """
        support: Any = record.frames
        queries = [record.query, *([query] if query is not None else [])]
        own = sorted({*(o.index for o in objects), *indices})
        former = cls(queries, support, own, {}, record.document, {}, {})
        for owner in place.owners:
            values = place.read(owner)
            former.labels[str(owner[1])] = {
                "answers": _placed(values.answers, former.has_answer),
                "keyframes": _placed(values.keyframes, former.has_keyframe),
            }
        former.frames.update(read_placed(place, support, objects))
        former.points.update(read_points(place, support))
        return former

    def has_answer(self, answer: Document) -> bool:
        """Returns whether an answer is one of these objects', or that there is no object."""
        if list(answer.get("support") or ()) != self.support:
            return False
        index = answer.get("index")
        return index in self.indices or (index is None and answer.get("query") in self.queries)

    def has_keyframe(self, keyframe: Document) -> bool:
        """Returns whether a key frame is one of these objects'."""
        if keyframe.get("index") not in self.indices:
            return False
        around = keyframe.get("support") or self.support  # images have none
        return bool(self.support[0] <= around[0] and around[1] <= self.support[1])


def read_placed(
    place: Place,
    support: Sequence[int],
    objects: Sequence[StoredObject],
    instances: Sequence[Any] = (),
) -> dict[int, Placed]:
    """Reads the detections of objects, and those that belong to none, with their positions.

    Args:
        place: where they are
        support: the first and last frame number
        objects: the objects
        instances (()): the ids of instances of further objects

    Returns:
        a dict of frame number -> detections; frames without any are left out
    """
    root = f"{place.label_field}.detections"
    indices: list[int | None] = [*(stored.index for stored in objects), None]
    wanted = {
        "$or": [
            {"$in": [{"$ifNull": ["$$d.index", None]}, indices]},
            {"$in": ["$$d.instance._id", list(instances)]},
        ]
    }
    labels = {"$ifNull": [f"${root}", []]}
    fields = {
        "frame_number": 1,
        "ids": {"$map": {"input": labels, "as": "d", "in": "$$d._id"}},
        "own": {"$filter": {"input": labels, "as": "d", "cond": wanted}},
    }
    found: dict[int, Placed] = {}
    for document in place.documents.aggregate(
        [{"$match": place.frames_within(support)}, {"$project": fields}]
    ):
        own = [
            (document["ids"].index(d["_id"]), d)
            for d in document["own"]
            if d.get("index") is None
            or (d.get("instance") or {}).get("_id") in instances
            or any(stored.owns(d) for stored in objects)
        ]
        if own:
            found[place.number_of(document)] = own
    return found


def read_points(place: Place, support: Sequence[int]) -> dict[int, Placed]:
    """Reads the points that a person clicked on, by frame number."""
    name = points_field(place.label_field)
    query = {**place.frames_within(support), f"{name}.polylines.0": {"$exists": True}}
    found = place.documents.find(query, {"frame_number": True, name: True})
    return {place.number_of(d): list(enumerate(d[name]["polylines"])) for d in found}


def is_unfinished(entry: Document, index: int) -> bool:
    """Returns whether an entry of a record is of a correction of an object that was interrupted."""
    return bool(entry.get("pending") or entry.get("unfinished")) and entry.get("index") == index


def keep_once(place: Place, record: Record, stored: StoredObject) -> str:
    """Keeps what an object is, and returns the key.

    What an interrupted correction left is no state to come back to: what was before that one stays.
    """
    earlier = (e.get("former") for e in record.corrections if is_unfinished(e, stored.index))
    key = next(filter(None, earlier), None)
    return key or keep(place.dataset, Former.of(place, record, [stored]))


def keep(dataset: fo.Dataset, former: Former) -> str:
    """Keeps it, and returns the key."""
    files, key = _files(), uuid.uuid4().hex
    # What FiftyOne deletes with a dataset is fixed, so what is left of others goes here
    there = get_db_conn().datasets.distinct("_id")
    for gone in _keys({"dataset_id": {"$nin": there}}):
        files.delete(gone)
    by_frame = {
        name: {str(number): placed for number, placed in vars(former)[name].items()}
        for name in _BY_FRAME
    }
    content = bson.encode({**vars(former), **by_frame})
    files.put(content, _id=key, dataset_id=store.dataset_id(dataset))
    return key


def recall(key: str) -> Former | None:
    """Returns what was kept under a key; None if it is not there any more."""
    try:
        content = bson.decode(_files().get(key).read())
    except NoFile:
        return None
    by_frame = {
        name: {int(number): placed for number, placed in content[name].items()}
        for name in _BY_FRAME
    }
    return Former(**{**content, **by_frame})


def forget(dataset: fo.Dataset, keys: Iterable[str]) -> None:
    """Forgets what was kept under some keys for a dataset, and not for what it is a clone of."""
    own = {"dataset_id": store.dataset_id(dataset), "_id": {"$in": list(keys)}}
    for key in _keys(own):
        _files().delete(key)


def _placed(labels: Sequence[Document], wanted: Callable[[Document], bool]) -> Placed:
    return [(n, label) for n, label in enumerate(labels) if wanted(label)]


def _keys(query: Document) -> list[str]:
    return list(get_db_conn()[f"{_FILES}.files"].distinct("_id", query))


def _files() -> GridFS:
    return GridFS(get_db_conn(), _FILES)
