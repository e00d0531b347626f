"""A video as everyone outside this room sees it: numbered RGB frames."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from fiftyone_revseg.prefetch import prefetch
from fiftyone_revseg.types import FrameTable
from fiftyone_revseg.video.errors import VideoError
from fiftyone_revseg.video.sampling import uniform_indices
from fiftyone_revseg.video.source import Cursor, Source

DEFAULT_HELD_BYTES = 512 * 2**20


class Video:
    """A video file, an image sequence, or a clip of one.

    Frame ``k`` is the k-th frame that a player shows, counted from 0 at the start of the clip.
    Walks each have a reading position of their own, so several may run at once, also in several
    threads; ``video[k]`` and ``frames`` share one.

    **Memory.** Walking forward holds one frame. Walking backward decodes a group of pictures
    forward and gives it back in reverse, so it holds that group: each group is decoded once. A
    group larger than ``held_bytes`` is decoded in parts of that size instead, each from the
    group's start, the last part first (a decoder's state cannot be kept), so memory stays bounded
    and a group of n parts costs (n + 1) / 2 times its decoding. Prefetching adds ``ahead`` frames,
    or as many as ``held_bytes`` hold if these are fewer.

    Args:
        source: where the frames come from
        frame_range (None): the 0-based, half-open range of frames of the clip
        ahead (8): how many frames walks decode ahead in a thread; 0 for no thread
        held_bytes (512 MiB): the most memory that decoded frames may take in a backward walk,
            and those decoded ahead in any walk; at least one or two frames are always held

    Raises:
        VideoError: if the range does not lie within the video
    """

    def __init__(
        self,
        source: Source,
        frame_range: tuple[int, int] | None = None,
        ahead: int = 8,
        held_bytes: int = DEFAULT_HELD_BYTES,
    ):
        total = len(source.times)
        start, stop = (0, total) if frame_range is None else frame_range
        if not 0 <= start < stop <= total:
            raise VideoError(
                f"{source.path} has {total} frames, so frames {start} to {stop} (exclusive) are"
                f" no clip of it: choose 0 <= start < stop <= {total}."
            )
        self._source = source
        self._start = int(start)
        self._stop = int(stop)
        width, height = source.size
        # What is decoded ahead waits as RGB
        self._ahead = min(ahead, max(1, held_bytes // (3 * width * height)))
        self._held_frames = max(2, held_bytes // max(1, source.frame_bytes))
        self._cursor: Cursor | None = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def path(self) -> str:
        """What was opened: a file, a folder or a pattern, or the folder of a list of images."""
        return self._source.path

    @property
    def fps(self) -> float:
        """Frames per second, on average."""
        return self._source.fps

    @property
    def size(self) -> tuple[int, int]:
        """The (width, height) of a frame in pixels, upright."""
        return self._source.size

    @property
    def first_frame(self) -> int:
        """The number, in the whole video, of this clip's first frame."""
        return self._start

    @property
    def decoder(self) -> str:
        """What decodes the frames: "decord" (PyAV helps it), "pyav" or "images"."""
        return self._source.decoder

    @property
    def why_decoder(self) -> str:
        """Why it is this decoder, in words."""
        return self._source.why

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is wrong with the file and was made good, in words, such as times that go back."""
        return self._source.remarks

    @property
    def broken_frames(self) -> tuple[int, ...]:
        """Frames read so far that do not decode; each shows the last whole frame before it."""
        return tuple(
            sorted(k - self._start for k in self._source.broken if self._start <= k < self._stop)
        )

    def __len__(self) -> int:
        return self._stop - self._start

    def __repr__(self) -> str:
        width, height = self.size
        return f"<Video {self.path}: {len(self)} frames, {width} x {height}, {self.decoder}>"

    def __getitem__(self, k: int) -> np.ndarray:
        """Decodes frame ``k`` to an (H, W, 3) uint8 RGB array.

        Raises:
            IndexError: if there is no such frame; negative numbers do not count from the end
            VideoError: if it cannot be read
        """
        return self._decode(self._number(k))

    def time(self, k: int) -> float:
        """The seconds at which frame ``k`` is shown, counted from the first frame of the clip."""
        times = self._source.times
        return float(times[self._number(k)] - times[self._start])

    @property
    def times(self) -> np.ndarray:
        """(N,) float64 seconds at which the frames are shown, the first of the clip at 0."""
        times = self._source.times[self._start : self._stop]
        return times - times[0]

    @property
    def start_offset(self) -> float:
        """The seconds that a player's clock shows at the first frame of the clip.

        It counts from time zero of the file, as browsers do; it is not 0 where the sound starts
        before the pictures, or the clip not with the file. Frame ``k`` is on the screen from
        ``start_offset + times[k]`` on.
        """
        return float(self._source.start_offset + self._source.times[self._start])

    @property
    def duration(self) -> float:
        """The seconds that the clip spans, the last frame included."""
        return self.time(len(self) - 1) + 1 / self.fps

    def frames(self, indices: Iterable[int]) -> list[np.ndarray]:
        """Decodes several frames, each group of pictures at most once.

        Args:
            indices: increasing frame numbers

        Returns:
            the frames, each an (H, W, 3) uint8 RGB array

        Raises:
            ValueError: if the numbers do not increase
            IndexError: if there is no such frame
            VideoError: if one cannot be read
        """
        numbers = [self._number(k) for k in indices]
        if any(b <= a for a, b in pairwise(numbers)):
            raise ValueError("frames() takes increasing frame numbers: sort them first")
        return [self._decode(k) for k in numbers]

    def sample(self, count: int) -> FrameTable:
        """Chooses frames uniformly, both ends included; nothing is decoded.

        Args:
            count: the number of frames; all of them are taken where there are fewer

        Returns:
            a :class:`fiftyone_revseg.types.FrameTable` of ``min(count, len(self))`` frames
        """
        indices = uniform_indices(len(self), count)
        times = tuple(self.time(k) for k in indices)
        return FrameTable(indices, times, len(self), self.duration, self.remarks)

    def walk(self, start: int, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        """Iterates over the frames from one to the end of the clip, or back to its beginning.

        Args:
            start: the number of the first frame to give
            step (1): 1 for forward, -1 for backward

        Returns:
            an iterator of (frame number, (H, W, 3) uint8 RGB array); close it, or drop it, to
            release its decoder before the end

        Raises:
            IndexError: if there is no frame ``start``
            ValueError: if the step is neither 1 nor -1
            VideoError: while iterating, if a frame cannot be read
        """
        if step not in (1, -1):
            raise ValueError(f"step must be 1 (forward) or -1 (backward), not {step}")
        first = self._number(start)
        self._check_open()
        walk = self._forward(first) if step == 1 else self._backward(first)
        return prefetch(walk, self._ahead) if self._ahead else walk

    def close(self) -> None:
        """Releases the decoder of single frames; walks release their own when they end."""
        with self._lock:
            self._closed = True
            if self._cursor is not None:
                self._cursor.close()
                self._cursor = None

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _number(self, k: int) -> int:
        """The number in the whole video of frame k of the clip."""
        if not 0 <= k < len(self):
            raise IndexError(f"{self.path} has frames 0 to {len(self) - 1}, not {k}")
        return self._start + int(k)

    def _check_open(self) -> None:
        if self._closed:
            raise VideoError(f"{self.path} was closed: open it again to read more frames.")

    def _decode(self, number: int) -> np.ndarray:
        with self._lock:
            self._check_open()
            if self._cursor is None:
                self._cursor = self._source.open()
            return self._cursor.to_rgb(self._cursor.read(number))

    def _forward(self, first: int) -> Iterator[tuple[int, np.ndarray]]:
        cursor = self._source.open(forward=True)
        try:
            for number in range(first, self._stop):
                yield number - self._start, cursor.to_rgb(cursor.read(number))
        finally:
            cursor.close()

    def _backward(self, first: int) -> Iterator[tuple[int, np.ndarray]]:
        cursor = self._source.open()
        try:
            for begin, end in self._parts(first):
                held = [cursor.read(number) for number in range(begin, end)]
                for number in reversed(range(begin, end)):
                    yield number - self._start, cursor.to_rgb(held.pop())
        finally:
            cursor.close()

    def _parts(self, first: int) -> Iterator[tuple[int, int]]:
        """Half-open ranges of frames to decode at a time, from frame ``first`` backward."""
        keys = self._source.key_frames
        end = first + 1
        while end > self._start:
            key = int(keys[np.searchsorted(keys, end - 1, side="right") - 1])
            begin = max(self._start, key, end - self._held_frames)
            yield begin, end
            end = begin
