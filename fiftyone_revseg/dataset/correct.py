"""Corrections by a person: one object is tracked again from boxes that are right.

Only that object's detections change; those of other objects stay as they are, byte for byte.

The order is what makes it safe to kill. First everything is computed, so that whatever fails
leaves no trace. Then the correction is noted as pending, with its boxes, and the object's answer
says "error". Then the frames are written, and last, in one write, the sample-level fields. Whoever
finds a pending correction calls :func:`propagate` once more: it takes the boxes from there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fiftyone_revseg.dataset.correction_writer import CorrectionWriter, make_entry
from fiftyone_revseg.dataset.frame_numbers import index_of
from fiftyone_revseg.dataset.load import load_model
from fiftyone_revseg.dataset.model import RevSegModel
from fiftyone_revseg.dataset.objects import (
    StoredAnswer,
    StoredObject,
    checked_label,
    find_object,
    find_place,
    read_detections,
    record_of,
)
from fiftyone_revseg.dataset.prompt_boxes import (
    Given,
    check_frame,
    earlier_prompts,
    refuse_points_alone,
    resolve_prompts,
)
from fiftyone_revseg.dataset.prompts import Prompt, checked_box
from fiftyone_revseg.dataset.store import Document
from fiftyone_revseg.masks.boxes import relative_xywh
from fiftyone_revseg.pipeline import Progress, RevSeg
from fiftyone_revseg.reasoning import ChainRequest, KeyframeChoice
from fiftyone_revseg.reasoning.rolling import ground_again
from fiftyone_revseg.reasoning.trajectory import thought_of
from fiftyone_revseg.tracking import FrameMasks, MaskTrack, Tracker
from fiftyone_revseg.tracking.known import KnownFrame
from fiftyone_revseg.tracking.several_boxes import stretches, track_prompts
from fiftyone_revseg.types import FrameTable
from fiftyone_revseg.video import Video


@dataclass(frozen=True)
class Correction:
    """What a correction did.

    Attributes:
        sample_id: the sample
        label_field: the label field
        index: the object's index
        label: the object's description
        prompts: frame number -> the relative ``[x, y, width, height]`` box it was tracked from;
            where points said where it is, the box around what was found there
        frames: the number of frames that were written
        visible: in how many of them the object has a mask
        score: the tracker's mean score where it has one
        seconds: the wall time in seconds
    """

    sample_id: str
    label_field: str
    index: int
    label: str
    prompts: dict[int, list[float]]
    frames: int
    visible: int
    score: float
    seconds: float

    def __str__(self) -> str:
        numbers = ", ".join(str(number) for number in self.prompts)
        return (
            f"object {self.index} ({self.label}) tracked from frame{'s'[: len(self.prompts) - 1]} "
            f"{numbers}: visible in {self.visible} of {self.frames} frames, mean score "
            f"{self.score:.2f}, {self.seconds:.1f} s"
        )


def propagate(
    sample: Any,
    index: int | str,
    boxes: Mapping[int, Given] | None = None,
    model: RevSegModel | RevSeg | Tracker | str | Path = "revseg-nano",
    label_field: str = "revseg",
    support: Sequence[int] | None = None,
    progress: Progress | None = None,
    by: str | None = None,
    seen: Mapping[int, int] | None = None,
    keep: bool = False,
) -> Correction:
    """Tracks one object again from what a person corrected and replaces its masks on all frames.

    The tracker alone runs. Each box governs the frames nearest to its own.

    Examples::

        from fiftyone_revseg.dataset.correct import propagate

        # From the boxes of this object that were moved or drawn
        propagate(sample, 1)

        # From a box in frame 40, and from the mask that is right already in frame 90
        propagate(sample, 1, {40: [0.1, 0.2, 0.3, 0.4], 90: None})

        # From two points on the object and one beside it, and from a mask
        propagate(sample, 1, {8: {"on": [(0.4, 0.5), (0.5, 0.5)], "beside": [(0.9, 0.5)]}})
        propagate(sample, 1, {8: {"mask": mask}})

    Args:
        sample: a :class:`fiftyone.core.sample.Sample` or view of one: a video or a clip; or the
            images of one group, as ``iter_dynamic_groups()`` gives them
        index: the object's ``index``, or the id of one of its labels
        boxes (None): frame number -> relative ``[x, y, width, height]``, or None for the box that
            the object has in that frame already; or a dict with "box", with relative ``[x, y]``
            points "on" and "beside" the object, or with its "mask", (H, W) bool. By default, those
            of an interrupted correction; else, see
            :func:`fiftyone_revseg.dataset.prompt_boxes.changed_prompts`
        model ("revseg-nano"): what has the tracker: a :class:`RevSegModel`, a
            :class:`fiftyone_revseg.pipeline.RevSeg`, a preset, a hub id or a path; or a tracker
        label_field ("revseg"): the label field
        support (None): the first and last frame number of the object's clip, where several clips
            of a video have an object with this index
        progress (None): called as ``progress("track", done, total)``, in frames
        by (None): who corrects. By default, the name of the user that runs this
        seen (None): number of the frame that has a box -> the frame whose picture it was drawn on,
            where the App shows another one, see :mod:`fiftyone_revseg.dataset.playback`. Without
            it, boxes that were moved or drawn where the App is wrong are refused; frame numbers
            in ``boxes`` are exact
        keep (False): whether to track from what was said in earlier corrections of the object,
            too, see :func:`fiftyone_revseg.dataset.prompt_boxes.earlier_prompts`

    Returns:
        a :class:`Correction`; ``print`` it

    Raises:
        ValueError: if there is no such object, no box, or nothing to be found in it, or nobody
            can tell which frame a box is about; nothing has been written then
    """
    stored = find_object(find_place(sample, label_field), index, support)
    return track_object(stored, boxes, model, progress, by, seen, keep)


def track_object(
    stored: StoredObject,
    boxes: Mapping[int, Given] | None = None,
    model: RevSegModel | RevSeg | Tracker | str | Path = "revseg-nano",
    progress: Progress | None = None,
    by: str | None = None,
    seen: Mapping[int, int] | None = None,
    keep: bool = False,
) -> Correction:
    """Tracks an object, which may be a new one; all else is as in :func:`propagate`."""
    started = time.perf_counter()
    detections = read_detections(stored)
    prompts = resolve_prompts(stored, detections, boxes, seen)
    kept = earlier_prompts(stored, prompts, detections) if keep else {}
    seen = seen or {}
    given = {seen.get(n, n): box for n, box in (boxes or {}).items()}
    kinds = {
        n: "key frame" if n in given and given[n] is None else prompt.kind
        for n, prompt in prompts.items()
    }
    tracker, said = _tracker_of(model), {**prompts, **kept}
    # Somebody's own tracker may have no name
    refuse_points_alone(getattr(tracker, "name", ""), said.values())
    with _open(stored) as video:
        track = _track(stored, video, tracker, said, progress)
    entries = []
    for n, box in _boxes_of(stored, track, prompts).items():
        entry = make_entry(stored, kinds[n], n, box, by)
        if prompts[n].kind != "box":
            entry["prompt"] = prompts[n].to_dict()
        entries.append(entry)
    CorrectionWriter(stored, detections, track, prompts, entries, kept=kept).write()
    return _summary(stored, track, said, started)


def reground(
    sample: Any,
    index: int | str,
    frame_number: int,
    model: RevSegModel | RevSeg | str | Path = "revseg-nano",
    label_field: str = "revseg",
    support: Sequence[int] | None = None,
    progress: Progress | None = None,
    by: str | None = None,
    description: str | None = None,
) -> Correction:
    """Asks the model where an object is in a frame of your choice, and tracks it from there.

    The model is asked as in turn 2, with the object's description; turn 1 stands as it was, but
    for the frame. Everything else is as in :func:`propagate`.

    Args:
        sample: see :func:`propagate`
        index: the object's ``index``, or the id of one of its labels
        frame_number: the frame to show, from 1
        model ("revseg-nano"): a :class:`RevSegModel`, a :class:`fiftyone_revseg.pipeline.RevSeg`,
            a preset, a hub id or a path
        label_field ("revseg"): the label field
        support (None): see :func:`propagate`
        progress (None): called as ``progress(stage, done, total)``; stages are "reason" and
            "track"
        by (None): who corrects. By default, the name of the user that runs this
        description (None): what the object is to be called from now on, in the prompt and as its
            label. By default, as it is

    Returns:
        a :class:`Correction`

    Raises:
        ValueError: if there is no such object or frame, the model gives no box, or there is
            nothing to be found in it; nothing has been written then
    """
    started = time.perf_counter()
    stored = find_object(find_place(sample, label_field), index, support)
    check_frame(stored, frame_number)
    pipeline = pipeline_of(model)
    was = stored.label
    if description is not None:
        label = checked_label(description)
        stored = replace(stored, answer={**stored.answer, "label": label})
    report = progress or (lambda stage, done, total: None)
    with _open(stored) as video:
        report("reason", 0, 1)
        box_px, confidence, turns = _ground(stored, video, pipeline, frame_number)
        report("reason", 1, 1)
        box = list(relative_xywh(box_px, video.size))
        prompts = {frame_number: Prompt(box)}
        track = _track(stored, video, pipeline.tracker, prompts, progress)
    entry = make_entry(stored, "reground", frame_number, box, by)
    entry.update(confidence=confidence, model=pipeline.name, turns=turns)
    if stored.label != was:
        entry["was"] = was
    detections = read_detections(stored)
    CorrectionWriter(stored, detections, track, prompts, [entry], confidence).write()
    return _summary(stored, track, prompts, started)


def made_with(stored: StoredAnswer) -> dict[str, Any]:
    """Returns the settings that an answer was found with."""
    return dict(record_of(stored)[0].settings)


def pipeline_of(model: RevSegModel | RevSeg | str | Path) -> RevSeg:
    """Returns the pipeline of what names or holds one."""
    if isinstance(model, RevSeg):
        return model
    return (model if isinstance(model, RevSegModel) else load_model(model)).pipeline


def _tracker_of(model: RevSegModel | RevSeg | Tracker | str | Path) -> Tracker:
    if not isinstance(model, (RevSeg, RevSegModel)) and isinstance(model, Tracker):
        return model
    return pipeline_of(model).tracker


def _open(stored: StoredObject) -> Video:
    return replace(stored.place, support=record_of(stored)[0].support).open()


def _track(
    stored: StoredObject,
    video: Video,
    tracker: Tracker,
    prompts: Mapping[int, Prompt],
    progress: Progress | None,
) -> MaskTrack:
    given, masks = {}, {}
    for number, prompt in prompts.items():
        k = index_of(number, video.first_frame)
        if k >= len(video):
            raise ValueError(f"There is no frame {number}: the video ends before it")
        given[k] = prompt.in_pixels(video.size)
        if prompt.mask is not None:
            masks[k] = prompt.mask
    if progress is not None:
        # The frame with a box is walked in both directions, unless it is its stretch's first
        twice = sum(k > first for k, (first, _) in stretches(given, len(video)).items())
        tracker = _Reporting(tracker, progress, len(video) + twice)
    track = track_prompts(tracker, video, given)
    # What a person painted is right to the pixel
    track = replace(track, rles=tuple(masks.get(k, rle) for k, rle in enumerate(track.rles)))
    if not track.visible_frames:
        raise ValueError(
            f"The tracker found nothing in the box in frame {', '.join(map(str, prompts))}: draw "
            "it more closely around the object, or in another frame. Nothing was changed"
        )
    return track


class _Reporting:
    """A tracker that says how far it is."""

    def __init__(self, tracker: Tracker, report: Progress, total: int):
        self._tracker, self._report, self._total, self._done = tracker, report, total, 0

    def track(
        self,
        frames: Iterable[tuple[int, np.ndarray]],
        prompts: np.ndarray,
        known: Sequence[KnownFrame] = (),
    ) -> Iterator[FrameMasks]:
        for found in self._tracker.track(frames, prompts, *((known,) if known else ())):
            self._done += 1
            self._report("track", self._done, self._total)
            yield found


def _ground(
    stored: StoredObject, video: Video, pipeline: RevSeg, frame_number: int
) -> tuple[Sequence[float], float | None, list[Document]]:
    """Asks turn 2; the box is in pixels."""
    record, position = record_of(stored)
    k = index_of(frame_number, video.first_frame)
    if k >= len(video):
        raise ValueError(f"There is no frame {frame_number}: the video ends before it")
    old = record.trajectory
    table = _with_frame(video, video.sample(pipeline.spec.frames), k)
    request = ChainRequest(
        record.query, table, list(video.frames(table.indices)), video.__getitem__, video.size
    )
    choices = []
    for i, choice in enumerate(record.choices):
        # The frames may be others than those that turn 1 saw
        frame = k if i == position else old["frame_table"]["indices"][choice["frame"]]
        nearest = int(np.abs(np.array(table.indices) - frame).argmin())
        description = stored.label if i == position else choice["description"]
        choices.append(KeyframeChoice(nearest, description))
    if position >= len(choices):  # a person added it
        nearest = int(np.abs(np.array(table.indices) - k).argmin())
        choices.append(KeyframeChoice(nearest, stored.label))
        position = len(choices) - 1
    grounding, turns, reason = ground_again(
        pipeline.reasoner, pipeline.spec, request, choices, position, thought_of(old)
    )
    if grounding is None:
        raise ValueError(
            f"The model gave no box for object {stored.index} ({stored.label}) in frame "
            f"{frame_number} ({reason}): choose another frame, or draw the box. Nothing was "
            "changed"
        )
    if grounding.box_xyxy_px is None:
        raise ValueError(
            f"The model '{pipeline.name}' gives points, and no box to correct an object by: draw "
            "the box. Nothing was changed"
        )
    return grounding.box_xyxy_px, grounding.confidence, [turn.to_dict() for turn in turns]


def _with_frame(video: Video, table: FrameTable, k: int) -> FrameTable:
    """Puts a frame in the place of the sampled one that is nearest to it."""
    indices = list(table.indices)
    indices[int(np.abs(np.array(indices) - k).argmin())] = k
    return replace(table, indices=tuple(indices), times=tuple(video.time(i) for i in indices))


def _boxes_of(
    stored: StoredObject, track: MaskTrack, prompts: Mapping[int, Prompt]
) -> dict[int, list[float]]:
    """The box of each prompt; where points said where it is, that of what was found there."""
    boxes = {}
    for number, prompt in sorted(prompts.items()):
        found = track.box_xyxy_px(number - stored.support[0])
        if prompt.box is not None:
            boxes[number] = prompt.box
        elif found is not None:
            boxes[number] = list(relative_xywh(found.tolist(), track.size))
        else:  # the smallest box around the points, which may be one pixel
            (left, top), (right, bottom) = np.min(prompt.on, 0), np.max(prompt.on, 0)
            pixel = 1 / np.array(track.size)
            sides = np.array([right - left, bottom - top]) + pixel
            boxes[number] = checked_box(number, [left, top, *sides.tolist()])
    return boxes


def _summary(
    stored: StoredObject, track: MaskTrack, prompts: Mapping[int, Prompt], started: float
) -> Correction:
    scores = [track.scores[k] for k in track.visible_frames]
    return Correction(
        sample_id=stored.place.sample_id,
        label_field=stored.place.label_field,
        index=stored.index,
        label=stored.label,
        prompts=_boxes_of(stored, track, prompts),
        frames=track.frame_count,
        visible=len(track.visible_frames),
        score=float(np.mean([score or 0.0 for score in scores])),
        seconds=time.perf_counter() - started,
    )
