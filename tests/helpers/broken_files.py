"""Videos that are broken or odd in every way that people's data is: a function for each.

Each takes a path, and some also a whole H.264 mp4 file to start from, and writes the file.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from PIL import Image


def empty(path: Path) -> None:
    """A file of 0 bytes, as a copy that failed leaves it."""
    path.write_bytes(b"")


def text(path: Path) -> None:
    """What a server answers where the video is gone, saved under the video's name."""
    path.write_text("<html><body>404 Not Found</body></html>")


def image(path: Path) -> None:
    """A picture under a video's name."""
    Image.new("RGB", (64, 48), "red").save(path, "jpeg")


def audio_only(path: Path) -> None:
    """A sound track in an mp4 file."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def zero_frames(path: Path) -> None:
    """A recording that was stopped at once: a video stream, and not one frame in it."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()


def truncated(path: Path, whole: Path) -> None:
    """The first half of an mp4 file, without the index of its frames at the end."""
    data = whole.read_bytes()
    path.write_bytes(data[: data.index(b"moov") // 2])


def truncated_stream(path: Path, whole: Path) -> None:
    """The first part of a file that can be played up to where it breaks off."""
    copy = path.with_suffix(".whole.mkv")
    with av.open(str(whole)) as source, av.open(str(copy), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = copy.read_bytes()
    copy.unlink()
    path.write_bytes(data[: int(len(data) * 0.95)])


def copied(path: Path, whole: Path) -> None:
    """A whole video under another name."""
    path.write_bytes(whole.read_bytes())


def one_frame(path: Path, whole: Path) -> None:
    """Only the first frame of a video."""
    with av.open(str(whole)) as source:
        frame = next(source.decode(video=0)).to_ndarray(format="rgb24")
    write(path, [frame])


def one_pixel(path: Path) -> None:
    """Four frames of 1 x 1 pixel."""
    frames = [np.full((1, 1, 3), 60 * k, np.uint8) for k in range(4)]
    write(path, frames, codec="ffv1", pixels="bgr0")


def very_wide(path: Path) -> None:
    """Three frames of 16384 x 64 pixels, with a red square."""
    picture = np.full((64, 16384, 3), 90, np.uint8)
    picture[16:48, 4000:8000] = (220, 30, 30)
    write(path, [picture] * 3)


def too_large(path: Path) -> None:
    """A frame of 16000 x 4400 pixels, more than are worked on."""
    write(path, [av.VideoFrame(16000, 4400, "yuvj420p")], codec="mjpeg", pixels="yuvj420p")


def write(path: Path, frames: list, codec: str = "libx264", pixels: str = "yuv420p") -> None:
    """Encodes (H, W, 3) uint8 RGB arrays, or PyAV frames."""
    frames = [
        av.VideoFrame.from_ndarray(f, format="rgb24") if isinstance(f, np.ndarray) else f
        for f in frames
    ]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, pixels
        for frame in frames:
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
