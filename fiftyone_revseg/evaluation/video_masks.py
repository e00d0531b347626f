"""The masks of one video as run lengths: what was predicted for each query, and what is true."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fiftyone_revseg.evaluation.questions import Question
from fiftyone_revseg.evaluation.scoring import union_rles
from fiftyone_revseg.tracking.rle import RLE, encode_masks

if TYPE_CHECKING:
    from fiftyone_revseg.dataset.masks import LabelledVideo

_BACKGROUND = 0.1  # what an object's confidence must exceed to get a pixel, see exclusive
Track = list["RLE | None"]  # T masks


@dataclass
class VideoMasks:
    """All masks of one video that are compared.

    Attributes:
        size: the (width, height) in pixels
        numbers: the frame numbers, 1-based
        predicted: query -> T masks, all of its objects together; the key None is that of
            detections without a ``query``
        exclusive: name -> a list with the T masks of each of its queries, where a pixel belongs
            to the query of the highest confidence, or to none if all are 0.1 or less
        truth: (index, query) of a true object -> T masks
        boxes: (index, query) of a true object -> (T,) float, the areas of its boxes as shares of
            the frame
        confidences: query -> those of its detections
        labelled: whether any frame has a value in the field with the predictions
        annotated: whether any frame has a value in the field with the truth
    """

    size: tuple[int, int]
    numbers: range
    predicted: dict[str | None, Track] = field(default_factory=dict)
    exclusive: dict[str, list[Track]] = field(default_factory=dict)
    truth: dict[tuple[int | None, str | None], Track] = field(default_factory=dict)
    boxes: dict[tuple[int | None, str | None], np.ndarray] = field(default_factory=dict)
    confidences: dict[str | None, list[float]] = field(default_factory=dict)
    labelled: bool = False
    annotated: bool = False

    def nothing(self) -> Track:
        """Returns T times no mask."""
        return [None] * len(self.numbers)

    def confidence(self, query: str) -> float | None:
        """Returns the mean confidence of the detections that answer a query."""
        values = self.confidences.get(query)
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


def read_masks(
    video: LabelledVideo,
    pred_field: str,
    gt_field: str,
    exclusive: Mapping[str, Sequence[str]] | None = None,
) -> VideoMasks:
    """Reads the masks of a video, one frame after the other.

    Args:
        video: a :class:`fiftyone_revseg.dataset.masks.LabelledVideo`
        pred_field: the label field with the predictions
        gt_field: the label field with the truth
        exclusive (None): name -> queries that share the pixels between them

    Returns:
        a :class:`VideoMasks`

    Raises:
        ValueError: if a file with a mask cannot be read
    """
    masks = VideoMasks(video.size, video.numbers)
    masks.exclusive = {
        name: [masks.nothing() for _ in queries] for name, queries in (exclusive or {}).items()
    }
    for number, found in video.frames([pred_field, gt_field]):
        if number not in video.numbers:
            continue
        k = number - video.numbers.start
        predicted, true = found[pred_field], found[gt_field]
        masks.labelled |= predicted is not None
        masks.annotated |= true is not None
        _add(masks.predicted, k, predicted or (), masks, _query)
        _add(masks.truth, k, true or (), masks, _object)
        for detection in predicted or ():
            if detection.confidence is not None:
                values = masks.confidences.setdefault(_query(detection), [])
                values.append(float(detection.confidence))
        for detection in true or ():
            areas = masks.boxes.setdefault(_object(detection), np.zeros(len(video.numbers)))
            areas[k] += _area(detection)
        for name, queries in (exclusive or {}).items():
            shared = _share(predicted or (), queries, video.size)
            for track, rle in zip(masks.exclusive[name], shared, strict=True):
                track[k] = rle
    return masks


def _add(
    tracks: dict[Any, Track],
    k: int,
    detections: Iterable[Any],
    masks: VideoMasks,
    key: Callable[[Any], Hashable],
) -> None:
    from fiftyone_revseg.dataset.masks import union

    groups = defaultdict(list)
    for detection in detections:
        groups[key(detection)].append(detection)
    for name, group in groups.items():
        (rle,) = encode_masks(union(group, masks.size)[None])
        tracks.setdefault(name, masks.nothing())[k] = rle


def _share(
    detections: Iterable[Any], queries: Sequence[str], size: tuple[int, int]
) -> list[RLE | None]:
    from fiftyone_revseg.dataset.masks import union

    owner = np.zeros((size[1], size[0]), np.int32)  # 0 is the background
    best = np.full(owner.shape, _BACKGROUND, np.float32)
    for number, query in enumerate(queries, start=1):
        for detection in detections:
            if _query(detection) != query:
                continue
            confidence = 1.0 if detection.confidence is None else float(detection.confidence)
            won = union([detection], size) & (confidence > best)  # of equals, the first
            owner[won], best[won] = number, confidence
    return encode_masks(owner == np.arange(1, len(queries) + 1)[:, None, None])


def _query(detection: Any) -> str | None:
    return detection["query"] if detection.has_field("query") else None


def _object(detection: Any) -> tuple[int | None, str | None]:
    return detection.index, _query(detection)


def _area(detection: Any) -> float:
    _, _, width, height = detection.bounding_box
    return float(width * height)
