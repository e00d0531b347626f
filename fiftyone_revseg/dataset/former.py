"""What objects were before a correction, kept until somebody accepts what came of it.

It is in FiftyOne's store of the dataset, which goes with the dataset: masks of a long video are too
many for the document of a sample, and would slow down everybody who reads it. The record of the
answer has the key.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import bson
import fiftyone as fo
from fiftyone.operators.store import ExecutionStore

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.objects import StoredObject
from fiftyone_revseg.dataset.place import Place
from fiftyone_revseg.dataset.record import Record
from fiftyone_revseg.dataset.store import Document

_STORE = "revseg_former"
_CHUNK_BYTES = 4_000_000  # a document of the database has 16 MB at most

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
    """

    queries: list[str]
    support: list[int]
    indices: list[int]
    labels: dict[str, dict[str, Placed]]
    record: Document
    frames: dict[int, Placed]

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
        former = cls(queries, support, own, {}, record.document, {})
        for owner in place.owners:
            values = place.read(owner)
            former.labels[str(owner[1])] = {
                "answers": _placed(values.answers, former.has_answer),
                "keyframes": _placed(values.keyframes, former.has_keyframe),
            }
        former.frames.update(read_placed(place, support, objects))
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
    kept, key = _store(dataset), uuid.uuid4().hex
    for n, chunk in enumerate(_chunks(former)):
        kept.set(f"{key}/{n}", chunk)
    return key


def recall(dataset: fo.Dataset, key: str) -> Former | None:
    """Returns what was kept under a key; None if it is not there any more."""
    kept, n = _store(dataset), 0
    frames: dict[int, Placed] = {}
    head: Document = {}
    while chunk := kept.get(f"{key}/{n}"):
        frames.update({int(number): placed for number, placed in chunk["frames"].items()})
        head = head or chunk["head"]
        n += 1
        if chunk["is_last"]:
            return Former(**head, frames=frames)
    return None


def forget(dataset: fo.Dataset, keys: Iterable[str]) -> None:
    """Forgets what was kept under some keys."""
    kept = _store(dataset)
    for key in keys:
        n = 0
        while kept.delete(f"{key}/{n}"):
            n += 1


def _chunks(former: Former) -> Iterator[Document]:
    chunk: Document = {"head": {k: v for k, v in vars(former).items() if k != "frames"}}
    chunk |= {"frames": {}, "is_last": False}
    held = 0
    for number, placed in former.frames.items():
        size = len(bson.encode({"placed": placed}))
        if held and held + size > _CHUNK_BYTES:
            yield chunk
            chunk, held = {"head": {}, "frames": {}, "is_last": False}, 0
        chunk["frames"][str(number)] = placed
        held += size
    yield {**chunk, "is_last": True}


def _placed(labels: Sequence[Document], wanted: Callable[[Document], bool]) -> Placed:
    return [(n, label) for n, label in enumerate(labels) if wanted(label)]


def _store(dataset: fo.Dataset) -> ExecutionStore:
    return ExecutionStore.create(_STORE, store.dataset_id(dataset))
