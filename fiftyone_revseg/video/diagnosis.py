"""What is wrong with a file that is no video, in words that say what to do."""

from __future__ import annotations

import codecs
import os

from fiftyone_revseg.video.errors import VideoError

#: The most pixels of a frame, twice those of 8K. Several frames are held at a time, and one of
#: this size takes 192 MiB
MAX_PIXELS = 8192 * 8192

# What an mp4 or mov file may begin with
_FIRST_BOXES = {b"ftyp", b"free", b"mdat", b"skip", b"wide"}


def check_frame_size(name: str, width: int, height: int) -> None:
    """Raises a VideoError if frames are too large to work with."""
    if width * height > MAX_PIXELS:
        raise VideoError(
            f"{name} has frames of {width} x {height} pixels, more than memory is kept for"
            f" ({MAX_PIXELS / 1e6:.0f} million pixels): make it smaller, for example with"
            f" 'ffmpeg -i {os.path.basename(name)} -vf scale=1920:-2 out.mp4'."
        )


def explain_unopened(path: str, error: Exception | None = None) -> VideoError:
    """Looks into a file that FFmpeg does not open as a video.

    Args:
        path: the path of the file
        error (None): what FFmpeg said

    Returns:
        the error to raise
    """
    name = os.path.basename(path)
    if not os.path.exists(path):
        return missing(path)
    if beginning := _text_of(path):
        return VideoError(
            f"{name} is a text file (it begins with {beginning!r}): give a video file, or download"
            " the one that it stands for."
        )
    if _lacks_index(path):
        return VideoError(
            f"{name} is cut off or was never finished: the index of its frames, which such files"
            " have at their end, is missing. Copy or export it again."
        )
    if isinstance(error, EOFError):
        return VideoError(
            f"{name} ends before its first frame: nothing was recorded in it, or not all of it was"
            " copied."
        )
    why = getattr(error, "strerror", None) or str(error or "its format is not known")
    return VideoError(
        f"{name} is no video that FFmpeg can open ({why}): play it to see whether it is whole,"
        " and copy or export it again."
    )


def missing(path: str) -> VideoError:
    """The error of a file that is not there."""
    folder = os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        return VideoError(
            f"there is no file {path}, nor its folder: check the path, and whether the folder was"
            " moved or its drive is not mounted."
        )
    return VideoError(f"there is no file {path}: check the path, and whether it was moved.")


def _text_of(path: str) -> str:
    """The first words of a text file, on one line; "" if it is none."""
    with open(path, "rb") as file:
        head = file.read(1000)
    try:
        # A character may be cut at the end of what was read
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return ""
    words = " ".join(text.split())
    return words[:40] if words.isprintable() else ""


def _lacks_index(path: str) -> bool:
    """Whether a file begins as mp4 or mov, and has no whole index of its frames."""
    length = os.path.getsize(path)
    start = 0
    with open(path, "rb") as file:
        for number in range(1000):
            file.seek(start)
            header = file.read(16)
            size, kind = int.from_bytes(header[:4], "big"), header[4:8]
            if number == 0 and kind not in _FIRST_BOXES:
                return False
            if size == 1:
                size = int.from_bytes(header[8:], "big")
            if kind == b"moov":
                return start + size > length
            if size < 8 or start + size >= length:
                return True
            start += size
    return False
