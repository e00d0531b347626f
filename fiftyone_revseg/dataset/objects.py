"""Objects as the database has them: found by their index, or by the id of one of their labels.

Everything is read and written as raw documents: FiftyOne would load, and write back, the masks of
all other objects in the same frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import fiftyone.core.collections as foc
import fiftyone.core.labels as fol
from bson import ObjectId

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.collection import source_dataset, video_of
from fiftyone_revseg.dataset.frame_numbers import is_within
from fiftyone_revseg.dataset.place import Place
from fiftyone_revseg.dataset.record import Record, find_query, number_objects
from fiftyone_revseg.dataset.record import find_object as find_record
from fiftyone_revseg.dataset.schema import valid_label_field
from fiftyone_revseg.dataset.store import Document
from fiftyone_revseg.text.clean import storable
from fiftyone_revseg.types import Status


@dataclass(frozen=True)
class StoredAnswer:
    """One answer on one video: that about one object, or about a query without any.

    Attributes:
        place: where its labels are
        answer: the raw document of the answer
    """

    place: Place
    answer: Document

    @property
    def index(self) -> int | None:
        """The number of its object among those of the video, from 1; None if there is none."""
        return self.answer.get("index")

    @property
    def query(self) -> str:
        """The query."""
        return self.answer.get("query") or ""

    @property
    def status(self) -> str:
        """See :class:`fiftyone_revseg.types.Status`."""
        return self.answer.get("status") or ""

    @property
    def support(self) -> list[int] | None:
        """The first and last frame number that was segmented; None of an unreadable video."""
        found = self.answer.get("support")
        return list(found) if found else None

    def is_same(self, answer: Document) -> bool:
        """Returns whether a document is about the same: images of a group have copies."""
        if answer.get("index") != self.index or (answer.get("support") or None) != self.support:
            return False
        return self.index is not None or (answer.get("query") or "") == self.query

    def in_words(self) -> str:
        """Says what the answer is."""
        if self.index is not None:
            return f"{self.index}: {self.answer['label']}"
        what = "no such object" if self.status == str(Status.NO_TARGET) else self.status
        return f"{self.query}: {what}"


@dataclass(frozen=True)
class StoredObject(StoredAnswer):
    """One object of one video.

    Attributes:
        place: where its labels are
        answer: its answer
        is_new: whether it is to be added, so that nothing of it is in the database yet
    """

    is_new: bool = False

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
        """What links its detections, that of most of them; None for none."""
        if self.is_new:
            return None
        found: dict[Any, tuple[int, int]] = {}  # how many are elsewhere, and how many here
        instances = {}
        for number, detection in _labels(self.place, None, {"index": self.index}):
            if instance := detection.get("instance"):
                outside, inside = found.get(instance["_id"], (0, 0))
                here = is_within(number, self.support)
                found[instance["_id"]] = (outside + (not here), inside + here)
                instances[instance["_id"]] = instance
        # Clips that overlap may have an object of this index in the same frames: the other one's
        # goes on where this clip does not
        own = [key for key, (_, inside) in found.items() if inside]
        best = min(own, key=lambda key: (found[key][0], -found[key][1]), default=None)
        return instances.get(best)

    def owns(self, detection: Document) -> bool:
        """Returns whether a detection within the support is one of this object."""
        if detection.get("index") != self.index or self.is_new:
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
    place = Place.of(video_of(sample), label_field)
    if not place.dataset.has_field(f"{place.label_field}_answers"):
        raise ValueError(f"There is no label field '{place.label_field}': segment the video first")
    # The first image has the trajectory, so a part of a group, or one in another order, has none
    if not place.sample_id or not place.read().records:
        raise ValueError(
            f"There is no whole result in label field '{place.label_field}' of this video: "
            "segment it first"
        )
    return place


def list_answers(place: Place) -> list[StoredAnswer]:
    """Lists the answers on a video; of a clip, only those of the clip."""
    answers = place.read().answers
    if place.support is not None:
        answers = [a for a in answers if list(a.get("support") or ()) == list(place.support)]
    # Without frames, there is no place that an object could be in
    return [
        (StoredAnswer if a.get("index") is None or not a.get("support") else StoredObject)(place, a)
        for a in answers
    ]


def list_objects(place: Place) -> list[StoredObject]:
    """Lists the objects of a video; of a clip, only those of the clip."""
    return [one for one in list_answers(place) if isinstance(one, StoredObject)]


def find_answer(place: Place, label_id: str) -> StoredAnswer:
    """Finds the answer that a label belongs to.

    Args:
        place: where its labels are
        label_id: the id of an answer; or of a detection or key frame, which has an object

    Returns:
        a :class:`StoredAnswer`; a :class:`StoredObject` if there is an object

    Raises:
        ValueError: if there is none
    """
    answers = list_answers(place)
    for owner in place.owners:
        for document in place.read(owner).answers:
            if str(document["_id"]) == label_id and document.get("index") is None:
                return next(one for one in answers if one.is_same(document))
    return find_object(place, label_id)


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


def new_object(
    place: Place, query: str | None, label: str | None, support: Sequence[int] | None = None
) -> StoredObject:
    """Makes an object that is to be added to the answer to a query.

    Args:
        place: where its labels are to go
        query: the query; None for the only one
        label: its description; None for the query itself
        support (None): the first and last frame number of its clip, where several clips have an
            answer to this query

    Returns:
        a :class:`StoredObject` of which nothing is in the database yet

    Raises:
        ValueError: if there is no such answer, or more than one, or its video has no frames
    """
    record = find_asked(place, query, support)
    answer = fol.Classification(
        label=checked_label(record.query if label is None else label),
        query=record.query,
        reasoning=record.thought,
        index=number_objects(place.read().records, record.frames or ()),
        keyframe=None,
        support=record.frames,
        status=str(Status.ERROR),
        reason="",
        model=record.document.get("model") or "",
        corrected=True,
    )
    return StoredObject(place, answer.to_dict(), is_new=True)


def drawn_labels(place: Place, support: Sequence[int]) -> list[str]:
    """Lists the labels of what a person drew, and what belongs to no object yet."""
    root = f"{place.label_field}.detections"
    fields = {f"{root}.{name}": True for name in ("index", "label")}
    query = {**place.frames_within(support), root: {"$elemMatch": {"index": None}}}
    found = {
        detection.get("label")
        for document in place.documents.find(query, fields)
        for detection in document[place.label_field]["detections"]
        if detection.get("index") is None
    }
    return sorted(filter(None, found))


def find_asked(
    place: Place, query: str | None = None, support: Sequence[int] | None = None
) -> Record:
    """Finds the record of a query.

    Args:
        place: where the labels are
        query (None): the query. By default, the only one
        support (None): the first and last frame number of the clip, where several clips have an
            answer to this query

    Raises:
        ValueError: if there is none, or more than one, or its video has no frames
    """
    records = place.read().records
    support = support or place.support
    asked = [r for r in records if query in (None, r.query)]
    asked = [r for r in asked if support is None or r.frames == list(support)]
    if not asked:
        have = ", ".join(f"'{r.query}'" for r in records)
        raise ValueError(f"There is no answer to '{query}' on this video, but to {have}")
    if len(asked) > 1:
        names = dict.fromkeys(f"query='{r.query}'" for r in asked)
        if len(names) == 1:
            names = dict.fromkeys(f"support={r.frames}" for r in asked)
        raise ValueError(f"There are several answers: say to which, {' or '.join(names)}")
    (record,) = asked
    if not record.frames:
        why = record.document.get("reason") or record.status
        raise ValueError(f"There are no frames that an object could be in ({why})")
    return record


def add_answer(answers: list[Document], answer: Document) -> Document:
    """Puts an answer beside those to the same query, in place of one without an object.

    Args:
        answers: all answers of a sample, changed in place
        answer: the new one, of which a copy with its own id is added

    Returns:
        the copy
    """
    about = (answer.get("query"), list(answer["support"]))
    own = {**answer, "_id": ObjectId(), "tags": []}
    same = [
        n for n, a in enumerate(answers) if (a.get("query"), list(a.get("support") or ())) == about
    ]
    empty = [n for n in same if answers[n].get("index") is None]
    if empty:
        answers[empty[0]] = own
    else:
        answers.insert(same[-1] + 1 if same else len(answers), own)
    return own


def checked_label(label: Any) -> str:
    """Returns what an object may be called; a ``ValueError`` says what is wrong with it."""
    text = storable(label).strip() if isinstance(label, str) else ""
    if not text:
        raise ValueError("An object needs a description: say in a few words what it is")
    return text


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
    for document in place.documents.aggregate(
        [{"$match": place.frames_within(stored.support)}, {"$project": fields}]
    ):
        found[place.number_of(document)] = document["own"]
    return found


def record_of(stored: StoredAnswer) -> tuple[Record, int]:
    """Returns the record that an answer belongs to, and its object's position among the choices.

    The position of an object that a person added comes after those of the choices.

    Raises:
        ValueError: if there is none any more
    """
    found, records = None, stored.place.read().records
    if isinstance(stored, StoredObject) and not stored.is_new:
        found = find_record(records, stored.index, stored.support)
    else:
        asked = find_query(records, stored.query, stored.support or ())
        found = (asked, len(asked.choices)) if asked is not None else None
    if found is None:
        raise ValueError(
            f"The answer {stored.in_words()} belongs to no result any more: segment the video again"
        )
    return found


def _has_label(stored: StoredObject, label_id: str) -> bool:
    if not ObjectId.is_valid(label_id):
        return False
    _id = ObjectId(label_id)
    for owner in stored.place.owners:
        values = stored.place.read(owner)
        for label in values.answers + values.keyframes:
            if label["_id"] == _id and label.get("index") == stored.index:
                around = label.get("support") or stored.support
                return stored.support[0] <= around[0] and around[1] <= stored.support[1]
    found = _labels(stored.place, stored.support, {"_id": _id})
    return any(stored.owns(detection) for _, detection in found)


def _labels(
    place: Place, support: Sequence[int] | None, match: Document
) -> Iterator[tuple[int, Document]]:
    """Detections without their masks, with their frame numbers."""
    root = f"{place.label_field}.detections"
    fields = {f"{root}.{name}": True for name in ("_id", "index", "instance")}
    ((name, value),) = match.items()
    query = {**place.frames_within(support), f"{root}.{name}": value}
    for document in place.documents.find(query, {"frame_number": True, **fields}):
        for detection in document[place.label_field]["detections"]:
            if detection.get(name) == value:
                yield place.number_of(document), detection
