"""What a person gave, moved, drew or painted, from which an object is tracked again.

What the App writes when a person draws on a video (FiftyOne 1.22): the label has ``keyframe``, and
up to 30 frames after it get repeats of it, of the same instance and with ``keyframe`` false, as do
frames between two key frames. So of boxes that say so, only key frames are a person's. A mask that
was painted is of bytes, in the pixels of the screen; those that this package writes are bool.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import fiftyone.core.labels as fol
import numpy as np

from fiftyone_revseg.dataset.labelled_videos import paste
from fiftyone_revseg.dataset.objects import StoredObject, read_detections, record_of
from fiftyone_revseg.dataset.playback import ADVICE
from fiftyone_revseg.dataset.prompts import Prompt, checked_box, ids_of
from fiftyone_revseg.dataset.schema import points_field
from fiftyone_revseg.dataset.store import Document
from fiftyone_revseg.masks.rle import decode_masks
from fiftyone_revseg.models.demonstration import WITHOUT_POINTS

_OFF_GRID = 0.01  # pixels; boxes around masks have whole ones

#: Labels of polylines whose corners are points for the tracker; one without a label is the first
ON, BESIDE = "on the object", "beside the object"

Given = Sequence[float] | Mapping[str, Any] | Prompt | None


def changed_prompts(stored: StoredObject) -> dict[int, Prompt]:
    """Finds what a person moved, resized, drew, painted or clicked on for an object.

    A box around a mask has whole pixels, and as many as the mask. One that has not was changed. A
    box that was moved by whole pixels without being resized cannot be told from one that was not:
    name its frame. A box without a mask was drawn; one without an ``index`` counts if it has the
    object's label or none, or if there are no other objects. Repeats that the App makes of a box do
    not count. Points are the corners of polylines, see
    :func:`fiftyone_revseg.dataset.annotation.activate_annotation`; they are about the object that
    their ``index`` says, or without one about any.

    Args:
        stored: a :class:`fiftyone_revseg.dataset.objects.StoredObject`

    Returns:
        a dict of frame number -> :class:`fiftyone_revseg.dataset.prompts.Prompt`
    """
    return _changed_prompts(stored, read_detections(stored))


def find_prompts(stored: StoredObject) -> dict[int, Prompt]:
    """Finds what :func:`propagate` takes if nothing is given.

    Args:
        stored: a :class:`fiftyone_revseg.dataset.objects.StoredObject`

    Returns:
        a dict of frame number -> :class:`fiftyone_revseg.dataset.prompts.Prompt`: those of an
        interrupted correction, else those of :func:`changed_prompts`
    """
    return pending_prompts(stored) or changed_prompts(stored)


def earlier_prompts(
    stored: StoredObject,
    but: Container[int] = (),
    detections: Mapping[int, list[Document] | None] | None = None,
) -> dict[int, Prompt]:
    """Finds what a person said in earlier corrections of an object and did not take back.

    That is what the App shows as key frames: taking away the mark takes back what was said there.

    Args:
        stored: a :class:`fiftyone_revseg.dataset.objects.StoredObject`
        but (()): numbers of frames that do not matter
        detections (None): what :func:`fiftyone_revseg.dataset.objects.read_detections` read

    Returns:
        a dict of frame number -> :class:`fiftyone_revseg.dataset.prompts.Prompt`
    """
    if detections is None:
        detections = read_detections(stored)
    found: dict[int, Prompt] = {}
    for entry in record_of(stored)[0].corrections:
        number: Any = entry.get("frame_number")
        if entry.get("index") != stored.index or number in but or entry.get("pending"):
            continue
        own = [d for d in detections.get(number) or () if stored.owns(d)]
        if any(d.get("keyframe") for d in own):
            found[number] = _prompt_of(entry)
    return found


def check_prompts(
    stored: StoredObject,
    boxes: Mapping[int, Given] | None,
    seen: Mapping[int, int] | None = None,
    keep: bool = False,
    tracker: str = "",
) -> None:
    """Raises the ``ValueError`` that :func:`propagate` would raise for boxes and a tracker."""
    detections = read_detections(stored)
    prompts = resolve_prompts(stored, detections, boxes, seen)
    kept = earlier_prompts(stored, prompts, detections) if keep else {}
    refuse_points_alone(tracker, [*prompts.values(), *kept.values()])


def refuse_points_alone(tracker: str, prompts: Iterable[Prompt]) -> None:
    """Raises a ``ValueError`` if a tracker of that name knows no points without a box."""
    if tracker in WITHOUT_POINTS and any(prompt.box is None for prompt in prompts):
        raise ValueError(
            f"{tracker} knows no points without a box, and would find something else: draw a box "
            "in the same frame or paint a mask, or choose another tracker"
        )


def misplaced(stored: StoredObject, boxes: Mapping[int, Any]) -> dict[int, int]:
    """Finds boxes that the App stores in another frame than that on whose picture they were drawn.

    Args:
        stored: a :class:`fiftyone_revseg.dataset.objects.StoredObject`
        boxes: frame number -> a box that was moved or drawn

    Returns:
        a dict of frame number -> the frame whose picture the App shows there, where that is
        another one, or may do so where that frame was sought; empty for a video that the App plays
        right, or does not play at all
    """
    playback = stored.place.playback
    if playback is None or playback.unplayable:
        return {}
    found = {}
    for number in boxes:
        pictures = playback.picture_of(number), playback.picture_sought(number)
        other = next((picture for picture in pictures if picture != number), None)
        if other is not None:
            found[number] = other
    return found


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


def check_frame(stored: StoredObject, number: Any) -> None:
    """Raises a ``ValueError`` if an object cannot be in a frame of that number."""
    first, last = stored.support
    whole = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
    if not whole or not first <= number <= last:
        raise ValueError(f"There is no frame {number}: give a frame number from {first} to {last}")


def resolve_prompts(
    stored: StoredObject,
    detections: Mapping[int, list[Document] | None],
    boxes: Mapping[int, Given] | None,
    seen: Mapping[int, int] | None = None,
) -> dict[int, Prompt]:
    """The prompts to track from, by the number of the frame that they are in, checked."""
    seen, given = seen or {}, boxes
    if given is None:
        given = pending_prompts(stored)
        if not given:
            given = _changed_prompts(stored, detections)
            refuse_misplaced(stored, given, seen)
        if not given:
            raise ValueError(
                f"No box of object {stored.index} ({stored.label}) was moved or drawn: do that "
                "first, or say where it is, boxes={frame number: [x, y, width, height]}"
            )
    elif not given:
        raise ValueError("There is no box to track from: boxes={frame number: [x, y, w, h]}")
    prompts = {}
    for number, value in given.items():
        check_frame(stored, number)
        if value is None:
            own = [d for d in detections.get(number) or () if stored.owns(d)]
            if not own:
                raise ValueError(
                    f"Object {stored.index} ({stored.label}) has no box in frame {number}: draw "
                    "one, or choose a frame in which it is visible"
                )
            value = own[-1]["bounding_box"]
        frame = seen.get(number, number)
        check_frame(stored, frame)
        if int(frame) in prompts:
            raise ValueError(f"There are two boxes for frame {frame}: delete one of them")
        prompt = Prompt.of(number, value)
        if prompt.mask is None and not prompt.on and prompt.box is None:
            raise ValueError(
                f"There are only points beside the object in frame {number}: add one that is on it"
            )
        if prompt.mask is not None and (prompt.on or prompt.beside):
            raise ValueError(
                f"There are a mask and points in frame {number}: a mask says all, delete the points"
            )
        same = _same_label(detections.get(number) or (), prompt)
        prompts[int(frame)] = prompt.joined((), (), same)
    return prompts


def refuse_misplaced(
    stored: StoredObject, boxes: Mapping[int, Any], seen: Mapping[int, int]
) -> None:
    """Refuses boxes of which nobody can tell which picture they were drawn on.

    Args:
        stored: an object of the video
        boxes: frame number -> a box that was moved or drawn
        seen: see :func:`fiftyone_revseg.dataset.correct.propagate`

    Raises:
        ValueError: if there is one for which ``seen`` does not say that
    """
    wrong = {n: picture for n, picture in misplaced(stored, boxes).items() if n not in seen}
    if not wrong:
        return
    number, picture = next(iter(wrong.items()))
    exact = {n: n for n in wrong}
    raise ValueError(
        f"The App does not play this video exactly: when it says frame {number}, it shows the "
        f"picture of frame {picture} or one beside it, so the box that was moved or drawn there "
        f"may belong to another frame. Say which picture was seen, seen={wrong}, or seen={exact} "
        f"if a program wrote the box; or {ADVICE}, and draw it anew"
    )


def _changed_prompts(
    stored: StoredObject, detections: Mapping[int, list[Document] | None]
) -> dict[int, Prompt]:
    size = record_of(stored)[0].source_size
    changed: dict[int, Prompt] = {}
    for number, found in sorted(detections.items()):
        # What was drawn last is what counts, and it comes last. What it takes the place of is used
        # up with it, or it would count in the next correction
        for detection in found or ():
            own = stored.owns(detection)
            if not (own or _is_drawn(stored, detection)):
                continue
            before = changed.get(number, Prompt())
            labels = before.labels | ids_of(detection)
            if (mask := _painted(detection, size)) is not None:
                if before.mask is not None:  # who goes on painting may make another label
                    mask |= decode_masks([before.mask], size)[0]
                changed[number] = replace(Prompt.of_mask(number, mask), labels=labels)
            elif not _has_mask(detection) or (own and is_off_mask(detection, size)):
                if own and detection.get("keyframe") is False:
                    continue
                prompt = Prompt.of(number, detection["bounding_box"])
                changed[number] = replace(prompt, labels=labels)
    for number, polylines in _read_points(stored).items():
        for polyline in polylines:
            points = [(x, y) for shape in polyline.get("points") or () for x, y in shape]
            beside = polyline.get("label") == BESIDE
            changed[number] = changed.get(number, Prompt()).joined(
                () if beside else points, points if beside else (), ids_of(polyline)
            )
    return dict(sorted(changed.items()))


def pending_prompts(stored: StoredObject) -> dict[int, Prompt]:
    """Returns those of a correction that was interrupted; their frame numbers are exact."""
    return {
        entry["frame_number"]: _prompt_of(entry)
        for entry in record_of(stored)[0].corrections
        if entry.get("pending") and entry["index"] == stored.index
    }


def _prompt_of(entry: Document) -> Prompt:
    prompt = Prompt.of(entry["frame_number"], entry.get("prompt") or entry["box"])
    return replace(prompt, labels=frozenset(entry.get("labels") or ()))


def _read_points(stored: StoredObject) -> dict[int, list[Document]]:
    """The polylines that give points for an object, by frame number."""
    place = stored.place
    name = points_field(place.label_field)
    wanted = {"$in": [stored.index, None]}  # None stands for what is not there, too
    match = {f"{name}.polylines": {"$elemMatch": {"index": wanted, "keyframe": {"$ne": False}}}}
    query = {**place.frames_within(stored.support), **match}
    found = {}
    for document in place.documents.find(query, {"frame_number": True, name: True}):
        found[place.number_of(document)] = [
            polyline
            for polyline in document[name]["polylines"]
            if polyline.get("index") in (stored.index, None)
            and polyline.get("keyframe") is not False
            and polyline.get("label") in (ON, BESIDE, None, "")
        ]
    return {number: polylines for number, polylines in found.items() if polylines}


def _is_drawn(stored: StoredObject, detection: Document) -> bool:
    """Whether a detection that belongs to no object yet is what a person drew for this one."""
    if detection.get("index") is not None or detection.get("keyframe") is False:
        return False
    if detection.get("label") in (stored.label, None, ""):
        return True
    answers = stored.place.read().answers
    return sum(answer.get("index") is not None for answer in answers) == 1


def _has_mask(detection: Document) -> bool:
    return bool(detection.get("mask") or detection.get("mask_path"))


def _painted(detection: Document, size: tuple[int, int]) -> np.ndarray | None:
    """The mask of a detection if a person painted it, at the video's (width, height)."""
    if not detection.get("mask"):
        return None
    label = fol.Detection.from_dict(dict(detection))  # it changes the dict
    mask = label.get_mask()
    ours = mask is None or mask.dtype == bool
    if not any(size) or (ours and detection.get("index") is not None):
        return None
    canvas = np.zeros(size[::-1], bool)
    paste(canvas, label)
    return canvas


def _same_label(detections: Sequence[Document], prompt: Prompt) -> list[Any]:
    """The ids of what a person drew as this prompt, where it was given as numbers."""
    found: list[Any] = []
    for detection in detections:
        if detection.get("index") is None and not _has_mask(detection) and prompt.box is not None:
            with suppress(ValueError):
                if np.allclose(checked_box(0, detection["bounding_box"]), prompt.box):
                    found += ids_of(detection)
    return found


def is_off_mask(detection: Document, size: Sequence[int]) -> bool:
    """Returns whether a box is not the one around its mask, so that somebody changed it.

    Args:
        detection: a raw document
        size: the width and height of the video, in pixels; zeros if they are not known
    """
    mask = fol.Detection.from_dict(dict(detection)).get_mask()  # it changes the dict
    if mask is None or not any(size or ()):
        return True
    x, y, w, h = (
        v * side for v, side in zip(detection["bounding_box"], [*size, *size], strict=True)
    )
    grid = max(abs(value - round(value)) for value in (x, y, w, h))
    return grid > _OFF_GRID or (round(h), round(w)) != mask.shape[:2]
