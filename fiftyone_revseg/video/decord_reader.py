"""Exact frames by decord, for the files that it is exact on.

Measured on two cores at 720p: reading on, decord is up to a fifth faster than PyAV (it decodes and
converts at once, in threads of its own); single frames take both the same time, or PyAV less;
backward, PyAV takes a third less, because it holds frames in half the memory, unconverted. So
decord walks forward, and PyAV does the rest. But while its consumer computes, decord decodes ahead
without end (2 GB after 200 slow frames of 10,000 at 320 x 240): only through short videos.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import numpy as np

from fiftyone_revseg.files import name_for_ffmpeg
from fiftyone_revseg.video.pyav_reader import PyAVSource
from fiftyone_revseg.video.source import Cursor

logger = logging.getLogger(__name__)

_importing = threading.Lock()
# Those of which it makes the very RGB that PyAV makes; of 10 bits, and of colour at half height
# or width only in some versions, it fills in colour in another way
_PIXEL_FORMATS = {"yuv420p", "yuvj420p"}
_AHEAD_BYTES = 64 * 2**20  # what all frames of a video may take for decord to walk through it


def walk_by_decord(exact: PyAVSource) -> None:
    """Has a video file decoded by decord (the package ``decord2``) when it is walked forward."""
    exact.decoder = "decord"
    exact.why = "the packet index shows nothing on which decord is known to be wrong"
    exact.forward = lambda: DecordCursor(exact) if _is_short(exact) else exact.open()


def _is_short(exact: PyAVSource) -> bool:
    width, height = exact.size
    return len(exact.times) * 3 * width * height <= _AHEAD_BYTES


def decord_objections(exact: PyAVSource) -> list[str]:
    """What speaks against decoding a file with decord.

    Args:
        exact: the file

    Returns:
        reasons in words; empty if decord is exact on it
    """
    found = list(exact.index.objections)
    if exact.mirrored:
        found.append("mirrored")
    if exact.pixel_format not in _PIXEL_FORMATS:
        found.append(f"pixel format {exact.pixel_format}")
    if found:
        return found
    try:
        decord = import_decord()
    except Exception as e:  # also a library that does not load
        return [f"decord does not import ({type(e).__name__}); install decord2"]
    # The index says that it can; now see whether it numbers the same frames
    try:
        reader = decord.VideoReader(name_for_ffmpeg(exact.path), num_threads=1)
        times = reader.get_frame_timestamp(np.arange(len(reader)))[:, 0]
        keys = reader.get_key_indices()
        first = reader.next().asnumpy() if _is_short(exact) else None
    except (decord.DECORDError, RuntimeError, AssertionError, StopIteration, UnicodeError) as e:
        return [f"decord does not open it ({type(e).__name__})"]
    if len(times) != len(exact.times) or np.abs(times - exact.times).max() > 1e-3:
        return ["decord counts other frames"]
    if list(keys) != exact.key_frames.tolist():
        return ["decord finds other key frames"]
    # What no packet shows: a picture of which a part is cropped comes out sheared, for example
    if first is not None and not np.array_equal(first, _first_picture(exact)):
        return ["decord's first picture is another one"]
    return []


def _first_picture(exact: PyAVSource) -> np.ndarray:
    cursor = exact.open()
    try:
        return cursor.to_rgb(cursor.read(0))
    finally:
        cursor.close()


class DecordCursor(Cursor):
    """One reading position that reads on, in what is a :class:`PyAVSource` otherwise.

    Args:
        source: the source
    """

    def __init__(self, source: PyAVSource):
        decord = import_decord()
        self._source = source
        self._errors = (decord.DECORDError, RuntimeError, StopIteration, IndexError)
        self._reader: Any = decord.VideoReader(name_for_ffmpeg(source.path))
        self._next = 0
        self._fallback: Any = None

    def read(self, k: int) -> np.ndarray:
        """Decodes frame ``k``; see :class:`fiftyone_revseg.video.source.Cursor`."""
        if self._fallback is None:
            try:
                if k != self._next:
                    self._reader.seek_accurate(k)
                frame = self._reader.next().asnumpy()
                self._next = k + 1
                width, height = self._source.size
                if frame.shape == (height, width, 3):
                    return frame
                problem = f"a frame of shape {frame.shape}"
            except self._errors as e:
                problem = type(e).__name__
            logger.info("%s: decord gave %s, so PyAV goes on", self._source.path, problem)
            self._reader = None
            self._fallback = self._source.open()
        return self._fallback.to_rgb(self._fallback.read(k))

    def close(self) -> None:
        """Releases the file and the decoder."""
        self._reader = None
        if self._fallback is not None:
            self._fallback.close()


def import_decord() -> Any:
    """Imports decord without the CUDA libraries that it would load first.

    decord loads every NVIDIA library of the environment into the global namespace. One of them,
    NVBLAS, then takes over the matrix products of a torch that is imported later, and crashes.
    """
    import sys

    with _importing:  # a second thread would find half a module
        if sys.modules.get("decord") is not None:
            return sys.modules["decord"]
        before = sys.modules.get("nvidia")
        sys.modules["nvidia"] = None  # type: ignore[assignment]  # "there is no such package"
        try:
            import decord
        finally:
            del sys.modules["nvidia"]
            if before is not None:
                sys.modules["nvidia"] = before
    # What it would print about a damaged file, in the middle of a progress bar, the index knows
    decord.logging.set_level(decord.logging.QUIET)
    return decord
