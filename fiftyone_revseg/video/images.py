"""Image sequences as videos: a folder or a list of images, or a pattern ``frames/%05d.jpg``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import numpy as np

from .diagnosis import check_frame_size
from .errors import VideoError

EXTENSIONS = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
DEFAULT_FPS = 25.0  # images carry no times; what FFmpeg, and so FiftyOne, assumes
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

    A folder is sorted by name, numbers in names by value (``2.jpg`` before ``10.jpg``). A pattern
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
        names = sorted((n for n in names if not n.startswith(".")), key=_natural)
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


def _natural(name: str) -> list:
    parts = re.split(r"(\d+)", name)
    return [(int(p), p) if i % 2 else p for i, p in enumerate(parts)]


class ImageSource:
    """Image files as the frames of a video.

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
        height, width = read_image(files[0]).shape[:2]
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
        image = read_image(self.files[k])
        width, height = self.size
        if image.shape[:2] != (height, width):
            raise VideoError(
                f"the image {self.files[k]} is {image.shape[1]} x {image.shape[0]} pixels but the"
                f" first of its sequence is {width} x {height}: make them all the same size."
            )
        return image

    def to_rgb(self, held: np.ndarray) -> np.ndarray:
        """Returns the image, which is RGB already."""
        return held

    def close(self) -> None:
        """Does nothing: no file is kept open."""


def read_image(path: str) -> np.ndarray:
    """Reads an image file, upright.

    Args:
        path: the path of the image

    Returns:
        an (H, W, 3) uint8 RGB array

    Raises:
        VideoError: if it cannot be read
    """
    from PIL import Image, ImageOps

    if not os.path.exists(path):
        raise VideoError(f"there is no image {path}: check the path.")
    try:
        with Image.open(path) as image:
            check_frame_size(path, *image.size)
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16 bits of grey, which convert() would clip
                grey = np.asarray(image)
                return np.repeat((grey >> 8).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
            return np.array(image.convert("RGB"))
    except VideoError:
        raise
    except Image.DecompressionBombError as e:  # too large even for Pillow to tell its size
        raise VideoError(f"the image {path} is too large to work with: make it smaller.") from e
    except (OSError, SyntaxError, ValueError) as e:
        raise VideoError(
            f"the image {path} cannot be read ({type(e).__name__}): copy it again or remove it."
        ) from e
