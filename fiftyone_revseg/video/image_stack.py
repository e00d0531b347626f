"""Image files that hold many pictures: animated WebP, PNG and GIF, and TIFF of many pages."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from fiftyone_revseg.video.diagnosis import check_frame_size
from fiftyone_revseg.video.errors import VideoError
from fiftyone_revseg.video.shades import bits_of, to_rgb
from fiftyone_revseg.video.source import Cursor

# Others, such as the JPEG of phones, keep further pictures of the same moment
_FORMATS = {"GIF", "PNG", "TIFF", "WEBP"}
# What Pillow raises about files that are damaged
_DAMAGE: tuple[type[Exception], ...] = (ArithmeticError, EOFError, LookupError, OSError)
_DAMAGE += (SyntaxError, TypeError, ValueError, struct.error)
_KIND_OF_PAGE = 254  # a TIFF tag: 1 for a smaller copy of another page, 4 for its transparency
_UNTIMED = 0.1  # the seconds that browsers show a picture for which a file gives no time


@contextmanager
def opened_image(path: str) -> Iterator[Any]:
    """Opens an image file with Pillow, after a look at its size.

    Args:
        path: the path of the image

    Yields:
        the Pillow image

    Raises:
        VideoError: if it cannot be opened, or while it is read within the context
    """
    from PIL import Image

    if not os.path.exists(path):
        raise VideoError(f"there is no image {path}: check the path.")
    try:
        with Image.open(path) as image:
            check_frame_size(path, *image.size)
            yield image
    except VideoError:
        raise
    except Image.DecompressionBombError as e:  # too large even for Pillow to tell its size
        raise VideoError(f"the image {path} is too large to work with: make it smaller.") from e
    except _DAMAGE as e:
        raise VideoError(
            f"the image {path} cannot be read ({type(e).__name__}): copy it again or remove it."
        ) from e


def pictures_in(image: Any) -> list[int]:
    """The positions of the pictures in a file that are frames.

    Args:
        image: a Pillow image

    Returns:
        for Pillow's ``seek``; [0] for an ordinary image. What stands in for an animation where that
        cannot be shown, and smaller copies of a page, are left out
    """
    count = getattr(image, "n_frames", 1)
    if image.format not in _FORMATS or count == 1:
        return [0]
    found = list(range(count))
    if image.format == "PNG" and image.info.get("default_image"):
        found = found[1:]
    elif image.format == "TIFF":
        found = [i for i in found if not _is_copy(image, i)]
        image.seek(0)
    return found or [0]


def is_stack(path: str) -> bool:
    """Whether an image file holds several pictures that are frames."""
    with opened_image(path) as image:
        return len(pictures_in(image)) > 1


def _is_copy(image: Any, page: int) -> bool:
    image.seek(page)
    return bool(int(image.tag_v2.get(_KIND_OF_PAGE, 0)) & (1 | 4))


class ImageStack:
    """The pictures of one file as the frames of a video.

    Args:
        path: the path of the file
        fps (None): frames per second. By default, each picture is shown for as long as the file
            says, or browsers do where it says nothing; pages of TIFF have no times
        untimed_fps (25): frames per second of pages

    Raises:
        VideoError: if it cannot be read, or its pictures differ in size
    """

    decoder = "images"
    why = "a file of several pictures"
    remarks: tuple[str, ...] = ()
    start_offset = 0.0

    def __init__(self, path: str, fps: float | None = None, untimed_fps: float = 25.0):
        self.path = path
        self.broken: set[int] = set()
        self.bits: int | None = None
        seconds = []
        with opened_image(path) as image:
            self.pictures = pictures_in(image)
            apart = image.format == "TIFF"
            for number, position in enumerate(self.pictures):
                try:
                    image.seek(position)
                except EOFError:  # there are fewer than the file says
                    break
                check_frame_size(path, *image.size)
                image.load()
                bits = bits_of(image)
                self.bits = None if bits is None else max(bits, self.bits or 0)
                seconds.append(image.info.get("duration", 0) / 1000 or _UNTIMED)
                height, width = to_rgb(image).shape[:2]
                if number == 0:
                    self.size = (width, height)
                elif self.size != (width, height):
                    raise VideoError(
                        f"{path} holds pictures of different sizes ({width} x {height}, and first"
                        f" {self.size[0]} x {self.size[1]}), which are no frames of a video: save"
                        " the ones you want as files in a folder."
                    )
        if not seconds:
            raise VideoError(f"{path} holds no picture: copy it again.")
        count = len(seconds)
        self.pictures = self.pictures[:count]
        if apart:
            fps = fps or untimed_fps
        self.times = np.arange(count) / fps if fps else np.cumsum([0, *seconds])[:-1]
        self.fps = fps or count / sum(seconds)
        self.key_frames = np.arange(count if apart else 1)
        self.frame_bytes = 3 * self.size[0] * self.size[1]

    def open(self, forward: bool = False) -> StackCursor:
        """Opens a new, independent cursor."""
        return StackCursor(self)


class StackCursor(Cursor):
    """One reading position in an :class:`ImageStack`.

    Args:
        source: the source
    """

    def __init__(self, source: ImageStack):
        self._source = source
        self._at = -1
        self._opened = ExitStack()
        self._reopen()

    def read(self, k: int) -> np.ndarray:
        """Decodes frame ``k``; see :class:`fiftyone_revseg.video.source.Cursor`."""
        try:
            if k < self._at and len(self._source.key_frames) == 1:
                self._reopen()  # Pillow loses count where it goes back in an animation
            self._at = k
            self._image.seek(self._source.pictures[k])
            return to_rgb(self._image, self._source.bits)
        except _DAMAGE as e:
            raise VideoError(
                f"picture {k} of {self._source.path} cannot be read ({type(e).__name__}): the file"
                " is damaged or has changed; copy it again and reopen it."
            ) from e

    def close(self) -> None:
        """Releases the file."""
        self._opened.close()

    def _reopen(self) -> None:
        self.close()
        self._image = self._opened.enter_context(opened_image(self._source.path))
