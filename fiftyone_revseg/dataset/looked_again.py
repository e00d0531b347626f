"""What became of looking again, as a sample keeps it: rivals of the answer, verdicts, repairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from fiftyone_revseg.dataset.collection import video_of
from fiftyone_revseg.dataset.frame_numbers import number_of
from fiftyone_revseg.dataset.record import Record
from fiftyone_revseg.dataset.stored_detection import StoredDetection, is_relative_box
from fiftyone_revseg.masks.boxes import corners_px
from fiftyone_revseg.reasoning.looking_again import Candidate, Look, Repair, Verdict


@dataclass(frozen=True)
class LookedAgain:
    """What is known of how an answer was looked at again. Frames are numbers, from 1.

    Attributes:
        candidates: what each dialogue answered, the greedy one first
        verdicts: one for each time that the model judged the tracks
        looks: what turn 1 was shown before, in windows or stretches
        repairs: those of the object that the answer is about
        asked: whether the model was asked for a verdict
        number: the object's number among those that the last verdict chose; None if it chose others
        first_frame: the frame of the file, from 0, that the candidates' frames count from
        sampled: the numbers of the frames that turn 1 was shown
    """

    candidates: tuple[Candidate, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    looks: tuple[Look, ...] = ()
    repairs: tuple[Repair, ...] = ()
    asked: bool = False
    number: int | None = None
    first_frame: int = 0
    sampled: tuple[int, ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        return bool(self.candidates or self.verdicts or self.looks or self.repairs or self.asked)

    @classmethod
    def of(cls, record: Record, i: int) -> LookedAgain:
        """Reads it from a record.

        Args:
            record: the record of the query
            i: which of its objects, from 0
        """
        trajectory = record.trajectory
        verdicts = tuple(Verdict.from_dict(d) for d in trajectory.get("verdicts") or ())
        candidates = tuple(Candidate.from_dict(d) for d in trajectory.get("candidates") or ())
        numbers = _numbers(verdicts[-1], candidates) if verdicts else ()
        repairs = [Repair.from_dict(d) for d in trajectory.get("repairs") or ()]
        return cls(
            candidates,
            verdicts,
            tuple(Look.from_dict(d) for d in trajectory.get("looks") or ()),
            tuple(repair for repair in repairs if repair.object == i),
            any(turn.get("turn") == 3 for turn in trajectory["turns"]),
            numbers[i] if i < len(numbers) == len(record.choices) else None,
            record.document.get("first_frame") or 0,
            tuple(record.sampled),
        )

    def key_frame(self, position: int) -> int | None:
        """Returns the number of a sampled frame, given its position; None if there is none."""
        return self.sampled[position] if 0 <= position < len(self.sampled) else None

    def number_of(self, frame: int) -> int:
        """Returns the number of a frame of the video, given from 0."""
        return number_of(frame, self.first_frame)

    @property
    def shown(self) -> tuple[int, ...]:
        """The numbers of the frames that the last verdict was shown."""
        return tuple(map(self.number_of, self.verdicts[-1].shown)) if self.verdicts else ()

    @property
    def wrong(self) -> tuple[int, ...]:
        """Those of them in which it said that the outline is not right."""
        if not self.verdicts:
            return ()
        shown = self.shown
        return tuple(shown[k] for k in self.verdicts[-1].wrong_frames if k < len(shown))


def _numbers(verdict: Verdict, candidates: tuple[Candidate, ...]) -> tuple[int | None, ...]:
    """The numbers of the answer's objects, which are those of the first candidate that fits."""
    fitting = (c.objects for c in candidates if c.numbers == set(verdict.objects))
    return next(fitting, verdict.objects)


def masks_at(
    sample: Any, index: int, numbers: tuple[int, ...], label_field: str
) -> dict[int, StoredDetection]:
    """Reads an object's detections in a few frames.

    Args:
        sample: as for :func:`fiftyone_revseg.dataset.explain.explain`
        index: the object's index
        numbers: the numbers of the frames
        label_field: the label field

    Returns:
        frame number -> detection with a mask; frames without one are left out
    """
    video, found = video_of(sample), {}
    wanted = [video.frame(number) for number in numbers]
    if not wanted:
        return {}
    for document in video.documents.find({"$or": wanted}, _needed(label_field, video)):
        for values in (document.get(label_field) or {}).get("detections") or ():
            detection = StoredDetection(values)
            if detection.index == index and is_relative_box(detection.bounding_box):
                found[video.number_of(document)] = detection
    return {number: d for number, d in found.items() if d.mask is not None and d.mask.size}


def _needed(label_field: str, video: Any) -> dict[str, bool]:
    names = ("index", "bounding_box", "mask")
    needed = {f"{label_field}.detections.{name}": True for name in names}
    return needed if video.images else {"frame_number": True, **needed}


def mask_on(picture: np.ndarray, detection: StoredDetection) -> np.ndarray:
    """Returns a detection's mask on a picture of its frame, of whatever size: (H, W) bool."""
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = map(round, corners_px(detection.bounding_box, (width, height)))
    own, mask = detection.mask, np.zeros((height, width), bool)
    if own is None:
        return mask
    size = (max(1, x2 - x1), max(1, y2 - y1))
    inside = np.asarray(Image.fromarray(own).resize(size, Image.Resampling.NEAREST))
    top, left = max(0, y1), max(0, x1)
    there = mask[top : y1 + size[1], left : x1 + size[0]]
    there[...] = inside[top - y1 :, left - x1 :][: there.shape[0], : there.shape[1]]
    return mask
