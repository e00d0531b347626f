"""Exact frames of any file, by PyAV and the packet index."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from fiftyone_revseg.video.errors import VideoError
from fiftyone_revseg.video.index import (
    PacketIndex,
    decode,
    decoder_options,
    demux,
    open_container,
    threads_of,
)
from fiftyone_revseg.video.source import Cursor

logger = logging.getLogger(__name__)

_FILE_START = -1  # the place before all key frames


class PyAVSource:
    """A video file decoded by PyAV.

    A frame in the middle that does not decode (a damaged file) shows the last frame before it
    that does, as a player would; its number is added to ``broken``, and the first one is logged.
    Frames that do not decode at the beginning or the end of the file do not count.

    Args:
        path: the path of the file
        index: its packet index

    Attributes:
        forward: opens a cursor for reading on, where another decoder does that better

    Raises:
        VideoError: if no frame decodes
    """

    decoder = "pyav"
    why = "asked for"

    def __init__(self, path: str, index: PacketIndex):
        self.path = path
        self.forward: Callable[[], Cursor] | None = None
        self.broken: set[int] = set()
        first = self._first_frame(index)
        if not index.counted:
            # What is shown before the first frame that decodes is the rest of something cut off
            index = replace(index, stamps=index.stamps[index.stamps >= first.pts])
        self.index = index
        if index.open_ended and not index.counted:
            self.index = self._without_cut_frame()
        self.times = self.index.times
        self.start_offset = self.index.start_offset
        self.key_frames = self.index.key_frames
        self.remarks = self.index.remarks
        self.fps = average_fps(self.times, index.rate)
        self.frame_bytes = sum(plane.buffer_size for plane in first.planes)
        self.pixel_format = first.format.name
        self.coded_size = (first.width, first.height)
        self.upright, self.mirrored = orientation_of(first)
        height, width = self.upright(np.empty((first.height, first.width))).shape
        self.size = (width, height)

    def open(self, forward: bool = False) -> Cursor:
        """Opens a new, independent cursor."""
        return self.forward() if forward and self.forward else PyAVCursor(self)

    def _first_frame(self, index: PacketIndex) -> Any:
        container, stream = open_container(self.path)
        with container:
            for frame in decode(stream.codec_context, index.whole(demux(container, stream))):
                if index.counted or frame.pts in index.stamps:
                    return frame
        raise VideoError(
            f"not one frame of {os.path.basename(self.path)} can be decoded: copy or download it"
            " again."
        )

    def _without_cut_frame(self) -> PacketIndex:
        """Drops the last frame of the file if it is not whole, by decoding it strictly."""
        index = self.index
        found = np.flatnonzero(index.stamps == index.last_stamp)
        if not len(found) or found[0] == 0:
            return index
        last = int(found[0])
        cursor = PyAVCursor(self, strict=True)
        try:
            whole = cursor.decodes(last)
        finally:
            cursor.close()
        if whole:
            return index
        return replace(
            index,
            stamps=np.delete(index.stamps, last),
            broken_tail=index.broken_tail | {int(index.stamps[last])},
        )


class PyAVCursor:
    """One reading position in a :class:`PyAVSource`.

    Args:
        source: the source
        strict (False): whether to refuse damaged frames, which are else repaired as well as the
            decoder can
    """

    def __init__(self, source: PyAVSource, strict: bool = False):
        self._source = source
        self._index = source.index
        self._strict = strict
        self._container: Any = None
        self._stream: Any = None
        self._place = _FILE_START  # which key frame the run started from
        self._run: Iterator[tuple[int, Any]] = iter(())
        self._last: tuple[int, Any] | None = None  # what came last, up to the frame asked for
        self._ahead: tuple[int, Any] | None = None  # what came after it, where one was missing
        self.decoded = 0  # the frames that came out of the decoder so far

    def read(self, k: int) -> Any:
        """Decodes frame ``k``; see :class:`fiftyone_revseg.video.source.Cursor`."""
        whole = self._advance(k)
        instead = self._last or self._ahead
        if instead is None:
            raise VideoError(
                f"frame {k} of {os.path.basename(self._source.path)} cannot be decoded: the file"
                " is damaged or has changed; copy it again and reopen it."
            )
        if not whole and k not in self._source.broken:
            if not self._source.broken:
                logger.warning(
                    "Frame %d of %s cannot be decoded: the whole frame before it is shown instead",
                    k,
                    self._source.path,
                )
            self._source.broken.add(k)
        return instead[1]

    def decodes(self, k: int) -> bool:
        """Whether frame ``k`` comes out of the decoder."""
        return self._advance(k)

    def to_rgb(self, held: Any) -> np.ndarray:
        """Converts a frame to an upright (H, W, 3) uint8 RGB array."""
        # A stream may change its size on the way; a video has one
        width, height = self._source.coded_size
        rgb = held.to_ndarray(format="rgb24", width=width, height=height)
        return np.ascontiguousarray(self._source.upright(rgb))

    def close(self) -> None:
        """Releases the file and the decoder."""
        self._run, self._last, self._ahead = iter(()), None, None
        if self._container is not None:
            self._container.close()
            self._container = self._stream = None

    def _advance(self, k: int) -> bool:
        """Makes frame k the last one; if it does not decode, the last whole one before it."""
        if self._last is not None and self._last[0] == k:
            return True
        if not self._on_the_way(k):
            self._start(self._key_of(k))
        while True:
            while True:
                if self._ahead is None:
                    self._ahead = next(self._run, None)
                if self._ahead is None or self._ahead[0] > k:
                    break
                self._last, self._ahead = self._ahead, None
                if self._last[0] == k:
                    return True
            if self._last is not None or self._place == _FILE_START:
                return False
            # Nothing came out up to k: the decoder needs a longer run-up than the key promised
            self._start(self._place - 1)

    def _on_the_way(self, k: int) -> bool:
        """Whether reading on reaches frame k as soon as seeking would."""
        if self._last is None or k < self._last[0]:
            return False
        front = (self._ahead or self._last)[0]
        return k <= front or self._number_of(self._key_of(k)) <= front + 1

    def _key_of(self, k: int) -> int:
        """The last key frame from which frame k can be decoded, or the start of the file."""
        return int(np.searchsorted(self._index.key_numbers, k, side="right")) - 1

    def _number_of(self, place: int) -> int:
        return 0 if place == _FILE_START else int(self._index.key_numbers[place])

    def _start(self, place: int) -> None:
        """Starts decoding at a key frame, or before it where the container cannot seek there."""
        self._run, self._last, self._ahead = iter(()), None, None
        if self._container is None:
            self._reopen()
        near = None
        for target in self._targets(place):
            landed, packets = self._seek(target)
            if landed == place:
                return self._begin(place, packets)
            if landed is not None and landed < place and (near is None or landed > near[0]):
                near = landed, target
        if near:
            return self._begin(near[0], self._seek(near[1])[1])
        self._reopen()
        return self._begin(_FILE_START, self._packets())

    def _begin(self, place: int, packets: Iterator[Any]) -> None:
        self._place = place
        self._run = self._numbered(packets, place)

    def _targets(self, place: int) -> Iterator[int]:
        """Times to seek to: most containers index times of presentation, some of decoding."""
        index = self._index
        for wanted in range(place, max(place - 3, _FILE_START), -1):
            if not index.counted:
                yield index.key_marks[wanted]
            dts = index.key_dts[wanted]
            if dts is not None:
                yield dts

    def _seek(self, target: int) -> tuple[int | None, Iterator[Any]]:
        """Seeks, and says where that ended: FFmpeg does not promise to end at the target."""
        import av

        index = self._index
        try:
            self._container.seek(target, stream=self._stream, backward=True)
        except (av.FFmpegError, OSError):
            return None, iter(())
        packets = self._packets()
        for packet in packets:
            if packet.is_keyframe:
                landed = index.key_places.get(index.mark(packet))
                return landed, chain([packet], packets)
        return None, packets

    def _packets(self) -> Iterator[Any]:
        return self._index.whole(demux(self._container, self._stream))

    def _numbered(self, packets: Iterator[Any], place: int) -> Iterator[tuple[int, Any]]:
        """Decodes, and numbers what comes out; passes over what belongs before the key frame."""
        index = self._index
        number = None if index.counted and place != _FILE_START else 0
        for frame in decode(self._stream.codec_context, packets):
            self.decoded += 1
            if index.counted:
                if number is None:
                    if not frame.key_frame:
                        continue
                    number = self._number_of(place)
                if number < len(index.stamps):
                    yield number, frame
                number += 1
            elif frame.pts is not None:
                if place != _FILE_START and frame.pts < index.key_marks[place]:
                    continue  # refers to frames before the key frame: garbage, if it comes at all
                i = int(np.searchsorted(index.stamps, frame.pts))
                if i < len(index.stamps) and index.stamps[i] == frame.pts:
                    yield i, frame

    def _reopen(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container, self._stream = open_container(self._source.path)
        self._stream.thread_type = threads_of(self._index.codec)
        if self._strict:
            self._stream.codec_context.options = decoder_options(err_detect="explode")


def average_fps(times: np.ndarray, declared: float | None) -> float:
    """Frames per second of a video.

    Args:
        times: (N,) the seconds at which its frames are shown
        declared: what the file says, which is kept where it agrees with the times to 1 %, since
            many containers round times

    Returns:
        the average number of frames per second
    """
    if len(times) < 2 or times[-1] <= times[0]:
        return float(declared or 25)
    measured = (len(times) - 1) / float(times[-1] - times[0])
    if declared and abs(declared - measured) <= 0.01 * measured:
        return float(declared)
    return measured


def orientation_of(frame: Any) -> tuple[Callable[[np.ndarray], np.ndarray], bool]:
    """How to turn frames upright, by the display matrix that phones write beside them.

    Returns:
        a function of (H, W, ...) arrays, and whether it mirrors them
    """
    matrix = next((bytes(s) for s in frame.side_data if s.type.name == "DISPLAYMATRIX"), None)
    if matrix is None or len(matrix) < 36:
        return lambda image: image, False
    # The picture's (x, y) is shown at (a x + c y, b x + d y); only quarter turns and mirrors
    # can be shown on the same pixels, so others are rounded to those
    a, b, _, c, d = struct.unpack("=9i", matrix[:36])[:5]
    swap = abs(b) > abs(a)
    right, down = (c, b) if swap else (a, d)
    step_x, step_y = (-1 if right < 0 else 1), (-1 if down < 0 else 1)

    def upright(image: np.ndarray) -> np.ndarray:
        image = image.swapaxes(0, 1) if swap else image
        return image[::step_y, ::step_x]

    return upright, (step_x * step_y < 0) != swap
