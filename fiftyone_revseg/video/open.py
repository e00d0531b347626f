"""One way in for every kind of video."""

from __future__ import annotations

import os

from .decord_reader import DecordSource, decord_objections
from .errors import VideoError
from .images import DEFAULT_FPS, EXTENSIONS, ImageSource, is_pattern, list_images
from .index import build_index
from .pyav_reader import PyAVSource
from .source import Source
from .video import DEFAULT_HELD_BYTES, Video


def open_video(
    path: str | os.PathLike,
    frame_range: tuple[int, int] | None = None,
    *,
    fps: float | None = None,
    decoder: str | None = None,
    ahead: int = 8,
    held_bytes: int = DEFAULT_HELD_BYTES,
) -> Video:
    """Opens a video file, a folder of images or a pattern of numbered images.

    Any file that FFmpeg reads will do (mp4, mkv, mov, avi, webm, ts, ...), also with open groups
    of pictures, a variable frame rate, edit lists, a rotation, or a missing end. Frame ``k`` is
    always exactly frame ``k``: the file's packets are read once, without decoding, to number its
    frames; decord walks forward where the packets show nothing on which it is wrong, and PyAV does
    everything else.

    Args:
        path: the path of a video file, of a folder of images, or a pattern ``frames/%05d.jpg``
        frame_range (None): a ``(start, stop)`` range of frames, 0-based and half-open; the clip
            then behaves as a video of its own
        fps (None): frames per second of an image sequence; 25 by default
        decoder (None): "decord" or "pyav" to insist on one of them
        ahead (8): how many frames walks decode ahead in a thread; 0 for no thread
        held_bytes (512 MiB): the most memory that decoded frames may take in a backward walk; see
            :class:`fiftyone_revseg.video.Video`

    Returns:
        a :class:`fiftyone_revseg.video.Video`

    Raises:
        VideoError: if there is no such file, or it is unreadable or empty, or holds no video
            stream or no frame, or ``frame_range`` does not lie within it
    """
    path = os.fspath(path)
    if decoder not in (None, "decord", "pyav"):
        raise ValueError(f'decoder must be "decord" or "pyav", not {decoder!r}')
    if fps is not None and not fps > 0:
        raise ValueError(f"fps must be positive, not {fps}")
    source = _open_source(path, fps, decoder)
    return Video(source, frame_range, ahead, held_bytes)


def _open_source(path: str, fps: float | None, decoder: str | None) -> Source:
    one_image = os.path.splitext(path)[1].lower() in EXTENSIONS and os.path.isfile(path)
    if os.path.isdir(path) or is_pattern(path) or one_image:
        return ImageSource(path, list_images(path), fps or DEFAULT_FPS)
    if not os.path.exists(path):
        raise VideoError(f"there is no file {path}: check the path.")
    if not os.access(path, os.R_OK):
        raise VideoError(f"{path} may not be read: change its permissions.")
    if os.path.getsize(path) == 0:
        raise VideoError(f"{path} is empty (0 bytes): copy or download it again.")
    exact = PyAVSource(path, build_index(path))
    if decoder == "pyav":
        exact.why = "asked for"
        return exact
    objections = decord_objections(exact)
    if not objections:
        return DecordSource(exact)
    if decoder == "decord":
        raise VideoError(
            f"decord does not decode {path} exactly ({', '.join(objections)}): leave out"
            ' decoder="decord".'
        )
    exact.why = ", ".join(objections)
    return exact
