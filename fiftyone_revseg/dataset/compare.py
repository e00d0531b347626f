"""How much two label fields agree: two models, two settings, before and after a correction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import fiftyone as fo
import numpy as np

from fiftyone_revseg.dataset.collection import check_collection, count_samples
from fiftyone_revseg.dataset.labelled_videos import (
    LabelledVideo,
    group_by_text,
    reason_of,
    union,
    walk_videos,
)
from fiftyone_revseg.dataset.numbers import check_number_field, write_numbers
from fiftyone_revseg.dataset.schema import valid_label_field
from fiftyone_revseg.measures import contour_accuracy, region_similarity
from fiftyone_revseg.progress import OnProgress


@dataclass
class Comparison:
    """How much two label fields agree.

    Attributes:
        field_a: a label field
        field_b: another one
        name: the field with the agreement of each sample
        total: the number of videos, clips or groups
        agreements: id of the sample, or clip, or first image -> J&F, 0 to 1
        missing_a: the ids of those that have no labels in ``field_a``, so are not compared
        missing_b: the ids of those that have no labels in ``field_b``
        unusable: id -> why it could not be compared, in words
        other_status: the ids of those whose status differs
        other_keyframe: the ids of those whose key frames differ
        remarks: id -> what else is to be known about a video, in words
        view: those that were compared, the least agreement first
    """

    field_a: str
    field_b: str
    name: str
    total: int = 0
    agreements: dict[str, float] = field(default_factory=dict, repr=False)
    missing_a: list[str] = field(default_factory=list, repr=False)
    missing_b: list[str] = field(default_factory=list, repr=False)
    unusable: dict[str, str] = field(default_factory=dict, repr=False)
    other_status: list[str] = field(default_factory=list, repr=False)
    other_keyframe: list[str] = field(default_factory=list, repr=False)
    remarks: dict[str, list[str]] = field(default_factory=dict, repr=False)
    view: Any = field(default=None, repr=False)

    @property
    def mean(self) -> float | None:
        """The mean agreement, 0 to 1; None if nothing was compared."""
        return float(np.mean(list(self.agreements.values()))) if self.agreements else None

    @property
    def notes(self) -> list[str]:
        """What could not be compared and why, and what else is to be known, in words."""
        said = {i: [reason] for i, reason in self.unusable.items()}
        return group_by_text(said) + group_by_text(self.remarks)

    def __str__(self) -> str:
        head = f"{len(self.agreements)} of {self.total} compared in '{self.name}'"
        if self.mean is not None:
            head += f": mean J&F {100 * self.mean:.1f}"
        lines = [head]
        if self.agreements:
            lines.append(
                f"  status differs in {len(self.other_status)}, "
                f"key frame differs in {len(self.other_keyframe)}"
            )
        for name, ids in ((self.field_a, self.missing_a), (self.field_b, self.missing_b)):
            if ids:
                lines.append(f"  no labels in '{name}': {len(ids)} (first {ids[0]})")
        return "\n".join([*lines, *(f"  {line}" for line in self.notes)])


def compare_fields(
    samples: Any,
    field_a: str,
    field_b: str,
    name: str | None = None,
    group_slice: str | None = None,
    progress: bool | OnProgress | None = None,
) -> Comparison:
    """Measures how much two label fields agree on each video, and writes that to a field.

    The agreement is the J&F between the masks of both: for each query that both were asked, of
    all its objects together, then the mean over the queries. Where a field knows no queries (as
    ground truth), or they have none in common, all objects count together. All frames count; one
    on which neither has a mask is full agreement.

    Examples::

        comparison = compare_fields(dataset, "revseg", "second")
        print(comparison)
        session.view = comparison.view  # the least agreement first

    Args:
        samples: a :class:`fiftyone.core.dataset.Dataset` or view: videos, clips, or ordered
            dynamic groups of images
        field_a: a label field with detections, with or without "frames."
        field_b: another one
        name (None): the field to write. By default, ``"<field_a>_vs_<field_b>"``
        group_slice (None): the slice with the videos, if the dataset is grouped
        progress (None): whether to show a progress bar; or a function that is called with a
            :class:`fiftyone_revseg.progress.RunProgress`. By default, as FiftyOne is
            configured

    Returns:
        a :class:`Comparison`; ``print`` it. What could not be compared is counted there, and has
        None in the field

    Raises:
        ValueError: if a field does not exist or cannot be written; nothing has been written then
    """
    field_a, field_b = valid_label_field(field_a), valid_label_field(field_b)
    if field_a == field_b:
        raise ValueError(f"'{field_a}' always agrees with itself: name two label fields")
    own_name = f"{field_a}_vs_{field_b}"
    name = own_name if name is None else name
    samples = check_collection(samples, group_slice)
    videos = walk_videos(samples, [field_a, field_b], progress, "Comparing")
    check_number_field(samples, name, name == own_name)
    result = Comparison(field_a, field_b, name, total=count_samples(samples))
    if not result.total:
        result.view = samples.view()
        return result

    values: dict[str, float | None] = {}
    for video in videos:
        agreement = _compare(video, result)
        values.update(dict.fromkeys(video.ids, agreement))
    write_numbers(samples, name, values)
    result.view = samples.match(fo.ViewField(name) != None).sort_by(name)  # noqa: E711
    return result


def _measure(
    video: LabelledVideo, field_a: str, field_b: str
) -> tuple[float | None, tuple[bool, ...]]:
    """The agreement on one video, and whether each of the fields has labels there."""
    queries = _common_queries(video, field_a, field_b)
    lacking, labelled = np.zeros(2), [False, False]
    for _, found in video.frames([field_a, field_b]):
        labelled = [
            before or found[name] is not None
            for before, name in zip(labelled, (field_a, field_b), strict=True)
        ]
        for query in queries:
            one, other = (
                union([d for d in found[name] or () if _is_of(d, query)], video.size)[None]
                for name in (field_a, field_b)
            )
            # Summed up is what frames lack, as those without any mask agree in full
            if one.any() or other.any():
                lacking += 1 - region_similarity(one, other)[0], 1 - contour_accuracy(one, other)[0]
    if not all(labelled):
        return None, tuple(labelled)
    return float(1 - lacking.mean() / (len(video.numbers) * len(queries))), tuple(labelled)


def _compare(video: LabelledVideo, result: Comparison) -> float | None:
    """Compares one video, and adds what came out to the result."""
    a, b = result.field_a, result.field_b
    try:
        value, labelled = _measure(video, a, b)
    except Exception as error:  # for example the file with a mask is gone
        result.unusable[video.id] = reason_of(error)
        return None
    result.remarks[video.id] = video.remarks
    for has_labels, ids in zip(labelled, (result.missing_a, result.missing_b), strict=True):
        if not has_labels:
            ids.append(video.id)
    if value is None:
        return None
    result.agreements[video.id] = value
    statuses = [video.values.get(f"{name}_status") for name in (a, b)]
    if None not in statuses and statuses[0] != statuses[1]:
        result.other_status.append(video.id)
    keyframes = [_keyframes(video, name) for name in (a, b)]
    if None not in keyframes and keyframes[0] != keyframes[1]:
        result.other_keyframe.append(video.id)
    return value


def _common_queries(video: LabelledVideo, a: str, b: str) -> list[str | None]:
    """The queries that both fields were asked; [None] to take all objects together."""
    asked = [[answer["query"] for answer in video.answers(name)] for name in (a, b)]
    return [q for q in dict.fromkeys(asked[0]) if q in asked[1]] or [None]


def _is_of(detection: fo.Detection, query: str | None) -> bool:
    return query is None or getattr(detection, "query", None) == query


def _keyframes(video: LabelledVideo, label_field: str) -> list[int] | None:
    """The key frames of all objects, in order; None if the field knows no answers."""
    answers = video.answers(label_field)
    return sorted(a["keyframe"] for a in answers if a["keyframe"]) if answers else None
