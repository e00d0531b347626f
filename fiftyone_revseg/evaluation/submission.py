"""Archives of predictions for the benchmarks whose truth only a server knows.

MeViS and Ref-YouTube-VOS take a zip file with one PNG for each frame of each expression, at the
frame's own size: single-channel, 8 bits, 255 where the object is and 0 elsewhere. That is what the
authors' own programs write for both; readers count every value but 0 as the object. In the
archive of MeViS there is no folder around those of the videos, in that of Ref-YouTube-VOS it is
called ``Annotations``.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fiftyone_revseg.dataset.collection import check_collection, source_dataset
from fiftyone_revseg.dataset.expressions import Answered, answer_in, answered_by
from fiftyone_revseg.dataset.labelled_videos import LabelledVideo, union, walk_videos
from fiftyone_revseg.dataset.resume import RETRIED
from fiftyone_revseg.dataset.schema import valid_label_field
from fiftyone_revseg.evaluation.imported import ImportedVideo, imported_videos
from fiftyone_revseg.evaluation.submission_check import validate_submission
from fiftyone_revseg.evaluation.submission_files import (
    ROOTS,
    ArchiveWriter,
    VideoMeta,
    check_benchmark,
    encode_mask,
    find_meta,
    read_meta,
)
from fiftyone_revseg.files.names import inside
from fiftyone_revseg.progress import OnProgress

__all__ = ["Submission", "validate_submission", "write_submission"]

_SHOWN = 5  # expressions that are named; of more, the number says enough


@dataclass
class Submission:
    """What was written.

    Attributes:
        path: the archive
        benchmark: the benchmark that it is for
        videos: the number of videos in it
        expressions: the number of expressions
        files: the number of masks
        missing: "video/expression" of those that nothing was predicted for; their masks are empty
        empty: how many others have no mask on any frame
        skipped: how many videos were left out, as the benchmark does not list them
    """

    path: str
    benchmark: str
    videos: int = 0
    expressions: int = 0
    files: int = 0
    missing: list[str] = field(default_factory=list)
    empty: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        lines = [
            f"{self.expressions} expressions of {self.videos} videos, {self.files} masks, written"
            f" to {self.path} for {self.benchmark}"
        ]
        if self.missing:
            first = ", ".join(self.missing[:_SHOWN])
            more = "" if len(self.missing) <= _SHOWN else ", ..."
            lines.append(
                f"  MISSING: nothing was predicted for {len(self.missing)} of them, whose masks"
                f" are empty: {first}{more}"
            )
        if self.empty:
            lines.append(f"  {self.empty} more have no mask on any frame")
        if self.skipped:
            lines.append(
                f"  {self.skipped} videos are left out: {self.benchmark} does not list them"
            )
        return "\n".join(lines)


def write_submission(
    samples: Any,
    pred_field: str = "revseg",
    benchmark: str | None = None,
    path: str | Path = "submission.zip",
    meta: str | Path | None = None,
    progress: bool | OnProgress | None = None,
) -> Submission:
    """Writes the archive that a benchmark's server takes.

    Its bytes depend on the masks alone. It is there when all of it is; masks are written as they
    are read, so the number of videos does not matter.

    Args:
        samples: an imported benchmark, or a view of it
        pred_field ("revseg"): the label field with the predictions, with or without "frames."
        benchmark (None): "mevis" or "ref-youtube-vos". By default, the one that was imported
        path ("submission.zip"): the file to write; one of that name is replaced
        meta (None): the benchmark's own ``meta_expressions.json``, or its folder: what is not in
            it is left out. By default, that of the import; all that was imported is written where
            that is gone
        progress (None): whether to show a progress bar; or a function that is called with a
            :class:`fiftyone_revseg.progress.RunProgress`. By default, as FiftyOne is
            configured

    Returns:
        a :class:`Submission`; ``print`` it: it says how many predictions were missing

    Raises:
        ValueError: if an argument is not valid, or the size of a video cannot be found out;
            nothing has been written then
    """
    pred_field = valid_label_field(pred_field)
    samples = check_collection(samples)
    imported = source_dataset(samples).info.get("benchmark") or {}
    benchmark = check_benchmark(benchmark or imported.get("name"))
    listed = _listed(benchmark, meta, imported)
    abouts = imported_videos(samples, "this is no benchmark that was imported: see revseg import")
    for about in abouts.values():
        _check_names(about)
    answered = _answered(samples, pred_field)
    # The order of the videos decides the bytes, so it must not depend on that of the dataset
    samples = samples.sort_by("video_name")

    with ArchiveWriter(path) as archive:
        summary = Submission(str(archive.path), benchmark)
        for video in walk_videos(samples, [pred_field], progress, "Writing"):
            about = abouts[video.id]
            if listed is not None and about.name not in listed:
                summary.skipped += 1
                continue
            if video.unusable:
                raise ValueError(
                    f"The size of the masks of video '{about.name}' cannot be found out"
                    f" ({video.unusable}): put its frames back to where they were"
                )
            frames = _frame_numbers(about, None if listed is None else listed[about.name])
            summary.videos += 1
            summary.expressions += len(about.expressions)
            folder = f"{ROOTS[benchmark]}{about.name}"
            predicted, visible = _add_video(archive, folder, video, about, frames, pred_field)
            predicted |= answered.get(video.id, set())
            for expression in about.expressions:
                if predicted.isdisjoint(expression.answered):
                    summary.missing.append(f"{about.name}/{expression.id}")
                elif visible.isdisjoint(expression.answered):
                    summary.empty += 1
        if not summary.videos:
            raise ValueError(f"There is nothing to write: no video of {benchmark} is in this view")
        summary.files = archive.files
    return summary


def _frame_numbers(video: ImportedVideo, listed: VideoMeta | None) -> dict[int, str]:
    """Maps the numbers of the frames that are asked for to their names."""
    numbers = video.numbers
    wanted = video.frame_names if listed is None else listed.frames
    absent = [name for name in wanted if name not in numbers]
    if absent:
        raise ValueError(
            f"Frame '{absent[0]}' of video '{video.name}' is on the benchmark's list but not in"
            " the dataset: import the benchmark again"
        )
    return {numbers[name]: name for name in wanted}


def _answered(samples: Any, pred_field: str) -> dict[str, set[Answered]]:
    """What has been answered, by the ids of the samples."""
    if not samples.has_field(f"{pred_field}_answers"):
        return {}
    return {
        sample_id: {answered_by(a) for a in found.classifications if a["status"] not in RETRIED}
        for sample_id, found in zip(*samples.values(["id", f"{pred_field}_answers"]), strict=True)
        if found
    }


def _check_names(video: ImportedVideo) -> None:
    """Raises an error if a name cannot be that of a folder in an archive."""
    for expression in video.expressions:
        try:
            inside(str(video.name), expression.id)
            inside("", str(video.name))
        except ValueError as error:
            raise ValueError(
                f"Expression '{expression.id}' of video '{video.name}' cannot be the name of a "
                "folder in an archive: import the benchmark again, which leaves it out"
            ) from error


def _listed(
    benchmark: str, meta: str | Path | None, imported: Mapping[str, Any]
) -> dict[str, VideoMeta] | None:
    if meta is not None:
        return read_meta(find_meta(benchmark, meta))
    if not imported.get("root"):
        return None
    try:
        return read_meta(find_meta(benchmark, imported["root"], imported.get("split") or "valid"))
    except ValueError:
        return None  # the masks do not need it, and the validator will ask for it


def _add_video(
    archive: ArchiveWriter,
    folder: str,
    video: LabelledVideo,
    about: ImportedVideo,
    frames: Mapping[int, str],
    pred_field: str,
) -> tuple[set[Answered], set[Answered]]:
    """Writes the masks of all expressions of one video, one frame after the other.

    Returns:
        what has labels, and what has a mask
    """
    asked = {key for expression in about.expressions for key in expression.answered}
    empty = encode_mask(np.zeros(video.size[::-1], bool))
    predicted: set[Answered] = set()
    visible: set[Answered] = set()

    def write(number: int, masks: Mapping[Answered, bytes]) -> None:
        for expression in about.expressions:
            name = f"{folder}/{expression.id}/{frames[number]}.png"
            archive.add(name, answer_in(masks, expression) or empty)

    # In the order of the frames, whether or not they have labels: it decides the bytes
    left = deque(sorted(frames))
    for number, found in video.frames([pred_field]):
        answers = _by_answered(found[pred_field] or (), pred_field, about)
        predicted.update(answers)
        while left and left[0] < number:
            write(left.popleft(), {})
        if not left or left[0] != number:
            continue
        masks = {}
        for key in answers.keys() & asked:
            mask = union(answers[key], video.size)
            if mask.any():
                masks[key] = encode_mask(mask)
        visible.update(masks)
        write(left.popleft(), masks)
    for number in left:
        write(number, {})
    return predicted, visible


def _by_answered(
    detections: Iterable[Any], pred_field: str, about: ImportedVideo
) -> dict[Answered, list[Any]]:
    found: dict[Answered, list[Any]] = defaultdict(list)
    texts = {expression.text for expression in about.expressions}
    only_text = texts.pop() if len(texts) == 1 else None
    for detection in detections:
        query, expression_id = answered_by(detection)
        query = query or only_text
        if query is None:
            raise ValueError(
                f"Detections in '{pred_field}' of video '{about.name}' have no query, so that it"
                " is not known which expression they answer: choose a field that was segmented into"
            )
        found[query, expression_id].append(detection)
    return found
