"""Objects that a person adds to an answer, deletes, or calls something else.

As all corrections, these are noted in the record of the query, and can be undone, see
:mod:`fiftyone_revseg.dataset.undo`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fiftyone.core.labels as fol
from pymongo import UpdateMany, UpdateOne

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.correct import Correction, track_object
from fiftyone_revseg.dataset.former import is_unfinished, keep_once, read_placed
from fiftyone_revseg.dataset.model import RevSegModel
from fiftyone_revseg.dataset.objects import (
    StoredObject,
    checked_label,
    drawn_labels,
    find_asked,
    find_object,
    find_place,
    new_object,
    record_of,
)
from fiftyone_revseg.dataset.prompt_boxes import Given
from fiftyone_revseg.dataset.record import Record, Results, find_query
from fiftyone_revseg.dataset.sample_edit import (
    edit_main,
    edit_samples,
    is_about,
    note,
    set_status,
)
from fiftyone_revseg.dataset.store import Document
from fiftyone_revseg.pipeline import Progress, RevSeg
from fiftyone_revseg.tracking import Tracker
from fiftyone_revseg.types import Status

_UNFINISHED = "deleting the object was interrupted: delete it again, or undo"


def add_object(
    sample: Any,
    query: str | None = None,
    boxes: Mapping[int, Given] | None = None,
    label: str | None = None,
    model: RevSegModel | RevSeg | Tracker | str | Path = "revseg-nano",
    label_field: str = "revseg",
    support: Sequence[int] | None = None,
    progress: Progress | None = None,
    by: str | None = None,
    seen: Mapping[int, int] | None = None,
) -> Correction:
    """Adds an object to the answer to a query: a person shows where it is, the tracker follows it.

    Where the answer was that there is no such object, or the chain failed, the object takes the
    place of that answer; else it stands beside the other objects, which stay as they are::

        add_object(sample, "the red car", {12: [0.1, 0.2, 0.3, 0.4]})

    Args:
        sample: a :class:`fiftyone.core.sample.Sample` or view of one: a video or a clip; or the
            images of one group, as ``iter_dynamic_groups()`` gives them
        query (None): the query. By default, the only one that was asked
        boxes (None): frame number -> relative ``[x, y, width, height]``, points or a mask, see
            :func:`fiftyone_revseg.dataset.correct.propagate`. By default, what was drawn with the
            object's label, and belongs to no object
        label (None): its description. By default, the label of all that was drawn; else, the
            query
        model ("revseg-nano"): see :func:`fiftyone_revseg.dataset.correct.propagate`
        label_field ("revseg"): the label field
        support (None): the first and last frame number of the clip, where several clips of a video
            have answers to this query
        progress (None): called as ``progress("track", done, total)``, in frames
        by (None): who adds it. By default, the name of the user that runs this
        seen (None): see :func:`fiftyone_revseg.dataset.correct.propagate`

    Returns:
        a :class:`fiftyone_revseg.dataset.correct.Correction`; its ``index`` is the new object's

    Raises:
        ValueError: if there is no such answer, no box, or nothing to be found in it; nothing has
            been written then
    """
    place = find_place(sample, label_field)
    if label is None and boxes is None:
        drawn = drawn_labels(place, find_asked(place, query, support).frames or ())
        label = drawn[0] if len(drawn) == 1 else None
    stored = new_object(place, query, label, support)
    return track_object(stored, boxes, model, progress, by, seen)


def delete_object(
    sample: Any,
    index: int | str,
    label_field: str = "revseg",
    support: Sequence[int] | None = None,
    by: str | None = None,
) -> str:
    """Deletes an object: its masks on all frames, its answer and its key frame.

    With the last object of a query, the answer becomes that there is no such object.

    Args:
        sample: as for :func:`add_object`
        index: the object's ``index``, or the id of one of its labels
        label_field ("revseg"): the label field
        support (None): the first and last frame number of the object's clip, where several clips
            of a video have an object with this index
        by (None): who deletes it. By default, the name of the user that runs this

    Returns:
        what was done, in words

    Raises:
        ValueError: if there is no such object
    """
    stored = find_object(find_place(sample, label_field), index, support)
    place = stored.place
    record, _ = record_of(stored)
    entry = note("deleted", by, index=stored.index, label=stored.label)
    entry["former"] = keep_once(place, record, stored)
    root = f"{place.label_field}.detections"
    writes = []
    for number, placed in read_placed(place, stored.support, [stored]).items():
        gone: Any = {root: {"_id": {"$in": [d["_id"] for _, d in placed if stored.owns(d)]}}}
        writes.append(UpdateOne(place.frame(number), {"$pull": gone, **store.setting({})}))

    def mark(values: Results, sample_id: str) -> None:
        for answer in filter(stored.is_same, values.answers):
            answer.update(status=str(Status.ERROR), reason=_UNFINISHED)
        found = _note(values, stored, {**entry, "unfinished": True})
        if found is not None:
            found.document.update(status=str(Status.ERROR), reason=_UNFINISHED)

    def delete(values: Results, sample_id: str) -> None:
        values.keyframes = [k for k in values.keyframes if not _has_keyframe(stored, k)]
        own = [n for n, a in enumerate(values.answers) if stored.is_same(a)]
        for n in reversed(own):
            answer = values.answers.pop(n)
            if not any(is_about(a, stored.query, stored.support) for a in values.answers):
                values.answers.insert(n, _no_object(answer))
        found = _note(values, stored, entry)
        if found is not None:
            set_status(found, values.answers)

    edit_main(place, mark)
    store.write_documents(place.dataset, writes, frames=not place.images)
    edit_samples(place, delete)
    return f"object {stored.index} ({stored.label}) is deleted"


def rename_object(
    sample: Any,
    index: int | str,
    label: str,
    label_field: str = "revseg",
    support: Sequence[int] | None = None,
    by: str | None = None,
) -> str:
    """Gives an object another description, on all frames and in its answer.

    To ask the model where what is so described is, too, see
    :func:`fiftyone_revseg.dataset.correct.reground`.

    Args:
        sample: as for :func:`add_object`
        index: the object's ``index``, or the id of one of its labels
        label: the description
        label_field ("revseg"): the label field
        support (None): see :func:`delete_object`
        by (None): who renames it. By default, the name of the user that runs this

    Returns:
        what was done, in words

    Raises:
        ValueError: if there is no such object, or the description is empty
    """
    stored = find_object(find_place(sample, label_field), index, support)
    label, was = checked_label(label), stored.label
    # What was before is no more than this, so it needs no other place
    entry = note("renamed", by, index=stored.index, label=label, was=was, former="was")

    def noted(corrections: list[Document]) -> list[Document]:
        known = label == was or entry in corrections
        return corrections if known else [*corrections, entry]

    set_label(stored, label, noted)
    return f"object {stored.index} is called {label}" + ("" if label == was else f", no more {was}")


def set_label(
    stored: StoredObject, label: str, corrected: Callable[[list[Document]], list[Document]]
) -> None:
    """Sets the label of all labels of an object.

    Args:
        stored: the object
        label: its description from now on
        corrected: makes the corrections that its record has of those that it had
    """
    place = stored.place
    root = f"{place.label_field}.detections"

    def rename(values: Results, sample_id: str) -> None:
        found = find_query(values.records, stored.query, stored.support)
        corrections = []
        if found is not None:
            corrections = corrected(found.corrections)
            found.document["corrections"] = corrections
            if not corrections:
                del found.document["corrections"]
        for answer in filter(stored.is_same, values.answers):
            mine = [e for e in corrections if e.get("index") in (stored.index, None)]
            answer.update(label=label, corrected=bool(mine))
        for keyframe in values.keyframes:
            if _has_keyframe(stored, keyframe):
                keyframe["label"] = label

    own: dict[str, Any] = {"own.index": stored.index}
    if stored.instance:  # clips that overlap may share frames and indices
        own["own.instance._id"] = {"$in": [stored.instance["_id"], None]}
    frames = {**place.frames_within(stored.support), f"{root}.index": stored.index}
    update = store.setting({f"{root}.$[own].label": label})
    edit_main(place, rename)  # first: what is interrupted here is done again by the same call
    writes = [UpdateMany(frames, update, array_filters=[own])]
    store.write_documents(place.dataset, writes, frames=not place.images)
    edit_samples(place, rename)


def _note(values: Results, stored: StoredObject, entry: Document) -> Record | None:
    """Notes a correction in the record, instead of those that were interrupted."""
    found = find_query(values.records, stored.query, stored.support)
    if found is not None:
        left = [e for e in found.corrections if not is_unfinished(e, stored.index)]
        found.document["corrections"] = [*left, entry]
    return found


def _has_keyframe(stored: StoredObject, keyframe: Document) -> bool:
    if keyframe.get("index") != stored.index:
        return False
    around = keyframe.get("support") or stored.support  # images have none
    return bool(stored.support[0] <= around[0] and around[1] <= stored.support[1])


def _no_object(answer: Document) -> Document:
    """The answer that there is no such object, in the place of one about an object."""
    status = str(Status.NO_TARGET)
    return fol.Classification(
        label=status,
        query=answer.get("query"),
        reasoning=answer.get("reasoning"),
        index=None,
        keyframe=None,
        support=answer.get("support"),
        status=status,
        reason="a person deleted the object",
        model=answer.get("model"),
        corrected=True,
    ).to_dict()
