"""Segmentations as FiftyOne labels.

This is the only place where 0-based frame indices become FiftyOne's 1-based frame numbers, and
where boxes become relative.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import fiftyone as fo
import fiftyone.core.labels as fol

from fiftyone_revseg.dataset.record import make_record, shortened
from fiftyone_revseg.pipeline import Segmentation
from fiftyone_revseg.reasoning.trajectory import thought_of
from fiftyone_revseg.tracking import MaskTrack
from fiftyone_revseg.types import Status


@dataclass(frozen=True)
class SampleLabels:
    """What one sample gets.

    Attributes:
        frames: frame number -> :class:`fiftyone.core.labels.Detections`, for every frame of the
            video; empty where nothing is visible
        answers: a :class:`fiftyone.core.labels.Classifications`, one per query and object; a
            query without an object has one whose label is its status
        keyframes: a :class:`fiftyone.core.labels.TemporalDetections`, one per object
        reasoning: the thoughts as text
        status: "ok", or the first status that is not
        trajectory: a dict with everything but the masks: under "segmentations", one record per
            query, see :func:`fiftyone_revseg.dataset.record.make_record`
    """

    frames: dict[int, fol.Detections] = field(repr=False)
    answers: fol.Classifications
    keyframes: fol.TemporalDetections
    reasoning: str
    status: str
    trajectory: dict[str, Any] = field(repr=False)

    def sample_values(self, label_field: str) -> dict[str, Any]:
        """Returns a dict mapping the names of the sample-level fields to their values."""
        return {
            f"{label_field}_answers": self.answers,
            f"{label_field}_keyframes": self.keyframes,
            f"{label_field}_reasoning": self.reasoning,
            f"{label_field}_status": self.status,
            f"{label_field}_trajectory": self.trajectory,
        }


def make_labels(
    segmentations: Sequence[Segmentation],
    confidence_thresh: float | None = None,
    classes: Collection[str] | None = None,
    support: Sequence[int] | None = None,
    settings: dict[str, Any] | None = None,
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

    Returns:
        a :class:`SampleLabels`
    """
    frames = {
        number: fol.Detections()
        for segmentation in segmentations
        for number in _frame_numbers(segmentation)
    }
    asked = list(support) if support else [min(frames), max(frames)] if frames else None
    answers, keyframes, index = [], [], 0
    for segmentation in segmentations:
        if not segmentation.trajectory.choices:
            answers.append(_answer_without_object(segmentation, asked))
        for i in range(len(segmentation.trajectory.choices)):
            index += 1
            answers.append(_answer(segmentation, i, index, asked))
            keyframes.append(_keyframe(segmentation, i, index))
            for number, detection in _detections(segmentation, i, index):
                if _is_wanted(detection, confidence_thresh, classes):
                    frames[number].detections.append(detection)
    records = [make_record(s, settings or {}, support) for s in segmentations]
    return SampleLabels(
        frames=frames,
        answers=fol.Classifications(classifications=answers),
        keyframes=fol.TemporalDetections(detections=keyframes),
        reasoning=reasoning_of(records),
        status=status_of(records),
        trajectory={"segmentations": records},
    )


def status_of(records: Sequence[dict[str, Any]]) -> str:
    """Returns "ok", or the first status of the records that is not."""
    return next((r["status"] for r in records if r["status"] != str(Status.OK)), str(Status.OK))


def reasoning_of(records: Sequence[dict[str, Any]]) -> str:
    """Returns the thoughts of the records as one text, each under what it is about."""
    if len(records) == 1:
        return _thought(records[0])
    texts = []
    for record in records:
        about = record["trajectory"]["query"]
        if record.get("support"):
            about = "frames {}-{}, {}".format(*record["support"], about)
        texts.append(f"{about}: {_thought(record)}")
    return "\n\n".join(texts)


def _thought(record: dict[str, Any]) -> str:
    thought = thought_of(record["trajectory"])
    return shortened(thought) if record.get("shortened") else thought


def _is_wanted(
    detection: fol.Detection, confidence_thresh: float | None, classes: Collection[str] | None
) -> bool:
    if classes is not None and detection.label not in classes:
        return False
    if confidence_thresh is None:
        return True
    return detection.confidence is not None and detection.confidence >= confidence_thresh


def _number(segmentation: Segmentation, k: int) -> int:
    """Frame ``k`` of the video or clip as a frame number of the file."""
    return segmentation.first_frame + k + 1


def _frame_numbers(segmentation: Segmentation) -> Iterator[int]:
    return (_number(segmentation, k) for k in range(segmentation.frame_count))


def _detections(
    segmentation: Segmentation, i: int, index: int
) -> Iterator[tuple[int, fol.Detection]]:
    """The track of object ``i``, one detection per frame in which it is visible."""
    track = segmentation.tracks[i]
    if track is None:
        return
    label = segmentation.trajectory.choices[i].description
    for k, detection in track_detections(track, label, index=index, query=segmentation.query):
        yield _number(segmentation, k), detection


def track_detections(
    track: MaskTrack, label: str, **attributes: Any
) -> Iterator[tuple[int, fol.Detection]]:
    """Makes the detections of one object.

    Args:
        track: a :class:`fiftyone_revseg.tracking.MaskTrack`
        label: the label
        **attributes: further attributes that all of them get

    Yields:
        ``(k, detection)``, 0-based, for the frames in which there is a mask
    """
    width, height = track.size
    instance = fo.Instance()  # what links the detections of one object, beside their index
    for k in track.visible_frames:
        mask = track.mask(k)
        rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
        if not len(rows):
            continue
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        left, right = int(columns[0]), int(columns[-1]) + 1
        score = track.scores[k]
        box = [left / width, top / height, (right - left) / width, (bottom - top) / height]
        yield (
            k,
            fol.Detection(
                label=label,
                bounding_box=box,
                mask=mask[top:bottom, left:right],
                confidence=None if score is None else float(score),
                instance=instance,
                **attributes,
            ),
        )


def _answer(
    segmentation: Segmentation, i: int, index: int, asked: list[int] | None
) -> fol.Classification:
    trajectory = segmentation.trajectory
    status = segmentation.object_status(i)
    return fol.Classification(
        label=trajectory.choices[i].description,
        confidence=_confidence(segmentation, i),
        query=segmentation.query,
        reasoning=trajectory.think,
        index=index,
        keyframe=_number(segmentation, trajectory.key_frames[i]),
        support=asked,
        status=str(status),
        reason=segmentation.object_reason(i),
        model=segmentation.model,
        corrected=False,
    )


def _answer_without_object(
    segmentation: Segmentation, asked: list[int] | None
) -> fol.Classification:
    return fol.Classification(
        label=str(segmentation.status),
        query=segmentation.query,
        reasoning=segmentation.trajectory.think,
        index=None,
        keyframe=None,
        support=asked,
        status=str(segmentation.status),
        reason=segmentation.reason,
        model=segmentation.model,
        corrected=False,
    )


def _keyframe(segmentation: Segmentation, i: int, index: int) -> fol.TemporalDetection:
    number = _number(segmentation, segmentation.trajectory.key_frames[i])
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
