"""One object through a whole video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fiftyone_revseg.masks.rle import RLE, decode_masks, rle_box


@dataclass(frozen=True)
class MaskTrack:
    """Masks and scores of one object, one for every frame of a video.

    Attributes:
        object_id: which object of its query, 0-based
        frame_count: the number of frames T in the video
        size: (width, height) of the video
        rles: T masks; None where the object is not visible
        scores: T numbers in [0, 1], how sure the tracker is that its mask is right and the object
            there; None where a frame was not tracked
    """

    object_id: int
    frame_count: int
    size: tuple[int, int]
    rles: tuple[RLE | None, ...]
    scores: tuple[float | None, ...]

    def __post_init__(self) -> None:
        if not len(self.rles) == len(self.scores) == self.frame_count:
            raise ValueError(
                f"{len(self.rles)} masks and {len(self.scores)} scores "
                f"for {self.frame_count} frames"
            )

    @cached_property
    def visible_frames(self) -> tuple[int, ...]:
        """The frames (0-based) in which the object has a mask."""
        return tuple(k for k, rle in enumerate(self.rles) if rle is not None)

    def mask(self, k: int) -> np.ndarray:
        """Returns the (H, W) bool mask of frame ``k``, all False where it is not visible."""
        return decode_masks([self.rles[k]], self.size)[0]

    def masks(self) -> np.ndarray:
        """Returns all masks, (T, H, W) bool: T bytes per pixel, so mind long videos."""
        return decode_masks(self.rles, self.size)

    def box_xyxy_px(self, k: int) -> np.ndarray | None:
        """Returns the box around frame ``k``'s mask, (4,) float, or None where there is none."""
        rle = self.rles[k]
        return None if rle is None else rle_box(rle)

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-serializable dict."""
        return {
            "object_id": self.object_id,
            "frame_count": self.frame_count,
            "size": list(self.size),
            "rles": list(self.rles),
            "scores": list(self.scores),
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> MaskTrack:
        """Loads a track from :meth:`to_dict`'s output."""
        width, height = d["size"]
        return cls(
            object_id=d["object_id"],
            frame_count=d["frame_count"],
            size=(width, height),
            rles=tuple(d["rles"]),
            scores=tuple(d["scores"]),
        )
