"""The data filter on a FiftyOne collection: it marks samples, and deletes nothing."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import fiftyone as fo

from fiftyone_revseg.dataset.collection import (
    check_collection,
    count_samples,
    is_clips,
    is_image_groups,
    select_by_id,
    source_dataset,
)
from fiftyone_revseg.dataset.labelled_videos import (
    LabelledVideo,
    group_by_text,
    iter_videos,
    masks_path,
    reason_of,
    union,
)
from fiftyone_revseg.dataset.playback_fields import declare
from fiftyone_revseg.dataset.reporter import Reporter
from fiftyone_revseg.dataset.schema import count_values, describe_field, valid_label_field
from fiftyone_revseg.progress import OnProgress
from fiftyone_revseg.tracking import Tracker, encode_masks, load_tracker
from fiftyone_revseg.training.data_filter import THRESHOLD, FilterResult, Truth, measure_video

#: The tag of the samples that are not worth learning from
DROPPED = "data_filter_dropped"

_IOU, _KEEP, _OFFSET, _REASON = (
    f"data_filter_{name}" for name in ("iou", "keep", "offset", "reason")
)
_FIELDS = {
    _IOU: fo.FloatField,
    _KEEP: fo.BooleanField,
    _OFFSET: fo.IntField,
    _REASON: fo.StringField,
}


@dataclass
class FilterSummary:
    """How the data filter went.

    Attributes:
        total: the number of videos, or groups of images, in the collection
        measured: how many were measured in this run
        skipped: how many had been measured before; whether they are kept was decided anew
        kept: the ids of all whose IoU reaches the threshold
        dropped: the ids of all others
        shifted: id -> by how many frames the true masks are early, or late if negative
        failures: why videos could not be measured, in words -> their ids; all are dropped, too
        remarks: id -> what else is to be known about a video, in words
        seconds: the wall time in seconds
    """

    total: int = 0
    measured: int = 0
    skipped: int = 0
    kept: list[str] = field(default_factory=list, repr=False)
    dropped: list[str] = field(default_factory=list, repr=False)
    shifted: dict[str, int] = field(default_factory=dict, repr=False)
    failures: dict[str, list[str]] = field(default_factory=dict, repr=False)
    remarks: dict[str, list[str]] = field(default_factory=dict, repr=False)
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [
            f"{len(self.kept)} of {self.total} kept, {len(self.dropped)} dropped (tag '{DROPPED}')",
            f"  measured: {self.measured} in {self.seconds:.1f} s, and {self.skipped} before",
        ]
        if self.shifted:
            first = next(iter(self.shifted))
            lines.append(
                f"  masks shifted in time: {len(self.shifted)} (first {first}, by "
                f"{self.shifted[first]:+d} frames)"
            )
        for reason, ids in self.failures.items():
            lines.append(f"  {reason} ({len(ids)}, first {ids[0]})")
        lines += [f"  {line}" for line in group_by_text(self.remarks)]
        return "\n".join(lines)


def filter_view(
    view: Any,
    gt_field: str = "ground_truth",
    tracker: Tracker | str | Path = "sam2-nano",
    threshold: float = THRESHOLD,
    starts: int | None = None,
    overwrite: bool = False,
    group_slice: str | None = None,
    progress: bool | OnProgress | None = None,
) -> FilterSummary:
    """Marks the videos whose true masks a tracker does not find from their own boxes.

    For each frame of a video, the tracker is started at the true boxes there and goes both ways;
    the mean IoU with the true masks decides, see
    :func:`fiftyone_revseg.training.data_filter.measure_video`. Each sample gets
    ``data_filter_iou``, ``data_filter_keep``, ``data_filter_offset`` (by how many frames the
    masks are early, late if negative, or 0) and, if it could not be measured,
    ``data_filter_reason``; those that are not kept get the tag ``"data_filter_dropped"``. A sample
    is written as soon as it is measured, and one that was measured before is not measured again:
    the same call goes on where an earlier one was stopped, and with another threshold it only
    decides anew.

    Examples::

        summary = filter_view(dataset, starts=4)
        training = dataset.match(fo.ViewField("data_filter_keep") == True)

    Args:
        view: a :class:`fiftyone.core.dataset.Dataset` or view: videos, or ordered dynamic groups
            of images
        gt_field ("ground_truth"): the field with the true masks, with or without "frames."
        tracker ("sam2-nano"): a tracker, or the name or path of one
        threshold (0.6): videos with a lower mean IoU are dropped
        starts (None): start the tracker at no more than this many frames of a video, evenly
            spread. By default, at every frame, as in the paper: the time grows with the square of
            the number of frames
        overwrite (False): whether to measure again what was measured before
        group_slice (None): the slice with the videos, if the dataset is grouped
        progress (None): whether to show a progress bar; or a function that is called with a
            :class:`fiftyone_revseg.progress.RunProgress`, and raises
            ``KeyboardInterrupt`` to stop

    Returns:
        a :class:`FilterSummary`; ``print`` it

    Raises:
        ValueError: if an argument is not valid, or there is no such field; nothing has been
            written then
    """
    started = time.perf_counter()
    samples = check_collection(view, group_slice)
    check_filter(samples, gt_field, threshold, starts)
    gt_field = valid_label_field(gt_field)
    summary = FilterSummary(total=count_samples(samples))
    if not summary.total:
        return summary
    if not isinstance(tracker, Tracker):
        tracker = load_tracker(tracker)
    dataset = source_dataset(samples)
    declare(dataset, _FIELDS)
    before = {} if overwrite else _measured_before(samples)
    decided = _Decisions(dataset, threshold, summary)
    todo = samples
    if not is_image_groups(samples):
        for sample_id, (iou, offset) in before.items():
            decided.again((sample_id,), iou, offset)
        todo = samples.select([i for i in samples.values("id") if i not in before])
    with Reporter(progress, count_samples(todo), "Filtering") as reporter:
        reporter.count()
        report = partial(reporter, "track")
        for video in iter_videos(todo, [gt_field]):
            reporter.start(video.name)
            if video.id in before:  # a group of images
                decided.again(video.ids, *before[video.id])
            else:
                decided.write(video, _measure(video, gt_field, tracker, starts, report))
                summary.remarks[video.id] = video.remarks
            reporter.finish()
    summary.seconds = time.perf_counter() - started
    return summary


def check_filter(
    samples: Any, gt_field: str, threshold: float = THRESHOLD, starts: int | None = None
) -> None:
    """Checks what :func:`filter_view` is asked to do.

    Args:
        samples: what :func:`fiftyone_revseg.dataset.collection.check_collection` returned
        gt_field: see :func:`filter_view`
        threshold: see :func:`filter_view`
        starts: see :func:`filter_view`

    Raises:
        ValueError: if that cannot be done; the message says what to do
    """
    if is_clips(samples):
        raise ValueError(
            "Clips do not outlast their view, and neither would the marks on them: filter the "
            "dataset or a view of its videos"
        )
    masks_path(samples, gt_field)
    if not 0 <= threshold <= 1:
        raise ValueError(f"The threshold is an IoU from 0 to 1, not {threshold}")
    if starts is not None and starts < 1:
        raise ValueError(f"The tracker must be started at least once, so starts cannot be {starts}")
    _check_fields(source_dataset(samples))


def _check_fields(dataset: fo.Dataset) -> None:
    """Refuses fields of somebody else with the names of the filter's own."""
    existing = {name: dataset.get_field(name) for name in _FIELDS}
    # The filter declares all of its fields before it writes anything
    ours = all(existing.values())
    for name, found in existing.items():
        if found is None or (ours and isinstance(found, _FIELDS[name])):
            continue
        if not isinstance(found, _FIELDS[name]) or dataset.count(name):
            raise ValueError(
                f"Field '{name}' holds something else already ({describe_field(found)}"
                f"{count_values(dataset, name)}): the data filter needs that name, so rename the "
                "field first"
            )


class _Decisions:
    """Writes what was measured, and counts it."""

    def __init__(self, dataset: fo.Dataset, threshold: float, summary: FilterSummary):
        self._dataset, self._threshold, self._summary = dataset, threshold, summary

    def again(self, ids: tuple[str, ...], iou: float, offset: int | None) -> None:
        self._summary.skipped += 1
        self._write(ids, iou, offset or 0, None)

    def write(self, video: LabelledVideo, found: FilterResult | str) -> None:
        self._summary.measured += 1
        if isinstance(found, str):
            self._summary.failures.setdefault(found, []).append(video.id)
            self._write(video.ids, None, None, found)
        else:
            self._write(video.ids, found.iou, found.offset, None)

    def _write(
        self, ids: tuple[str, ...], iou: float | None, offset: int | None, reason: str | None
    ) -> None:
        keep = iou is not None and iou >= self._threshold
        (self._summary.kept if keep else self._summary.dropped).append(ids[0])
        if offset:
            self._summary.shifted[ids[0]] = offset
        samples = select_by_id(self._dataset, list(ids))
        (samples.untag_samples if keep else samples.tag_samples)(DROPPED)
        # The IoU goes last: what has one is done
        for name, value in ((_REASON, reason), (_OFFSET, offset), (_KEEP, keep), (_IOU, iou)):
            samples.set_values(name, dict.fromkeys(ids, value), key_field="id")


def _measured_before(samples: Any) -> dict[str, tuple[float, int | None]]:
    source = source_dataset(samples) if is_image_groups(samples) else samples
    ids, ious, offsets = source.values(["id", _IOU, _OFFSET])
    return {
        i: (iou, offset)
        for i, iou, offset in zip(ids, ious, offsets, strict=True)
        if iou is not None
    }


def _measure(
    video: LabelledVideo,
    gt_field: str,
    tracker: Tracker,
    starts: int | None,
    progress: Callable[[int, int], None],
) -> FilterResult | str:
    """The result, or why there is none, in words."""
    try:
        truth = true_masks(video, gt_field)
        with video.open() as opened:
            return measure_video(opened, truth, tracker, starts, progress)
    except Exception as error:  # whatever is wrong with one video, the others are measured
        return reason_of(error)


def true_masks(video: LabelledVideo, gt_field: str) -> list[Truth]:
    """Collects the masks of the objects of a video, run-length encoded.

    Objects are told apart by the ``index`` of their detections, else by their labels. A frame
    counts as annotated if the field has a value there, even an empty one.

    Args:
        video: the video
        gt_field: the label field, without "frames."

    Returns:
        for each object, a dict of the frame, counted from 0 -> its mask, or None
    """
    objects: dict[Any, dict[int, Any]] = {}
    annotated = []
    for number, found in video.frames([gt_field]):
        if found[gt_field] is None:
            continue
        frame = number - video.numbers.start
        annotated.append(frame)
        groups = defaultdict(list)
        for detection in found[gt_field]:
            groups[detection.label if detection.index is None else detection.index].append(
                detection
            )
        for key, group in groups.items():
            objects.setdefault(key, {})[frame] = encode_masks(union(group, video.size)[None])[0]
    return [{k: masks.get(k) for k in annotated} for masks in objects.values()]
