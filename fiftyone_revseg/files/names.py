"""Names that others gave, as names of files: a name is not a path.

Names of videos, expressions and queries come from files, servers and people. They may be empty,
"..", longer than a file system takes, hold slashes, or characters that are no part of a name
somewhere, such as a percent sign, which makes a path a pattern of images for FiftyOne and ffmpeg.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

_MAX_BYTES = 200  # file systems take 255, of which an extension and a temporary name need some
_DIGITS = 10
# No part of a name on Windows, in a path of FiftyOne (%), or anywhere (control and half characters)
_FORBIDDEN = re.compile(r'[<>:"/\\|?*%\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
_ALTERED = re.compile(rf"~[0-9a-f]{{{_DIGITS}}}$")
_JUNK = (".ds_store", "thumbs.db", "desktop.ini", "__macosx")
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)", re.IGNORECASE)


def safe_name(name: str) -> str:
    """Makes one component of a path from any text.

    An ordinary name stays as it is. Any other one is cleaned and gets a digest of the whole text at
    its end, so that different texts have different names.

    Examples::

        safe_name("my clip.v2")  # "my clip.v2"
        safe_name("../a%05d")  # "_a_05d~12c9156877"

    Args:
        name: any text

    Returns:
        a name of 1 to 200 bytes in UTF-8 that is no path, no hidden file, no pattern of images, and
        no device of Windows
    """
    return name if _is_ordinary(name) else _altered(name)


def safe_names(names: Iterable[str]) -> dict[str, str]:
    """Maps names to components of paths that are different on every file system.

    On some, names are the same that differ only by case or in how accents are written. Those get a
    digest, too; it does not depend on the order of the names.

    Args:
        names: any texts

    Returns:
        a dict that maps each name to what :func:`safe_name` makes of it, with a digest if need be
    """
    safe = {name: safe_name(name) for name in names}
    counts = Counter(_folded(name) for name in safe.values())
    return {
        name: _altered(name) if counts[_folded(made)] > 1 else made for name, made in safe.items()
    }


def inside(folder: str | Path, path: str | Path) -> Path:
    """Joins a folder and a relative path that somebody else wrote, such as a member of an archive.

    Links are not looked at: folders of one's own may lead elsewhere.

    Args:
        folder: the folder
        path: a relative path; its slashes are folders

    Returns:
        the path of the file in the folder

    Raises:
        ValueError: if the path is empty, absolute, or leaves the folder; says which path
    """
    text = os.fspath(path)
    windows = PureWindowsPath(text)
    parts = re.split(r"[/\\]", text)
    if (
        not text
        or "\0" in text
        or ".." in parts
        or PurePosixPath(text).is_absolute()
        or windows.drive
        or windows.root
        or all(part in ("", ".") for part in parts)
    ):
        raise ValueError(f"{text!r} is no path inside of a folder: it is absolute, or leads out")
    return Path(folder) / text


def is_component(name: str) -> bool:
    """Whether a text can be one component of a path, such as a folder in an archive, as it is."""
    return name not in ("", ".", "..") and not re.search(r"[/\\\x00\ud800-\udfff]", name)


def is_junk(path: str) -> bool:
    """Whether a file is one that macOS or Windows puts beside those of a person.

    Args:
        path: a name, or a path with slashes, such as that of a member of an archive
    """
    *folders, name = path.split("/")
    return "__MACOSX" in folders or name.startswith("._") or name.lower() in _JUNK


def _is_ordinary(name: str) -> bool:
    return not (
        not name
        or name[0] in ". "
        or name[-1] in ". "
        or _FORBIDDEN.search(name)
        or _ALTERED.search(name)  # or else it could be what was made of another one
        or _DEVICES.match(name)
        or len(name.encode("utf-8")) > _MAX_BYTES
    )


def _altered(name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    clean = _FORBIDDEN.sub("_", name).strip(". ")
    # Cut between characters, never within one
    clean = clean.encode("utf-8")[: _MAX_BYTES - _DIGITS - 1].decode("utf-8", "ignore").rstrip(". ")
    if not clean or _DEVICES.match(clean):
        clean = f"_{clean}"[: _MAX_BYTES - _DIGITS - 1]
    return f"{clean}~{digest}"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
