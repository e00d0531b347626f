"""One way in for every kind of video."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from fiftyone_revseg.video.decord_reader import decord_objections, walk_by_decord
from fiftyone_revseg.video.diagnosis import missing
from fiftyone_revseg.video.errors import VideoError
from fiftyone_revseg.video.image_stack import ImageStack, is_stack
from fiftyone_revseg.video.images import (
    DEFAULT_FPS,
    ImageSource,
    common_folder,
    is_image,
    is_pattern,
    list_images,
)
from fiftyone_revseg.video.index import build_index
from fiftyone_revseg.video.pyav_reader import PyAVSource
from fiftyone_revseg.video.source import Source
from fiftyone_revseg.video.video import DEFAULT_HELD_BYTES, Video

logger = logging.getLogger(__name__)


def open_video(
    path: str | os.PathLike | Sequence[str | os.PathLike],
    frame_range: tuple[int, int] | None = None,
    *,
    fps: float | None = None,
    decoder: str | None = None,
    ahead: int = 8,
    held_bytes: int = DEFAULT_HELD_BYTES,
) -> Video:
    """Opens a video file, or a folder, a list or a numbered pattern of images.

    Any file that FFmpeg reads will do (mp4, mkv, mov, avi, webm, ts, ...), also with open groups
    of pictures, a variable frame rate, edit lists, a rotation, or a missing end. Frame ``k`` is
    always exactly frame ``k``: the file's packets are read once, without decoding, to number its
    frames; decord walks forward where the packets show nothing on which it is wrong, and PyAV does
    everything else.

    Images are opened one by one when their frame is asked for, so a list of any length will do.
    All must be of the size of the first, and each holds one picture. A file of many pictures
    (animated WebP, PNG or GIF, TIFF of many pages) is a video of its own.

    Args:
        path: the path of a video file, of a folder of images, or a pattern ``frames/%05d.jpg``;
            or the paths of images, one per frame and in their order, whose common folder is then
            the ``path`` of the video
        frame_range (None): a ``(start, stop)`` range of frames, 0-based and half-open; the clip
            then behaves as a video of its own
        fps (None): frames per second of an image sequence; by default 25, or as an animated image
            says
        decoder (None): "decord" or "pyav" to insist on one of them
        ahead (8): how many frames walks decode ahead in a thread; 0 for no thread
        held_bytes (512 MiB): the most memory that decoded frames may take in a backward walk; see
            :class:`fiftyone_revseg.video.Video`

    Returns:
        a :class:`fiftyone_revseg.video.Video`

    Raises:
        VideoError: if there is no such file, or it is unreadable or empty, or holds no video
            stream or no frame, or ``frame_range`` does not lie within it
        ValueError: if another argument is not as said
    """
    if decoder not in (None, "decord", "pyav"):
        raise ValueError(f'decoder must be "decord" or "pyav", not {decoder!r}')
    if fps is not None and not fps > 0:
        raise ValueError(f"fps must be positive, not {fps}")
    source: Source
    if isinstance(path, (str, os.PathLike)):
        source = _open_source(os.fspath(path), fps, decoder)
    else:
        source = _open_images([os.fspath(file) for file in path], fps)
    return Video(source, frame_range, ahead, held_bytes)


@dataclass(frozen=True)
class VideoExtent:
    """What a video spans, see :func:`video_extent`.

    Attributes:
        size: the (width, height) of a frame in pixels, upright
        length: the number of frames
    """

    size: tuple[int, int]
    length: int


def video_extent(path: str | os.PathLike | Sequence[str | os.PathLike]) -> VideoExtent:
    """Tells the size and length that :func:`open_video` finds, without getting ready to read.

    This is the one truth about both: what containers state about themselves, and FiftyOne's
    metadata repeats, is not the size of a phone's video held upright, nor the number of frames of
    one that was cut or recorded from a screen.

    Args:
        path: what :func:`open_video` takes

    Returns:
        a :class:`VideoExtent`

    Raises:
        VideoError: as :func:`open_video` does
    """
    with open_video(path, decoder="pyav") as video:
        return VideoExtent(video.size, len(video))


def _open_images(files: list[str], fps: float | None) -> Source:
    if not files:
        raise VideoError("the list of images is empty: give the path of one image per frame.")
    return ImageSource(common_folder(files), files, fps or DEFAULT_FPS)


@lru_cache(maxsize=1000)
def _say_once(path: str, remarks: tuple[str, ...]) -> None:
    for remark in remarks:
        logger.warning("%s: %s", path, remark)


def _open_source(path: str, fps: float | None, decoder: str | None) -> Source:
    if is_image(path) and is_stack(path):
        return ImageStack(path, fps, DEFAULT_FPS)
    if os.path.isdir(path) or is_pattern(path) or is_image(path):
        return ImageSource(path, list_images(path), fps or DEFAULT_FPS)
    if not os.path.exists(path):
        raise missing(path)
    if not os.access(path, os.R_OK):
        raise VideoError(f"{path} may not be read: change its permissions.")
    if os.path.getsize(path) == 0:
        raise VideoError(f"{path} is empty (0 bytes): copy or download it again.")
    exact = PyAVSource(path, build_index(path))
    _say_once(path, exact.remarks)
    if decoder == "pyav":
        return exact
    objections = decord_objections(exact)
    if not objections:
        walk_by_decord(exact)
        return exact
    if decoder == "decord":
        raise VideoError(
            f"decord does not decode {path} exactly ({', '.join(objections)}): leave out"
            ' decoder="decord".'
        )
    exact.why = ", ".join(objections)
    return exact
