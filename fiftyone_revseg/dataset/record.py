"""What a sample keeps about how each of its segmentations was made.

A record is stored as a plain dict in the sample's trajectory field. Its fingerprint tells a later
run whether there is anything left to do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fiftyone_revseg.dataset.certainty_map import CertaintyMap
from fiftyone_revseg.dataset.frame_numbers import Support, number_of
from fiftyone_revseg.dataset.store import Document
from fiftyone_revseg.pipeline import RevSeg, Segmentation
from fiftyone_revseg.reasoning.trajectory import thought_of
from fiftyone_revseg.types import Status


@dataclass(frozen=True)
class Record:
    """Everything about one segmentation but its masks.

    Attributes:
        document: the record as it is stored. What this version does not know stays in it; a part
            of a record that was read alone does for whatever is in that part
    """

    document: Document

    @classmethod
    def of(
        cls, segmentation: Segmentation, settings: dict[str, Any], support: Sequence[int] | None
    ) -> Record:
        """Makes the record of one segmentation.

        Args:
            segmentation: a :class:`fiftyone_revseg.pipeline.Segmentation`
            settings: see :func:`settings_of`
            support: the first and last frame number of a clip; None for a whole video

        Returns:
            a record whose document is JSON-serializable: that of the segmentation without
            "tracks", and with "fingerprint", "settings" and "support"
        """
        document = segmentation.to_dict()
        # The masks are in the frames already, and a sample's document is limited to 16 MB
        del document["tracks"]
        document["fingerprint"] = fingerprint(settings, segmentation.query, support)
        document["settings"] = settings
        document["support"] = list(support) if support else None
        return cls(document)

    @property
    def trajectory(self) -> Document:
        """See :meth:`fiftyone_revseg.reasoning.Trajectory.to_dict`."""
        return self.document["trajectory"]

    @property
    def query(self) -> str:
        """The query."""
        return self.trajectory["query"]

    @property
    def choices(self) -> list[Document]:
        """The objects that the model named, with the key frames that it chose."""
        return self.trajectory["choices"]

    @property
    def source_size(self) -> tuple[int, int]:
        """The (width, height) of the video in pixels; zeros if they are not known."""
        width, height = self.trajectory["source_size"]
        return int(width), int(height)

    @property
    def status(self) -> str:
        """See :class:`fiftyone_revseg.types.Status`."""
        return self.document["status"]

    @property
    def fingerprint(self) -> str | None:
        """See :func:`fingerprint`."""
        return self.document.get("fingerprint")

    @property
    def settings(self) -> dict[str, Any]:
        """See :func:`settings_of`; empty if they are not known."""
        return self.document.get("settings") or {}

    @property
    def timings(self) -> dict[str, float]:
        """Stage -> seconds."""
        return self.document.get("timings") or {}

    @property
    def indices(self) -> list[int] | None:
        """The ``index`` of each of its objects, where a person added or replaced some.

        Those of :attr:`choices` come first. The others are of objects that were added, or that are
        gone and may come back. None: objects are numbered through all queries on the same frames
        """
        return self.document.get("indices")

    @property
    def corrections(self) -> list[Document]:
        """What people corrected."""
        return self.document.get("corrections") or []

    @property
    def support(self) -> Support | None:
        """The first and last frame number of a clip; None for a whole video."""
        found = self.document.get("support")
        return (found[0], found[1]) if found else None

    @property
    def frame_count(self) -> int:
        """The number of frames of the video, or of the clip."""
        return self.trajectory["frame_table"]["frame_count"]

    @property
    def frames(self) -> list[int] | None:
        """The first and last frame number that it is about; None for no frames."""
        if self.support:
            return list(self.support)
        first, count = self.document["first_frame"], self.frame_count
        return [number_of(0, first), number_of(count - 1, first)] if count else None

    @property
    def sampled(self) -> list[int]:
        """The numbers of the frames that the model was shown."""
        first = self.document.get("first_frame") or 0
        return [number_of(k, first) for k in self.trajectory["frame_table"]["indices"]]

    @property
    def thought(self) -> str:
        """What the model thought."""
        thought = thought_of(self.trajectory)
        return shortened(thought) if self.document.get("shortened") else thought


@dataclass
class Results:
    """The fields of one sample that a label field comes with, as they are in the database.

    Attributes:
        answers: one per query and object
        keyframes: one per object; of images, those of this very image
        records: one per query
    """

    answers: list[Document]
    keyframes: list[Document]
    records: list[Record]

    @classmethod
    def from_document(cls, document: Document, label_field: str) -> Results:
        """Reads them from the document of a sample."""
        names = ("answers", "keyframes", "trajectory")
        answers, keyframes, trajectory = (document.get(f"{label_field}_{n}") or {} for n in names)
        return cls(
            list(answers.get("classifications") or ()),
            list(keyframes.get("detections") or keyframes.get("classifications") or ()),
            records_of(trajectory),
        )

    def __iadd__(self, other: Results) -> Results:
        self.answers += other.answers
        self.keyframes += other.keyframes
        self.records += other.records
        return self

    def to_fields(self, label_field: str, images: bool = False) -> Document:
        """Returns the fields that go to the document of a sample, or of an image."""
        kind, labels = "TemporalDetections", "detections"
        if images:
            kind, labels = "Classifications", "classifications"
        return {
            f"{label_field}_answers": {"_cls": "Classifications", "classifications": self.answers},
            f"{label_field}_keyframes": {"_cls": kind, labels: self.keyframes},
            f"{label_field}_reasoning": reasoning_of(self.records),
            f"{label_field}_status": status_of(self.records),
            f"{label_field}_trajectory": trajectory_of(self.records),
        }


def records_of(trajectory: Mapping[str, Any] | None) -> list[Record]:
    """Returns the records in the value of a sample's field ``<label_field>_trajectory``."""
    return [Record(document) for document in (trajectory or {}).get("segmentations") or ()]


def trajectory_of(records: Sequence[Record]) -> Document:
    """Returns the value of the field that records are stored in, see :func:`records_of`."""
    return {"segmentations": [record.document for record in records]}


def status_of(records: Sequence[Record]) -> str:
    """Returns "ok", or the first status of the records that is not."""
    return next((r.status for r in records if r.status != str(Status.OK)), str(Status.OK))


def reasoning_of(records: Sequence[Record]) -> str:
    """Returns the thoughts of the records as one text, each under what it is about."""
    if len(records) == 1:
        return records[0].thought
    texts = []
    for record in records:
        about = record.query
        if record.support:
            about = "frames {}-{}, {}".format(*record.support, about)
        texts.append(f"{about}: {record.thought}")
    return "\n\n".join(texts)


def settings_of(
    pipeline: RevSeg,
    confidence_thresh: float | None = None,
    classes: Iterable[str] | None = None,
    masks_dir: str | Path | None = None,
    calibration: CertaintyMap | None = None,
) -> dict[str, Any]:
    """Collects all that decides what the answer to a query on a video is.

    Args:
        pipeline: a :class:`fiftyone_revseg.pipeline.RevSeg`
        confidence_thresh (None): the confidence under which detections are left out
        classes (None): the labels to which detections are restricted
        masks_dir (None): the directory for masks as files
        calibration (None): what makes certainties true

    Returns:
        a JSON-serializable dict
    """
    settings = dict(pipeline.settings())
    # Left out where they are not used, so that they do not tell apart what is the same
    if confidence_thresh is not None:
        settings["confidence_thresh"] = confidence_thresh
    if classes is not None:
        settings["classes"] = sorted(classes)
    if masks_dir is not None:
        settings["masks_dir"] = str(masks_dir)
    if calibration is not None:
        settings["calibration"] = calibration.digest
    return settings


def fingerprint(settings: dict[str, Any], query: str, support: Sequence[int] | None) -> str:
    """Names a question and all that decides its answer, but the video itself.

    Args:
        settings: see :func:`settings_of`
        query: the query
        support: the first and last frame number of a clip; None for a whole video

    Returns:
        16 hexadecimal digits
    """
    question = [_deciding(settings), query, list(support) if support else None]
    text = json.dumps(question, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shortened(text: str, longest: int = 500) -> str:
    """Shortens a text that is longer than so many characters, and says by how much."""
    if len(text) <= longest + 40:
        return text
    return f"{text[:longest]} ... [{len(text) - longest:,} characters left out]"


def find_object(
    records: Sequence[Record], index: int, support: Sequence[int]
) -> tuple[Record, int] | None:
    """Finds the record that an object comes from.

    Args:
        records: all records of a sample
        index: the ``index`` of the object's answer
        support: the first and last frame number of its answer

    Returns:
        the record, and which of its objects it is, 0-based; None if there is none. An object that
        a person added comes after the record's choices
    """
    for record, indices in _numbered(records, support):
        if index in indices:
            return record, indices.index(index)
    return None


def find_query(records: Sequence[Record], query: str, support: Sequence[int]) -> Record | None:
    """Finds the record of a query on frames, from the first to the last number; None for none."""
    asked = (r for r in records if r.query == query and r.frames == list(support))
    return next(asked, None)


def number_objects(records: Sequence[Record], support: Sequence[int]) -> int:
    """Lets each record on the same frames say which indices its objects have.

    Args:
        records: all records of a sample, which are changed in place
        support: the first and last frame number

    Returns:
        the first index that no object has, or had
    """
    free = 1
    for record, indices in _numbered(records, support):
        record.document["indices"] = indices
        free = max([free, *(index + 1 for index in indices)])
    return free


def _numbered(
    records: Sequence[Record], support: Sequence[int]
) -> Iterator[tuple[Record, list[int]]]:
    count = 0
    for record in records:
        if record.frames == list(support):
            known, first = record.indices, count + 1
            count += len(record.choices)
            yield record, list(range(first, count + 1) if known is None else known)


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Says in words what differs between two settings.

    Args:
        old: settings, see :func:`settings_of`
        new: other settings

    Returns:
        a list such as ``["spec.frames: 16 -> 12"]``
    """
    flat_old, flat_new = _flatten(_deciding(old)), _flatten(_deciding(new))
    return [
        f"{name}: {_short(flat_old.get(name))} -> {_short(flat_new.get(name))}"
        for name in sorted({*flat_old, *flat_new})
        if flat_old.get(name) != flat_new.get(name)
    ]


def _deciding(settings: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what is only recorded: a model answers the same wherever it is served."""
    return {name: value for name, value in settings.items() if name != "server"}


def _flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            # A database gives tuples back as lists
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def _short(value: Any) -> str:
    text = "none" if value is None else " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."
