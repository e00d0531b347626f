"""Review: objects are accepted or rejected by tags on their labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
from fiftyone_revseg.dataset.objects import (
    StoredObject,
    find_object,
    find_place,
    list_objects,
)
from fiftyone_revseg.dataset.place import Place
from fiftyone_revseg.dataset.schema import valid_label_field
from fiftyone_revseg.dataset.store import Document

ACCEPTED, REJECTED = "accepted", "rejected"


def accept(
    samples: Any,
    index: int | None = None,
    label_ids: Iterable[str] | None = None,
    label_field: str = "revseg",
    support: Sequence[int] | None = None,
) -> int:
    """Tags objects as "accepted", and takes the tag "rejected" from them.

    An object's detections on all frames get the tag, and its answer, so that FiftyOne finds them
    as it finds all tags::

        accept(dataset, label_ids=session.selected_labels)
        dataset.match_labels(tags="accepted", fields="revseg_answers")

    Args:
        samples: a sample, or a collection: videos, clips, ordered dynamic groups of images, or the
            images of one group
        index (None): the ``index`` of the object of each video. By default, all objects
        label_ids (None): ids of labels, each of which stands for its whole object; or dicts with
            a "label_id", as ``session.selected_labels`` has them
        label_field ("revseg"): the label field
        support (None): the first and last frame number of the objects' clip, where several clips
            of a video have objects

    Returns:
        the number of objects that were tagged

    Raises:
        ValueError: if there is no such object; nothing has been written then
    """
    return _tag(samples, index, label_ids, label_field, support, ACCEPTED, REJECTED)


def reject(
    samples: Any,
    index: int | None = None,
    label_ids: Iterable[str] | None = None,
    label_field: str = "revseg",
    support: Sequence[int] | None = None,
) -> int:
    """Tags objects as "rejected", and takes the tag "accepted" from them.

    Everything else is as in :func:`accept`.
    """
    return _tag(samples, index, label_ids, label_field, support, REJECTED, ACCEPTED)


def _tag(
    samples: Any,
    index: int | None,
    label_ids: Iterable[str] | None,
    label_field: str,
    support: Sequence[int] | None,
    tag: str,
    other: str,
) -> int:
    label_field = valid_label_field(label_field)
    places = _places(samples, label_field)
    if label_ids is not None:
        ids = [label["label_id"] if isinstance(label, dict) else label for label in label_ids]
        found = list(_objects_of_labels(places, ids))
    else:
        found = [
            stored
            for place in places
            for stored in list_objects(place)
            if index in (None, stored.index) and support in (None, stored.support)
        ]
    if not found:
        what = "with these labels" if label_ids is not None else f"with index {index}"
        if label_ids is None and index is None:
            what = "at all"
        raise ValueError(f"There is no object {what} in label field '{label_field}' here")
    for stored in found:
        _tag_object(stored, tag, other)
    return len(found)


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


def _objects_of_labels(places: Sequence[Place], ids: Sequence[str]) -> Iterator[StoredObject]:
    """The objects that labels belong to, each once."""
    done = set()
    wanted = [ObjectId(label_id) for label_id in ids if ObjectId.is_valid(label_id)]
    for place in places:
        for label_id in _ids_at(place, wanted):
            stored = find_object(place, str(label_id))
            key = (place.sample_id, stored.index, *stored.support)
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
        labels = values.answers + values.keyframes
        found += [label["_id"] for label in labels if label.get("index") is not None]
    return [label_id for label_id in found if label_id in set(wanted)]


def _tag_object(stored: StoredObject, tag: str, other: str) -> None:
    """Changes the tags of one object's labels and nothing else."""
    place = stored.place
    root = f"{place.label_field}.detections"
    own: dict[str, Any] = {"own.index": stored.index}
    if stored.instance:  # clips that overlap may share frames and indices
        instances = [stored.instance["_id"], None]
        own["own.instance._id"] = {"$in": instances}
    frames = {**place.frames_within(stored.support), f"{root}.index": stored.index}
    writes = _swap(frames, f"{root}.$[own].tags", own, tag, other)
    store.write_documents(place.dataset, writes, frames=not place.images)

    answers = f"{place.label_field}_answers.classifications"
    own = {"own.index": stored.index, "own.support": stored.support}
    for dataset, sample_id in place.owners:
        this = {"_id": sample_id, f"{answers}.index": stored.index}
        writes = _swap(this, f"{answers}.$[own].tags", own, tag, other)
        store.write_documents(dataset, writes, ids=[str(sample_id)])


def _swap(documents: Document, path: str, own: Document, tag: str, other: str) -> list[UpdateMany]:
    remove = {"$pull": {path: other}}
    add = {"$addToSet": {path: tag}, **store.setting({})}
    return [UpdateMany(documents, update, array_filters=[own]) for update in (remove, add)]
