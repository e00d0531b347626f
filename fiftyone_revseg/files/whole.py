"""Files and folders that are written as a whole or not at all, whatever interrupts the writing.

Each writer works in a folder of its own beside the target, ``.NAME.partial/TOKEN/``, and what it
wrote takes the place of the old one at the end, at once. A writer holds a lock for as long as it
lives, so the next one knows what a killed one left behind, and removes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import math
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fiftyone_revseg.files.names import safe_name

try:
    import fcntl
except ImportError:  # Windows: what killed writers leave stays there
    fcntl = None  # type: ignore[assignment]

_LOCK = ".writer-lock"
_OLD = ".replaced"
_TOKEN = re.compile(r"[0-9a-f]{16}")
_LOCK_TIMEOUT = 60  # seconds; what is done under a lock takes milliseconds
_MAX_NAME = 255  # bytes that file systems take
_ROOM = 2**20  # bytes that must be free
_EXCHANGE = 2  # the flag of renameat2 on Linux and of renamex_np on macOS
_HERE = -100  # Linux: paths are relative to the working directory


class NotWritableError(OSError, ValueError):
    """Nothing can be written to a place that an argument names."""


@contextmanager
def replacing(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Gives a path to write to, whose file takes the place of another one at the end.

    Several writers may write to one target: the last one to finish is seen.

    Args:
        path: where the file is to be; missing directories are made
        durable (True): whether the file must be whole after a power cut, too, which takes
            milliseconds. Not for the many files that can be made again from others

    Yields:
        the path of a file of the same name in a hidden folder. On an error, it is removed and the
        old file stays

    Raises:
        OSError: if nothing can be written there
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _workplace(path) as place:
        partial = place / path.name
        yield partial
        if durable:
            _sync(partial)
        os.replace(partial, path)
        if durable:
            _sync(path.parent)


@contextmanager
def replacing_folder(path: str | Path, durable: bool = False) -> Iterator[Path]:
    """Gives an empty folder to write to, which takes the place of another one at the end.

    The old folder is removed with all that is in it: see :mod:`fiftyone_revseg.files.written` for
    those that may hold a person's own files.

    Args:
        path: where the folder is to be; missing directories are made
        durable (False): as for :func:`replacing`

    Yields:
        the path of a folder of the same name in a hidden one. On an error, it is removed and the
        old folder stays

    Raises:
        OSError: if nothing can be written there
    """
    path = Path(path)
    if path.is_file():
        raise NotADirectoryError(errno.ENOTDIR, "There is a file in its place", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with _workplace(path) as place:
        partial = place / path.name
        partial.mkdir()
        yield partial
        if durable:
            for folder, _, names in os.walk(partial):
                for name in (*names, ""):
                    _sync(Path(folder, name))
        _swap(partial, path, place / _OLD)
        if durable:
            _sync(path.parent)


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Holds others off a file that is read, changed and written again.

    Args:
        path: the file, which need not exist; a hidden file beside it holds the lock

    Raises:
        OSError: if there can be no lock, or another process does not let go of it
    """
    from filelock import FileLock

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{safe_name(path.name)}.lock")
    with FileLock(str(lock), timeout=_LOCK_TIMEOUT):
        yield


def name_for_ffmpeg(path: str | Path) -> str:
    """The name under which FFmpeg, and whatever is built on it, takes a file for a file.

    In a relative name, FFmpeg takes what is before a colon for a protocol (``10:20:30.mp4``), and a
    command takes a dash at the beginning for an option.
    """
    return str(path) if os.path.isabs(path) else os.path.join(os.getcwd(), path)


def check_writable(path: str | Path, folder: bool = True) -> None:
    """Finds out whether something can be written before there is something to write.

    It leaves nothing behind, not even the folders that are missing.

    Args:
        path: the folder where files are to be, or a file
        folder (True): whether it is a folder

    Raises:
        NotWritableError: if nothing can be written there; says why, and what to do
    """
    if not os.fspath(path):  # of a variable that is not set, which would be the working directory
        raise NotWritableError("The place to write to is empty: name one, '.' for the folder here")
    path = Path(path).expanduser().absolute()
    try:
        if path.is_dir() and not folder:
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        parent = path if folder else path.parent
        while not os.path.lexists(parent):
            parent = parent.parent
        if not parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"'{parent}' is a file")
        for part in path.relative_to(parent).parts:
            if len(os.fsencode(part)) > _MAX_NAME or "\0" in part:
                raise OSError(errno.ENAMETOOLONG, "the name is too long, or none")
        # Permission bits alone say nothing of a file system that is read-only or full
        with tempfile.TemporaryFile(dir=parent) as file:
            file.write(bytes(_ROOM))
            file.flush()
            os.fsync(file.fileno())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NotWritableError(
            f"Nothing can be written to '{path}' ({reason}): choose another place, or make room "
            "there"
        ) from error


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file in UTF-8."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_files(folder: str | Path, contents: Mapping[str, bytes]) -> None:
    """Writes files into a folder, which is made if it is missing, one after the other."""
    for name, content in contents.items():
        with replacing(Path(folder, name)) as partial:
            partial.write_bytes(content)


def read_files(folder: str | Path, names: Iterable[str]) -> dict[str, bytes | None]:
    """Reads files of a folder; None for those that are not there."""
    paths = {name: Path(folder, name) for name in names}
    return {name: path.read_bytes() if path.is_file() else None for name, path in paths.items()}


def write_json(path: str | Path, value: Any, indent: int | None = None) -> None:
    """Writes a JSON file, see :func:`to_json`."""
    write_text(path, to_json(value, indent=indent) + "\n")


def to_json(value: Any, **options: Any) -> str:
    """Makes JSON that every reader takes: a number that is not finite becomes null.

    Python alone writes NaN and Infinity, which the standard does not know.

    Args:
        value: what to write
        **options: those of :func:`json.dumps`

    Returns:
        the text
    """
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, **options)


def from_json(text: str | bytes) -> Any:
    """Reads JSON that somebody else may have written.

    Raises:
        ValueError: if it is none, or nested deeper than any that means something
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def remove_leftovers(path: str | Path) -> None:
    """Removes what killed writers of a file or folder left beside it.

    The next writer does so by itself: this is for where a whole file is kept and not written again.
    """
    path = Path(path)
    shared = _shared_place(path)
    if shared.is_dir():
        _remove_stale(shared, path)
        with contextlib.suppress(OSError):
            shared.rmdir()


def is_partial(name: str) -> bool:
    """Whether a file name is that of the hidden folder in which a file or folder is written."""
    return name.startswith(".") and name.endswith(".partial")


@contextmanager
def _workplace(path: Path) -> Iterator[Path]:
    """A folder of this writer's own, on the file system of its target."""
    shared = _shared_place(path)
    place, lock = _open_workplace(shared, path)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)
        with contextlib.suppress(OSError):  # others are at work there
            shared.rmdir()


def _shared_place(path: Path) -> Path:
    return path.with_name(f".{safe_name(path.name)}.partial")


def _open_workplace(shared: Path, path: Path) -> tuple[Path, int]:
    while True:
        try:
            shared.mkdir()
        except FileExistsError:
            if shared.is_symlink() or shared.is_file():
                shared.unlink(missing_ok=True)  # of an earlier version
                continue
            _remove_stale(shared, path)
        place = shared / secrets.token_hex(8)
        try:
            place.mkdir()
            lock = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:  # another writer has just removed one of the two
            continue
        except OSError:
            for folder in (place, shared):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise
        if _try_lock(lock) is not False and (place / _LOCK).exists():
            return place, lock
        os.close(lock)  # another writer took this one for that of a killed one


def _remove_stale(shared: Path, path: Path) -> None:
    """Removes the workplaces of killed writers, and finishes what one of them was about to do."""
    places: list[Path] = []
    with contextlib.suppress(FileNotFoundError):  # the last writer has removed it
        places += shared.iterdir()
    for place in places:
        if not _TOKEN.fullmatch(place.name):
            continue
        try:
            lock = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT)
        except OSError:
            continue
        try:
            if _try_lock(lock):
                # Killed between the two renames of _swap: what was to be there is whole
                if (place / _OLD).is_dir() and not os.path.lexists(path):
                    new = place / path.name
                    os.rename(new if new.is_dir() else place / _OLD, path)
                shutil.rmtree(place, ignore_errors=True)
        finally:
            os.close(lock)


def _try_lock(descriptor: int) -> bool | None:
    """Locks a file until it is closed; None where files cannot be locked, False if another has."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    return True


def _swap(new: Path, path: Path, old: Path) -> None:
    """Puts a folder in the place of another one, which is then at ``new`` or ``old``."""
    while True:
        try:
            os.rename(new, path)  # where there is nothing, or an empty folder
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        if _exchange(new, path):
            return
        shutil.rmtree(old, ignore_errors=True)  # another writer came in between
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, old)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two paths at once; False where the system cannot."""
    if sys.platform == "win32":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            return libc.renamex_np(*paths, _EXCHANGE) == 0
        return libc.renameat2(_HERE, paths[0], _HERE, paths[1], _EXCHANGE) == 0
    except AttributeError:  # the C library is too old
        return False


def _sync(path: Path) -> None:
    """Has a file or a folder reach the disk; says so if the disk is full only now."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
