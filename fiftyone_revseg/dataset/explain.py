"""What is to be seen of how the answers on a sample came about: in words, numbers and pictures.

Everything is computed from what a sample keeps, without the App. Of the frames, only small
attributes are read, and masks where they are few; whole frames never are.
"""

from __future__ import annotations

import contextlib
import os
import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import fiftyone.core.collections as foc
import numpy as np
from cachetools import LRUCache, cached
from PIL import Image

from fiftyone_revseg.dataset.collection import video_of
from fiftyone_revseg.dataset.drift import drift_score, suspected_frames
from fiftyone_revseg.dataset.expressions import value_of
from fiftyone_revseg.dataset.frame_numbers import index_of, is_within, numbers_of
from fiftyone_revseg.dataset.looked_again import LookedAgain, mask_on
from fiftyone_revseg.dataset.record import Record, find_object, records_of
from fiftyone_revseg.dataset.review_order import place_of
from fiftyone_revseg.dataset.schema import field_names
from fiftyone_revseg.dataset.stored_detection import StoredDetection, is_relative_box
from fiftyone_revseg.masks import pictures
from fiftyone_revseg.masks.boxes import corners_px, relative_xywh
from fiftyone_revseg.reasoning.outlines import outline
from fiftyone_revseg.video import VideoError, open_video

Box = tuple[float, float, float, float]
_Row = tuple[float, float | None, float | None, list[float]]  # areas of box and mask, score, box

#: Areas are of masks where all masks together have at most so many pixels, else of boxes
MASK_PIXELS = 20_000_000

#: The size in pixels of the longer side of the pictures
KEY_FRAME_SIZE, STRIP_SIZE = 640, 160

_CACHE_BYTES = 64 * 2**20


def _bytes(frames: list[np.ndarray] | VideoError) -> int:
    held = sum(frame.nbytes for frame in frames) if isinstance(frames, list) else 0
    return min(held, _CACHE_BYTES)  # those that were shown last are kept, however many


# The frames that were shown last; those that were not for the longest time go first
_cache: LRUCache[tuple, list[np.ndarray] | VideoError] = LRUCache(_CACHE_BYTES, _bytes)


@dataclass(frozen=True)
class Explanation:
    """How one answer came about: that about one object, or about a query without any.

    Attributes:
        query: the query
        description: the object in the model's words; "" if there is none
        thought: what the model thought
        status: see :class:`fiftyone_revseg.types.Status`
        reason: why the status is not "ok", in words
        confidence: that of the box; None if unknown
        certainty: how likely the answer is what the query means; None if unknown
        certainty_raw: what the model said of that, where the certainty was calibrated
        agreement: with the model's other candidates; None if there is no other
        looked_again: what became of looking again
        index: the object's index in the detections; None if there is no object
        model: the names of the models
        tags: for example "accepted"
        label_id: the id of the answer, by which it is accepted or rejected
        reviewer: who accepted or rejected it; "" if nobody did
        reviewed_at: when
        key_frame: the key frame's number; None if there is none
        box_xywh_rel: the box in the key frame as ``(x, y, width, height)``, relative
        sampled: the numbers of the frames that the model saw
        turns: the replies about this object, and those of turns 1 and 3, as dicts; see
            :class:`fiftyone_revseg.reasoning.Turn`. Of several candidates, all replies
        timings: stage -> seconds
        corrections: what people corrected, as dicts
        can_undo: whether something was corrected in the answers to the query that can be undone
        support: the first and last frame number that the answer is about; None if unknown
        frame_count: the number of frames in the video, or in the clip; 0 if unknown
        source_size: the ``(width, height)`` of the video in pixels; (0, 0) if unknown
    """

    query: str
    description: str = ""
    thought: str = field(default="", repr=False)
    status: str = ""
    reason: str = ""
    confidence: float | None = None
    certainty: float | None = None
    certainty_raw: float | None = None
    agreement: float | None = None
    looked_again: LookedAgain = field(default_factory=LookedAgain)
    index: int | None = None
    model: str = ""
    tags: tuple[str, ...] = ()
    label_id: str = ""
    reviewer: str = ""
    reviewed_at: datetime | None = None
    key_frame: int | None = None
    box_xywh_rel: Box | None = None
    sampled: tuple[int, ...] = field(default=(), repr=False)
    turns: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    timings: dict[str, float] = field(default_factory=dict, repr=False)
    corrections: tuple[dict[str, Any], ...] = ()
    can_undo: bool = False
    support: tuple[int, int] | None = None
    frame_count: int = 0
    source_size: tuple[int, int] = (0, 0)

    @property
    def chosen(self) -> int | None:
        """The position of the key frame among the sampled ones; None if it is not one of them."""
        return self.sampled.index(self.key_frame) if self.key_frame in self.sampled else None

    @property
    def judged(self) -> tuple[int, ...]:
        """The numbers of the frames of the last verdict, unless the masks are others by now."""
        known = self.index is not None and not self.corrections
        return self.looked_again.shown if known else ()


@dataclass(frozen=True)
class TrackSeries:
    """An object over time.

    Attributes:
        numbers: the numbers of the frames, increasing
        areas: the share of the picture that the object covers in each, in [0, 1]; None where it
            is not visible
        scores: its score in each frame, or None
        boxes: its box in each frame, ``[x, y, width, height]``, relative, or None
        area_of: "mask" or "box": what the areas are of
        unusable: in how many frames the object's label is no box within reach of the frame
    """

    numbers: tuple[int, ...] = ()
    areas: tuple[float | None, ...] = ()
    scores: tuple[float | None, ...] = ()
    boxes: tuple[list[float] | None, ...] = field(default=(), repr=False)
    area_of: str = "box"
    unusable: int = 0

    @classmethod
    def of(cls, rows: Mapping[int, _Row | None], unusable: int = 0) -> TrackSeries:
        """Makes the series of what there is in each frame, by their numbers.

        Areas are those of the masks, or of the boxes where one of the masks is not there.
        """
        by_box = any(row[1] is None for row in rows.values() if row is not None)
        columns = (0 if by_box else 1, 2, 3)
        found: list[Any] = [tuple(row and row[k] for row in rows.values()) for k in columns]
        areas, scores, boxes = found
        return cls(tuple(rows), areas, scores, boxes, "box" if by_box else "mask", unusable)

    @property
    def visible(self) -> int:
        """In how many frames the object is visible."""
        return sum(area is not None for area in self.areas)

    @property
    def drift(self) -> float:
        """See :func:`fiftyone_revseg.dataset.drift.drift_score`."""
        return drift_score(self.areas, self.scores)

    @property
    def suspected(self) -> list[int]:
        """The numbers of the frames at which the tracker is suspected to have drifted."""
        return [self.numbers[k] for k in suspected_frames(self.areas, self.scores)]


@dataclass(frozen=True)
class Pictures:
    """What the model saw.

    Attributes:
        key_frame: the key frame with its box, an (H, W, 3) uint8 RGB image; None if there is none
        thumbnails: the sampled frames, the chosen one marked, with the object outlined where its
            masks are known
        judged: the frames that the last verdict was about, with the object outlined; None if there
            are none, or the object's masks are not in the database
    """

    key_frame: np.ndarray | None = field(default=None, repr=False)
    thumbnails: tuple[np.ndarray, ...] = field(default=(), repr=False)
    judged: np.ndarray | None = field(default=None, repr=False)


def label_fields(samples: Any) -> list[str]:
    """Lists the label fields of a collection that hold answers of this project.

    Args:
        samples: a :class:`fiftyone.core.collections.SampleCollection`

    Returns:
        a list of names, without "frames.", the most recent one first
    """
    schema = samples.get_field_schema()
    masks = {*schema, *(samples.get_frame_field_schema() or {})}
    names = [name.removesuffix("_trajectory") for name in schema if name.endswith("_trajectory")]
    whole = (name for name in names if all(own in schema for own in field_names(name)[1:]))
    return [name for name in reversed([*whole]) if name in masks]


def explain(sample: Any, label_field: str = "revseg") -> list[Explanation]:
    """Explains the answers on a sample.

    Args:
        sample: the :class:`fiftyone.core.sample.Sample` or view of one: a video, a clip, or an
            image; or the images of one group, in their order, see
            :func:`fiftyone_revseg.dataset.collection.group_of`
        label_field ("revseg"): the label field

    Returns:
        a list of :class:`Explanation`, one per query and object, in the order in which they were
        asked; [] if the sample was not segmented
    """
    if isinstance(sample, foc.SampleCollection):
        sample = sample.first()  # which has what is said about all images
    answers = value_of(sample, f"{label_field}_answers")
    records = records_of(value_of(sample, f"{label_field}_trajectory"))
    found = answers.classifications if answers is not None else ()
    return [_explanation(answer, *_slot_of(records, answer)) for answer in found]


def in_review_order(explanations: Sequence[Explanation]) -> list[Explanation]:
    """Puts the least certain answers first; leaves them as they are where no certainty is known."""
    if all(one.certainty is None for one in explanations):
        return list(explanations)
    return sorted(explanations, key=lambda e: place_of(e.certainty, e.certainty_raw, e.confidence))


def track_series(sample: Any, explanation: Explanation, label_field: str = "revseg") -> TrackSeries:
    """Reads what became of an object over time.

    Args:
        sample: as for :func:`explain`
        explanation: the :class:`Explanation` of the object
        label_field ("revseg"): the label field

    Returns:
        a :class:`TrackSeries`, with every frame of the video or clip; empty if there is no object
    """
    if explanation.index is None:
        return TrackSeries()
    view, path = _frames_of(sample, label_field)
    if view is None:
        return TrackSeries()
    labels = f"{path}.detections"
    names = [f"{labels}.{name}" for name in ("index", "confidence", "bounding_box")]
    indices, scores, boxes = (_one_list(values, path) for values in view.values(names))
    if path.startswith("frames."):
        numbers = view.values("frames.frame_number", unwind=True)
    else:
        numbers = numbers_of((0, len(indices)))
    masks = None
    if _pixels(boxes, explanation.source_size) <= MASK_PIXELS:
        with contextlib.suppress(ValueError, zlib.error):  # one is damaged
            masks = _one_list(view.values(f"{labels}.mask"), path)

    rows: dict[int, _Row | None] = {}
    unusable = 0
    for k, number in enumerate(numbers):
        if not is_within(number, explanation.support):
            continue
        rows[number] = None
        if explanation.index not in (indices[k] or ()):
            continue
        i = indices[k].index(explanation.index)
        box, mask = boxes[k][i], masks[k][i] if masks else None
        if not is_relative_box(box):
            unusable += 1
            continue
        rows[number] = (*areas_of(box, mask), scores[k][i], box)
    return TrackSeries.of(rows, unusable) if rows else TrackSeries()


def areas_of(box: Sequence[float], mask: np.ndarray | None) -> tuple[float, float | None]:
    """Returns the area of a box and of the mask in it, None if there is none."""
    area = box[2] * box[3]
    return area, None if mask is None or not mask.size else area * float(mask.mean())


def index_of_label(sample: Any, label_id: str, label_field: str = "revseg") -> int | None:
    """Finds the object that a detection on some frame belongs to.

    Args:
        sample: as for :func:`explain`
        label_id: the detection's id
        label_field ("revseg"): the label field

    Returns:
        the object's index, or None
    """
    view, path = _frames_of(sample, label_field)
    if view is None:
        return None
    names = [f"{path}.detections.{name}" for name in ("id", "index")]
    ids, indices = view.values(names, unwind=True)
    return dict(zip(ids, indices, strict=True)).get(label_id)


def picture_key(sample: Any, explanation: Explanation) -> tuple | None:
    """Names the frames that the pictures of an explanation are made of.

    Args:
        sample: as for :func:`explain`
        explanation: the :class:`Explanation`

    Returns:
        a key, which changes with the files; None if there is nothing to show

    Raises:
        VideoError: if a file is gone
    """
    seen = {*explanation.sampled, *explanation.judged}
    numbers = sorted({*seen, explanation.key_frame or 0} - {0})
    if not numbers:
        return None
    video = video_of(sample)
    paths: Sequence[str] = [video.filepath]
    if video.images:
        paths = video.source
        if numbers[-1] > len(paths):
            raise VideoError(
                f"there are {len(paths)} images now, but image {numbers[-1]} was shown to the "
                "model: segment them again."
            )
        paths = [paths[index_of(number)] for number in numbers]
    return (tuple(_state_of(path) for path in paths), tuple(numbers), bool(video.images))


def has_pictures(key: tuple | None) -> bool:
    """Returns whether :func:`make_pictures` needs to decode nothing for this key."""
    return key is None or key in _cache


def make_pictures(
    explanation: Explanation,
    key: tuple | None,
    box_xywh_rel: Sequence[float] | None = None,
    masks: Mapping[int, StoredDetection] | None = None,
) -> Pictures:
    """Makes the pictures of an explanation; decoded frames are kept for the next time.

    Args:
        explanation: the :class:`Explanation`
        key: see :func:`picture_key`
        box_xywh_rel (None): the box to draw where the explanation has none
        masks (None): see :func:`fiftyone_revseg.dataset.looked_again.masks_at`

    Returns:
        a :class:`Pictures`

    Raises:
        VideoError: if the video cannot be read, or is not the one that was segmented
    """
    if key is None:
        return Pictures()
    frames = _decoded(explanation, key)
    if isinstance(frames, VideoError):
        raise frames
    by_number = dict(zip(key[1], frames, strict=True))
    key_frame = judged = None
    if masks and explanation.judged:
        judged = _judged(explanation, by_number, masks)
    if explanation.key_frame is not None:
        key_frame = by_number[explanation.key_frame]
        box = explanation.box_xywh_rel or box_xywh_rel
        if box is not None:
            corners = corners_px(box, key_frame.shape[1::-1])
            key_frame = pictures.draw_boxes(key_frame, [corners], [explanation.description])
    return Pictures(key_frame, _thumbnails(explanation, by_number, masks or {}), judged)


def _thumbnails(
    explanation: Explanation,
    frames: Mapping[int, np.ndarray],
    masks: Mapping[int, StoredDetection],
) -> tuple[np.ndarray, ...]:
    """The frames that the model was shown, each with its number and the object in it."""
    made = []
    for number in explanation.sampled:
        picture = _fit(frames[number], STRIP_SIZE)
        if number in masks:
            picture = pictures.draw_masks(picture, [mask_on(picture, masks[number])], alpha=0.35)
        chosen = 0 if number == explanation.key_frame else None
        made.append(pictures.frame_strip([picture], [str(number)], chosen))
    return tuple(made)


def _judged(
    explanation: Explanation,
    frames: Mapping[int, np.ndarray],
    masks: Mapping[int, StoredDetection],
) -> np.ndarray:
    """The frames that the last verdict was about, as a strip, with the object outlined."""
    found = explanation.looked_again
    shown, labels = [], []
    for number in found.shown:
        picture = _fit(frames[number], STRIP_SIZE)
        mask = mask_on(picture, masks[number]) if number in masks else None
        shown.append(outline(picture, [mask], [found.number or 1]))
        labels.append(f"{number} wrong" if number in found.wrong else str(number))
    return pictures.frame_strip(shown, labels, None)


def _explanation(answer: Any, record: Record | None, i: int) -> Explanation:
    own = {
        "query": value_of(answer, "query") or "",
        "thought": value_of(answer, "reasoning") or "",
        "status": value_of(answer, "status") or "",
        "reason": value_of(answer, "reason") or "",
        "confidence": answer.confidence,
        "certainty": value_of(answer, "certainty"),
        "certainty_raw": value_of(answer, "certainty_raw"),
        "agreement": value_of(answer, "agreement"),
        "index": value_of(answer, "index"),
        "model": value_of(answer, "model") or "",
        "tags": tuple(answer.tags or ()),
        "label_id": answer.id,
        "reviewer": value_of(answer, "reviewer") or "",
        "reviewed_at": value_of(answer, "reviewed_at"),
        "key_frame": value_of(answer, "keyframe"),
    }
    support = value_of(answer, "support")
    if own["key_frame"] is not None:
        own["description"] = answer.label or ""
    if support:
        own["support"] = (int(support[0]), int(support[1]))
    if record is None:
        return Explanation(**own)

    corrections = tuple(
        correction
        for correction in record.corrections
        if correction.get("index", own["index"]) == own["index"]
    )
    return Explanation(
        **own,
        box_xywh_rel=_key_frame_box(record, i, own["key_frame"], corrections),
        sampled=tuple(record.sampled),
        looked_again=LookedAgain.of(record, i),
        turns=_turns_of(record, i),
        timings=dict(record.timings),
        corrections=corrections,
        can_undo=any(correction.get("former") for correction in record.corrections),
        frame_count=record.frame_count,
        source_size=record.source_size,
    )


def _turns_of(record: Record, i: int) -> tuple[dict[str, Any], ...]:
    turns = record.trajectory["turns"]
    if not record.trajectory.get("candidates"):
        turns = [turn for turn in turns if turn.get("object") in (None, i)]
    return tuple(turns)


def _key_frame_box(
    record: Record, i: int, key_frame: int | None, corrections: Sequence[dict[str, Any]]
) -> Box | None:
    """The box in the key frame: what a person said last, else what the model said."""
    for correction in reversed(corrections):
        if correction.get("frame_number") == key_frame and correction.get("box"):
            return tuple(correction["box"])
    if key_frame is None or i >= len(record.choices) or not all(record.source_size):
        return None
    grounding = record.trajectory["groundings"][i]
    if grounding is None or record.sampled[record.choices[i]["frame"]] != key_frame:
        return None  # another key frame was chosen since
    if grounding["box_xyxy_px"] is None:
        return None  # the model gave points
    return relative_xywh(grounding["box_xyxy_px"], record.source_size)


def _slot_of(records: Sequence[Record], answer: Any) -> tuple[Record | None, int]:
    """The record of an answer, and which of its objects it is about."""
    query, support = value_of(answer, "query"), tuple(value_of(answer, "support") or ())
    own = [r for r in records if r.query == query and (r.support or support) == support]
    found = None
    if support and value_of(answer, "index") is not None:
        found = find_object(own and records, answer["index"], support)
    if found is not None and found[0] in own:
        return found
    return (own[0], 0) if own else (None, 0)


def _frames_of(sample: Any, label_field: str) -> tuple[Any, str]:
    """The view with the detections on the frames of one video, and their path."""
    if isinstance(sample, foc.SampleCollection):
        return sample, label_field
    if sample.media_type != "video":
        return None, label_field
    video = video_of(sample)
    return video.dataset.select(video.sample_id), f"frames.{label_field}"


def _one_list(values: list[Any], path: str) -> list[Any]:
    """One entry per frame, whether these are the frames of one sample or samples of their own."""
    if not path.startswith("frames."):
        return values
    return (values[0] if values else None) or []


def _pixels(boxes: Iterable[Any], size: tuple[int, int]) -> float:
    """How many pixels there are in all boxes together."""
    width, height = size
    if not width or not height:
        return float("inf")  # unknown
    usable = (box for found in boxes for box in found or () if is_relative_box(box))
    return sum(box[2] * box[3] for box in usable) * width * height


def _state_of(path: str) -> tuple[str, int, int]:
    """Changes with the file. Of a pattern or folder of images, the folder stands for them."""
    found = os.path.dirname(path) if "%" in os.path.basename(path) else path
    try:
        state = os.stat(found)
    except OSError as error:
        raise VideoError(
            f"{path} is not there any more ({error.strerror}): put it back, or correct the "
            "sample's filepath."
        ) from error
    return path, state.st_mtime_ns, state.st_size


def _decode(explanation: Explanation, key: tuple) -> list[np.ndarray]:
    """Decodes the frames that a key names, small."""
    states, numbers, are_images = key
    if are_images:
        with open_video([path for path, _, _ in states]) as video:
            return [_fit(video[k], KEY_FRAME_SIZE) for k in range(len(video))]
    with open_video(states[0][0]) as video:
        size = explanation.source_size
        if numbers[-1] > len(video) or (all(size) and tuple(video.size) != size):
            raise VideoError(
                f"{states[0][0]} is not the video that was segmented: it has {len(video)} frames "
                f"of {video.size[0]} x {video.size[1]} now. Segment it again, or correct the "
                "sample's filepath."
            )
        return [_fit(video[index_of(number)], KEY_FRAME_SIZE) for number in numbers]


def _fit(frame: np.ndarray, longer_side: int) -> np.ndarray:
    height, width = frame.shape[:2]
    scale = longer_side / max(height, width)
    if scale >= 1:
        return frame
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))


@cached(_cache, key=lambda explanation, key: key, lock=threading.Lock())
def _decoded(explanation: Explanation, key: tuple) -> list[np.ndarray] | VideoError:
    """Those frames, or why there are none: until the file changes, another try is of no use."""
    try:
        return _decode(explanation, key)
    except VideoError as error:
        return error
