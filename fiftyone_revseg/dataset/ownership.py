"""Whose labels a field holds. What this product did not write is not replaced unless it is told to.

A result of ours is known by its record, ``<label_field>_trajectory``. Where there is none, labels
are ours only if a run that was killed left them: the field of records is declared, and each label
has all that ours have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import fiftyone as fo
from bson import ObjectId

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.collection import VideoRef, members_of
from fiftyone_revseg.dataset.frame_numbers import is_within
from fiftyone_revseg.dataset.record import Record
from fiftyone_revseg.dataset.schema import (
    check_fields,
    count_values,
    describe_field,
    field_names,
)
from fiftyone_revseg.dataset.store import Document

_CHUNK = 1000  # samples per request to the database

#: The attributes that all detections of ours have, and their types in the database
_OWN_DETECTION = {"index": ("int", "long"), "query": ("string",), "instance": ("object",)}
_OWN_ANSWER = {"query", "status", "model"}


class ForeignLabelsError(ValueError):
    """There are labels where a result would go that this product did not write."""


def check_label_field(
    dataset: fo.Dataset, label_field: str, replace_foreign_labels: bool = False
) -> None:
    """Checks that a label field is not somebody else's, before anything is loaded or written.

    A field with labels and without any result of ours is the user's as a whole: it is refused
    whichever samples are meant, as labels of two origins would be mixed. Where some samples have
    results of ours, :func:`check_videos` looks at those that would be written.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`; of clips, the one with whole videos
        label_field: the label field, without "frames."
        replace_foreign_labels (False): whether labels of others may be replaced. Fields of other
            types are refused nevertheless

    Raises:
        ForeignLabelsError: if the labels are somebody else's
        ValueError: if a field is in the way for another reason
    """
    check_fields(dataset, label_field)
    ours = has_results(dataset, label_field)
    existing = dataset.get_field(label_field)
    if existing is not None and dataset.media_type != "image" and not ours:
        # Masks go to a field of frames, and this one would be mistaken for it
        raise ValueError(
            f"'{label_field}' is a field of the samples of dataset '{dataset.name}' already "
            f"({describe_field(existing)}{count_values(dataset, label_field)}): choose another "
            "label_field, or rename that field first"
        )
    if not ours and not replace_foreign_labels:
        _refuse(dataset, label_field, _Scan(dataset, label_field).everything())


def check_videos(
    dataset: fo.Dataset,
    label_field: str,
    videos: Sequence[VideoRef],
    replace_foreign_labels: bool = False,
    with_results: bool = True,
) -> None:
    """Checks that no result on these videos would replace labels that this product did not write.

    These are labels on samples without a result of ours, and on frames that it is not about.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`; of clips, the one with whole videos
        label_field: the label field, without "frames."
        videos: what would be written
        replace_foreign_labels (False): whether labels of others may be replaced
        with_results (True): whether to look at samples with results of ours, too

    Raises:
        ForeignLabelsError: if one would
    """
    if not replace_foreign_labels:
        _refuse(dataset, label_field, _Scan(dataset, label_field).of_videos(videos, with_results))


def has_results(dataset: fo.Dataset, label_field: str) -> bool:
    """Returns whether any sample of a dataset has a result of ours in a label field."""
    name = f"{label_field}_trajectory"
    if dataset.get_field(name) is None:
        return False
    found = store.sample_documents(dataset).find_one(
        {f"{name}.segmentations.trajectory": {"$exists": True}}, {"_id": True}
    )
    return found is not None


@dataclass
class _Found:
    """Where labels of others are.

    Attributes:
        samples: the ids of samples
        frames: in how many frames they are; 0 for fields of samples
    """

    samples: set[Any] = field(default_factory=set)
    frames: int = 0

    def describe(self, dataset: fo.Dataset, path: str) -> str:
        kind = describe_field(dataset.get_field(path))
        samples = f"{len(self.samples)} sample{'s'[: len(self.samples) != 1]}"
        if not self.frames:
            return f"{kind} on {samples}"
        return f"{kind} in {self.frames} frame{'s'[: self.frames != 1]} of {samples}"


def _refuse(dataset: fo.Dataset, label_field: str, found: dict[str, _Found]) -> None:
    if not found:
        return
    told = "; ".join(
        f"'{path}' of dataset '{dataset.name}' holds {where.describe(dataset, path)}"
        for path, where in found.items()
    )
    raise ForeignLabelsError(
        f"{told}: ReVSeg did not write that, and replaces it only if told to. Choose another "
        f"label_field than '{label_field}', or give replace_foreign_labels=True "
        "(--replace-foreign-labels)"
    )


class _Scan:
    """Looks for labels of others, as far as possible in the database."""

    def __init__(self, dataset: fo.Dataset, label_field: str):
        self._dataset = dataset
        self._label_field = label_field
        self._images = dataset.media_type == "image"
        first, *others = field_names(label_field)
        self._masks = label_field if self._images else first
        self._has_masks = dataset.get_field(self._masks) is not None
        self._existing = [name for name in others if dataset.get_field(name) is not None]
        self._declared = f"{label_field}_trajectory" in self._existing
        self._found: dict[str, _Found] = {}

    def everything(self) -> dict[str, _Found]:
        """Looks at all samples and frames, none of which has a result of ours."""
        for document in self._samples(None):
            self._look_at_values(document)
        for owner, numbers in self._labelled(None):
            self._add(owner, len(numbers))
        return self._found

    def of_videos(self, videos: Iterable[VideoRef], with_results: bool) -> dict[str, _Found]:
        """Looks at what results on these videos would replace."""
        by_sample: dict[str, list[VideoRef]] = {}
        for video in videos if self._has_masks or self._existing else ():
            by_sample.setdefault(video.sample_id, []).append(video)
        for chunk in _chunks(by_sample):
            self._look_at({i: by_sample[i] for i in chunk}, with_results)
        return self._found

    def _look_at(self, videos: dict[str, list[VideoRef]], with_results: bool) -> None:
        places = members_of(video for video, *_ in videos.values())
        ranges: dict[str, list[list[int]]] = {}
        without = []
        for document in self._samples(list(places)):
            owner, _ = places[document["_id"]]
            own = ranges_of(document.get(f"{self._label_field}_trajectory"))
            if own is None:
                without.append((owner, document))
            else:
                ranges.setdefault(owner, []).extend(own)
        for owner, document in without:
            if owner not in ranges:  # the other images of a group have no record
                self._look_at_values(document)
        looked_at = [i for i, (owner, _) in places.items() if with_results or owner not in ranges]
        for document_id, numbers in self._labelled(looked_at):
            owner, number = places[document_id]
            replaced = [
                n
                for n in ([number] if self._images else numbers)
                if any(is_within(n, video.support) for video in videos[owner])
                and not any(is_within(n, support) for support in ranges.get(owner, ()))
            ]
            if replaced:
                self._add(document_id, len(replaced))

    def _look_at_values(self, document: Document) -> None:
        if not self._is_left_over(document):
            for name in self._existing:
                if _is_something(document.get(name)):
                    self._found.setdefault(name, _Found()).samples.add(document["_id"])

    def _add(self, document_id: Any, frames: int) -> None:
        where = self._found.setdefault(self._masks, _Found())
        where.samples.add(document_id)
        where.frames += 0 if self._images else frames

    def _samples(self, ids: Sequence[ObjectId] | None) -> Iterator[Document]:
        if not self._existing:
            return iter(())
        query: Document = {"_id": {"$in": ids}}
        if ids is None:  # most samples have none, and what they have may be long
            query = {"$or": [{name: {"$nin": [None, "", {}]}} for name in self._existing]}
        name = self._label_field
        fields = dict.fromkeys(self._existing, True)
        if f"{name}_trajectory" in fields and ids is not None:
            del fields[f"{name}_trajectory"]
            root = f"{name}_trajectory"
            for attribute in ("status", "support", "first_frame", "trajectory.frame_table"):
                fields[f"{root}.segmentations.{attribute}"] = True
        return store.sample_documents(self._dataset).find(query, fields)

    def _is_left_over(self, document: Document) -> bool:
        """Whether the values of a sample without a record are of a run of ours that was killed."""
        if not self._declared:
            return False
        answers = document.get(f"{self._label_field}_answers") or {}
        labels = answers.get("classifications") if isinstance(answers, dict) else None
        return bool(labels) and all(set(label) >= _OWN_ANSWER for label in labels or ())

    def _labelled(self, ids: Sequence[ObjectId] | None) -> Iterator[tuple[ObjectId, list[int]]]:
        """Samples or images with detections of others, and the numbers of their frames."""
        if not self._has_masks:
            return
        root = f"{self._label_field}.detections"
        key = store.owner_key(self._dataset)
        match: Document = {f"{root}.0": {"$exists": True}}
        if ids is not None:
            match[key] = {"$in": ids}
        collection = store.label_documents(self._dataset)
        stages: list[Document] = [{"$match": match}]
        if self._declared:
            own = [
                {"$in": [{"$type": f"$$d.{name}"}, list(types)]}
                for name, types in _OWN_DETECTION.items()
            ]
            foreign = {
                "$filter": {"input": f"${root}", "as": "d", "cond": {"$not": [{"$and": own}]}}
            }
            stages += [
                {"$project": {key: 1, "frame_number": 1, "foreign": {"$size": foreign}}},
                {"$match": {"foreign": {"$gt": 0}}},
            ]
        stages.append({"$group": {"_id": f"${key}", "numbers": {"$push": "$frame_number"}}})
        for document in collection.aggregate(stages, allowDiskUse=True):
            yield document["_id"], document["numbers"]


def ranges_of(trajectory: Any) -> list[list[int]] | None:
    """Returns the first and last frame numbers of the results of ours that a sample has.

    Args:
        trajectory: the value of the sample's field ``<label_field>_trajectory``

    Returns:
        a list of [first, last], without those results that are about no frames; None if this is
        no record of ours
    """
    records = trajectory.get("segmentations") if isinstance(trajectory, dict) else None
    if not isinstance(records, list) or not records:
        return None
    try:
        found = [record.frames for record in map(Record, records) if record.status]
    except (KeyError, TypeError, AttributeError):
        return None
    return [frames for frames in found if frames]


def _is_something(value: Any) -> bool:
    if isinstance(value, dict):
        labels = [v for k, v in value.items() if k != "_cls"]
        return any(v not in (None, [], {}) for v in labels)
    return value not in (None, "")


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    every = list(ids)
    for start in range(0, len(every), _CHUNK):
        yield every[start : start + _CHUNK]
