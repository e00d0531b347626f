"""The two values that every room shares; all other types live in the room that makes them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """How the segmentation of one query ended.

    A status is never raised across a video's border: it is recorded, always together with a
    reason in words.
    """

    OK = "ok"
    NO_TARGET = "no_target"  # the model answered that no such object exists
    BAD_KEYFRAME = "bad_keyframe"  # turn 1 never gave a readable key frame
    BAD_BOX = "bad_box"  # turn 2 never gave a usable box
    LOST = "lost"  # the tracker found nothing, not even in the key frame
    UNREADABLE = "unreadable"  # the video cannot be decoded
    ERROR = "error"  # anything else; the reason names it

    def __str__(self) -> str:
        return self.value


#: The statuses of a query that the model answered, if only that there is no such object
ANSWERED = (str(Status.OK), str(Status.NO_TARGET))


@dataclass(frozen=True)
class FrameTable:
    """Which frames of a video were shown to the model.

    This is the only place where an index into the *sampled* frames (what the model sees and
    answers with) becomes a frame number of the *source* video.

    Attributes:
        indices: source frame numbers, 0-based, strictly increasing
        times: the seconds at which those frames are shown, counted from the video's first frame
        frame_count: the number of frames in the source video
        duration: the seconds that the source video spans
        remarks: what is wrong with the file and was made good, in words, such as times that are
            missing and were put between their neighbours
    """

    indices: tuple[int, ...]
    times: tuple[float, ...]
    frame_count: int
    duration: float
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.indices) != len(self.times):
            raise ValueError(f"{len(self.indices)} frame indices but {len(self.times)} times")
        if any(b <= a for a, b in zip(self.indices, self.indices[1:], strict=False)):
            raise ValueError("frame indices must be strictly increasing")
        if self.indices and not 0 <= self.indices[0] <= self.indices[-1] < self.frame_count:
            raise ValueError(f"frame indices must lie in [0, {self.frame_count})")

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def fps(self) -> float:
        """Frames per second of the source video; 1 if nothing tells.

        A table of a stretch has the seconds of the stretch, so the times of its frames count.
        """
        if len(self) > 1 and self.times[-1] > self.times[0]:
            return (self.indices[-1] - self.indices[0]) / (self.times[-1] - self.times[0])
        return self.frame_count / self.duration if self.duration > 0 else 1.0

    def source_frame(self, sampled_index: int) -> int:
        """Maps an index into the sampled frames to a frame number of the source video.

        Args:
            sampled_index: an index in ``[0, len(self))``

        Returns:
            the 0-based source frame number

        Raises:
            IndexError: if the index is out of range; it is never clamped
        """
        if not 0 <= sampled_index < len(self.indices):
            raise IndexError(
                f"sampled frame {sampled_index} does not exist: {len(self.indices)} were sampled"
            )
        return self.indices[sampled_index]

    def to_dict(self) -> dict:
        """Returns a JSON-serializable dict."""
        return {
            "indices": list(self.indices),
            "times": list(self.times),
            "frame_count": self.frame_count,
            "duration": self.duration,
            **({"remarks": list(self.remarks)} if self.remarks else {}),
        }

    @classmethod
    def from_dict(cls, d: dict) -> FrameTable:
        """Loads a table from :meth:`to_dict`'s output."""
        times, remarks = tuple(d["times"]), tuple(d.get("remarks") or ())
        return cls(tuple(d["indices"]), times, d["frame_count"], d["duration"], remarks)
