"""Writes labels so that a sample is either done as a whole or not at all.

The order is what makes it safe to kill: first the sample-level fields of an earlier result go, then
the frames are written, and last, in one write to one document, the sample-level fields. Whoever
finds these knows that the frames are there. Masks as files are new ones, so that the old labels
have theirs for as long as they are there; then those go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import fiftyone as fo
import fiftyone.core.labels as fol
from bson import ObjectId
from fiftyone.core.odm import get_db_conn

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.changes import LabelSum, keep_sums
from fiftyone_revseg.dataset.collection import VideoRef, select_by_id
from fiftyone_revseg.dataset.frame_numbers import overlap
from fiftyone_revseg.dataset.labels import SampleLabels
from fiftyone_revseg.dataset.mask_files import MaskFiles, ReplacedMaskFiles
from fiftyone_revseg.dataset.place import Place
from fiftyone_revseg.dataset.record import Results
from fiftyone_revseg.dataset.size_limit import make_fit
from fiftyone_revseg.dataset.store import Document

# Labels that wait to be written take so much memory, of which FiftyOne's objects are the most
_HELD_BYTES, _FRAME_BYTES, _LABEL_BYTES = 8 * 2**20, 4_000, 11_000


class LabelWriter:
    """Writes the labels of videos, clips and groups of images into a dataset.

    Frames are written in bulk, which takes time linear in their number; saving them through
    ``sample.frames``, as ``apply_model`` does, takes quadratic time once frames exist.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`, with its fields declared
        label_field: the label field
        mask_files (None): what moves masks to files. By default, they go to the database
        replaced (None): what removes the files of earlier results
    """

    def __init__(
        self,
        dataset: fo.Dataset,
        label_field: str,
        mask_files: MaskFiles | None = None,
        replaced: ReplacedMaskFiles | None = None,
    ):
        self._dataset = dataset
        self._dataset_id, self._dataset_name = store.dataset_id(dataset), dataset.name
        self._label_field = label_field
        self._mask_files = mask_files
        self._replaced = replaced

    def write(self, video: VideoRef, labels: SampleLabels) -> None:
        """Writes the labels of one video. They are in the database when this returns."""
        if video.images:
            self._write_images(video, labels)
        else:
            self._write_video(video, labels)
        if self._replaced is not None:
            self._replaced.remove(video)

    def _write_video(self, video: VideoRef, labels: SampleLabels) -> None:
        if not self.is_there(video):
            raise ValueError("The sample was deleted meanwhile")
        place = Place.of(video, self._label_field)
        labels = make_fit(labels, place.stored(), self._label_field, video.support)
        withdraw(place)
        note_written(labels, self._write_frames(video, labels))
        if video.clip_id is not None:
            place.change(lambda _: labels.results.to_fields(self._label_field), place.owners[0])
        commit(place, labels)

    def check_dataset(self) -> None:
        """Raises a ``RuntimeError`` if the dataset was deleted: nothing can be written any more."""
        if get_db_conn().datasets.find_one({"_id": self._dataset_id}, {"_id": True}) is None:
            raise RuntimeError(
                f"The dataset '{self._dataset_name}' was deleted during the run, which ends here"
            )

    def is_there(self, video: VideoRef) -> bool:
        """Returns whether the video's sample is still in the dataset."""
        return bool(select_by_id(self._dataset, [video.sample_id]))

    def _write_frames(self, video: VideoRef, labels: SampleLabels) -> LabelSum:
        """Writes the frames, and returns the sum of their labels."""
        written = LabelSum()
        for part in self._in_stretches(video, labels, known_frames(video)):
            write_frames(video, self._label_field, part, written)
        return written

    def _largest(self, ids: Sequence[str]) -> Document:
        """The largest of some samples as they are in the database."""
        samples = store.sample_documents(self._dataset)
        size: Document = {"$project": {"size": {"$bsonSize": "$$ROOT"}}}
        own = {"$match": {"_id": {"$in": [ObjectId(i) for i in ids]}}}
        found = samples.aggregate([own, size, {"$sort": {"size": -1}}, {"$limit": 1}])
        return next((samples.find_one(largest["_id"]) for largest in found), None) or {}

    def _in_stretches(
        self, video: VideoRef, labels: SampleLabels, numbers: Iterable[int]
    ) -> Iterator[dict[int, fol.Detections]]:
        """The labels of all frames, as many at a time as may be in memory.

        Args:
            video: the video
            labels: its labels
            numbers: frames that get none if there is nothing in the labels, as an old mask must
                not stay
        """
        part: dict[int, fol.Detections] = {}
        held = 0
        for number in dict.fromkeys([*labels.frames, *numbers]):
            detections = labels.frames.get(number)
            if detections is None:
                detections = fol.Detections()
            elif self._mask_files is not None:
                self._mask_files.move_out(video, number, detections)
            part[number] = detections
            masks = (d.mask for d in detections.detections)
            held += _FRAME_BYTES + sum(_LABEL_BYTES + getattr(m, "nbytes", 0) for m in masks)
            if held >= _HELD_BYTES:
                yield part
                part, held = {}, 0
        if part:
            yield part

    def _write_images(self, video: VideoRef, labels: SampleLabels) -> None:
        name = self._label_field
        ids = list(video.sample_ids)
        view = select_by_id(self._dataset, ids)
        labels = make_fit(labels, self._largest(ids), name, None)
        view.set_values(f"{name}_trajectory", {video.sample_id: None}, key_field="id")
        by_number = video.by_number
        written = LabelSum()
        for part in self._in_stretches(video, labels, by_number):
            for detections in part.values():
                written.add(detections.to_dict()["detections"])
            values = {by_number[n]: found for n, found in part.items() if n in by_number}
            view.set_values(name, values, key_field="id")

        note_written(labels, written)
        values = labels.sample_values(name)
        trajectory = values.pop(f"{name}_trajectory")
        for field_name, value in values.items():
            if field_name == f"{name}_keyframes":
                value = _keyframes_of_images(value, by_number)
            else:
                copied = isinstance(value, fol.Label)  # a label has an id of its own
                value = {sample_id: value.copy() if copied else value for sample_id in ids}
            view.set_values(field_name, value, key_field="id")

        view.set_values(f"{name}_trajectory", {video.sample_id: trajectory}, key_field="id")


def known_frames(video: VideoRef) -> list[int]:
    """Returns the numbers of a video's frames that are in the database, whatever a view hides."""
    known = video.documents.find(video.frames_within(video.support), {"frame_number": True})
    return [frame["frame_number"] for frame in known]


def write_frames(
    video: VideoRef,
    label_field: str,
    frames: Mapping[int, fol.Detections],
    written: LabelSum | None = None,
) -> None:
    """Writes the labels of frames, and no other field of theirs.

    Args:
        video: whose frames they are
        label_field: the label field
        frames: frame number -> :class:`fiftyone.core.labels.Detections`
        written (None): what the labels are added to
    """
    dataset, sample_id, writes = video.dataset, video.sample_id, []
    for number, detections in frames.items():
        value = detections.to_dict()
        if written is not None:
            written.add(value["detections"])
        writes.append(store.setting_frame(dataset, sample_id, number, {label_field: value}))
    store.write_documents(dataset, writes, frames=True)


def note_written(labels: SampleLabels, detections: LabelSum | None = None) -> None:
    """Keeps in the record of labels what they are, see :mod:`fiftyone_revseg.dataset.changes`.

    Args:
        labels: the labels, whose trajectory is changed in place
        detections (None): the sum of all detections, if it is known already
    """
    if detections is None:
        detections = LabelSum()
        for found in labels.frames.values():
            detections.add(found.to_dict()["detections"])
    answers = labels.answers.to_dict()["classifications"]
    keep_sums(labels.records, detections, answers)


def withdraw(place: Place) -> None:
    """Removes what the next result will replace, so that nobody takes it for done."""
    place.change(partial(_replaced, place, None))


def commit(place: Place, labels: SampleLabels) -> None:
    """Saves a result, together with those that it does not replace, in one write.

    The result of a clip replaces only its part of the fields of the whole video.
    """
    place.change(partial(_replaced, place, labels))


def _replaced(place: Place, labels: SampleLabels | None, stored: Results) -> Document | None:
    support = place.support
    left = _without(support, stored)
    stale = [
        record.document
        for record in left.records
        if "written" in record.document and _share_frames(support, record.frames)
    ]
    for document in stale:
        del document["written"]  # a part of its frames gets other labels
    if labels is not None:
        left += labels.results
    elif len(left.records) == len(stored.records) and not stale:
        return None
    if support is not None:
        left.answers.sort(key=lambda answer: answer.get("support") or [])
        left.keyframes.sort(key=lambda keyframe: keyframe["support"])
        left.records.sort(key=lambda record: record.frames or [])
    values = left.to_fields(place.label_field)
    # An answer of no record says nothing, so there is no result
    return values if left.records else dict.fromkeys(values)


def _replaces(new: Iterable[int] | None, old: Iterable[int] | None) -> bool:
    """Whether a result on the frames ``new`` says all that one on the frames ``old`` said."""
    if new is None:
        return True
    if old is None:
        return False
    (first, last), (old_first, old_last) = new, old
    return first <= old_first and old_last <= last


def _share_frames(a: Sequence[int] | None, b: Sequence[int] | None) -> bool:
    return a is not None and b is not None and overlap(a, b)


def _without(support: Sequence[int] | None, results: Results) -> Results:
    """Returns what a result on ``support`` leaves alone."""
    left = Results([], [], [])
    if support is None:
        return left
    left.records = [r for r in results.records if not _replaces(support, r.frames)]
    left.keyframes = list(results.keyframes)
    for answer in results.answers:
        if not _replaces(support, answer.get("support")):
            left.answers.append(answer)
            continue
        own = (answer.get("query"), answer["label"], answer.get("keyframe"))
        for keyframe in left.keyframes:
            if (keyframe.get("query"), keyframe["label"], keyframe["support"][0]) == own:
                left.keyframes.remove(keyframe)
                break
    return left


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
