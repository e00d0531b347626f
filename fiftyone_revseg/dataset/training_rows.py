"""Rows to learn from, see :mod:`fiftyone_revseg.training.data`, of a view with labelled objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fiftyone_revseg.dataset.collection import check_collection
from fiftyone_revseg.dataset.expressions import EXPRESSIONS, Expression, expressions_of, value_of
from fiftyone_revseg.dataset.labelled_videos import iter_videos, reason_of
from fiftyone_revseg.training.data import VideoRow


@dataclass(frozen=True)
class Skipped:
    """A query that nothing can be learned from.

    Attributes:
        id: of the sample
        query: its text, "" if it has none
        reason: why, in words
    """

    id: str
    query: str
    reason: str


def view_rows(
    view: Any, label_field: str = "ground_truth", prompt_field: str | None = None
) -> tuple[list[VideoRow], list[Skipped]]:
    """Makes rows from a FiftyOne view, one for each query of each of its videos.

    The queries of a video are, with ``prompt_field``, the string or strings in that field, each
    answered by the detections whose ``query`` is this one, or by all of them where they have
    none. Without it they are the video's ``expressions``, each with the objects that it names, as
    the importers of benchmarks write them; else those in the field ``query``. Videos that the data
    filter dropped (``data_filter_keep`` is False) are left out.

    Args:
        view: a :class:`fiftyone.core.collections.SampleCollection` of videos or clips
        label_field ("ground_truth"): the true objects, detections on frames; with or without
            masks, as a mask's box is what is learned from
        prompt_field (None): the sample field with the query or queries

    Returns:
        the rows, and what was skipped and why: a sample without labels is not a sample without
        the object

    Raises:
        ValueError: if the view has no such fields
    """
    name = label_field.removeprefix("frames.")
    if prompt_field is None and not view.has_field(EXPRESSIONS):
        prompt_field = "query"
    if prompt_field is not None and not view.has_field(prompt_field):
        raise ValueError(
            f"There is no field '{prompt_field}' with the queries: name the one to learn from"
        )
    asked: dict[str, Any] = {}
    dropped = set()
    wanted = [prompt_field or EXPRESSIONS, *filter(view.has_field, ["data_filter_keep"])]
    for sample in view.select_fields(wanted).iter_samples():
        asked[sample.id] = sample[prompt_field] if prompt_field else expressions_of(sample)
        if "data_filter_keep" in wanted and sample["data_filter_keep"] is False:
            dropped.add(sample.id)
    rows: list[VideoRow] = []
    skipped: list[Skipped] = []
    for video in iter_videos(check_collection(view), [name]):
        if video.unusable:
            skipped.append(Skipped(video.id, "", video.unusable))
            continue
        if video.id in dropped:
            skipped.append(Skipped(video.id, "", "the data filter dropped it"))
            continue
        try:
            labels = [(number, found[name]) for number, found in video.frames([name])]
        except Exception as error:
            skipped.append(Skipped(video.id, "", reason_of(error)))
            continue
        labels = [(number, found) for number, found in labels if found is not None]
        questions = asked.get(video.id)
        if isinstance(questions, str):
            questions = [questions]
        if not questions or not labels:
            why = "it has no query" if not questions else f"it has no labels in '{name}'"
            skipped.append(Skipped(video.id, "", why))
            continue
        source = list(video.source) if video.images else video.filepath
        for question in questions:
            text = question if isinstance(question, str) else question.text
            chosen = _objects(labels, question, len(video.numbers), video.numbers.start)
            why = _why_not(text, chosen)
            if why or chosen is None:
                skipped.append(Skipped(video.id, text, why))
                continue
            kind = "" if isinstance(question, str) else question.kind
            rows.append(VideoRow(f"{video.name}", text, kind, source, video.frame_range, chosen))
    return rows, skipped


def _why_not(text: str, boxes: np.ndarray | None) -> str:
    if not text or not text.strip():
        return "its query is empty"
    if boxes is None:
        return "the objects that answer it are not known"
    if len(boxes) and np.isnan(boxes).all():
        return "the objects that answer it are in no frame"
    return ""


def _objects(
    labels: Sequence[tuple[int, Sequence[Any]]],
    question: str | Expression,
    length: int,
    first: int,
) -> np.ndarray | None:
    """The relative boxes of the objects that answer a question, ``(objects, frames, 4)``."""
    wanted = None if isinstance(question, str) else question.objects
    if not isinstance(question, str) and wanted is None:
        return None
    tracks: dict[Any, np.ndarray] = {key: _nowhere(length) for key in wanted or ()}
    for number, detections in labels:
        for detection in _answers(detections, question):
            key = _identity(detection)
            if wanted is not None and key not in wanted:
                continue
            x, y, w, h = detection.bounding_box
            if key not in tracks:
                tracks[key] = _nowhere(length)
            here = tracks[key][number - first]
            here[:2] = np.fmin(here[:2], [x, y])  # parts of one object make one box
            here[2:] = np.fmax(here[2:], [x + w, y + h])
    return np.stack(list(tracks.values())) if tracks else np.empty((0, length, 4), np.float32)


def _answers(detections: Sequence[Any], question: str | Expression) -> Iterator[Any]:
    for detection in detections:
        of = value_of(detection, "query")
        if of is None or not isinstance(question, str) or of == question:
            yield detection


def _identity(detection: Any) -> Any:
    """What tells the objects of a video apart: their index, else their instance, else label."""
    if detection.index is not None:
        return int(detection.index)
    instance = value_of(detection, "instance")
    if instance is not None:
        return str(instance.id)
    return str(detection.label)


def _nowhere(length: int) -> np.ndarray:
    return np.full((length, 4), np.nan, np.float32)
