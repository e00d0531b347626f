"""Videos whose frames show their own number, at times that are given."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS, MILLISECONDS = 8, Fraction(1, 1000)


def draw(number, width=160, height=96):
    """A picture with the bits of a number as blocks, the lowest at the left, on grey."""
    image = np.full((height, width, 3), 128, np.uint8)
    for i in range(BITS):
        left, right = (round(width * (i + x) / BITS) for x in (0.1, 0.9))
        image[height // 10 : 4 * height // 10, left:right] = 255 if number >> i & 1 else 0
    return image


def read(image):
    """The number that a picture shows, whatever its size; 0-based."""
    height, width = image.shape[:2]
    grey = np.asarray(image).reshape(height, width, -1)[..., :3].mean(axis=2)
    rows = grey[round(0.2 * height) : round(0.3 * height)]
    columns = [slice(*(round(width * (i + x) / BITS) for x in (0.4, 0.6))) for i in range(BITS)]
    return sum(1 << i for i in range(BITS) if rows[:, columns[i]].mean() > 128)


def encode(path, stamps, time_base=MILLISECONDS, codec="libx264", sound=None, **settings):
    """Writes a video whose frame k is shown at ``stamps[k]`` in units of ``time_base``.

    Args:
        path: the file
        stamps: increasing whole numbers
        time_base (1/1000): seconds
        codec ("libx264"): the encoder
        sound (None): the seconds of sound, from time zero on
        **settings: "size" (width, height), "pixels", "options" of the encoder, "aspect" of pixels,
            nominal "rate"
    """
    width, height = settings.get("size", (160, 96))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        # Matroska writes the rate down as the duration of each frame
        gap = (stamps[1] - stamps[0]) * time_base if len(stamps) > 1 else Fraction(1, 25)
        rate = settings.get("rate", (1 / gap).limit_denominator(1001))
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = width, height
        stream.pix_fmt = settings.get("pixels", "yuv420p")
        stream.codec_context.time_base = stream.time_base = time_base
        if settings.get("aspect"):
            stream.codec_context.sample_aspect_ratio = settings["aspect"]
        stream.options = settings.get("options", _OPTIONS.get(codec, {}))
        noise = None if sound is None else container.add_stream("aac", rate=48000)
        for k, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(draw(k, width, height), format="rgb24")
            frame.pts, frame.time_base = int(stamp), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if noise is not None:
            for packet in _sound(noise, sound):
                container.mux(packet)
    return str(path)


_OPTIONS = {
    "libx264": {"crf": "12", "g": "12", "bf": "0"},
    "libx265": {"crf": "12", "x265-params": "keyint=12:log-level=none"},
    "libvpx-vp9": {"crf": "20", "b:v": "0", "g": "12", "deadline": "realtime", "cpu-used": "8"},
}


def _sound(stream, seconds, start=0.0, hertz=440):
    """A tone that begins at a time."""
    size, rate = 1024, 48000
    for first in range(0, int(seconds * rate), size):
        wave = np.sin(2 * np.pi * hertz * (first + np.arange(size)) / rate).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, first + int(start * rate)
        frame.time_base = Fraction(1, rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)
