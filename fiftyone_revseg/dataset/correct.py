"""Corrections by a person: one object is tracked again from boxes that are right.

Only that object's detections change; those of other objects stay as they are, byte for byte.

The order is what makes it safe to kill. First everything is computed, so that whatever fails
leaves no trace. Then the correction is noted as pending, with its boxes, and the object's answer
says "error". Then the frames are written, and last, in one write, the sample-level fields. Whoever
finds a pending correction calls :func:`propagate` once more: it takes the boxes from there.
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import fiftyone.core.labels as fol
import numpy as np
from pymongo import UpdateOne

from fiftyone_revseg.dataset.labels import reasoning_of, status_of, track_detections
from fiftyone_revseg.dataset.load import load_model
from fiftyone_revseg.dataset.model import RevSegModel
from fiftyone_revseg.dataset.objects import (
    Document,
    StoredObject,
    change_values,
    find_object,
    find_place,
    read_detections,
    read_values,
)
from fiftyone_revseg.dataset.record import find_object as find_record
from fiftyone_revseg.dataset.schema import declare_fields
from fiftyone_revseg.pipeline import Progress, RevSeg
from fiftyone_revseg.reasoning import ChainRequest, KeyframeChoice
from fiftyone_revseg.reasoning.chain import ground_again
from fiftyone_revseg.tracking import FrameMasks, MaskTrack, Tracker
from fiftyone_revseg.tracking.prompts import track_prompts
from fiftyone_revseg.types import FrameTable, Status
from fiftyone_revseg.video import Video, open_video

#: Tags of :mod:`fiftyone_revseg.dataset.review`: they were about the masks before
REVIEW_TAGS = ("accepted", "rejected")

_PENDING = "a correction was interrupted: propagate the object again, it goes on from its boxes"
_OFF_GRID = 0.01  # pixels; boxes around masks have whole ones

# What a new detection brings; whatever else its element of the list has stays as it is
_REPLACED = ("label", "bounding_box", "mask", "confidence", "index", "instance", "query")

Box = Sequence[float]


@dataclass(frozen=True)
class Correction:
    """What a correction did.

    Attributes:
        sample_id: the sample
        label_field: the label field
        index: the object's index
        label: the object's description
        prompts: frame number -> the relative ``[x, y, width, height]`` box it was tracked from
        frames: the number of frames that were written
        visible: in how many of them the object has a mask
        score: the tracker's mean score where it has one
        seconds: the wall time in seconds
    """

    sample_id: str
    label_field: str
    index: int
    label: str
    prompts: dict[int, list[float]]
    frames: int
    visible: int
    score: float
    seconds: float

    def __str__(self) -> str:
        numbers = ", ".join(str(number) for number in self.prompts)
        return (
            f"object {self.index} ({self.label}) tracked from frame{'s'[: len(self.prompts) - 1]} "
            f"{numbers}: visible in {self.visible} of {self.frames} frames, mean score "
            f"{self.score:.2f}, {self.seconds:.1f} s"
        )


def propagate(
    sample: Any,
    index: int | str,
    boxes: Mapping[int, Box | None] | None = None,
    model: RevSegModel | RevSeg | Tracker | str | Path = "revseg-nano",
    label_field: str = "revseg",
    support: Sequence[int] | None = None,
    progress: Progress | None = None,
    by: str | None = None,
) -> Correction:
    """Tracks one object again from corrected boxes and replaces its masks on all frames.

    The tracker alone runs. Each box governs the frames nearest to its own.

    Examples::

        from fiftyone_revseg.dataset.correct import propagate

        # From the boxes of this object that were moved or drawn
        propagate(sample, 1)

        # From a box in frame 40, and from the mask that is right already in frame 90
        propagate(sample, 1, {40: [0.1, 0.2, 0.3, 0.4], 90: None})

    Args:
        sample: a :class:`fiftyone.core.sample.Sample` or view of one: a video or a clip; or the
            images of one group, as ``iter_dynamic_groups()`` gives them
        index: the object's ``index``, or the id of one of its labels
        boxes (None): frame number -> relative ``[x, y, width, height]``, or None for the box that
            the object has in that frame already. By default, those of an interrupted correction;
            else, see :func:`changed_boxes`
        model ("revseg-nano"): what has the tracker: a :class:`RevSegModel`, a
            :class:`fiftyone_revseg.pipeline.RevSeg`, a preset, a hub id or a path; or a tracker
        label_field ("revseg"): the label field
        support (None): the first and last frame number of the object's clip, where several clips
            of a video have an object with this index
        progress (None): called as ``progress("track", done, total)``, in frames
        by (None): who corrects. By default, the name of the user that runs this

    Returns:
        a :class:`Correction`; ``print`` it

    Raises:
        ValueError: if there is no such object, no box, or nothing to be found in it; nothing has
            been written then
    """
    started = time.perf_counter()
    stored = find_object(find_place(sample, label_field), index, support)
    detections = read_detections(stored)
    prompts = _prompts(stored, detections, boxes)
    kinds = {n: "key frame" if boxes and boxes[n] is None else "box" for n in prompts}
    entries = [_entry(stored, kinds[n], n, box, by) for n, box in prompts.items()]
    with _open(stored) as video:
        track = _track(stored, video, _tracker_of(model), prompts, progress)
    _write(stored, detections, track, prompts, entries, None)
    return _summary(stored, track, prompts, started)


def reground(
    sample: Any,
    index: int | str,
    frame_number: int,
    model: RevSegModel | RevSeg | str | Path = "revseg-nano",
    label_field: str = "revseg",
    support: Sequence[int] | None = None,
    progress: Progress | None = None,
    by: str | None = None,
) -> Correction:
    """Asks the model where an object is in a frame of your choice, and tracks it from there.

    The model is asked as in turn 2, with the object's description; turn 1 stands as it was, but
    for the frame. Everything else is as in :func:`propagate`.

    Args:
        sample: see :func:`propagate`
        index: the object's ``index``, or the id of one of its labels
        frame_number: the frame to show, from 1
        model ("revseg-nano"): a :class:`RevSegModel`, a :class:`fiftyone_revseg.pipeline.RevSeg`,
            a preset, a hub id or a path
        label_field ("revseg"): the label field
        support (None): see :func:`propagate`
        progress (None): called as ``progress(stage, done, total)``; stages are "reason" and
            "track"
        by (None): who corrects. By default, the name of the user that runs this

    Returns:
        a :class:`Correction`

    Raises:
        ValueError: if there is no such object or frame, the model gives no box, or there is
            nothing to be found in it; nothing has been written then
    """
    started = time.perf_counter()
    stored = find_object(find_place(sample, label_field), index, support)
    check_frame(stored, frame_number)
    pipeline = _pipeline_of(model)
    report = progress or (lambda stage, done, total: None)
    with _open(stored) as video:
        report("reason", 0, 1)
        box_px, confidence, turns = _ground(stored, video, pipeline, frame_number)
        report("reason", 1, 1)
        width, height = video.size
        x1, y1, x2, y2 = box_px
        box = [x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height]
        prompts = {frame_number: box}
        track = _track(stored, video, pipeline.tracker, prompts, progress)
    entry = _entry(stored, "reground", frame_number, box, by)
    entry.update(confidence=confidence, model=pipeline.name, turns=turns)
    _write(stored, read_detections(stored), track, prompts, [entry], confidence)
    return _summary(stored, track, prompts, started)


def changed_boxes(stored: StoredObject) -> dict[int, list[float]]:
    """Finds the boxes of an object that a person moved, resized or drew.

    A box around a mask has whole pixels, and as many as the mask. One that has not was changed. A
    box that was moved by whole pixels without being resized cannot be told from one that was not:
    name its frame. A box without a mask was drawn; one without an ``index`` counts if it has the
    object's label, or if there are no other objects.

    Args:
        stored: a :class:`fiftyone_revseg.dataset.objects.StoredObject`

    Returns:
        a dict of frame number -> relative ``[x, y, width, height]``
    """
    return _changed_boxes(stored, read_detections(stored))


def find_boxes(stored: StoredObject) -> dict[int, list[float]]:
    """Finds the boxes that :func:`propagate` takes if none are given.

    Args:
        stored: a :class:`fiftyone_revseg.dataset.objects.StoredObject`

    Returns:
        a dict of frame number -> relative ``[x, y, width, height]``: those of an interrupted
        correction, else those of :func:`changed_boxes`
    """
    return _pending_boxes(stored) or changed_boxes(stored)


def check_boxes(stored: StoredObject, boxes: Mapping[int, Box | None] | None) -> None:
    """Raises the ``ValueError`` that :func:`propagate` would raise for boxes."""
    _prompts(stored, read_detections(stored), boxes)


def current_box(stored: StoredObject, number: int, label_id: str | None) -> list[float] | None:
    """Returns the box of one detection.

    Args:
        stored: the object
        number: the frame number
        label_id: the detection's id

    Returns:
        the relative ``[x, y, width, height]``; None if the detection is another object's
    """
    for detection in read_detections(stored).get(number) or ():
        mine = detection.get("index") is None or stored.owns(detection)
        if mine and str(detection["_id"]) == label_id:
            return list(detection["bounding_box"])
    return None


def made_with(stored: StoredObject) -> dict[str, Any]:
    """Returns the settings that an object was found with."""
    return dict(_record(stored)[0].get("settings") or {})


def check_frame(stored: StoredObject, number: Any) -> None:
    """Raises a ``ValueError`` if an object cannot be in a frame of that number."""
    first, last = stored.support
    whole = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
    if not whole or not first <= number <= last:
        raise ValueError(f"There is no frame {number}: give a frame number from {first} to {last}")


def _changed_boxes(
    stored: StoredObject, detections: Mapping[int, list[Document] | None]
) -> dict[int, list[float]]:
    size = _record(stored)[0]["trajectory"]["source_size"]
    changed = {}
    for number, found in sorted(detections.items()):
        # What was drawn last is what counts, and it comes last
        for detection in found or ():
            drawn = _is_drawn(stored, detection)
            if drawn or (stored.owns(detection) and _is_changed(detection, size)):
                changed[number] = list(detection["bounding_box"])
    return changed


def _pending_boxes(stored: StoredObject) -> dict[int, list[float]]:
    entries = _record(stored)[0].get("corrections") or []
    pending = [e for e in entries if e.get("pending") and e["index"] == stored.index]
    return {entry["frame_number"]: entry["box"] for entry in pending}


def _is_drawn(stored: StoredObject, detection: Document) -> bool:
    if detection.get("mask") or detection.get("mask_path"):
        return False
    if detection.get("index") is not None:
        return stored.owns(detection)
    if detection.get("label") == stored.label:
        return True
    answers = read_values(stored.place)["answers"]
    return sum(answer.get("index") is not None for answer in answers) == 1


def _is_changed(detection: Document, size: Sequence[int]) -> bool:
    mask = fol.Detection.from_dict(dict(detection)).get_mask()  # it changes the dict
    if mask is None or not any(size):
        return True
    x, y, w, h = (
        v * side for v, side in zip(detection["bounding_box"], [*size, *size], strict=True)
    )
    grid = max(abs(value - round(value)) for value in (x, y, w, h))
    return grid > _OFF_GRID or (round(h), round(w)) != mask.shape[:2]


def _prompts(
    stored: StoredObject,
    detections: Mapping[int, list[Document] | None],
    boxes: Mapping[int, Box | None] | None,
) -> dict[int, list[float]]:
    """The boxes to track from, by frame number, checked."""
    if boxes is None:
        boxes = _pending_boxes(stored) or _changed_boxes(stored, detections)
        if not boxes:
            raise ValueError(
                f"No box of object {stored.index} ({stored.label}) was moved or drawn: do that "
                "first, or say where it is, boxes={frame number: [x, y, width, height]}"
            )
    elif not boxes:
        raise ValueError("There is no box to track from: boxes={frame number: [x, y, w, h]}")
    prompts = {}
    for number, box in boxes.items():
        check_frame(stored, number)
        if box is None:
            own = [d for d in detections.get(number) or () if stored.owns(d)]
            if not own:
                raise ValueError(
                    f"Object {stored.index} ({stored.label}) has no box in frame {number}: draw "
                    "one, or choose a frame in which it is visible"
                )
            box = own[-1]["bounding_box"]
        prompts[int(number)] = _checked_box(number, box)
    return prompts


def _checked_box(number: int, box: Any) -> list[float]:
    """Returns the part of a box that is in the frame."""
    try:
        x, y, w, h = (float(value) for value in box)
    except (TypeError, ValueError):
        x = y = w = h = float("nan")
    left, top, right, bottom = np.clip([x, y, x + w, y + h], 0, 1).tolist()
    if not (w > 0 and h > 0 and right > left and bottom > top):  # nor if one is no number
        raise ValueError(
            f"The box in frame {number} is none: give [x, y, width, height] as parts of the "
            f"frame's width and height, from 0 to 1, not {box!r}"
        )
    return [left, top, right - left, bottom - top]


def _pipeline_of(model: RevSegModel | RevSeg | str | Path) -> RevSeg:
    if isinstance(model, RevSeg):
        return model
    return (model if isinstance(model, RevSegModel) else load_model(model)).pipeline


def _tracker_of(model: RevSegModel | RevSeg | Tracker | str | Path) -> Tracker:
    if not isinstance(model, (RevSeg, RevSegModel)) and isinstance(model, Tracker):
        return model
    return _pipeline_of(model).tracker


def _open(stored: StoredObject) -> Video:
    place = stored.place
    if place.images:
        return open_video([path for _, path in place.images])
    if _record(stored)[0].get("support") is None:
        return open_video(place.filepath)
    first, last = stored.support
    return open_video(place.filepath, (first - 1, last))


def _record(stored: StoredObject) -> tuple[Document, int]:
    found = find_record(read_values(stored.place)["records"], stored.index, stored.support)
    if found is None:
        raise ValueError(
            f"The answer of object {stored.index} belongs to no result any more: segment the "
            "video again"
        )
    return found


def _track(
    stored: StoredObject,
    video: Video,
    tracker: Tracker,
    prompts: Mapping[int, list[float]],
    progress: Progress | None,
) -> MaskTrack:
    width, height = video.size
    boxes = {}
    for number, (x, y, w, h) in prompts.items():
        if number > video.first_frame + len(video):
            raise ValueError(f"There is no frame {number}: the video ends before it")
        box = [x * width, y * height, (x + w) * width, (y + h) * height]
        boxes[number - 1 - video.first_frame] = box
    if progress is not None:
        # The frame with a box is walked in both directions, unless it is the first
        tracker = _Reporting(tracker, progress, len(video) + sum(k > 0 for k in boxes))
    track = track_prompts(tracker, video, boxes)
    if not track.visible_frames:
        raise ValueError(
            f"The tracker found nothing in the box in frame {', '.join(map(str, prompts))}: draw "
            "it more closely around the object, or in another frame. Nothing was changed"
        )
    return track


class _Reporting:
    """A tracker that says how far it is."""

    def __init__(self, tracker: Tracker, report: Progress, total: int):
        self._tracker, self._report, self._total, self._done = tracker, report, total, 0

    def track(
        self, frames: Iterable[tuple[int, np.ndarray]], boxes_xyxy_px: np.ndarray
    ) -> Iterator[FrameMasks]:
        for found in self._tracker.track(frames, boxes_xyxy_px):
            self._done += 1
            self._report("track", self._done, self._total)
            yield found


def _ground(
    stored: StoredObject, video: Video, pipeline: RevSeg, frame_number: int
) -> tuple[Sequence[float], float | None, list[Document]]:
    """Asks turn 2; the box is in pixels."""
    record, position = _record(stored)
    k = frame_number - 1 - video.first_frame
    if k >= len(video):
        raise ValueError(f"There is no frame {frame_number}: the video ends before it")
    old = record["trajectory"]
    table = _with_frame(video, video.sample(pipeline.spec.frames), k)
    request = ChainRequest(
        old["query"], table, list(video.frames(table.indices)), video.__getitem__, video.size
    )
    choices = []
    for i, choice in enumerate(old["choices"]):
        # The frames may be others than those that turn 1 saw
        frame = k if i == position else old["frame_table"]["indices"][choice["frame"]]
        nearest = int(np.abs(np.array(table.indices) - frame).argmin())
        choices.append(KeyframeChoice(nearest, choice["description"]))
    grounding, turns, reason = ground_again(
        pipeline.reasoner, pipeline.spec, request, choices, position, old["think"]
    )
    if grounding is None:
        raise ValueError(
            f"The model gave no box for object {stored.index} ({stored.label}) in frame "
            f"{frame_number} ({reason}): choose another frame, or draw the box. Nothing was "
            "changed"
        )
    return grounding.box_xyxy_px, grounding.confidence, [asdict(turn) for turn in turns]


def _with_frame(video: Video, table: FrameTable, k: int) -> FrameTable:
    """Puts a frame in the place of the sampled one that is nearest to it."""
    indices = list(table.indices)
    indices[int(np.abs(np.array(indices) - k).argmin())] = k
    return replace(table, indices=tuple(indices), times=tuple(video.time(i) for i in indices))


def _entry(
    stored: StoredObject, kind: str, number: int, box: Sequence[float], by: str | None
) -> Document:
    if by is None:
        by = ""
        with suppress(Exception):  # a container may have no user at all
            by = getpass.getuser()
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    entry = {"index": stored.index, "frame_number": number, "box": list(box), "kind": kind}
    return {**entry, "when": now, "by": by}


def _write(
    stored: StoredObject,
    detections: Mapping[int, list[Document] | None],
    track: MaskTrack,
    prompts: Mapping[int, list[float]],
    entries: list[Document],
    confidence: float | None,
) -> None:
    place = stored.place
    declare_fields(place.dataset, place.label_field)
    if place.clip:
        declare_fields(place.clip[0], place.label_field)
    writes = _frame_writes(stored, detections, track, prompts)
    change_values(place, place.owners[-1], lambda values: _pending(stored, values, entries))
    place.dataset._bulk_write(writes, frames=not place.images)
    keyframe = stored.answer.get("keyframe")
    keyframe = keyframe if keyframe in prompts else next(iter(prompts))
    for owner in place.owners:  # the one that says that all is done comes last
        change_values(
            place,
            owner,
            lambda values, owner=owner: _done(
                stored, values, entries, keyframe, confidence, str(owner[1])
            ),
        )


def _pending(stored: StoredObject, values: Document, entries: list[Document]) -> Document:
    """Notes a correction before anything is written."""
    record = _keep_entries(stored, values, [{**entry, "pending": True} for entry in entries])
    record["status"] = str(Status.ERROR)
    answer = _answer(stored, values)
    answer.update(corrected=True, status=str(Status.ERROR), reason=_PENDING)
    return _fields(stored, values)


def _done(
    stored: StoredObject,
    values: Document,
    entries: list[Document],
    keyframe: int,
    confidence: float | None,
    sample_id: str,
) -> Document | None:
    """What the sample-level fields of one document are after a correction."""
    place, answers = stored.place, values["answers"]
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
    values["keyframes"] = _keyframes(stored, values, keyframe, confidence, sample_id)
    if values["records"]:
        record = _keep_entries(stored, values, entries)
        others = [
            a
            for a in answers
            if a.get("query") == stored.answer.get("query")
            and list(a.get("support") or ()) == stored.support
            and a.get("status") != str(Status.OK)
        ]
        record["status"] = str(Status.OK)
        record["reason"] = "; ".join(a.get("reason") or "" for a in others)
    fields = _fields(stored, values)
    if place.images and not values["records"]:
        del fields[f"{place.label_field}_trajectory"]
        del fields[f"{place.label_field}_reasoning"]
        first = read_values(place)["records"]
        record, _ = find_record(first, stored.index, stored.support) or (None, 0)
        statuses = [{"status": str(Status.OK)} if r is record else r for r in first]
        fields[f"{place.label_field}_status"] = status_of(statuses)
    return fields


def _fields(stored: StoredObject, values: Document) -> Document:
    """The fields with these values, as they go to the database."""
    place, records = stored.place, values["records"]
    name = place.label_field
    kind, labels = "TemporalDetections", "detections"
    if place.images:
        kind, labels = "Classifications", "classifications"
    return {
        f"{name}_answers": {"_cls": "Classifications", "classifications": values["answers"]},
        f"{name}_keyframes": {"_cls": kind, labels: values["keyframes"]},
        f"{name}_reasoning": reasoning_of(records),
        f"{name}_status": status_of(records),
        f"{name}_trajectory": {"segmentations": records},
    }


def _is_same(stored: StoredObject, answer: Document) -> bool:
    if answer.get("index") != stored.index:
        return False
    return list(answer.get("support") or ()) == stored.support


def _answer(stored: StoredObject, values: Document) -> Document:
    for answer in values["answers"]:
        if _is_same(stored, answer):
            return answer
    raise ValueError(
        f"Object {stored.index} ({stored.label}) is gone: the video was segmented again meanwhile"
    )


def _keep_entries(stored: StoredObject, values: Document, entries: list[Document]) -> Document:
    """Adds corrections to the object's record, instead of those that were interrupted."""
    _answer(stored, values)
    found = find_record(values["records"], stored.index, stored.support)
    if found is None:
        raise ValueError("The result is gone: the video is being segmented again")
    record, _ = found
    old = record.get("corrections") or []
    kept = [e for e in old if not (e.get("pending") and e["index"] == stored.index)]
    record["corrections"] = kept + entries
    return record


def _keyframes(
    stored: StoredObject,
    values: Document,
    number: int,
    confidence: float | None,
    sample_id: str,
) -> list[Document]:
    """The key frames, in which that of the object is the one given."""
    place, keyframes = stored.place, values["keyframes"]
    first, last = stored.support
    attributes = {"confidence": confidence, "query": stored.answer.get("query")}
    if place.images:  # the image that is the key frame has the label
        others = [k for k in keyframes if k.get("index") != stored.index]
        if place.images[number - 1][0] != sample_id:
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
    made = {
        first + k: _with_instance(detection, stored)
        for k, detection in track_detections(
            track, stored.label, index=stored.index, query=stored.answer.get("query")
        )
    }
    now = datetime.now(timezone.utc)
    changed = {"last_modified_at": now}
    created = {"_dataset_id": place.dataset._doc.id, "created_at": now}
    writes = []
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
            this = [{"own._id": own.pop(0)}]
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
        return bool(np.allclose(_checked_box(0, detection["bounding_box"]), box))
    return False


def _summary(
    stored: StoredObject, track: MaskTrack, prompts: dict[int, list[float]], started: float
) -> Correction:
    scores = [track.scores[k] for k in track.visible_frames]
    return Correction(
        sample_id=stored.place.sample_id,
        label_field=stored.place.label_field,
        index=stored.index,
        label=stored.label,
        prompts=prompts,
        frames=track.frame_count,
        visible=len(track.visible_frames),
        score=float(np.mean([score or 0.0 for score in scores])),
        seconds=time.perf_counter() - started,
    )
