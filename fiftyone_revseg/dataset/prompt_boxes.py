"""The boxes that a person gave, moved or drew, from which an object is tracked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import fiftyone.core.labels as fol
import numpy as np

from fiftyone_revseg.dataset.objects import StoredObject, read_detections, record_of
from fiftyone_revseg.dataset.playback import ADVICE
from fiftyone_revseg.dataset.store import Document

_OFF_GRID = 0.01  # pixels; boxes around masks have whole ones

Box = Sequence[float]


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
    return pending_boxes(stored) or changed_boxes(stored)


def check_boxes(
    stored: StoredObject,
    boxes: Mapping[int, Box | None] | None,
    seen: Mapping[int, int] | None = None,
) -> None:
    """Raises the ``ValueError`` that :func:`propagate` would raise for boxes."""
    resolve_prompts(stored, read_detections(stored), boxes, seen)


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
    boxes: Mapping[int, Box | None] | None,
    seen: Mapping[int, int] | None = None,
) -> dict[int, list[float]]:
    """The boxes to track from, by the number of the frame that they are in, checked."""
    seen = seen or {}
    if boxes is None:
        boxes = pending_boxes(stored)
        if not boxes:
            boxes = _changed_boxes(stored, detections)
            refuse_misplaced(stored, boxes, seen)
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
        frame = seen.get(number, number)
        check_frame(stored, frame)
        if int(frame) in prompts:
            raise ValueError(f"There are two boxes for frame {frame}: delete one of them")
        prompts[int(frame)] = checked_box(number, box)
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


def _changed_boxes(
    stored: StoredObject, detections: Mapping[int, list[Document] | None]
) -> dict[int, list[float]]:
    size = record_of(stored)[0].source_size
    changed = {}
    for number, found in sorted(detections.items()):
        # What was drawn last is what counts, and it comes last
        for detection in found or ():
            drawn = _is_drawn(stored, detection)
            if drawn or (stored.owns(detection) and is_off_mask(detection, size)):
                changed[number] = list(detection["bounding_box"])
    return changed


def pending_boxes(stored: StoredObject) -> dict[int, list[float]]:
    """Returns the boxes of a correction that was interrupted; their frame numbers are exact."""
    entries = record_of(stored)[0].corrections
    pending = [e for e in entries if e.get("pending") and e["index"] == stored.index]
    return {entry["frame_number"]: entry["box"] for entry in pending}


def _is_drawn(stored: StoredObject, detection: Document) -> bool:
    if detection.get("mask") or detection.get("mask_path"):
        return False
    if detection.get("index") is not None:
        return stored.owns(detection)
    if detection.get("label") == stored.label:
        return True
    answers = stored.place.read().answers
    return sum(answer.get("index") is not None for answer in answers) == 1


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


def checked_box(number: int, box: Any) -> list[float]:
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
