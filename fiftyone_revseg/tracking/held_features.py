"""Features of frames that a tracker will, or may, come to again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from fiftyone_revseg.tracking.memory import FrameFeatures


class HeldFeatures:
    """Features by video and frame, as many as there is room for.

    Those that are needed by a pass under way come first. The others are spare: kept for objects of
    the same videos that may be tracked later, as long as there is room.

    Args:
        held_bytes: the most memory for them
        spare (False): whether to keep what no pass under way needs
    """

    def __init__(self, held_bytes: int, spare: bool = False):
        self._room = held_bytes
        self._keeps_spare = spare
        self._needed: dict[tuple[int, int], FrameFeatures] = {}
        self._spare: OrderedDict[tuple[int, int], FrameFeatures] = OrderedDict()
        # A video that is held cannot be taken for another one that is in its place in memory
        self._videos: dict[int, Any] = {}

    @property
    def room(self) -> int:
        """How many bytes are left."""
        return self._room

    def get(self, video: Any, k: int) -> FrameFeatures | None:
        """Returns what is held of a frame; None if nothing is."""
        key = (id(video), k)
        return self._needed.get(key) or self._spare.get(key)

    def keep(self, video: Any, k: int, features: FrameFeatures, is_needed: bool) -> None:
        """Keeps features of a frame, if there is room.

        Args:
            video: the frame's video
            k: the frame's number, 0-based
            features: of the frame
            is_needed: whether a pass under way will come to it; spare ones make room for it
        """
        size = bytes_of(features)
        if not (is_needed or self._keeps_spare) or self.get(video, k) is not None:
            return
        while is_needed and size > self._room and self._spare:
            self._room += bytes_of(self._spare.popitem(last=False)[1])
        if size > self._room:
            return
        self._room -= size
        self._videos[id(video)] = video
        (self._needed if is_needed else self._spare)[id(video), k] = _own(features)

    def needed(self, video: Any) -> list[int]:
        """The frames of a video that are held for passes under way."""
        return [k for of, k in self._needed if of == id(video)]

    def done(self, video: Any, k: int) -> None:
        """Notes that no pass under way comes to a frame any more."""
        features = self._needed.pop((id(video), k))
        if self._keeps_spare:
            self._spare[id(video), k] = features
        else:
            self._room += bytes_of(features)

    def release(self, video: Any) -> None:
        """Lets go of all that is held of a video."""
        for held in (self._needed, self._spare):
            for key in [key for key in held if key[0] == id(video)]:
                self._room += bytes_of(held.pop(key))
        self._videos.pop(id(video), None)

    def clear(self) -> None:
        """Lets go of everything."""
        for video in list(self._videos.values()):
            self.release(video)


def bytes_of(features: FrameFeatures) -> int:
    """The memory that the features of a frame take."""
    return sum(m.numel() * m.element_size() for m in features.maps)


def _own(features: FrameFeatures) -> FrameFeatures:
    """A copy that does not keep the batch in memory that the frame was encoded in."""
    coarsest = features.positions[-1][:, :1]  # the model looks at no others
    return FrameFeatures([m.clone() for m in features.maps], [coarsest.clone()], features.sizes)
