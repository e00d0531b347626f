"""Anybody's predictions into a dataset: masks as PNGs, ``VIDEO/EXPRESSION/FRAME.png``.

This is the form in which most methods for referring video segmentation write their results, and in
which the servers take them, so that published results can be scored and looked at as one's own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.labels as fol

from fiftyone_revseg.dataset.changes import find_changed
from fiftyone_revseg.dataset.collection import check_collection, list_videos, source_dataset
from fiftyone_revseg.dataset.expressions import Expression
from fiftyone_revseg.dataset.guard import Guard
from fiftyone_revseg.dataset.labelled_videos import (
    LabelledVideo,
    group_by_text,
    reason_of,
    walk_videos,
)
from fiftyone_revseg.dataset.labels import SampleLabels
from fiftyone_revseg.dataset.ownership import check_label_field, check_videos
from fiftyone_revseg.dataset.record import Record, status_of, trajectory_of
from fiftyone_revseg.dataset.schema import declare_fields, field_names, valid_label_field
from fiftyone_revseg.dataset.writer import LabelWriter
from fiftyone_revseg.evaluation.imported import ImportedVideo, imported_videos
from fiftyone_revseg.evaluation.submission_files import MaskSource, decode_mask
from fiftyone_revseg.pipeline import Segmentation
from fiftyone_revseg.progress import OnProgress
from fiftyone_revseg.reasoning.trajectory import Trajectory
from fiftyone_revseg.types import FrameTable, Status

_SHOWN = 3
_EMPTY = "all of its masks are empty"
_KEPT = (
    "kept because a person corrected, accepted or changed its labels; replace_corrections=True "
    "(--replace-corrections) replaces them"
)


@dataclass
class LoadedPredictions:
    """What was loaded.

    Attributes:
        label_field: the label field
        source: the archive or folder
        videos: how many videos have predictions now
        expressions: how many expressions
        masks: how many masks that are not empty
        missing: "video/expression" of those without a file; they stay without a prediction
        gaps: "video/expression" -> how many frames have no file; they have no mask
        unused: how many files are of no expression or frame in the dataset
        refused: the files that were not read, as their names lead out of the archive
        skipped: video -> why nothing was loaded for it, in words
        remarks: video -> what else is to be known about it, in words
    """

    label_field: str
    source: str
    videos: int = 0
    expressions: int = 0
    masks: int = 0
    missing: list[str] = field(default_factory=list)
    gaps: dict[str, int] = field(default_factory=dict)
    unused: int = 0
    refused: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{self.expressions} expressions of {self.videos} videos, {self.masks} masks, loaded"
            f" into '{self.label_field}' from {self.source}"
        ]
        notes = [
            ("MISSING: {n} expressions have no files, so no prediction", self.missing),
            ("{n} expressions lack the files of some frames, which have no mask", self.gaps),
            ("{n} files were not read: their names, or links, lead out of it", self.refused),
        ]
        for text, names in notes:
            if names:
                first, more = list(names)[:_SHOWN], ", ..." if len(names) > _SHOWN else ""
                lines.append(f"  {text.format(n=len(names))}: {', '.join(first)}{more}")
        if self.unused:
            lines.append(f"  {self.unused} files are of no expression or frame in the dataset")
        lines += [f"  skipped: {video}: {why}" for video, why in self.skipped.items()]
        lines += [f"  {line}" for line in group_by_text(self.remarks)]
        return "\n".join(lines)


def load_predictions(
    samples: Any,
    source: str | Path,
    label_field: str,
    model: str = "",
    overwrite: bool = False,
    progress: bool | OnProgress | None = None,
    replace_foreign_labels: bool = False,
    replace_corrections: bool = False,
) -> LoadedPredictions:
    """Writes masks in files, whichever method made them, into a label field.

    The fields are those of a run of our own, without key frames and reasoning, which files of
    masks do not tell: ``frames.<label_field>`` with the ``query`` on each detection,
    ``<label_field>_answers`` and ``<label_field>_status``. So all that works on results works on
    them: the App, :func:`fiftyone_revseg.evaluation.evaluate.evaluate_view`, exports. Where several
    expressions of a video have the same text, ``expression_id`` tells their answers apart.

    Files are found as ``VIDEO/EXPRESSION/FRAME.png``, with or without folders around them, such as
    "Annotations". All that is not the background is the object. A mask of another size than its
    video is scaled where it is used.

    Args:
        samples: an imported benchmark, or a view of it
        source: a zip file, or a folder
        label_field: the label field to write, with or without "frames."
        model (""): the name of the method, which is kept with the answers
        overwrite (False): whether to replace the results in the label field
        progress (None): whether to show a progress bar; or a function that is called with a
            :class:`fiftyone_revseg.progress.RunProgress`. By default, as FiftyOne is
            configured
        replace_foreign_labels (False): whether labels in this field that this product did not
            write may be replaced; ``overwrite`` does not mean them
        replace_corrections (False): whether labels that a person corrected, accepted or changed
            may be replaced. By default, their videos are skipped

    Returns:
        a :class:`LoadedPredictions`; ``print`` it: it says what was missing

    Raises:
        ValueError: if an argument is not valid, or no file is of any expression in the dataset;
            nothing has been written then
    """
    label_field = valid_label_field(label_field)
    samples = check_collection(samples)
    dataset = source_dataset(samples)
    known = imported_videos(
        samples, "it is not known which file is what: import the benchmark first"
    )
    videos = list_videos(samples)
    check_label_field(dataset, label_field, replace_foreign_labels)
    check_videos(dataset, label_field, videos, replace_foreign_labels)
    status = field_names(label_field)[-2]
    if not overwrite and dataset.has_field(status) and samples.exists(status).count():
        raise ValueError(
            f"There are results in '{label_field}' already: name another label field, or"
            " overwrite them"
        )
    with MaskSource(source) as files:
        found = _Files(files, known)
        loaded = LoadedPredictions(label_field, str(files.path))
        by_person = {} if replace_corrections else find_changed(dataset, label_field, videos)
        _declare(dataset, label_field, any(map(found.shared, known)))
        writer = LabelWriter(dataset, label_field)
        guard = Guard(dataset, label_field, replace_foreign_labels, replace_corrections)
        # No field of masks: only the size and the frames of the videos are of interest
        for video in walk_videos(samples, [], progress, "Loading"):
            name = known[video.id].name
            if video.id in by_person:
                loaded.skipped[name] = _KEPT
                continue
            try:
                answers = _read(video, found, model or files.path.stem, loaded)
                kept = bool(answers.expressions) and guard.keeps_meanwhile(video)
                if answers.expressions and not kept:
                    writer.write(video, answers.labels())
            except Exception as error:  # what is wrong with one video must not stop the rest
                loaded.skipped[name] = reason_of(error)
                continue
            if kept:
                loaded.skipped[name] = _KEPT
                continue
            loaded.remarks[name] = answers.remarks
            if answers.expressions:
                loaded.videos += 1
                loaded.expressions += answers.expressions
                loaded.masks += answers.masks
        loaded.unused = len(files.names) - found.used
        loaded.refused = files.refused
    return loaded


def _declare(dataset: fo.Dataset, label_field: str, by_expression: bool) -> None:
    declare_fields(dataset, label_field)
    if by_expression:
        attribute = "expression_id"
        dataset.add_frame_field(f"{label_field}.detections.{attribute}", fo.StringField)
        answers = f"{label_field}_answers.classifications"
        dataset.add_sample_field(f"{answers}.{attribute}", fo.StringField)


class _Files:
    """Which files are of which expression.

    Args:
        source: the files
        videos: the videos by the ids of their samples
    """

    def __init__(self, source: MaskSource, videos: Mapping[str, ImportedVideo]):
        self.videos = videos
        self.source = source
        self.used = 0
        self._by_expression = _by_expression(source, {video.name for video in videos.values()})

    def shared(self, sample_id: str) -> set[str]:
        """Returns the texts that several expressions of a video have."""
        counts = Counter(expression.text for expression in self.videos[sample_id].expressions)
        return {text for text, count in counts.items() if count > 1}

    def of(self, sample_id: str, expression: Expression) -> dict[int, str] | None:
        """Maps frame numbers to the names of files; None if there is none for the expression."""
        files = self._by_expression.get((self.videos[sample_id].name, expression.id))
        if files is None:
            return None
        numbers = self.videos[sample_id].numbers
        found = {number: files[frame] for frame, number in numbers.items() if frame in files}
        self.used += len(found)
        return found


def _by_expression(source: MaskSource, videos: set[str]) -> dict[tuple[str, str], dict[str, str]]:
    """(video, expression) -> name of the frame -> name of the file."""
    heads: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for name in source.names:
        head, _, file = name.rpartition("/")
        if file.lower().endswith(".png"):
            folder, _, expression = head.rpartition("/")
            heads[folder][expression, file[:-4]] = name
    # There may be folders around those of the videos, whose own names may have slashes
    outer = {folder: _split(folder, videos) for folder in heads}
    counts = Counter(found[0] for found in outer.values() if found)
    if not counts:
        first = next(iter(source.names), "nothing")
        raise ValueError(
            f"No file in {source.path} is of a video in this dataset: files must be named like"
            f" '{min(videos, default='VIDEO')}/0/00000.png', and the first one is '{first}'"
        )
    ((root, _),) = counts.most_common(1)
    grouped: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for folder, found in outer.items():
        if found and found[0] == root:
            for (expression, frame), name in heads[folder].items():
                grouped[found[1], expression][frame] = name
    return dict(grouped)


def _split(folder: str, videos: set[str]) -> tuple[str, str] | None:
    """Splits the path of a folder into what is around the videos, and the name of one."""
    parts = folder.split("/")
    for i in range(len(parts)):
        if "/".join(parts[i:]) in videos:
            return "/".join(parts[:i]), "/".join(parts[i:])
    return None


def _read(video: LabelledVideo, found: _Files, model: str, loaded: LoadedPredictions) -> _Answers:
    """Reads the masks of all expressions of one video."""
    if video.unusable:
        raise ValueError(video.unusable)
    about = found.videos[video.id]
    answers = _Answers(video, model, found.shared(video.id))
    for expression in about.expressions:
        full_name = f"{about.name}/{expression.id}"
        files = found.of(video.id, expression)
        if files is None:
            loaded.missing.append(full_name)
            continue
        if len(files) < len(about.frame_names):
            loaded.gaps[full_name] = len(about.frame_names) - len(files)
        masks = {}
        for number, file in files.items():
            try:
                mask = decode_mask(found.source.read(file))
            except ValueError as error:
                raise ValueError(f"{file}: {error}") from error
            if mask.any():
                masks[number] = fol.Detection.from_mask(mask, label=expression.text)
        answers.add(expression, masks)
    return answers


class _Answers:
    """The answers on one video as labels.

    Args:
        video: the video
        model: the name of the method
        shared: the texts that several expressions have
    """

    def __init__(self, video: LabelledVideo, model: str, shared: Collection[str]):
        self.expressions = 0
        self.masks = 0
        self.remarks = video.remarks
        self._video = video
        self._model = model
        self._shared = shared
        self._statuses: dict[str, Status] = {}
        self._answers: list[fol.Classification] = []
        self._frames = {number: fol.Detections() for number in video.numbers}

    def add(self, expression: Expression, masks: dict[int, fol.Detection]) -> None:
        """Adds the masks of an expression."""
        self.expressions += 1
        text, index, instance = expression.text, self.expressions, fo.Instance()
        about = {"query": text}
        if text in self._shared:
            about["expression_id"] = expression.id
        for number, detection in masks.items():
            detection.index, detection.instance = index, instance
            for name, value in about.items():
                detection[name] = value
            if number in self._frames:
                self._frames[number].detections.append(detection)
        self.masks += len(masks)
        if masks or text not in self._statuses:
            self._statuses[text] = Status.OK if masks else Status.NO_TARGET
        self._answers.append(self._answer(text, index if masks else None, about))

    def labels(self) -> SampleLabels:
        """Returns the labels of the sample."""
        records = [self._record(text, status) for text, status in self._statuses.items()]
        return SampleLabels(
            frames=self._frames,
            answers=fol.Classifications(classifications=self._answers),
            keyframes=fol.TemporalDetections(),
            reasoning="",
            status=status_of(records),
            trajectory=trajectory_of(records),
        )

    def _record(self, text: str, status: Status) -> Record:
        table = FrameTable((), (), len(self._video.numbers), 0.0)
        reason = "" if status is Status.OK else _EMPTY
        trajectory = Trajectory(text, table, self._video.size, status, reason, model=self._model)
        segmentation = Segmentation(
            trajectory,
            status=status,
            reason=reason,
            path=self._video.filepath,
            model=self._model,
        )
        return Record.of(segmentation, {"loaded": self._model}, None)

    def _answer(self, text: str, index: int | None, about: Mapping[str, str]) -> fol.Classification:
        status = Status.NO_TARGET if index is None else Status.OK
        return fol.Classification(
            label=str(status) if index is None else text,
            reasoning="",
            index=index,
            keyframe=None,
            support=[self._video.numbers[0], self._video.numbers[-1]],
            status=str(status),
            reason=_EMPTY if index is None else "",
            model=self._model,
            corrected=False,
            **about,
        )
