"""Copies of videos that every browser and player shows frame by frame at a constant rate."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from fiftyone_revseg.files import name_for_ffmpeg, replacing
from fiftyone_revseg.video.errors import VideoError
from fiftyone_revseg.video.index import build_index, open_container
from fiftyone_revseg.video.open import open_video
from fiftyone_revseg.video.pyav_reader import orientation_of
from fiftyone_revseg.video.video import Video

#: By how many seconds sound may be out of step with the pictures where it is kept at all
OUT_OF_STEP = 0.1

_MAX_RATE = 240  # frames per second; browsers show no more
_QUALITY = {
    "libx264": {"crf": "17", "preset": "veryfast", "bf": "0", "g": "30"},
    # H.264 has no odd sides, and labels lie on the pixels that there are
    "libvpx-vp9": {"crf": "20", "b:v": "0", "g": "30", "deadline": "realtime", "cpu-used": "6"},
}
_SIGNATURE = 16  # blocks along each side by which pictures are compared
_ALIKE = 16.0  # grey levels; encoding changes the mean of a block by far less
_SOUND_RATES = (48000, 44100, 32000, 24000, 22050, 16000, 11025, 8000)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PlayableCopy:
    """What was written.

    Attributes:
        frames: the number of frames
        rate: frames per second
        sound: "kept"; "left out", as it would be out of step with the pictures or cannot be
            decoded; or "none"
    """

    frames: int
    rate: Fraction
    sound: str


def write_playable(source: str, path: str | Path, progress: Progress | None = None) -> PlayableCopy:
    """Writes a copy of a video in which frame k is shown from the time k / rate on.

    Each frame of the source is in the copy once, upright, and in its order; what was written is
    read back and compared with it. Pixels that are not square stay so. The copy is an mp4 of
    H.264 (VP9 if a side is odd) that browsers play. Sound is moved by the time at which the
    pictures start, and kept where it is then never out of step by more than 0.1 s: pictures of a
    frame rate that varies are moved in time, and sound cannot follow them.

    Args:
        source: the path of a video file, or of a folder or a pattern of images
        path: the file to write, which is there as a whole or not at all
        progress (None): called as ``progress(done, total)``, in frames written and read back

    Returns:
        a :class:`PlayableCopy`

    Raises:
        VideoError: if the source cannot be read, or the copy is not the same
        OSError: if the copy cannot be written
    """
    report = progress or (lambda done, total: None)
    with open_video(source) as video, replacing(path) as partial:
        rate = _rate_of(video)
        try:
            with _Writer(str(partial), source, video, rate) as writer:
                seen = _look(video, report, writer.add)
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            name = os.path.basename(source)
            raise VideoError(f"a copy of {name} cannot be encoded ({error}).") from error
        _compare(source, seen, str(partial), rate, report)
    return PlayableCopy(len(seen), rate, writer.sound)


def check_playable(source: str, path: str | Path, progress: Progress | None = None) -> bool:
    """Returns whether a file is a copy as :func:`write_playable` writes it.

    Args:
        source: the path of the video that it should be a copy of
        path: the path of the file
        progress (None): see :func:`write_playable`

    Raises:
        VideoError: if the source cannot be read
    """
    report = progress or (lambda done, total: None)
    with open_video(source) as video:
        rate, seen = _rate_of(video), _look(video, report)
    try:
        _compare(source, seen, str(path), rate, report)
    except (VideoError, OSError):
        return False
    return True


def _rate_of(video: Video) -> Fraction:
    """The average rate: with it, the copy takes as long as the original."""
    return Fraction(min(video.fps, _MAX_RATE)).limit_denominator(1001) or Fraction(1, 1001)


def _look(
    video: Video, report: Progress, add: Callable[[int, np.ndarray], None] = lambda k, image: None
) -> np.ndarray:
    """Walks through a video, hands on its pictures, and keeps by what they are known."""
    seen = np.empty((len(video), _SIGNATURE, _SIGNATURE))
    for k, image in video.walk(0):
        add(k, image)
        seen[k] = _signature(image)
        report(k + 1, 2 * len(seen))
    return seen


def _compare(source: str, seen: np.ndarray, path: str, rate: Fraction, report: Progress) -> None:
    """Raises a VideoError unless a file shows the pictures that were seen, at constant times."""
    name = os.path.basename(source)
    with open_video(path) as copy:
        if len(copy) != len(seen):
            raise VideoError(f"the copy of {name} has {len(copy)} frames instead of {len(seen)}.")
        wanted = np.arange(len(seen)) / float(rate)
        if np.abs(copy.times + copy.start_offset - wanted).max() > 1e-6:
            raise VideoError(f"the frames of the copy of {name} are not at constant times.")
        for k, image in copy.walk(0):
            if np.abs(_signature(image) - seen[k]).max() > _ALIKE:
                raise VideoError(f"frame {k} of the copy of {name} is another picture.")
            report(len(seen) + k + 1, 2 * len(seen))


def _signature(image: np.ndarray) -> np.ndarray:
    """The mean grey of the blocks of a picture, as many along each side."""
    height, width = image.shape[:2]
    grey = image[..., 1].astype(np.float32)
    rows = np.linspace(0, height, _SIGNATURE, endpoint=False).astype(int)
    columns = np.linspace(0, width, _SIGNATURE, endpoint=False).astype(int)
    blocks = np.add.reduceat(np.add.reduceat(grey, rows, axis=0), columns, axis=1)
    sizes = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    return blocks / np.maximum(sizes, 1)


class _Writer:
    """Writes pictures at constant times, and the sound of a file with them."""

    def __init__(self, path: str, source: str, video: Video, rate: Fraction):
        self._rate = rate
        width, height = video.size
        codec = "libvpx-vp9" if width % 2 or height % 2 else "libx264"
        self._container: Any = av.open(
            name_for_ffmpeg(path), "w", format="mp4", options={"movflags": "faststart"}
        )
        stream: Any = self._container.add_stream(codec, rate=rate)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p"
        stream.options = _QUALITY[codec]
        context = stream.codec_context
        context.time_base = 1 / rate
        context.sample_aspect_ratio = _pixel_aspect(source)
        # Without that, browsers guess from the size which colors are meant
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # not full
        self._video = stream
        self._sound = _Sound(source, video, rate, self._container)

    @property
    def sound(self) -> str:
        return self._sound.kept

    def add(self, k: int, image: np.ndarray) -> None:
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=1)
        frame.pts, frame.time_base = k, 1 / self._rate
        self._container.mux(self._video.encode(frame))
        self._sound.write_until((k + 1) / float(self._rate))

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            if kind is None:
                self._container.mux(self._video.encode(None))
                self._sound.write_until(None)
        finally:
            self._sound.close()
            if kind is None:
                self._container.close()
            else:
                with suppress(Exception):  # what was to be written is given up
                    self._container.close()


class _Sound:
    """The sound of a video file, moved so that its pictures start at time 0.

    Attributes:
        kept: see :class:`PlayableCopy`
    """

    def __init__(self, source: str, video: Video, rate: Fraction, target: Any):
        self.kept = "none"
        self._packets: Iterator[Any] = iter(())
        self._container: Any = None
        if os.path.isdir(source) or not os.path.isfile(source) or video.decoder == "images":
            return
        container, _ = open_container(source)
        if not container.streams.audio:
            container.close()
            return
        steady = np.arange(len(video)) / float(rate)
        if np.abs(video.times - steady).max() > OUT_OF_STEP:
            self.kept = "left out"
            container.close()
            return
        self._container = container
        self._input = container.streams.audio[0]
        self._start = build_index(source).origin + video.start_offset
        # Sound comes in pieces of 1024 samples, and a player runs to the end of the last one
        self._end = max(0.0, len(video) / float(rate) - 0.05)
        try:
            self._output = self._add_stream(target)
            self._packets = self._encoded()
            self.kept = "kept"
        except (ValueError, OSError):  # of PyAV: a codec or a layout that it does not know
            self.kept = "left out"
        self._target, self._ahead = target, None

    def _add_stream(self, target: Any) -> Any:
        rate = self._input.codec_context.sample_rate
        rate = rate if rate in _SOUND_RATES else _SOUND_RATES[0]
        output = target.add_stream("aac", rate=rate)
        output.layout = "mono" if self._input.codec_context.channels == 1 else "stereo"
        output.bit_rate = 160_000
        return output

    def write_until(self, seconds: float | None) -> None:
        """Writes what is heard before a time; all that is left, if it is None."""
        if self.kept != "kept":
            return
        while True:
            packet = self._ahead or next(self._packets, None)
            self._ahead = None
            if packet is None:
                return
            begins = float((packet.pts or 0) * packet.time_base)
            if seconds is not None and begins > seconds:
                self._ahead = packet
                return
            self._target.mux(packet)

    def _encoded(self) -> Iterator[Any]:
        graph, sink = self._graph()
        for frame in self._decoded():
            graph.push(frame)
            for ready in _pulled(sink):
                yield from self._output.encode(ready)
        with suppress(ValueError, OSError):
            graph.push(None)
            for ready in _pulled(sink):
                yield from self._output.encode(ready)
        yield from self._output.encode(None)

    def _decoded(self) -> Iterator[Any]:
        """Sound with its time on the clock of the copy."""
        shift = round(Fraction(self._start) / self._input.time_base)
        try:
            for packet in self._container.demux(self._input):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    continue
                for frame in frames:
                    if frame.pts is None:
                        continue
                    if float((frame.pts - shift) * frame.time_base) > self._end:
                        return
                    frame.pts -= shift
                    yield frame
        except av.FFmpegError:
            return

    def _graph(self) -> tuple[Any, Any]:
        graph = av.filter.Graph()
        layout = self._output.layout.name
        steps = [
            graph.add_abuffer(template=self._input),
            # Gaps become silence, and what is before time 0 is left out
            graph.add("aresample", f"{self._output.rate}:async=1:first_pts=0"),
            graph.add("atrim", f"end={self._end:.6f}"),
            graph.add("aformat", f"sample_fmts=fltp:channel_layouts={layout}"),
            graph.add("asetnsamples", "n=1024:p=0"),
            graph.add("abuffersink"),
        ]
        graph.link_nodes(*steps).configure()
        return graph, steps[-1]

    def close(self) -> None:
        self._packets = iter(())
        if self._container is not None:
            self._container.close()


def _pulled(sink: Any) -> Iterator[Any]:
    while True:
        try:
            yield sink.pull()
        except (av.BlockingIOError, av.EOFError):
            return


def _pixel_aspect(source: str) -> Fraction:
    """The width of a pixel by its height, of upright pictures."""
    if not os.path.isfile(source):
        return Fraction(1)
    try:
        container, stream = open_container(source)
    except VideoError:  # an image
        return Fraction(1)
    with container:
        aspect = stream.sample_aspect_ratio or Fraction(1)
        frame = next(container.decode(stream), None)
    if frame is None:
        return aspect
    upright, _ = orientation_of(frame)
    turned = upright(np.empty((1, 2))).shape == (2, 1)
    return 1 / aspect if turned else aspect
