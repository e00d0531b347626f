"""What a person says of where an object is in one frame: a box, points, a mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from bson import ObjectId

from fiftyone_revseg.dataset.store import Document
from fiftyone_revseg.masks.boxes import box_around, corners_px, relative_xywh
from fiftyone_revseg.masks.rle import RLE, decode_masks, encode_masks
from fiftyone_revseg.tracking.prompts import object_prompt

Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Prompt:
    """What is known of one object in one frame.

    Attributes:
        box: relative ``[x, y, width, height]``, as far as it is in the frame
        on: relative ``(x, y)`` points on the object
        beside: points that are not on it
        mask: its mask at the video's size, which says all and is what the frame gets
        labels: the ids of the labels that it was taken from, and of their instances
    """

    box: list[float] | None = None
    on: tuple[Point, ...] = ()
    beside: tuple[Point, ...] = ()
    mask: RLE | None = None
    labels: frozenset[ObjectId] = frozenset()

    @classmethod
    def of(cls, number: int, given: Any) -> Prompt:
        """Makes a prompt of what was given for a frame, and checks it.

        Args:
            number: the frame's number
            given: a prompt; a relative ``[x, y, width, height]``; or a dict of any of "box", of
                "on" and "beside", which are lists of relative ``[x, y]``, and of "mask", which is
                an (H, W) bool array of the frame, or its run lengths

        Raises:
            ValueError: that says what is wrong with it
        """
        if isinstance(given, Prompt):
            return given
        if not isinstance(given, Mapping):
            return cls(checked_box(number, given))
        unknown = set(given) - {"box", "on", "beside", "mask"}
        if unknown:
            raise ValueError(
                f"{sorted(map(str, unknown))[0]!r} in frame {number} is not known: give 'box', "
                "'on', 'beside' or 'mask'"
            )
        box, mask = given.get("box"), given.get("mask")
        on, beside = (_checked_points(number, given.get(name)) for name in ("on", "beside"))
        if mask is not None:
            return cls.of_mask(number, mask, on or beside)
        if box is None and not on:
            raise ValueError(
                f"Frame {number} says nothing of where the object is: give a box, or a point on it"
            )
        return cls(None if box is None else checked_box(number, box), on, beside)

    @classmethod
    def of_mask(cls, number: int, mask: Any, points: Sequence[Point] = ()) -> Prompt:
        """Makes a prompt of an (H, W) mask of a whole frame, or of its run lengths."""
        if points:
            raise ValueError(
                f"There are a mask and points in frame {number}: a mask says all, delete the points"
            )
        if isinstance(mask, Mapping):
            height, width = mask["size"]
            mask = decode_masks([RLE(size=[height, width], counts=mask["counts"])], (width, height))
            mask = mask[0]
        mask = np.asarray(mask).astype(bool)
        around = box_around(mask) if mask.ndim == 2 else None
        if around is None:
            raise ValueError(
                f"The mask in frame {number} is empty: paint the object, or delete the label"
            )
        (rle,) = encode_masks(mask[None])
        return cls(list(relative_xywh(around, mask.shape[::-1])), mask=rle)

    @property
    def kind(self) -> str:
        """What it is, in a word."""
        if self.mask is not None:
            return "mask"
        return "points" if self.on or self.beside else "box"

    def joined(self, on: Iterable[Point], beside: Iterable[Point], labels: Iterable[Any]) -> Prompt:
        """This prompt with points."""
        both = frozenset([*self.labels, *labels])
        return replace(self, on=(*self.on, *on), beside=(*self.beside, *beside), labels=both)

    def in_pixels(self, size: tuple[int, int]) -> np.ndarray:
        """What a tracker takes, of one object in a video of (width, height).

        Raises:
            ValueError: if the mask is of another size
        """
        if self.mask is not None:
            return decode_masks([self.mask], size)
        corners = None if self.box is None else corners_px(self.box, size)
        if not (self.on or self.beside):
            return np.array([corners], float)
        on, beside = ([(x * size[0], y * size[1]) for x, y in p] for p in (self.on, self.beside))
        return object_prompt(corners, on, beside)[None]

    def to_dict(self) -> Document:
        """What :meth:`of` takes, as JSON."""
        parts = {
            "box": self.box if self.mask is None else None,
            "on": [list(point) for point in self.on],
            "beside": [list(point) for point in self.beside],
            "mask": self.mask and dict(self.mask),
        }
        return {name: value for name, value in parts.items() if value}


def ids_of(label: Document) -> frozenset[ObjectId]:
    """The ids of a label and of its instance, which the App's repeats of it share."""
    instance = label.get("instance")
    return frozenset([label["_id"], instance["_id"]] if instance else [label["_id"]])


def checked_box(number: int, box: Any) -> list[float]:
    """Returns the part of a box that is in the frame."""
    try:
        x, y, w, h = (float(value) for value in box)
    except (TypeError, ValueError):
        x = y = w = h = float("nan")
    left, top, right, bottom = np.clip([x, y, x + w, y + h], 0, 1).tolist()
    if not (w > 0 and h > 0 and right > left and bottom > top):  # nor if one is no number
        raise ValueError(
            f"The box in frame {number} is none: give [x, y, width, height] as parts of the "
            f"frame's width and height, from 0 to 1, not {box!r}"
        )
    return [left, top, right - left, bottom - top]


def _checked_points(number: int, points: Any) -> tuple[Point, ...]:
    try:
        given = [] if points is None else list(points)
        found = np.array(given, float) if given else np.zeros((0, 2))
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.ndim != 2 or found.shape[1] != 2 or not ((found >= 0) & (found <= 1)).all():
        raise ValueError(
            f"The points in frame {number} are none: give [x, y] as parts of the frame's width and "
            f"height, from 0 to 1, not {points!r}"
        )
    return tuple((x, y) for x, y in found.tolist())
