"""The masks of one video as run lengths: what was predicted for each query, and what is true."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fiftyone_revseg.dataset.collection import source_dataset
from fiftyone_revseg.dataset.expressions import (
    Answered,
    Expression,
    answer_in,
    answered_by,
)
from fiftyone_revseg.dataset.labelled_videos import LabelledVideo, detection_fields, union
from fiftyone_revseg.evaluation.questions import Question
from fiftyone_revseg.masks.rle import RLE, encode_masks
from fiftyone_revseg.measures.scoring import union_rles

#: The fields that importers of benchmarks write beside the truth: pixels that do not count, and
#: all objects together, also those that no expression asks for
VOID, FOREGROUND = "void", "foreground"

_BACKGROUND = 0.1  # what an object's confidence must exceed to get a pixel, see exclusive
Track = list["RLE | None"]  # T masks


@dataclass
class VideoMasks:
    """All masks of one video that are compared.

    Attributes:
        size: the (width, height) in pixels
        numbers: the frame numbers, 1-based
        predicted: what is answered -> T masks, all of its objects together
        exclusive: name -> a list with the T masks of each of its expressions, where a pixel belongs
            to the expression of the highest confidence, or to none if all are 0.1 or less
        truth: (index, query) of a true object -> T masks
        boxes: (index, query) of a true object -> (T,) float, the areas of its boxes as shares of
            the frame
        confidences: what is answered -> those of the detections
        foreground: T masks of all true objects; None if it is the union of :attr:`truth`
        labelled: whether any frame has a value in the field with the predictions
        annotated: (T,) bool, the frames that have a value in the field with the truth, be it empty
    """

    size: tuple[int, int]
    numbers: range
    predicted: dict[Answered, Track] = field(default_factory=dict)
    exclusive: dict[str, list[Track]] = field(default_factory=dict)
    truth: dict[tuple[int | None, str | None], Track] = field(default_factory=dict)
    boxes: dict[tuple[int | None, str | None], np.ndarray] = field(default_factory=dict)
    confidences: dict[Answered, list[float]] = field(default_factory=dict)
    foreground: Track | None = None
    labelled: bool = False
    annotated: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def nothing(self) -> Track:
        """Returns T times no mask."""
        return [None] * len(self.numbers)

    def prediction(self, expression: Expression) -> Track | None:
        """Returns the T masks that answer an expression; None if nothing does."""
        return answer_in(self.predicted, expression)

    def confidence(self, expression: Expression) -> float | None:
        """Returns the mean confidence of the detections that answer an expression."""
        values = answer_in(self.confidences, expression)
        return float(np.mean(values)) if values else None

    def targets(self, question: Question) -> list[tuple[int | None, str | None]]:
        """Returns the keys, in :attr:`truth`, of the objects that a question asks for."""
        expression = question.expression
        if not question.by_query:
            return [key for key in self.truth if key[0] in (expression.objects or ())]
        if any(query is not None for _, query in self.truth):
            return [key for key in self.truth if key[1] == expression.text]
        return list(self.truth)

    def union(self, keys: Iterable[tuple[int | None, str | None]]) -> Track:
        """Joins the T masks of several true objects."""
        tracks = [self.truth[key] for key in keys]
        if len(tracks) == 1:
            return tracks[0]
        joined = zip(*tracks, strict=True) if tracks else [()] * len(self.numbers)
        return [union_rles([rle for rle in rles if rle is not None]) for rles in joined]


def beside_truth(samples: Any) -> list[str]:
    """Lists which of :data:`VOID` and :data:`FOREGROUND` there are: in imported benchmarks only.

    Elsewhere, fields of these names may be anything.
    """
    imported = source_dataset(samples).info.get("benchmark")
    names = detection_fields(samples) if imported else []
    return [name for name in (VOID, FOREGROUND) if name in names]


def read_masks(
    video: LabelledVideo,
    pred_field: str,
    gt_field: str,
    exclusive: Mapping[str, Sequence[Expression]] | None = None,
    more: Sequence[str] = (),
) -> VideoMasks:
    """Reads the masks of a video, one frame after the other.

    Args:
        video: a :class:`fiftyone_revseg.dataset.labelled_videos.LabelledVideo`
        pred_field: the label field with the predictions
        gt_field: the label field with the truth
        exclusive (None): name -> expressions that share the pixels between them
        more (()): which of :data:`VOID` and :data:`FOREGROUND` there are

    Returns:
        a :class:`VideoMasks`

    Raises:
        ValueError: if a label is not what it should be, or a file with a mask cannot be read
    """
    masks = VideoMasks(video.size, video.numbers)
    masks.annotated = np.zeros(len(video.numbers), bool)
    masks.foreground = masks.nothing() if FOREGROUND in more else None
    masks.exclusive = {
        name: [masks.nothing() for _ in sharing] for name, sharing in (exclusive or {}).items()
    }
    for number, found in video.frames([pred_field, gt_field, *more]):
        k = number - video.numbers.start
        canvas = _Canvas(video.size, found.get(VOID) or ())
        predicted, true = found[pred_field] or (), found[gt_field] or ()
        masks.labelled |= found[pred_field] is not None
        masks.annotated[k] = found[gt_field] is not None
        _add(masks.predicted, k, predicted, canvas, masks, answered_by)
        _add(masks.truth, k, true, canvas, masks, _object)
        if masks.foreground is not None:
            masks.foreground[k] = canvas.encode(found[FOREGROUND] or ())
        for detection in predicted:
            if detection.confidence is not None:
                values = masks.confidences.setdefault(answered_by(detection), [])
                values.append(float(detection.confidence))
        for detection in true:
            key = _object(detection)
            if key not in masks.boxes:
                masks.boxes[key] = np.zeros(len(video.numbers))
            masks.boxes[key][k] += _area(detection)
        for name, sharing in (exclusive or {}).items():
            shared = canvas.share(predicted, sharing)
            for track, rle in zip(masks.exclusive[name], shared, strict=True):
                track[k] = rle
    return masks


def check_truth(video: LabelledVideo, gt_field: str, more: Sequence[str] = ()) -> None:
    """Reads the truth of a video alone, to see whether it can be used.

    Args:
        video: a :class:`fiftyone_revseg.dataset.labelled_videos.LabelledVideo`
        gt_field: the label field with the truth
        more (()): see :func:`read_masks`

    Raises:
        ValueError: see :func:`read_masks`
    """
    for _, found in video.frames([gt_field, *more]):
        canvas = _Canvas(video.size, found.get(VOID) or ())
        for name in (gt_field, FOREGROUND):
            canvas.encode(found.get(name) or ())


class _Canvas:
    """Draws detections on a frame, and leaves out the pixels that do not count."""

    def __init__(self, size: tuple[int, int], void: Sequence[Any]):
        self._size = size
        self._counts = ~self._draw(void) if void else None

    def encode(self, detections: Iterable[Any]) -> RLE | None:
        """Returns the union of detections."""
        return self._encode(self._draw(detections)[None])[0]

    def share(
        self, detections: Sequence[Any], expressions: Sequence[Expression]
    ) -> list[RLE | None]:
        """Gives each pixel to the expression of the most confident detection."""
        owner = np.zeros((self._size[1], self._size[0]), np.int32)  # 0 is the background
        best = np.full(owner.shape, _BACKGROUND, np.float32)
        for number, expression in enumerate(expressions, start=1):
            for detection in detections:
                if answered_by(detection) not in expression.answered:
                    continue
                confidence = 1.0 if detection.confidence is None else float(detection.confidence)
                won = self._draw([detection]) & (confidence > best)  # of equals, the first
                owner[won], best[won] = number, confidence
        return self._encode(owner == np.arange(1, len(expressions) + 1)[:, None, None])

    def _draw(self, detections: Iterable[Any]) -> np.ndarray:
        return union(detections, self._size)

    def _encode(self, masks: np.ndarray) -> list[RLE | None]:
        return encode_masks(masks if self._counts is None else masks & self._counts)


def _add(
    tracks: dict[Any, Track],
    k: int,
    detections: Iterable[Any],
    canvas: _Canvas,
    masks: VideoMasks,
    key: Callable[[Any], Hashable],
) -> None:
    """Adds the detections of frame ``k`` to the tracks, joined by their keys."""
    groups = defaultdict(list)
    for detection in detections:
        groups[key(detection)].append(detection)
    for name, group in groups.items():
        if name not in tracks:
            tracks[name] = masks.nothing()
        tracks[name][k] = canvas.encode(group)


def _object(detection: Any) -> tuple[int | None, str | None]:
    return detection.index, answered_by(detection)[0]


def _area(detection: Any) -> float:
    _, _, width, height = detection.bounding_box
    return float(width * height)
