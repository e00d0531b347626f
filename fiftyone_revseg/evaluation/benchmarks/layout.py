"""What all benchmarks have in common: videos as folders of images, expressions, true masks.

Nothing here needs FiftyOne. A benchmark is opened by reading its small files; images are never
opened, except the first one of a video whose size is written nowhere, and masks are read when
they are asked for.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from fiftyone_revseg.dataset.expressions import Expression
from fiftyone_revseg.files.names import inside, is_component
from fiftyone_revseg.masks.rle import RLE
from fiftyone_revseg.video.image_order import in_order

IMAGES = "JPEGImages"
META = "meta_expressions.json"
_EXTENSIONS = (".jpg", ".jpeg", ".png")


class LayoutError(ValueError):
    """The folder is not laid out as the benchmark is, so that nothing can be read."""


class BrokenVideoError(LayoutError):
    """One video cannot be used; the others can."""


@dataclass(frozen=True)
class FrameTruth:
    """The true masks of one frame.

    Attributes:
        objects: the number of each object that can be seen -> its mask
        void: where it is not known what is right, so that nothing counts; None for nowhere
        foreground: all objects together, also those that no expression refers to, where a
            benchmark says so
    """

    objects: Mapping[int, RLE]
    void: RLE | None = None
    foreground: RLE | None = None


Entries = list[tuple[str, dict[str, Any]]]  # of a video's expressions, by their ids
Truth = Callable[[], Iterator["FrameTruth | None"]]
Contents = tuple[Sequence[Expression], Mapping[int, str], Truth]


@dataclass(frozen=True)
class BenchmarkVideo:
    """One video of a benchmark.

    Attributes:
        name: the benchmark's own name of it, slashes kept
        images: the paths of its images, in order
        size: the (width, height) in pixels
        expressions: the queries about it
        labels: the number of each known object, 1-based -> its category, "object" if unknown
        has_truth: whether there are true masks
    """

    name: str
    images: tuple[str, ...] = field(repr=False)
    size: tuple[int, int]
    expressions: tuple[Expression, ...] = field(default=(), repr=False)
    labels: Mapping[int, str] = field(default_factory=dict)
    has_truth: bool = False
    _truth: Truth = field(default=lambda: iter(()), repr=False, compare=False)

    @property
    def frame_names(self) -> list[str]:
        """The names of the frames: those of the images, without folder and extension."""
        return [Path(image).stem for image in self.images]

    @property
    def pattern(self) -> str | None:
        """The images as a pattern such as ``".../%05d.jpg"``; None if there is no such pattern.

        There is none if the images' names differ in more than their number, or if their folder
        holds others that would fit as well.
        """
        return _pattern_of(self.images)

    def truth(self) -> Iterator[FrameTruth | None]:
        """Reads the true masks, a frame at a time.

        Yields:
            a :class:`FrameTruth` for every frame; None for one that is not annotated

        Raises:
            BrokenVideoError: if they cannot be read or do not fit the frames
        """
        return self._truth()


class Benchmark:
    """A split of a benchmark in its official layout.

    Args:
        directory: the benchmark's folder
        split (None): the name of a split. By default, the one that figures are reported on, or
            the only one that is there
        masks (True): whether true masks will be read

    Raises:
        LayoutError: if the folder is not laid out like this benchmark
    """

    name: ClassVar[str]
    default_split: ClassVar[str]
    #: how the official script scores it, in words
    protocol: ClassVar[str]
    layout: ClassVar[str]  # the files that are looked for, for people
    #: where the file with the expressions, the folder with a folder of images for each video, and
    #: the file or folder with the true masks are
    meta: ClassVar[str] = f"{{split}}/{META}"
    images: ClassVar[str] = f"{{split}}/{IMAGES}"
    truth: ClassVar[str]
    #: splits whose true masks only a server has
    server: ClassVar[tuple[str, ...]] = ()
    #: what a :class:`FrameTruth` has beside objects: "void", "foreground"
    more_masks: ClassVar[tuple[str, ...]] = ()

    def __init__(self, directory: str | Path, split: str | None = None, masks: bool = True):
        self.root = Path(os.path.abspath(directory))
        if not self.root.is_dir():
            raise LayoutError(f"There is no folder '{directory}'. Expected: {self.layout}")
        self.split = self._find_split(split)
        self.masks = masks
        self._videos = self._read_videos()
        if not self.images_root.is_dir():
            raise LayoutError(
                f"There is no folder '{self.images_root}' with the images: extract the benchmark's"
                f" archive there. Expected: {self.layout}"
            )

    # What differs between benchmarks

    def splits(self) -> list[str]:
        """Lists the splits that are in the folder."""
        around, inside = self.meta.split("{split}/")
        return subfolders(self.root / around, inside)

    def _read(self, video: BenchmarkVideo, entries: Entries) -> Contents:
        """The expressions of a video, the labels of its objects, and what reads its masks.

        Args:
            video: the video as far as it is known: its name, images and size
            entries: what is said about its expressions
        """
        raise NotImplementedError

    # What does not

    def read(self, name: str) -> BenchmarkVideo:
        """Reads one video.

        Args:
            name: one of :meth:`names`

        Returns:
            a :class:`BenchmarkVideo`

        Raises:
            BrokenVideoError: if it cannot be used; the message says why
        """
        entries = self._expressions(name)
        images = self._images(name)
        video = BenchmarkVideo(name, images, self._size(name, images))
        expressions, labels, truth = self._read(video, entries)
        video = replace(video, expressions=tuple(expressions), has_truth=self.has_truth)
        return replace(video, labels=labels if self.has_truth else {}, _truth=truth)

    @property
    def meta_path(self) -> Path:
        """The path of the file with the expressions."""
        return self.root / self.meta.format(split=self.split)

    @property
    def images_root(self) -> Path:
        """The path of the folder that holds a folder of images for each video."""
        return self.root / self.images.format(split=self.split)

    @property
    def masks_path(self) -> Path:
        """The path of the file or folder with the true masks."""
        return self.root / self.truth.format(split=self.split)

    @property
    def has_truth(self) -> bool:
        """Whether the split has true masks, rather than a server that keeps them.

        Raises:
            LayoutError: if it should have them, but they are missing
        """
        there = self.masks_path.exists()
        if not there and self.split not in self.server:
            kind = "file" if self.masks_path.suffix else "folder"
            raise LayoutError(f"There is no {kind} '{self.masks_path}' with the masks")
        return there

    def names(self) -> list[str]:
        """Lists the names of the videos."""
        return list(self._videos)

    def _find_split(self, split: str | None) -> str:
        found = self.splits()
        if split is None:
            split = found[0] if len(found) == 1 else self.default_split
        if split not in found:
            there = f"there is {', '.join(found)}" if found else "there is none at all"
            raise LayoutError(
                f"'{self.root}' has no split {split!r} of {self.name} ({there}). Expected:"
                f" {self.layout}"
            )
        return split

    def _read_videos(self) -> dict[str, dict[str, Any]]:
        meta = read_json(self.meta_path)
        videos = meta.get("videos") if isinstance(meta, dict) else None
        if not isinstance(videos, dict):
            raise LayoutError(
                f"'{self.meta_path}' holds no 'videos': it is not the file of {self.name}"
            )
        return videos

    def _expressions(self, name: str) -> Entries:
        """What the file says about the expressions of a video, by their ids."""
        meta = self._videos[name]
        entries = meta.get("expressions") if isinstance(meta, dict) else None
        if isinstance(entries, list):  # without ids
            entries = dict(enumerate(entries))
        if not isinstance(entries, dict):
            raise BrokenVideoError(f"'{self.meta_path}' gives no 'expressions' for video '{name}'")
        for key, entry in entries.items():
            if not isinstance(entry, dict):
                raise BrokenVideoError(f"{self._where(name, key)} is no object")
            if not is_component(str(key)):
                raise BrokenVideoError(
                    f"{self._where(name, key)} has an id that cannot be the name of a folder"
                )
        return [(str(key), entry) for key, entry in entries.items()]

    def inside(self, folder: Path, path: str, name: str) -> Path:
        """Joins a folder and a path that the benchmark's files give for a video.

        Raises:
            BrokenVideoError: if it leads out of the folder
        """
        try:
            return inside(folder, path)
        except ValueError as error:
            raise BrokenVideoError(f"Video {name!r} in '{self.meta_path}': {error}") from error

    def _where(self, name: str, key: object) -> str:
        return f"Expression '{key}' of video '{name}' in '{self.meta_path}'"

    def _images(self, name: str) -> tuple[str, ...]:
        """The images of a video, in order: those that the file lists, or all in the folder."""
        folder = self.inside(self.images_root, name, name)
        there = _files_by_stem(folder)
        listed = self._videos[name].get("frames")
        if listed is None:
            listed = [os.path.splitext(name)[0] for name in in_order(there.values())]
        if not isinstance(listed, list) or not listed:
            raise BrokenVideoError(f"Video '{name}' has no frames, by '{self.meta_path}'")
        stems = [str(stem) for stem in listed]
        missing = [stem for stem in stems if stem not in there]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise BrokenVideoError(f"The image '{folder / missing[0]}.jpg'{more} is missing")
        files = [there[stem] for stem in stems]
        if files != in_order(set(files)):
            raise BrokenVideoError(
                f"'{self.meta_path}' lists the frames of video '{name}' twice or out of order"
            )
        return tuple(os.path.join(folder, file) for file in files)

    def _size(self, name: str, images: Sequence[str]) -> tuple[int, int]:
        """The (width, height) of a video: as the file says, or of its first image."""
        meta = self._videos[name]
        try:
            size = int(meta["width"]), int(meta["height"])
        except (KeyError, OverflowError, TypeError, ValueError):
            size = (0, 0)  # most benchmarks do not say
        if min(size) < 1:
            return image_size(images[0])
        _check_size(name, size)
        return size


def objects_kind(objects: Sequence[int] | None) -> str:
    """The kind of an expression where a benchmark has none: how many objects it refers to."""
    if objects is None:
        return ""
    return ("no_target", "one_object")[len(objects)] if len(objects) < 2 else "several_objects"


def text_of(value: Any, where: str) -> str:
    """Returns the text of an expression, on one line.

    Raises:
        BrokenVideoError: if there is none
    """
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if not text:
        raise BrokenVideoError(f"{where} has no text")
    return text


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        LayoutError: if there is none, or it is no JSON
    """
    with reading_json(path):
        return json.loads(path.read_bytes(), **TOLERANT)


def _whole_number(text: str) -> int | str:
    # Python refuses to read numbers of thousands of digits, and with them the whole file
    return int(text) if len(text) < 19 else text


#: How to read JSON in which one entry is absurd: what no database holds (NaN, Infinity) is None,
#: and a number of more than 18 digits is its text, so that only who looks at that entry fails
TOLERANT: dict[str, Any] = {"parse_int": _whole_number, "parse_constant": lambda _: None}


def number_of(value: Any) -> int | None:
    """Returns the whole number that a value or its text is, of up to 9 digits; None if none."""
    return int(value) if re.fullmatch(r"[0-9]{1,9}", str(value)) else None


@contextmanager
def reading_json(path: Path) -> Iterator[None]:
    """Says in a sentence what is wrong with a JSON file that is read inside.

    Raises:
        LayoutError: if there is none, or it is no JSON
    """
    try:
        yield
    except FileNotFoundError:
        raise LayoutError(f"There is no file '{path}'") from None
    except (OSError, ValueError) as error:
        raise LayoutError(
            f"'{path}' cannot be read as JSON ({error}): download or extract it again"
        ) from error


def image_size(path: str) -> tuple[int, int]:
    """Reads the (width, height) of an image, from its first bytes.

    Raises:
        BrokenVideoError: if it is no image
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            size = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BrokenVideoError(f"The image '{path}' cannot be read ({error})") from error
    _check_size(path, size)
    return size


def _check_size(name: str, size: tuple[int, int]) -> None:
    from fiftyone_revseg.video import VideoError
    from fiftyone_revseg.video.diagnosis import check_frame_size

    try:
        check_frame_size(name, *size)
    except VideoError as error:
        raise BrokenVideoError(str(error)) from None


def subfolders(folder: Path, holding: str) -> list[str]:
    """Lists the folders in a folder that hold a file or folder of some name."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if (entry / holding).exists())


def _files_by_stem(folder: Path) -> dict[str, str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        raise BrokenVideoError(f"There is no folder '{folder}' with images") from None
    stems = {}
    for name in names:
        stem, extension = os.path.splitext(name)
        if extension.lower() in _EXTENSIONS and not name.startswith("."):
            stems[stem] = name
    return stems


def _pattern_of(images: Sequence[str]) -> str | None:
    from fiftyone_revseg.video.images import list_images

    folder, name = os.path.split(images[0])
    match = re.fullmatch(r"(.*?)(\d+)(\.\w+)", name, re.DOTALL)
    if match is None or "%" in match[1]:
        return None
    for digits in (f"%0{len(match[2])}d", "%d"):
        pattern = os.path.join(folder, f"{match[1]}{digits}{match[3]}")
        try:
            if list_images(pattern) == list(images):
                return pattern
        except ValueError:  # no file fits
            continue
    return None
