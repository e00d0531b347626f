"""Writes labels so that a sample is either done as a whole or not at all.

The order is what makes it safe to kill: first the sample-level fields of an earlier result go, then
the frames are written, and last, in one write to one document, the sample-level fields. Whoever
finds these knows that the frames are there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import fiftyone as fo
import fiftyone.core.labels as fol

from fiftyone_revseg.dataset.jobs import Job, select_by_id
from fiftyone_revseg.dataset.labels import SampleLabels, reasoning_of, status_of
from fiftyone_revseg.dataset.mask_files import MaskFiles


class LabelWriter:
    """Writes the labels of videos, clips and groups of images into a dataset.

    Frames are written in bulk, which takes time linear in their number; saving them through
    ``sample.frames``, as ``apply_model`` does, takes quadratic time once frames exist.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`, with its fields declared
        label_field: the label field
        clips (None): the view of clips that jobs with a ``clip_id`` come from
        mask_files (None): what moves masks to files. By default, they go to the database
    """

    def __init__(
        self,
        dataset: fo.Dataset,
        label_field: str,
        clips: Any = None,
        mask_files: MaskFiles | None = None,
    ):
        self._dataset = dataset
        self._label_field = label_field
        self._clips = clips
        self._mask_files = mask_files

    def write(self, job: Job, labels: SampleLabels) -> None:
        """Writes the labels of one job. They are in the database when this returns."""
        if self._mask_files is not None:
            self._mask_files.move_out(job, labels)
        if job.images:
            self._write_images(job, labels)
            return
        sample = self._dataset[job.sample_id]
        before = SourceFields(sample, self._label_field)
        before.withdraw(job.support)
        self._write_frames(job, labels)
        if job.clip_id is not None:
            clip = self._clips[job.clip_id]
            _set_fields(clip, labels.sample_values(self._label_field))
            clip.save()
        before.commit(labels, job.support)

    def _write_frames(self, job: Job, labels: SampleLabels) -> None:
        view = select_by_id(self._dataset, [job.sample_id])
        (known,) = view.values("frames.frame_number")
        frames = dict(labels.frames)
        for number in numbers_within(known, job.support):
            frames.setdefault(number, fol.Detections())  # an old mask must not stay
        if frames:
            view.set_values(f"frames.{self._label_field}", {job.sample_id: frames}, key_field="id")

    def _write_images(self, job: Job, labels: SampleLabels) -> None:
        name = self._label_field
        ids = [sample_id for sample_id, _ in job.images]
        first = self._dataset[job.sample_id]
        if first[f"{name}_trajectory"] is not None:
            first[f"{name}_trajectory"] = None
            first.save()

        values = labels.sample_values(name)
        trajectory = values.pop(f"{name}_trajectory")
        view = select_by_id(self._dataset, ids)
        by_number = {number: sample_id for number, sample_id in enumerate(ids, start=1)}
        detections = {i: labels.frames.get(n, fol.Detections()) for n, i in by_number.items()}
        view.set_values(name, detections, key_field="id")
        for field_name, value in values.items():
            if field_name == f"{name}_keyframes":
                value = _keyframes_of_images(value, by_number)
            else:
                copied = isinstance(value, fol.Label)  # a label has an id of its own
                value = {sample_id: value.copy() if copied else value for sample_id in ids}
            view.set_values(field_name, value, key_field="id")

        first.reload()
        first[f"{name}_trajectory"] = trajectory
        first.save()


class SourceFields:
    """The sample-level fields of a whole video, of which a clip's result replaces only its part.

    Args:
        sample: the :class:`fiftyone.core.sample.Sample`
        label_field: the label field
    """

    def __init__(self, sample: fo.Sample, label_field: str):
        self._sample = sample
        self._label_field = label_field
        self._answers = _labels_of(sample[f"{label_field}_answers"], "classifications")
        self._keyframes = _labels_of(sample[f"{label_field}_keyframes"], "detections")
        trajectory = sample[f"{label_field}_trajectory"] or {}
        self._records = list(trajectory.get("segmentations") or [])

    def withdraw(self, support: Iterable[int] | None) -> None:
        """Removes what the next result will replace, so that nobody takes it for done."""
        kept = [r for r in self._records if not _replaces(support, _frames_of(r))]
        answers, keyframes = [], list(self._keyframes)
        for answer in self._answers:
            if not _replaces(support, _support_of(answer)):
                answers.append(answer)
                continue
            own = (answer["query"], answer.label, answer["keyframe"])
            for keyframe in keyframes:
                if (keyframe["query"], keyframe.label, keyframe.support[0]) == own:
                    keyframes.remove(keyframe)
                    break
        if support is None:
            answers, keyframes = [], []
        changed = len(kept) < len(self._records)
        self._records, self._answers, self._keyframes = kept, answers, keyframes
        if changed:
            self._save()

    def commit(self, labels: SampleLabels, support: Iterable[int] | None) -> None:
        """Saves what is left together with a new result, in one write."""
        if support is None:
            _set_fields(self._sample, labels.sample_values(self._label_field))
            self._sample.save()
            return
        self._answers += labels.answers.classifications
        self._keyframes += labels.keyframes.detections
        self._records += labels.trajectory["segmentations"]
        self._answers.sort(key=lambda answer: list(_support_of(answer) or []))
        self._keyframes.sort(key=lambda keyframe: list(keyframe.support))
        self._records.sort(key=lambda record: list(_frames_of(record) or []))
        self._save()

    def _save(self) -> None:
        name = self._label_field
        # An answer of no record at all says nothing, so without records there is no result
        values = {
            f"{name}_answers": fol.Classifications(classifications=self._answers),
            f"{name}_keyframes": fol.TemporalDetections(detections=self._keyframes),
            f"{name}_reasoning": reasoning_of(self._records),
            f"{name}_status": status_of(self._records),
            f"{name}_trajectory": {"segmentations": self._records},
        }
        _set_fields(self._sample, values if self._records else dict.fromkeys(values))
        self._sample.save()


def numbers_within(numbers: Iterable[int], support: Iterable[int] | None) -> list[int]:
    """Returns those frame numbers that are in a clip; all of them if there is no clip."""
    if support is None:
        return list(numbers)
    first, last = support
    return [number for number in numbers if first <= number <= last]


def _replaces(new: Iterable[int] | None, old: Iterable[int] | None) -> bool:
    """Whether a result on the frames ``new`` says all that one on the frames ``old`` said."""
    if new is None:
        return True
    if old is None:
        return False
    (first, last), (old_first, old_last) = new, old
    return first <= old_first and old_last <= last


def _frames_of(record: dict[str, Any]) -> list[int] | None:
    """The first and last frame number that a record is about; None if there were no frames."""
    if record.get("support"):
        return list(record["support"])
    count = record["trajectory"]["frame_table"]["frame_count"]
    return [record["first_frame"] + 1, record["first_frame"] + count] if count else None


def _support_of(answer: fol.Classification) -> list[int] | None:
    """The first and last frame number that an answer is about, if it says so."""
    return answer["support"] if answer.has_field("support") else None


def _labels_of(labels: Any, attribute: str) -> list[Any]:
    return [] if labels is None else list(labels[attribute])


def _set_fields(sample: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        sample[name] = value


def _keyframes_of_images(
    keyframes: fol.TemporalDetections, by_number: dict[int, str]
) -> dict[str, Any]:
    """Images have no frames to point at: the image that is the key frame itself gets the label."""
    values: dict[str, Any] = {sample_id: fol.Classifications() for sample_id in by_number.values()}
    for keyframe in keyframes.detections:
        values[by_number[keyframe.support[0]]].classifications.append(
            fol.Classification(
                label=keyframe.label,
                confidence=keyframe.confidence,
                query=keyframe["query"],
                index=keyframe["index"],
            )
        )
    return values
