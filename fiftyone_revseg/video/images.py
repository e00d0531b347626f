"""Image sequences as videos: a folder or a list of images, or a pattern ``frames/%05d.jpg``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import numpy as np

from fiftyone_revseg.video.errors import VideoError
from fiftyone_revseg.video.image_order import in_order
from fiftyone_revseg.video.image_stack import opened_image, pictures_in
from fiftyone_revseg.video.sampling import uniform_indices
from fiftyone_revseg.video.shades import bits_of, to_rgb
from fiftyone_revseg.video.source import Cursor

EXTENSIONS = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
DEFAULT_FPS = 25.0  # images carry no times; what FFmpeg, and so FiftyOne, assumes
_JUDGED = 16  # images of which the bits of their grey are judged
_NUMBER = re.compile(r"%(\d*)d")


def is_pattern(path: str) -> bool:
    """Whether a path is a pattern of numbered images, like ``frames/%05d.jpg``."""
    return bool(_NUMBER.search(os.path.basename(path))) and not os.path.exists(path)


def is_image(path: str) -> bool:
    """Whether a file is named as an image and is one, by its first bytes."""
    from PIL import Image

    if os.path.splitext(path)[1].lower() not in EXTENSIONS or not os.path.isfile(path):
        return False
    try:
        with Image.open(path):
            return True
    except Image.DecompressionBombError:
        return True
    except (OSError, SyntaxError, ValueError):
        return False


def list_images(path: str) -> list[str]:
    """Lists the images of a folder, a pattern or a single image, in order.

    A folder is sorted by name, see :func:`fiftyone_revseg.video.image_order.in_order`. A pattern
    takes every file that fits, in the order of their numbers, wherever these start and with gaps
    (data sets that keep every fifth frame have them).

    Args:
        path: the path of a folder or an image, or a pattern

    Returns:
        the paths of the images

    Raises:
        VideoError: if there are none
    """
    if os.path.isdir(path):
        names = [n for n in os.listdir(path) if os.path.splitext(n)[1].lower() in EXTENSIONS]
        names = in_order(n for n in names if not n.startswith("."))
        if not names:
            raise VideoError(
                f"the folder {path} holds no images: give a folder with one image per frame"
                f" ({', '.join(sorted(EXTENSIONS))}), or a video file."
            )
        return [os.path.join(path, n) for n in names]
    if is_pattern(path):
        return _matches(path)
    return [path]


def common_folder(files: Sequence[str]) -> str:
    """The deepest folder that holds all of the files, as a name for the list of them."""
    folders = {os.path.dirname(file) for file in files}
    try:
        return os.path.commonpath(folders) or "."
    except ValueError:  # absolute and relative paths, or several drives
        return os.path.dirname(files[0]) or "."


def _matches(pattern: str) -> list[str]:
    folder, name = os.path.split(pattern)
    head, width, tail = _NUMBER.split(name, maxsplit=1)
    fits = re.compile(re.escape(head) + r"(\d+)" + re.escape(tail))
    numbered = {}
    if os.path.isdir(folder or "."):
        for n in os.listdir(folder or "."):
            match = fits.fullmatch(n)
            # %05d of 7 is 00007 and nothing else
            if match and match.group(1) == str(int(match.group(1))).zfill(int(width or 0)):
                numbered[int(match.group(1))] = os.path.join(folder, n)
    if not numbered:
        raise VideoError(
            f"no file fits the pattern {pattern}: check the folder and the number of digits."
        )
    return [numbered[i] for i in sorted(numbered)]


class ImageSource(Cursor):
    """Image files as the frames of a video.

    Grey of more than 8 bits becomes 8 in the same way in all of them: how many bits their shades
    have (12, 14, ...) is judged by some of them, spread over the whole.

    Args:
        path: what was opened
        files: the paths of the images, in order
        fps (25): frames per second

    Raises:
        VideoError: if the first image cannot be read
    """

    decoder = "images"
    why = "an image sequence"
    remarks: tuple[str, ...] = ()
    start_offset = 0.0

    def __init__(self, path: str, files: Sequence[str], fps: float = DEFAULT_FPS):
        self.path = path
        self.files = files
        self.fps = fps
        self.broken: set[int] = set()
        self.times = np.arange(len(files)) / fps
        self.key_frames = np.arange(len(files))
        self._bits = self._judge_bits()
        height, width = read_image(files[0], self._bits).shape[:2]
        self.size = (width, height)
        self.frame_bytes = 3 * width * height

    def open(self, forward: bool = False) -> ImageSource:
        """Returns itself: images have no reading position."""
        return self

    def read(self, k: int) -> np.ndarray:
        """Reads image ``k``.

        Raises:
            VideoError: if it is broken, or of another size than the first
        """
        image = read_image(self.files[k], self._bits)
        width, height = self.size
        if image.shape[:2] != (height, width):
            raise VideoError(
                f"the image {self.files[k]} is {image.shape[1]} x {image.shape[0]} pixels but the"
                f" first of its sequence is {width} x {height}: make them all the same size."
            )
        return image

    def _judge_bits(self) -> int | None:
        bits = None
        for k in uniform_indices(len(self.files), _JUDGED):
            try:
                with opened_image(self.files[k]) as image:
                    found = bits_of(image)
            except VideoError:
                found = bits  # it is named when its frame is asked for
            if found is None:
                return bits  # ordinary images, by the first of them
            bits = max(found, bits or 0)
        return bits


def read_image(path: str, bits: int | None = None) -> np.ndarray:
    """Reads an image file, upright.

    Args:
        path: the path of the image
        bits (None): see :func:`fiftyone_revseg.video.shades.to_rgb`

    Returns:
        an (H, W, 3) uint8 RGB array

    Raises:
        VideoError: if it cannot be read, or holds several pictures
    """
    with opened_image(path) as image:
        if (count := len(pictures_in(image))) > 1:
            raise VideoError(
                f"{path} holds {count} pictures, but in a folder or a list each file is one frame:"
                " give this file by itself to take its pictures for the frames of a video."
            )
        return to_rgb(image, bits)
