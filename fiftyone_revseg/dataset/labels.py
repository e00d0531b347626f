"""Segmentations as FiftyOne labels, whose boxes are relative."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import fiftyone as fo
import fiftyone.core.labels as fol

from fiftyone_revseg.dataset.certainty_map import CertaintyMap
from fiftyone_revseg.dataset.frame_numbers import index_of, number_of, numbers_of
from fiftyone_revseg.dataset.record import (
    Record,
    Results,
    reasoning_of,
    records_of,
    status_of,
    trajectory_of,
)
from fiftyone_revseg.masks.boxes import box_around, relative_xywh
from fiftyone_revseg.pipeline import Segmentation
from fiftyone_revseg.reasoning import Trajectory
from fiftyone_revseg.tracking import MaskTrack

_ON_DETECTIONS = ("certainty", "agreement")


@dataclass(frozen=True)
class SampleLabels:
    """What one sample gets.

    Attributes:
        frames: frame number -> :class:`fiftyone.core.labels.Detections`, for every frame of the
            video; empty where nothing is visible. Those of :func:`make_labels` are made anew each
            time, as all masks of a long video take more memory than there is
        answers: a :class:`fiftyone.core.labels.Classifications`, one per query and object; a
            query without an object has one whose label is its status
        keyframes: a :class:`fiftyone.core.labels.TemporalDetections`, one per object
        reasoning: the thoughts as text
        status: "ok", or the first status that is not
        trajectory: a dict with everything but the masks: under "segmentations", one record per
            query, see :class:`fiftyone_revseg.dataset.record.Record`
    """

    frames: Mapping[int, fol.Detections] = field(repr=False)
    answers: fol.Classifications
    keyframes: fol.TemporalDetections
    reasoning: str
    status: str
    trajectory: dict[str, Any] = field(repr=False)

    @property
    def records(self) -> list[Record]:
        """The records in the trajectory."""
        return records_of(self.trajectory)

    @property
    def results(self) -> Results:
        """What goes to the database beside the frames."""
        answers, keyframes = self.answers.to_dict(), self.keyframes.to_dict()
        return Results(answers["classifications"], keyframes["detections"], self.records)

    def sample_values(self, label_field: str) -> dict[str, Any]:
        """Returns a dict mapping the names of the sample-level fields to their values."""
        names = ("answers", "keyframes", "reasoning", "status", "trajectory")
        return {f"{label_field}_{name}": getattr(self, name) for name in names}


def make_labels(
    segmentations: Sequence[Segmentation],
    confidence_thresh: float | None = None,
    classes: Collection[str] | None = None,
    support: Sequence[int] | None = None,
    settings: dict[str, Any] | None = None,
    calibration: CertaintyMap | None = None,
) -> SampleLabels:
    """Makes the labels of one sample.

    Args:
        segmentations: the :class:`fiftyone_revseg.pipeline.Segmentation` of each query on the
            sample's video
        confidence_thresh (None): an optional confidence under which detections are left out
        classes (None): optional labels; detections with others are left out
        support (None): the first and last frame number of a clip; None for a whole video
        settings (None): what the segmentations were made with, see
            :func:`fiftyone_revseg.dataset.record.settings_of`
        calibration (None): what makes certainties true. By default, they are the model's own

    Returns:
        a :class:`SampleLabels`
    """
    frames = _Frames(segmentations, confidence_thresh, classes)
    sure = [_certainty(s.trajectory, calibration) for s in segmentations]
    numbers = frames.numbers
    asked = list(support) if support else [numbers[0], numbers[-1]] if numbers else None
    answers, keyframes, index = [], [], 0
    for segmentation, known in zip(segmentations, sure, strict=True):
        if not segmentation.trajectory.choices:
            answers.append(_answer(segmentation, asked, None, None, known))
        for i in range(len(segmentation.trajectory.choices)):
            index += 1
            answers.append(_answer(segmentation, asked, i, index, known))
            keyframes.append(_keyframe(segmentation, i, index))
            frames.add(segmentation, i, index, known)
    records = [Record.of(s, settings or {}, support) for s in segmentations]
    return SampleLabels(
        frames=frames,
        answers=fol.Classifications(classifications=answers),
        keyframes=fol.TemporalDetections(detections=keyframes),
        reasoning=reasoning_of(records),
        status=status_of(records),
        trajectory=trajectory_of(records),
    )


@dataclass(frozen=True)
class _Marks:
    """What the App marks on the timeline of a track.

    Attributes:
        keys: the frames, 0-based, that have the object's box: its key frame, and those of repairs
        repaired: the first and the last frame of each stretch that was tracked again
    """

    keys: frozenset[int]
    repaired: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, segmentation: Segmentation, i: int) -> _Marks:
        trajectory = segmentation.trajectory
        repairs = [repair for repair in trajectory.repairs if repair.object == i]
        keys = [trajectory.key_frames[i], *(repair.frame for repair in repairs)]
        return cls(frozenset(keys), tuple((repair.first, repair.last) for repair in repairs))

    def at(self, k: int) -> dict[str, Any]:
        """The attributes of the detection in a frame; what is not so is left out."""
        marks = {
            "keyframe": k in self.keys,
            "repaired": any(first <= k <= last for first, last in self.repaired),
        }
        return {name: True for name, value in marks.items() if value}


class _Frames(Mapping[int, fol.Detections]):
    """The detections of a frame, made of run-length encoded tracks when they are asked for."""

    def __init__(
        self,
        segmentations: Sequence[Segmentation],
        confidence_thresh: float | None,
        classes: Collection[str] | None,
    ):
        ranges = {numbers_of((s.first_frame, s.first_frame + s.frame_count)) for s in segmentations}
        ranges = {numbers for numbers in ranges if numbers}
        self.numbers: Sequence[int] = (
            sorted(set().union(*ranges)) if len(ranges) != 1 else ranges.pop()
        )
        self._confidence_thresh = confidence_thresh
        self._classes = classes
        self._objects: list[tuple[Segmentation, MaskTrack, dict[str, Any], _Marks]] = []

    def add(self, segmentation: Segmentation, i: int, index: int, known: dict[str, float]) -> None:
        """Adds an object of a segmentation, which gets an index; see :func:`_certainty`."""
        track, label = segmentation.tracks[i], segmentation.trajectory.choices[i].description
        if track is not None and (self._classes is None or label in self._classes):
            attributes = {"label": label, "index": index, "instance": fo.Instance()}
            attributes |= {"query": segmentation.query}
            attributes |= {name: known[name] for name in _ON_DETECTIONS if name in known}
            self._objects.append((segmentation, track, attributes, _Marks.of(segmentation, i)))

    def __getitem__(self, number: int) -> fol.Detections:
        if number not in self.numbers:
            raise KeyError(number)
        found = []
        for segmentation, track, attributes, marks in self._objects:
            k = index_of(number, segmentation.first_frame)
            if 0 <= k < track.frame_count and self._is_sure(track.scores[k]):
                detection = track_detection(track, k, **attributes, **marks.at(k))
                if detection is not None:
                    found.append(detection)
        return fol.Detections(detections=found)

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def _is_sure(self, score: float | None) -> bool:
        if self._confidence_thresh is None:
            return True
        return score is not None and score >= self._confidence_thresh


def track_detection(
    track: MaskTrack, k: int, label: str, **attributes: Any
) -> fol.Detection | None:
    """Makes the detection of one object on one frame.

    Args:
        track: a :class:`fiftyone_revseg.tracking.MaskTrack`
        k: the frame, 0-based
        label: the label
        **attributes: its further attributes; the same ``instance`` on all frames links them

    Returns:
        the detection; None if there is no mask
    """
    if track.rles[k] is None:
        return None
    mask = track.mask(k)
    box = box_around(mask)
    if box is None:
        return None
    left, top, right, bottom = box
    score = track.scores[k]
    return fol.Detection(
        label=label,
        bounding_box=list(relative_xywh(box, track.size)),
        mask=mask[top:bottom, left:right],
        confidence=None if score is None else float(score),
        **attributes,
    )


def _certainty(trajectory: Trajectory, calibration: CertaintyMap | None) -> dict[str, float]:
    """What is known of how sure an answer is; what is not known is left out."""
    known = {"certainty": trajectory.certainty, "agreement": trajectory.agreement}
    if calibration is not None and trajectory.certainty is not None:
        known["certainty"] = calibration(trajectory.certainty)
        known["certainty_raw"] = trajectory.certainty
    return {name: float(value) for name, value in known.items() if value is not None}


def _answer(
    segmentation: Segmentation,
    asked: list[int] | None,
    i: int | None,
    index: int | None,
    known: dict[str, float],
) -> fol.Classification:
    """The answer about an object; or, where ``i`` is None, about a query without any."""
    trajectory = segmentation.trajectory
    label, status, reason = str(segmentation.status), segmentation.status, segmentation.reason
    confidence = keyframe = None
    if i is not None:
        label, confidence = trajectory.choices[i].description, _confidence(segmentation, i)
        keyframe = number_of(trajectory.key_frames[i], segmentation.first_frame)
        status, reason = segmentation.object_status(i), segmentation.object_reason(i)
    return fol.Classification(
        label=label,
        confidence=confidence,
        query=segmentation.query,
        reasoning=trajectory.think,
        index=index,
        keyframe=keyframe,
        support=asked,
        status=str(status),
        reason="; ".join(filter(None, (reason, segmentation.caveat))),
        model=segmentation.model,
        corrected=False,
        **known,
    )


def _keyframe(segmentation: Segmentation, i: int, index: int) -> fol.TemporalDetection:
    number = number_of(segmentation.trajectory.key_frames[i], segmentation.first_frame)
    return fol.TemporalDetection(
        label=segmentation.trajectory.choices[i].description,
        support=[number, number],
        confidence=_confidence(segmentation, i),
        query=segmentation.query,
        index=index,
    )


def _confidence(segmentation: Segmentation, i: int) -> float | None:
    grounding = segmentation.trajectory.groundings[i]
    if grounding is None or grounding.confidence is None:
        return None
    return float(grounding.confidence)
