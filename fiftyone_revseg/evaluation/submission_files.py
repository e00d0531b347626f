"""Masks as the benchmarks' servers take them: one PNG for each video, expression and frame."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from fiftyone_revseg.evaluation.benchmarks.layout import IMAGES, META
from fiftyone_revseg.evaluation.benchmarks.registry import BENCHMARKS
from fiftyone_revseg.files import from_json, replacing
from fiftyone_revseg.files.names import inside, is_junk
from fiftyone_revseg.video.diagnosis import check_frame_size

#: Name of a benchmark -> the folder in the archive that everything is in
ROOTS = {"mevis": "", "ref-youtube-vos": "Annotations/"}

_TIME = (1980, 1, 1, 0, 0, 0)  # the first one that a zip file can hold


@dataclass(frozen=True)
class VideoMeta:
    """What a benchmark's own list of expressions says about a video.

    Attributes:
        frames: the names of its frames, without extension
        expressions: the ids of its expressions
    """

    frames: tuple[str, ...] = field(repr=False)
    expressions: tuple[str, ...] = field(repr=False)


def check_benchmark(benchmark: str | None) -> str:
    """Checks that a benchmark has a server that takes archives.

    Raises:
        ValueError: if it has not
    """
    if benchmark not in ROOTS:
        raise ValueError(
            f"There is no archive to make for the benchmark {benchmark or 'of this dataset'!r}:"
            f" servers score {' and '.join(ROOTS)}"
        )
    return benchmark


def find_meta(benchmark: str, directory: str | Path, split: str = "valid") -> Path:
    """Finds the list of expressions in a benchmark's folder.

    Args:
        benchmark: one of :data:`ROOTS`
        directory: the folder of the benchmark or of its split, or the file itself
        split ("valid"): the split

    Returns:
        the path of ``meta_expressions.json``

    Raises:
        ValueError: if there is none
    """
    directory = Path(directory).expanduser()
    if directory.is_file():
        return directory
    inside = BENCHMARKS[benchmark].meta.format(split=split)
    for path in (directory / inside, directory / META):
        if path.is_file():
            return path
    raise ValueError(f"{directory} holds no {inside}: give the folder of {benchmark}")


def find_images(benchmark: str, meta: str | Path) -> Path | None:
    """Finds the folder with the frames that a list of expressions is about; None if it is gone."""
    folder = Path(meta).parent
    if benchmark == "ref-youtube-vos":
        folder = folder.parents[1] / folder.name
    return folder / IMAGES if (folder / IMAGES).is_dir() else None


def read_meta(path: str | Path) -> dict[str, VideoMeta]:
    """Reads a benchmark's list of expressions.

    Early releases of Ref-YouTube-VOS list the videos of the test split under "valid", too. Those
    that a list of the test split beside it has are left out, as the server does not score them.

    Args:
        path: the path of ``meta_expressions.json``

    Returns:
        a dict that maps the names of the videos to their :class:`VideoMeta`

    Raises:
        ValueError: if the file cannot be read or holds something else
    """
    path = Path(path)
    videos = _videos(path)
    test = path.parents[1] / "test" / META
    # The list of a test split itself is beside itself
    others = _videos(test) if test.is_file() and path.parent.name != "test" else {}
    try:
        return {
            name: VideoMeta(tuple(map(str, v["frames"])), tuple(map(str, v["expressions"])))
            for name, v in videos.items()
            if name not in others
        }
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no list of expressions: a video has no {error} in it"
        ) from error


def _videos(path: Path) -> dict[str, Any]:
    try:
        videos = from_json(path.read_text(encoding="utf-8"))["videos"]
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no list of expressions: {error!r}") from error
    if not isinstance(videos, dict):
        raise ValueError(f'{path} is no list of expressions: its "videos" are no dict')
    return videos


def encode_mask(mask: np.ndarray) -> bytes:
    """Encodes an ``(H, W)`` bool mask as an 8-bit grey PNG: 255 where the object is, else 0."""
    stream = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def decode_mask(data: bytes) -> np.ndarray:
    """Decodes a PNG of any kind: whatever is not the background is the object.

    Args:
        data: the bytes of the file

    Returns:
        (H, W) bool, true where the index of a palette, or a channel other than alpha, is not 0

    Raises:
        ValueError: if it cannot be read
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            check_frame_size("it", *image.size)
            if image.mode in ("RGBA", "LA", "PA"):
                image = image.convert("RGB" if image.mode == "RGBA" else "L")
            values = np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"it is no picture that can be read ({type(error).__name__})") from error
    return np.asarray(values.any(axis=2) if values.ndim == 3 else values != 0)


class ArchiveWriter:
    """Writes a zip file that is there when all of it is, the same bytes for the same contents.

    Args:
        path: the file to write; one of that name is replaced at the end

    Raises:
        ValueError: if nothing can be written there
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser().absolute()
        if self.path.is_dir():
            raise ValueError(f"{self.path} is a folder: name the zip file to write")
        self._stack = contextlib.ExitStack()
        try:
            partial = self._stack.enter_context(replacing(self.path))
            # PNGs are compressed already
            self._zip = zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED)
            self._stack.enter_context(self._zip)
        except OSError as error:
            self._stack.__exit__(type(error), error, None)
            raise ValueError(f"Nothing can be written to {self.path}: {error.strerror}") from error
        self.files = 0

    def add(self, name: str, data: bytes) -> None:
        """Adds a file."""
        info = zipfile.ZipInfo(name, _TIME)
        info.external_attr = 0o644 << 16
        info.create_system = 3  # else the bytes would tell the system that they were written on
        self._zip.writestr(info, data)
        self.files += 1

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)


class MaskSource:
    """Files in a zip file or in a folder, by their names.

    What systems put beside a person's files, such as ``__MACOSX/._00000.png``, is none of them.
    Slashes separate folders, also where the zip file was made on Windows with backslashes.

    Args:
        path: the zip file or the folder

    Attributes:
        members: the names of all files as they are stored, in order; some may be there twice
        refused: those of files whose path leads out of the archive or folder, and of links that do

    Raises:
        ValueError: if it is neither
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        self.members: list[str] = []
        self.refused: list[str] = []
        self._members: dict[str, str] = {}
        self._zip: zipfile.ZipFile | None = None
        if self.path.is_dir():
            root = os.path.realpath(self.path)
            for name in _files_under(self.path):
                found = os.path.realpath(self.path / name)
                self._take(name, name, os.path.commonpath([root, found]) == root)
            return
        try:
            self._zip = zipfile.ZipFile(self.path)
        except OSError as error:
            raise ValueError(f"{self.path} cannot be read: {error.strerror}") from error
        except zipfile.BadZipFile as error:
            raise ValueError(f"{self.path} is no zip file, or not whole: {error}") from error
        for info in self._zip.infolist():
            if not info.is_dir() and not info.filename.endswith("\\"):
                linked = stat.S_ISLNK(info.external_attr >> 16)
                self._take(info.filename.replace("\\", "/"), info.filename, not linked)

    @property
    def names(self) -> list[str]:
        """The names of the files that can be read, each once."""
        return list(self._members)

    def _take(self, name: str, member: str, allowed: bool) -> None:
        self.members.append(member)
        if is_junk(name):
            return
        try:
            inside("", name)
        except ValueError:
            allowed = False
        if allowed:
            self._members[name.removeprefix("./")] = member
        else:
            self.refused.append(member)

    def read(self, name: str) -> bytes:
        """Reads a file.

        Raises:
            ValueError: if it cannot be read
        """
        try:
            if self._zip is None:
                return (self.path / name).read_bytes()
            return self._zip.read(self._members[name])
        except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"it cannot be read ({error})") from error

    def __enter__(self) -> MaskSource:
        return self

    def __exit__(self, *_: object) -> None:
        if self._zip is not None:
            self._zip.close()


def _files_under(folder: Path) -> Iterator[str]:
    for path, _, names in os.walk(folder):
        inside = Path(path).relative_to(folder).as_posix()
        yield from (name if inside == "." else f"{inside}/{name}" for name in sorted(names))
