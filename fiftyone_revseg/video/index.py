"""Which frame is frame k: the packet index of a video file.

Reading the packets of a file without decoding them takes milliseconds and says which frames there
are, in which order they are shown and where decoding can start. Containers that do not carry
times of presentation (avi, raw streams) are decoded once instead, and the frames counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

import av
import numpy as np

from fiftyone_revseg.files import name_for_ffmpeg
from fiftyone_revseg.video import diagnosis
from fiftyone_revseg.video.diagnosis import check_frame_size, explain_unopened
from fiftyone_revseg.video.errors import VideoError
from fiftyone_revseg.video.h264 import H264Packets, Picture
from fiftyone_revseg.video.stamps import mend_stamps

# Codecs whose key frames always start afresh. H.264 and HEVC also flag frames as keys from which
# a picture is only complete a while later, or whose neighbours refer to frames before them
_CLEAN_KEYS = {"mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4v3", "h263", "flv1"}
_CLEAN_KEYS |= {"wmv1", "wmv2", "mjpeg", "vp8", "vp9", "av1"}
# After a seek, four threads and more mix up the frames that these refer to (FFmpeg 8.1)
_ONE_THREAD = {"theora", "vp3", "vp4"}
# Where decord was measured to be exact, given that nothing below objects
_DECORD_CONTAINERS = {"mov", "mp4", "matroska", "webm"}
_DECORD_CODECS = {"h264", "vp8", "vp9", "av1"}
# Their stamps follow the order of decoding, as these codecs do anyway, without frames that refer to
# later ones
_DECODING_ORDER = {"avi", "asf"}
_UNORDERED = {"wmv1", "wmv2", "msmpeg4v2", "msmpeg4v3", "flv1", "h263"}
# Programme streams end without saying how long their last frame should have been
_OPEN_ENDED = {"mpegts", "mpeg"}


@dataclass(frozen=True)
class PacketIndex:
    """The frames of a video file in the order in which they are shown.

    A *stamp* is a time of presentation in units of ``time_base``.

    Attributes:
        codec: FFmpeg's name of the codec
        container: FFmpeg's names of the container, comma-separated
        time_base: the seconds of one unit of the stamps
        rate: frames per second as the file states them, or None
        stamps: (N,) int64, strictly increasing; frame k is the one with stamp ``stamps[k]``
        key_marks: (K,) the marks of the packets at which decoding can start, also of those before
            the first frame shown, see :meth:`mark`; in the order of the frames
        key_dts: (K,) their times of decoding, or None, for seeking
        counted: frames are known by counting, not by their stamps, which the file does not carry
        counted_keys: if counted, (K,) the numbers of the frames at which decoding can start
        last_stamp: the stamp of the last packet in the file
        origin: the seconds, on the clock of the stamps, at which a player's clock shows 0
        broken_tail: the marks of packets that the end of the file cuts off; see :meth:`whole`
        objections: what speaks against decord, in words; empty if nothing does
        remarks: what is wrong with the file and was made good, in words
    """

    codec: str
    container: str
    time_base: Fraction
    rate: float | None
    stamps: np.ndarray
    key_marks: tuple[int, ...]
    key_dts: tuple[int | None, ...]
    counted: bool = False
    counted_keys: tuple[int, ...] = ()
    last_stamp: int | None = None
    origin: float = 0.0
    broken_tail: frozenset[int] = frozenset()
    objections: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def mark(self, packet: Any) -> int | None:
        """By what a packet is known again: its stamp, or its byte position if counted."""
        return packet.pos if self.counted else packet.pts

    @cached_property
    def key_places(self) -> dict[int | None, int]:
        """The mark of a packet at which decoding can start -> which of them it is."""
        return {mark: place for place, mark in enumerate(self.key_marks)}

    @cached_property
    def key_numbers(self) -> np.ndarray:
        """(K,) int64 numbers of the first frames shown from each of them on, not decreasing."""
        if self.counted:
            return np.asarray(self.counted_keys, dtype=np.int64)
        return np.searchsorted(self.stamps, np.asarray(self.key_marks, dtype=np.int64))

    @property
    def key_frames(self) -> np.ndarray:
        """Increasing numbers of the frames at which decoding can start; the first is 0."""
        numbers = np.union1d([0], self.key_numbers)
        return numbers[numbers < len(self.stamps)]

    @property
    def times(self) -> np.ndarray:
        """(N,) float64 seconds, the first frame at 0."""
        return (self.stamps - self.stamps[0]) * float(self.time_base)

    @property
    def start_offset(self) -> float:
        """The seconds that a player's clock shows at the first frame."""
        return float(self.stamps[0] * self.time_base) - self.origin

    def whole(self, packets: Iterable[Any]) -> Iterator[Any]:
        """Leaves out the packets that the end of the file cuts off: they decode to garbage."""
        for packet in packets:
            if self.mark(packet) not in self.broken_tail:
                yield packet

    @property
    def open_ended(self) -> bool:
        """Whether a cut end leaves no trace in the packets."""
        return bool(_OPEN_ENDED & set(self.container.split(",")))


@dataclass(slots=True)
class _Packet:
    """One packet; the first three are None as well, where the container does not say."""

    pts: Any
    dts: Any
    pos: Any
    size: int
    key: bool
    discard: bool
    corrupt: bool
    picture: Picture | None  # what one of H.264 holds


@dataclass
class _Packets:
    """A stream, and its packets in the order in which they are decoded.

    Attributes:
        path: the path of the file
        codec: see :class:`PacketIndex`, as the next four
        container: see there
        time_base: see there
        rate: see there
        origin: see there
        declared: the number of frames as the file states it; 0 if it does not
        alone: whether there is no other video stream
        length_size: of H.264, see :class:`fiftyone_revseg.video.h264.H264Packets`
        all: all packets
        whole: how many of them come before what the end of the file cuts off
        starts: those of these that begin a picture
        unpaired: whether there are fields without the other one of their picture, of which only the
            decoder knows whether they are shown
    """

    path: str
    codec: str
    container: str
    time_base: Fraction
    rate: float | None
    origin: float
    declared: int
    alone: bool
    length_size: int = 0
    all: list[_Packet] = field(default_factory=list)
    whole: int = 0
    starts: list[_Packet] = field(default_factory=list)
    unpaired: bool = False

    @property
    def kinds(self) -> set[str]:
        return set(self.container.split(","))

    @property
    def keys(self) -> list[_Packet]:
        return [packet for packet in self.starts if packet.key]

    @property
    def keys_are_clean(self) -> bool:
        """Whether nothing after a key frame of H.264 refers to what is before it."""
        return all(p.picture is not None and p.key == p.picture.idr for p in self.starts)


def decoder_options(**more: str) -> dict[str, str]:
    """What every decoder is told: to refuse pictures too large for memory before it takes any."""
    # They count rows that are filled up to a multiple of 64 pixels
    return {"max_pixels": str(diagnosis.MAX_PIXELS * 5 // 4), **more}


def open_container(path: str) -> tuple[Any, Any]:
    """Opens a video file with PyAV.

    Args:
        path: the path of the file

    Returns:
        the container and its video stream

    Raises:
        VideoError: if there is none to decode
    """
    try:
        container = av.open(name_for_ffmpeg(path), options=decoder_options())
    except (av.FFmpegError, OSError, ValueError) as e:
        raise explain_unopened(path, e) from e
    try:
        stream = _video_stream(container, path)
    except BaseException:
        container.close()
        raise
    context = stream.codec_context
    context.options = decoder_options()
    # Left to itself, the decoder leaves columns that are cropped at the left in the picture, where
    # that suits the processor; the container, FiftyOne and browsers do without them
    context.flags |= av.codec.context.Flags.unaligned
    return container, stream


def _video_stream(container: Any, path: str) -> Any:
    name = os.path.basename(path)
    kind = container.format.name
    # By their names alone, FFmpeg renders text as a video of its letters, and takes anything for
    # an image
    if kind in ("tty", "image2"):
        raise explain_unopened(path)
    if kind.endswith("_pipe"):
        raise VideoError(
            f"{name} is an image, not a video: give a video file. If it is meant as a video of one"
            " frame, save it as an 8-bit image such as .png, and name it so."
        )

    # The cover of an album is a video stream too, of one picture; so are thumbnails, of a few
    flags = av.stream.Disposition
    beside = flags.attached_pic | flags.timed_thumbnails | flags.still_image
    streams = [s for s in container.streams.video if not s.disposition & beside]
    if not streams:
        kinds = sorted({s.type for s in container.streams if s.type != "video"})
        if not kinds:
            raise explain_unopened(path, EOFError())
        raise VideoError(
            f"{name} holds no video stream, only {' and '.join(kinds)}: give a file with moving"
            " pictures."
        )
    # Of several, FiftyOne takes the first, and so do browsers: FFmpeg's choice would be the largest
    stream = streams[0]
    on = [s for s in streams if s.disposition & flags.default]
    if "mp4" in kind.split(",") and on and on[0] is not stream:
        raise VideoError(
            f"{name} has {len(streams)} video tracks of which the first is switched off, so"
            " browsers play another than FiftyOne describes: keep one of them, for example with"
            f" 'ffmpeg -i {name} -map 0:{on[0].index} -map 0:a? -c copy out.mp4'."
        )
    if stream.codec_context is None:
        raise VideoError(
            f"{name} is in a codec that this FFmpeg cannot decode: convert it to H.264 with"
            f" 'ffmpeg -i {name} -c:v libx264 out.mp4'."
        )
    width, height = stream.codec_context.width, stream.codec_context.height
    if not width or not height:
        width, height = _stated_size(path, stream.index)
    check_frame_size(path, width, height)
    return stream


def _stated_size(path: str, index: int) -> tuple[int, int]:
    """The size that the container states, where the decoder took none, as when it is too large."""
    try:
        with av.open(name_for_ffmpeg(path), container_options={"probesize": "32"}) as container:
            context = container.streams[index].codec_context
            return context.width, context.height
    except (av.FFmpegError, OSError, ValueError, IndexError):
        return 0, 0


def build_index(path: str) -> PacketIndex:
    """Numbers the frames of a video file.

    Args:
        path: the path of the file

    Returns:
        the :class:`PacketIndex`

    Raises:
        VideoError: if the file cannot be opened or holds no frame
    """
    packets = _read_packets(path)
    shown = [packet for packet in packets.starts if not packet.discard]
    if not shown:
        raise VideoError(
            f"{os.path.basename(path)} holds a video stream without a single whole frame: copy or"
            " download it again."
        )
    if packets.unpaired or not _stamps_trusted(packets, shown):
        return _count_frames(packets)

    stamps = np.sort(np.array([packet.pts for packet in shown], dtype=np.int64))
    return PacketIndex(
        packets.codec,
        packets.container,
        packets.time_base,
        packets.rate,
        stamps,
        tuple(packet.pts for packet in packets.keys),
        tuple(packet.dts for packet in packets.keys),
        last_stamp=packets.starts[-1].pts,
        origin=packets.origin,
        broken_tail=frozenset(p.pts for p in packets.all[packets.whole :] if p.pts is not None),
        objections=tuple(_objections(packets, stamps)),
    )


def _read_packets(path: str) -> _Packets:
    container, stream = open_container(path)
    with container:
        found = _Packets(
            path,
            stream.codec_context.codec.canonical_name,
            container.format.name,
            stream.time_base or Fraction(1, 1000),
            float(stream.average_rate) if stream.average_rate else None,
            _origin(container),
            stream.frames,
            len(container.streams.video) == 1,
        )
        h264 = H264Packets(stream.codec_context.extradata) if found.codec == "h264" else None
        for p in demux(container, stream):
            picture = h264.read(p) if h264 else None
            marks = p.is_keyframe, p.is_discard, p.is_corrupt
            found.all.append(_Packet(p.pts, p.dts, p.pos, p.size, *marks, picture))
    # What the end of the file cut off does not decode, or decodes to garbage
    if found.all and "avi" in found.kinds and _cut_chunk(path, found.all[-1]):
        found.all[-1].corrupt = True
    found.whole = len(found.all)
    while found.whole and found.all[found.whole - 1].corrupt:
        found.whole -= 1
    found.starts = found.all[: found.whole]
    if h264:
        found.length_size = h264.length_size
        found.starts, found.unpaired = _first_fields(found.starts)
    return found


def _first_fields(packets: list[_Packet]) -> tuple[list[_Packet], bool]:
    """Which packets of H.264 begin a picture, and whether there are unpaired fields."""
    starts: list[_Packet] = []
    unpaired = False
    first: Picture | None = None  # a field that waits for the other one
    for packet in packets:
        picture = packet.picture
        if picture is None or not picture.shown:
            continue
        if first is not None:
            if picture.completes(first):
                first = None
                continue
            unpaired = True
        starts.append(packet)
        first = picture if picture.field is not None else None
    return starts, unpaired or first is not None


def _origin(container: Any) -> float:
    """Where a player's clock starts: at 0, but with the first packet of a programme stream."""
    if _OPEN_ENDED & set(container.format.name.split(",")):
        return (container.start_time or 0) / 1e6
    return 0.0


def demux(container: Any, stream: Any) -> Iterator[Any]:
    """The packets up to the end of the file, or to where it breaks off."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except av.FFmpegError:
        return


def _cut_chunk(path: str, last: _Packet) -> bool:
    """Whether the last chunk of an avi file is shorter than it says, which FFmpeg passes over."""
    with open(path, "rb") as file:
        file.seek(max(0, (last.pos or 0) - 4))  # a chunk: name, size, data
        return int.from_bytes(file.read(4), "little") > last.size


def _stamps_trusted(packets: _Packets, shown: list[_Packet]) -> bool:
    """Whether sorting the stamps gives the order in which the frames are shown."""
    if all(packet.key for packet in packets.starts):
        pass  # no reordering, whatever the container
    elif _DECODING_ORDER & packets.kinds and packets.codec not in _UNORDERED:
        return False
    if any(packet.pts is None for packet in packets.starts):
        return False
    if len({packet.pts for packet in shown}) < len(shown):
        return False
    # Two recordings joined without new times: time jumps back
    dts = [packet.dts for packet in packets.all if packet.dts is not None]
    keys = [packet.pts for packet in packets.keys]
    return all(b > a for a, b in pairwise(keys)) and all(b >= a for a, b in pairwise(dts))


def _objections(packets: _Packets, stamps: np.ndarray) -> list[str]:
    """What speaks against decord; each of these gave wrong frames when it was measured."""
    found = []
    pictures = [packet.picture for packet in packets.all if packet.picture is not None]
    if not _DECORD_CONTAINERS & packets.kinds:
        found.append(f"container {packets.container}")
    if packets.codec not in _DECORD_CODECS:
        found.append(f"codec {packets.codec}")
    if any(packet.discard for packet in packets.all):
        found.append("edit list")
    cut = packets.declared and packets.declared != len(packets.all)
    if cut or any(packet.corrupt for packet in packets.all):
        found.append("damaged or cut off")
    if stamps[0] != 0:
        found.append("does not start at time 0")
    if packets.codec == "h264" and not (packets.length_size and packets.keys_are_clean):
        found.append("key frames that do not start afresh")
    if any(picture.interlaced or not picture.shown for picture in pictures):
        found.append("packets that are no whole frames")
    if not packets.starts[0].key:
        found.append("does not start with a key frame")
    last_key = packets.starts[0].pts
    for packet in packets.starts:
        if packet.key:
            last_key = packet.pts
        elif packet.pts < last_key:
            found.append("open groups of pictures")
            break
    if not packets.alone:
        found.append("several video streams")  # it would choose one by itself
    return found


def _count_frames(packets: _Packets) -> PacketIndex:
    """Numbers the frames by decoding them all, once, in the order in which they come out."""
    stamps: list[Any] = []
    key_numbers: list[int] = []
    container, stream = open_container(packets.path)
    with container:
        stream.thread_type = threads_of(packets.codec)
        whole = islice(demux(container, stream), packets.whole)
        for frame in decode(stream.codec_context, whole):
            if frame.key_frame:
                key_numbers.append(len(stamps))
            stamps.append(frame.pts)
    if not stamps:
        raise VideoError(
            f"not one frame of {os.path.basename(packets.path)} can be decoded: copy or download it"
            " again."
        )
    positions = tuple(packet.pos for packet in packets.keys)
    key_dts = tuple(packet.dts for packet in packets.keys)
    clean = packets.codec in _CLEAN_KEYS or (packets.codec == "h264" and packets.keys_are_clean)
    if (
        not clean
        or len(positions) != len(key_numbers)
        or None in key_dts
        or any(p is None or p < 0 for p in positions)
        or len(set(positions)) < len(positions)
    ):
        positions, key_dts, key_numbers = (), (), []  # then always decode from the start
    ticks = [packet.dts if packet.pts is None else packet.pts for packet in packets.starts]
    if _DECODING_ORDER & packets.kinds and len(ticks) == len(stamps):
        stamps = ticks  # in whatever order they are decoded, one is shown at each tick
    time_base, origin = packets.time_base, packets.origin
    remarks: tuple[str, ...] = ()
    if None in stamps or any(b <= a for a, b in pairwise(stamps)):
        if "avi" in packets.kinds:
            stamps = [None] * len(stamps)  # its rate is constant
        stamps, time_base, remarks = _mended(stamps, time_base, packets.rate)
    if _DECODING_ORDER & packets.kinds:
        origin = float(stamps[0] * time_base)
    cut = (packet.pos for packet in packets.all[packets.whole :])
    return PacketIndex(
        packets.codec,
        packets.container,
        time_base,
        packets.rate,
        np.array(stamps, dtype=np.int64),
        positions,
        key_dts,
        counted=True,
        counted_keys=tuple(key_numbers),
        broken_tail=frozenset(p for p in cut if p is not None and p >= 0),
        origin=origin,
        objections=("the file does not say when its frames are shown",),
        remarks=remarks,
    )


def threads_of(codec: str) -> str:
    """How a codec may be decoded in threads, as PyAV calls it."""
    return "NONE" if codec in _ONE_THREAD else "AUTO"


def _mended(
    stamps: list[Any], time_base: Fraction, rate: float | None
) -> tuple[list[int], Fraction, tuple[str, ...]]:
    """Stamps that increase, the seconds of one of their units, and what to say about them."""
    fps = rate or 25  # which is also what FFmpeg assumes
    mended = mend_stamps(stamps, float(1 / (fps * time_base)))
    found = []
    if stamps.count(None) == len(stamps):
        if not rate:
            found.append(f"it holds no times, so {fps:g} frames a second are assumed")
    elif mended.guessed:
        found.append(
            f"{mended.guessed} of {len(stamps)} frames have no usable time and got one from their"
            " neighbours"
        )
    if mended.restarts:
        found.append(f"its clock was set back ({mended.restarts} x) and is taken to have gone on")
    return mended.stamps.tolist(), time_base / mended.scale, tuple(found)


def decode(decoder: Any, packets: Iterable[Any]) -> Iterator[Any]:
    """Decodes packets up to the last, passing over those that are broken.

    Args:
        decoder: a PyAV codec context, fresh or flushed
        packets: PyAV packets, the first at a place where decoding can start

    Yields:
        PyAV frames in the order in which they are shown
    """
    for packet in packets:
        try:
            frames = decoder.decode(packet)
        except av.FFmpegError:
            continue
        yield from frames
    try:
        frames = decoder.decode(None)
    except av.FFmpegError:
        return
    yield from frames
