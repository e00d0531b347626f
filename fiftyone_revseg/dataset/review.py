"""Review: answers are accepted or rejected by tags on their labels, with the reviewer and the time.

A tag is what FiftyOne finds in sidebar and views. Who gave it, and when, is on the answer, as
``reviewer`` and ``reviewed_at``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import fiftyone.core.collections as foc
from bson import ObjectId
from pymongo import UpdateMany

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.collection import (
    in_all_slices,
    is_image_groups,
    list_videos,
    source_dataset,
    video_of,
)
from fiftyone_revseg.dataset.heartbeat import user_name
from fiftyone_revseg.dataset.objects import (
    StoredAnswer,
    StoredObject,
    find_answer,
    find_place,
    list_answers,
)
from fiftyone_revseg.dataset.place import Place
from fiftyone_revseg.dataset.schema import declare_fields, valid_label_field
from fiftyone_revseg.dataset.store import Document
from fiftyone_revseg.dataset.undo import forget_former
from fiftyone_revseg.types import ANSWERED

ACCEPTED, REJECTED = "accepted", "rejected"


def accept(
    samples: Any,
    index: int | None = None,
    label_ids: Iterable[str] | None = None,
    label_field: str = "revseg",
    support: Sequence[int] | None = None,
    query: str | None = None,
    by: str | None = None,
) -> int:
    """Tags answers as "accepted", and takes the tag "rejected" from them.

    An object's detections on all frames get the tag, and its answer, so that FiftyOne finds them
    as it finds all tags. That there is no such object is an answer, too; what failed is none, so
    it cannot be accepted::

        accept(dataset, label_ids=session.selected_labels)
        dataset.match_labels(tags="accepted", fields="revseg_answers")

        accept(sample, query="the ghost")  # there is none indeed

    Args:
        samples: a sample, or a collection: videos, clips, ordered dynamic groups of images, or the
            images of one group
        index (None): the ``index`` of the object of each video. By default, all answers
        label_ids (None): ids of labels, each of which stands for its whole object; or dicts with
            a "label_id", as ``session.selected_labels`` has them. The id of an answer without an
            object stands for that answer
        label_field ("revseg"): the label field
        support (None): the first and last frame number of the objects' clip, where several clips
            of a video have objects
        query (None): only answers to this query
        by (None): who accepts. By default, the name of the user that runs this

    Returns:
        the number of answers that were tagged. What was before their corrections is not kept any
        more, see :func:`fiftyone_revseg.dataset.undo.undo`

    Raises:
        ValueError: if there is no such answer, or it failed; nothing has been written then
    """
    found = _find(samples, index, label_ids, label_field, support, query)
    right = [stored for stored in found if stored.status in ANSWERED]
    if not right:
        check_acceptable(found[0])
    count = _tag(right, ACCEPTED, REJECTED, by)
    for stored in right:
        forget_former(stored.place, stored)
    return count


def reject(
    samples: Any,
    index: int | None = None,
    label_ids: Iterable[str] | None = None,
    label_field: str = "revseg",
    support: Sequence[int] | None = None,
    query: str | None = None,
    by: str | None = None,
) -> int:
    """Tags answers as "rejected", and takes the tag "accepted" from them.

    What failed can be rejected, too. Everything else is as in :func:`accept`.
    """
    found = _find(samples, index, label_ids, label_field, support, query)
    return _tag(found, REJECTED, ACCEPTED, by)


def check_acceptable(stored: StoredAnswer) -> None:
    """Raises a ``ValueError`` if there is nothing to accept, as the chain failed."""
    if stored.status not in ANSWERED:
        why = stored.answer.get("reason") or stored.status
        raise ValueError(
            f"There is no answer to accept ({why}): show where the object is, ask again, or "
            "reject it"
        )


def _find(
    samples: Any,
    index: int | None,
    label_ids: Iterable[str] | None,
    label_field: str,
    support: Sequence[int] | None,
    query: str | None,
) -> list[StoredAnswer]:
    label_field = valid_label_field(label_field)
    places = _places(samples, label_field)
    if label_ids is not None:
        ids = [label["label_id"] if isinstance(label, dict) else label for label in label_ids]
        found = list(_answers_of_labels(places, ids))
    else:
        found = [
            stored
            for place in places
            for stored in list_answers(place)
            if index in (None, stored.index)
            and query in (None, stored.query)
            and (support is None or stored.support == list(support))
        ]
    if found:
        return found
    if label_ids is None and index is None and query is None:
        raise ValueError(f"There is no answer in label field '{label_field}' here")
    what = "object with these labels" if label_ids is not None else f"object with index {index}"
    if label_ids is None and index is None:
        what = f"answer to '{query}'"
    raise ValueError(f"There is no {what} in label field '{label_field}' here")


def _places(samples: Any, label_field: str) -> list[Place]:
    """The places of all videos that have results."""
    if not isinstance(samples, foc.SampleCollection):
        return [find_place(samples, label_field)]
    if not source_dataset(samples).has_field(f"{label_field}_answers"):
        raise ValueError(f"There is no label field '{label_field}': segment the videos first")
    samples = in_all_slices(samples)
    alone = samples.media_type == "image" and not is_image_groups(samples)
    videos = [video_of(samples)] if alone else list_videos(samples)
    places = [Place.of(video, label_field) for video in videos]
    # Those that have no result have nothing to review
    return [place for place in places if place.sample_id and place.read().records]


def _answers_of_labels(places: Sequence[Place], ids: Sequence[str]) -> Iterator[StoredAnswer]:
    """The answers that labels belong to, each once."""
    done = set()
    wanted = [ObjectId(label_id) for label_id in ids if ObjectId.is_valid(label_id)]
    for place in places:
        for label_id in _ids_at(place, wanted):
            stored = find_answer(place, str(label_id))
            key = (place.sample_id, stored.answer["_id"])
            if key not in done:
                done.add(key)
                yield stored


def _ids_at(place: Place, wanted: Sequence[ObjectId]) -> list[ObjectId]:
    """Those label ids that are in the documents of one video."""
    name = place.label_field
    root = f"{name}.detections"
    query = {**place.frames_within(None), f"{root}._id": {"$in": wanted}}
    found = [
        detection["_id"]
        for document in place.documents.find(query, {f"{root}._id": True, f"{root}.index": True})
        for detection in document[name]["detections"]
        if detection.get("index") is not None  # others belong to no object
    ]
    for owner in place.owners:
        values = place.read(owner)
        found += [label["_id"] for label in values.answers]
        found += [label["_id"] for label in values.keyframes if label.get("index") is not None]
    return [label_id for label_id in found if label_id in set(wanted)]


def _tag(found: Sequence[StoredAnswer], tag: str, other: str, by: str | None) -> int:
    by = user_name() if by is None else by
    declared: set[tuple[str, str]] = set()
    for stored in found:
        for dataset, _ in stored.place.owners:
            field = (dataset.name, stored.place.label_field)
            if field not in declared:  # results of older versions have no reviewers
                declare_fields(dataset, stored.place.label_field)
                declared.add(field)
        if isinstance(stored, StoredObject):
            _tag_detections(stored, tag, other)
        _tag_answer(stored, tag, other, by)
    return len(found)


def _tag_detections(stored: StoredObject, tag: str, other: str) -> None:
    """Changes the tags of one object's detections and nothing else."""
    place = stored.place
    root = f"{place.label_field}.detections"
    own: dict[str, Any] = {"own.index": stored.index}
    if stored.instance:  # clips that overlap may share frames and indices
        instances = [stored.instance["_id"], None]
        own["own.instance._id"] = {"$in": instances}
    frames = {**place.frames_within(stored.support), f"{root}.index": stored.index}
    writes = _swap(frames, f"{root}.$[own].tags", own, tag, other, {})
    store.write_documents(place.dataset, writes, frames=not place.images)


def _tag_answer(stored: StoredAnswer, tag: str, other: str, by: str) -> None:
    """Changes the tags of one answer, and notes by whom and when."""
    place = stored.place
    answers = f"{place.label_field}_answers.classifications"
    own = {"own.index": stored.index, "own.support": stored.support}
    if stored.index is None:
        own["own.query"] = stored.answer.get("query")
    root = f"{answers}.$[own]"
    noted = {f"{root}.reviewer": by, f"{root}.reviewed_at": datetime.now(timezone.utc)}
    for dataset, sample_id in place.owners:
        this = {"_id": sample_id, f"{answers}.0": {"$exists": True}}
        writes = _swap(this, f"{root}.tags", own, tag, other, noted)
        store.write_documents(dataset, writes, ids=[str(sample_id)])


def _swap(
    documents: Document, path: str, own: Document, tag: str, other: str, noted: Document
) -> list[UpdateMany]:
    remove = {"$pull": {path: other}}
    add = {"$addToSet": {path: tag}, **store.setting(noted)}
    return [UpdateMany(documents, update, array_filters=[own]) for update in (remove, add)]
