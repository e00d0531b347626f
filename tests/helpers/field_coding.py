"""H.264 as camcorders and broadcasters write it: pictures coded as one frame or as two fields.

No encoder at hand writes fields, so this one does, with every macroblock stored as it is (I_PCM).
"""

import numpy as np

_AUD = b"\x00\x00\x00\x01\x09\x10"


class _Bits:
    def __init__(self):
        self.bits = []

    def put(self, value, count):
        self.bits += [value >> (count - 1 - i) & 1 for i in range(count)]

    def golomb(self, *values):
        for value in values:
            count = (value + 1).bit_length()
            self.put(0, count - 1)
            self.put(value + 1, count)

    def align(self):
        self.bits += [0] * (-len(self.bits) % 8)

    def bytes(self, stop=True):
        if stop:
            self.bits.append(1)
        self.align()
        return np.packbits(np.array(self.bits, np.uint8)).tobytes()


def _unit(header, payload):
    out, zeros = bytearray([header]), 0
    for value in payload:
        if zeros >= 2 and value <= 3:
            out.append(3)
            zeros = 0
        out.append(value)
        zeros = zeros + 1 if value == 0 else 0
    return b"\x00\x00\x00\x01" + bytes(out)


def parameters(width, height, high=False):
    """Sequence and picture parameters; ``high`` adds what profiles of better colour say."""
    b = _Bits()
    b.put(100 if high else 77, 8)
    b.put(40, 16)
    b.golomb(0)
    if high:
        b.golomb(1, 0, 0)
        b.put(0, 1)
        b.put(1, 1)  # scaling lists: one is sent, of 16 equal numbers
        b.put(1, 1)
        b.golomb(*[0] * 16)
        b.put(0, 7)
    b.golomb(0, 0, 4, 4)  # 4 bits of frame_num, 8 of the order of output; 4 references
    b.put(0, 1)
    b.golomb(width // 16 - 1, height // 32 - 1)
    b.put(0b00_1_0_1, 5)  # fields are allowed, no macroblock pairs; inference, no cropping; VUI
    b.put(0b0000_1, 5)
    b.put(1, 32)
    b.put(50, 32)
    b.put(0b1_0_0_0_1, 5)
    b.put(1, 1)  # restrictions: one frame is reordered
    b.golomb(0, 0, 16, 16, 1, 4)
    sequence = _unit(0x67, b.bytes())
    b = _Bits()
    b.golomb(0, 0)
    b.put(0, 2)
    b.golomb(0, 0, 0)
    b.put(0, 3)
    b.golomb(0, 0, 0)
    b.put(0b100, 3)
    return sequence + _unit(0x68, b.bytes())


def _picture(luma, number, order, field, idr, used):
    """One coded picture: a frame (field None) or a field (0 top, 1 bottom)."""
    b = _Bits()
    b.golomb(0, 7, 0)
    b.put(number % 16, 4)
    b.put(0 if field is None else 2 | field, 1 if field is None else 2)
    if idr:
        b.golomb(0)
    b.put(order % 256, 8)
    if used:
        b.put(0, 2 if idr else 1)
    b.golomb(0, 1)
    chunks = []
    for y in range(0, luma.shape[0], 16):
        for x in range(0, luma.shape[1], 16):
            b.golomb(25)
            chunks += [b.bytes(stop=False), luma[y : y + 16, x : x + 16].tobytes(), b"\x80" * 128]
            b = _Bits()
    chunks.append(b.bytes())
    return _unit((0x60 if used else 0) | (5 if idr else 1), b"".join(chunks))


def code(images, gop=8, as_fields=lambda k: True, reorder=False, high=False):
    """Codes grey images.

    Args:
        images: list of (H, W) uint8, H a multiple of 32 and W of 16
        gop: the distance of pictures that start afresh
        as_fields: which pictures are coded as two fields
        reorder: whether every second picture is decoded after the one that is shown after it

    Yields:
        (its number, whether it starts afresh, the coded pictures of it: one or two)
    """
    numbers = list(range(len(images)))
    if reorder:
        for k in range(1, len(images) - 1, 2):
            if k % gop and (k + 1) % gop:
                numbers[k], numbers[k + 1] = k + 1, k
    frame_num = 0
    for place, k in enumerate(numbers):
        image, idr = images[k], k % gop == 0
        delayed = place > 0 and numbers[place - 1] > k  # and nothing refers to it
        frame_num = 0 if idr else frame_num
        order = 2 * (k % gop)
        head = _AUD + (parameters(*image.shape[::-1], high) if idr else b"")
        if as_fields(k):
            top = _picture(image[0::2], frame_num, order, 0, idr, not delayed)
            bottom = _picture(image[1::2], frame_num, order + 1, 1, False, not delayed)
            yield k, idr, [head + top, _AUD + bottom]
        else:
            yield k, idr, [head + _picture(image, frame_num, order, None, idr, not delayed)]
        frame_num += 0 if delayed else 1


def write(path, images, per_field=True, field_step=1800, **options):
    """Writes them as a transport stream: one packet for each field, or both in one."""
    from fractions import Fraction

    import av

    with av.open(str(path), "w", format="mpegts") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.height, stream.width = images[0].shape
        stream.pix_fmt = "yuv420p"
        for place, (k, idr, fields) in enumerate(code(images, **options)):
            for j, data in enumerate(fields if per_field else [b"".join(fields)]):
                packet = av.Packet(data)
                packet.time_base = Fraction(1, 90000)
                packet.pts = 90000 + 3600 * (k + 1) + field_step * j
                packet.dts = 90000 + 3600 * place + 1800 * j
                packet.is_keyframe = idr and j == 0
                packet.stream = stream
                output.mux(packet)
    return path
