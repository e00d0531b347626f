"""What the packets of H.264 hold: whole pictures or single fields, and where decoding can start.

Camcorders and broadcasters code interlaced pictures as two fields, each a coded picture, and many
containers keep each in a packet of its own. Only the beginning of each slice is read, and only in
files whose parameters allow fields at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_SLICES = {1, 2, 5}  # of an ordinary picture; with its partitions; of one that starts afresh
_IDR, _SPS, _PPS = 5, 7, 8
# More than what is read of the beginning of a slice, and of parameters, ever takes
_HEADER_BYTES, _PARAMETER_BYTES = 64, 1024
# A packet of a picture is seldom smaller; smaller ones may hold no picture at all
_SMALL = 24
# The profiles whose parameters say how colour is sampled
_COLOUR_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}


@dataclass(frozen=True)
class Picture:
    """What a packet holds.

    Attributes:
        shown: whether there is a picture in it at all
        idr: whether it is one after which nothing refers back
        field: if it is one field of a picture, its (number of the frame, whether it is the bottom)
        interlaced: whether there are fields in it, one or both
    """

    shown: bool = True
    idr: bool = False
    field: tuple[int, bool] | None = None
    interlaced: bool = False

    def completes(self, first: Picture) -> bool:
        """Whether it is the other field of the picture that a packet before it began."""
        if self.field is None or first.field is None or self.idr:
            return False
        return self.field[0] == first.field[0] and self.field[1] != first.field[1]


_WHOLE = Picture()


@dataclass(frozen=True)
class _Parameters:
    """What a sequence parameter set says about slice headers."""

    planes_apart: bool
    frame_num_bits: int
    frames_only: bool


class H264Packets:
    """Reads the packets of one stream, in the order of decoding.

    Args:
        extradata: what the container keeps of the stream's parameters, or None
    """

    def __init__(self, extradata: bytes | None):
        self._sequences: dict[int, _Parameters] = {}
        self._pictures: dict[int, int] = {}  # which sequence a picture parameter set belongs to
        self._may_have_fields = False
        self.length_size = 0  # bytes before each unit in mp4 and mkv; 0 for start codes instead
        if extradata and len(extradata) > 6 and extradata[0] == 1:
            self.length_size = (extradata[4] & 3) + 1
            self._learn_all(_configured_units(extradata))
        elif extradata:
            self._learn_all(_marked_units(extradata))

    def read(self, packet: Any) -> Picture:
        """Tells what a PyAV packet holds; see :class:`Picture`."""
        if not (packet.is_keyframe or self._may_have_fields or packet.size < _SMALL):
            return _WHOLE
        data = bytes(packet)
        shown, idr, fields = False, False, []
        units = _sized_units(data, self.length_size) if self.length_size else _marked_units(data)
        for unit in units:
            kind = unit[0] & 0x1F
            if kind in _SLICES:
                shown = True
                idr = idr or kind == _IDR
                field = self._field(unit) if self._may_have_fields else None
                if field is not None and field not in fields:
                    fields.append(field)
            else:
                self._learn(unit)
        single = fields[0] if len(fields) == 1 else None
        return Picture(shown, idr, single, bool(fields))

    def _field(self, unit: bytes) -> tuple[int, bool] | None:
        """The field that a slice is of; None if it is of a whole frame, or cannot be read."""
        bits = _Bits(unit[1:_HEADER_BYTES])
        try:
            bits.golomb()
            bits.golomb()
            parameters = self._sequences[self._pictures[bits.golomb()]]
            if parameters.frames_only:
                return None
            if parameters.planes_apart:
                bits.read(2)
            number = bits.read(parameters.frame_num_bits)
            return (number, bool(bits.read(1))) if bits.read(1) else None
        except (KeyError, ValueError):
            return None

    def _learn_all(self, units: Iterator[bytes]) -> None:
        for unit in units:
            self._learn(unit)

    def _learn(self, unit: bytes) -> None:
        kind = unit[0] & 0x1F
        try:
            if kind == _SPS:
                number, parameters = _sequence_parameters(unit)
                self._sequences[number] = parameters
                self._may_have_fields = self._may_have_fields or not parameters.frames_only
            elif kind == _PPS:
                bits = _Bits(unit[1:_HEADER_BYTES])
                number = bits.golomb()
                self._pictures[number] = bits.golomb()
        except ValueError:
            pass  # damaged


def _sequence_parameters(unit: bytes) -> tuple[int, _Parameters]:
    bits = _Bits(unit[1:_PARAMETER_BYTES])
    profile = bits.read(8)
    bits.read(16)
    number = bits.golomb()
    planes_apart = False
    if profile in _COLOUR_PROFILES:
        chroma = bits.golomb()
        if chroma == 3:
            planes_apart = bool(bits.read(1))
        bits.golomb()
        bits.golomb()
        bits.read(1)
        if bits.read(1):
            for i in range(12 if chroma == 3 else 8):
                if bits.read(1):
                    _skip_scaling_list(bits, 16 if i < 6 else 64)
    frame_num_bits = bits.golomb() + 4
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.read(1)
        bits.golomb()
        bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()
    bits.golomb()
    bits.read(1)
    bits.golomb()
    bits.golomb()
    return number, _Parameters(planes_apart, frame_num_bits, bool(bits.read(1)))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            coded = bits.golomb()
            change = (coded + 1) // 2 if coded % 2 else -(coded // 2)
            following = (last + change) % 256
        last = following or last


class _Bits:
    """The bits of a unit, without the bytes that keep start codes out of it."""

    def __init__(self, data: bytes):
        clean = data.replace(b"\x00\x00\x03", b"\x00\x00")
        self._value = int.from_bytes(clean, "big")
        self._left = 8 * len(clean)

    def read(self, count: int) -> int:
        if count > self._left:
            raise ValueError("a unit ends too early")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def golomb(self) -> int:
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("no number")
        return (1 << zeros) - 1 + self.read(zeros)


def _configured_units(extradata: bytes) -> Iterator[bytes]:
    """The parameter sets in what mp4 and mkv keep of a stream."""
    i = 5
    for mask in (0x1F, 0xFF):
        count = extradata[i] & mask if i < len(extradata) else 0
        i += 1
        for _ in range(count):
            size = int.from_bytes(extradata[i : i + 2], "big")
            if unit := extradata[i + 2 : i + 2 + size]:
                yield unit
            i += 2 + size


def _sized_units(data: bytes, length_size: int) -> Iterator[bytes]:
    i = 0
    while i + length_size < len(data):
        size = int.from_bytes(data[i : i + length_size], "big")
        i += length_size
        if unit := data[i : i + size]:
            yield unit
        i += size


def _marked_units(data: bytes) -> Iterator[bytes]:
    i = data.find(b"\x00\x00\x01")
    while i >= 0:
        end = data.find(b"\x00\x00\x01", i + 3)
        if unit := data[i + 3 : end if end >= 0 else None]:
            yield unit
        i = end
