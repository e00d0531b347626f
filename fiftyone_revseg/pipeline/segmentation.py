"""The answer to one query on one video, and the words for how it ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.reasoning.trajectory import Trajectory
from fiftyone_revseg.types import Status
from fiftyone_revseg.video import VideoError

logger = logging.getLogger(__name__)

_LOST = "the tracker found nothing in any frame, not even in the box in the key frame"


@dataclass(frozen=True)
class Segmentation:
    """The answer to one query on one video.

    Attributes:
        trajectory: how the model came to its answer
        tracks: one track per object, in the order of ``trajectory.choices``; None where there is
            no box to track from
        status: how it ended; ok as soon as one object was found in one frame
        reason: why the status is not ok, or what went wrong with some of the objects, in words
        timings: wall time in seconds by stage; whatever worked on several queries at a time, of
            one video or of many, is shared out evenly among them. "decode" is opening the video
            and reading the sampled frames; "turn1", "turn2" and "turn3" are the model's replies
            in each turn, retries included, as the model says (none of a turn that was not asked);
            "reason" is all together; "track" is tracking and encoding masks
        path: of the video
        fps: frames per second; 0 if the video is unreadable
        first_frame: the frame of the file, 0-based, that is frame 0 here; not 0 for clips
        model: the names of the models
        caveat: what else has to be known of the answer, such as that the model cannot know such
            videos; "" if nothing
    """

    trajectory: Trajectory
    tracks: tuple[MaskTrack | None, ...] = ()
    status: Status = Status.OK
    reason: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    path: str = ""
    fps: float = 0.0
    first_frame: int = 0
    model: str = ""
    caveat: str = ""

    @property
    def query(self) -> str:
        """The query."""
        return self.trajectory.query

    @property
    def frame_count(self) -> int:
        """The number of frames in the video; 0 if it is unreadable."""
        return self.trajectory.frame_table.frame_count

    @property
    def size(self) -> tuple[int, int]:
        """The (width, height) of the video in pixels; (0, 0) if it is unreadable."""
        return self.trajectory.source_size

    def object_status(self, i: int) -> Status:
        """Returns how the segmentation of object ``i`` alone ended."""
        track = self.tracks[i]
        if self.trajectory.groundings[i] is None:
            return Status.BAD_BOX
        if track is None:  # its box was fine, so the tracker never came to it
            return self.status
        return Status.OK if track.visible_frames else Status.LOST

    def object_reason(self, i: int) -> str:
        """Returns why the status of object ``i`` is not ok, in words; "" if it is."""
        status = self.object_status(i)
        if status is Status.OK:
            return ""
        if status is Status.LOST:
            return _LOST
        # Of several dialogues, the turns tell of the objects of each
        if status is Status.BAD_BOX and not self.trajectory.candidates:
            errors = [turn.error for turn in self.trajectory.turns if turn.object == i]
            return next((error for error in reversed(errors) if error), self.reason)
        return self.reason

    def masks(self) -> np.ndarray:
        """Decodes the masks of all objects together.

        Returns:
            a (T, H, W) boolean array, true where any object is
        """
        width, height = self.size
        masks = np.zeros((self.frame_count, height, width), bool)
        for track in filter(None, self.tracks):
            for k in track.visible_frames:
                masks[k] |= track.mask(k)
        return masks

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-serializable dict."""
        return {
            **vars(self),
            "trajectory": self.trajectory.to_dict(),
            "tracks": [track and track.to_dict() for track in self.tracks],
            "status": str(self.status),
            "timings": dict(self.timings),
        }

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Segmentation:
        """Loads a segmentation from :meth:`to_dict`'s output."""
        return cls(
            **{
                **d,
                "trajectory": Trajectory.from_dict(d["trajectory"]),
                "tracks": tuple(track and MaskTrack.from_dict(track) for track in d["tracks"]),
                "status": Status(d["status"]),
            }
        )


def how_tracking_ended(
    trajectory: Trajectory, tracks: Sequence[MaskTrack | None], error: Exception | None = None
) -> tuple[Status, str]:
    """Returns the status of a query whose boxes, if there are any, were tracked, and its reason.

    Args:
        trajectory: how the model came to the boxes
        tracks: what was tracked, None where that failed
        error (None): why it failed
    """
    if error is not None:
        status, reason = explain(error)
        return status, f"tracking stopped: {reason}"
    if not any(trajectory.groundings):
        return trajectory.status, trajectory.reason
    if not any(track is not None and track.visible_frames for track in tracks):
        return Status.LOST, _LOST
    return trajectory.status, trajectory.reason


def explain(error: Exception) -> tuple[Status, str]:
    """Puts an exception into a status and words."""
    if isinstance(error, VideoError):
        return Status.UNREADABLE, str(error)
    # A bug or a failing device: the traceback belongs in the log, the name in the record
    logger.warning("Segmentation failed", exc_info=error)
    return Status.ERROR, f"{type(error).__name__}: {error}"


def seconds_by_turn(trajectory: Trajectory) -> dict[str, float]:
    """Returns what the model says about the time of its replies, by turn: "turn1", "turn2"."""
    seconds: dict[str, float] = {}
    for turn in trajectory.turns:
        name = f"turn{turn.turn}"
        seconds[name] = seconds.get(name, 0.0) + turn.seconds
    return seconds
