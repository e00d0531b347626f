"""What this product wrote into a folder, so that an overwrite replaces that and nothing else.

The folder keeps a list, ``.revseg-written``: a line for each file, or folder of files, with a
digest of its names and contents. What is not on it, or was changed since, is somebody's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fiftyone_revseg.files import is_partial, replacing, replacing_folder
from fiftyone_revseg.files.digests import digest_files, digest_texts
from fiftyone_revseg.files.names import is_junk

LIST = ".revseg-written"


class NotOursError(ValueError):
    """What would be replaced was not written by this product; the message says what to do."""


class Written:
    """The list of what was written into a folder.

    Args:
        directory: the folder, which need not exist yet
    """

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)

    def check(self, *paths: Path) -> None:
        """Checks that files or folders are not there, or are what was written before.

        Args:
            *paths: in the folder

        Raises:
            NotOursError: if one of them is somebody's own
        """
        for path in paths:
            if not self.is_replaceable(path):
                what = "holds files that were" if path.is_dir() else "was"
                raise NotOursError(
                    f"'{path}' {what} not written by revseg, or changed since, so nothing is "
                    "replaced: move it away, or name another folder"
                )

    @contextmanager
    def replacing(self, path: Path, durable: bool = True) -> Iterator[Path]:
        """As :func:`fiftyone_revseg.files.replacing`, but replaces only what was written before.

        Raises:
            NotOursError: if the file is somebody's own
        """
        self.check(path)
        with replacing(path, durable) as partial:
            yield partial
            self._add(partial, path)

    @contextmanager
    def replacing_folder(
        self, path: Path, durable: bool = False, keep: bool = False
    ) -> Iterator[Path]:
        """As :func:`fiftyone_revseg.files.replacing_folder`, but only what was written before.

        Args:
            path: the folder
            durable (False): as there
            keep (False): whether a folder that is somebody's own is renamed rather than refused

        Raises:
            NotOursError: if the folder, or a file in it, is somebody's own
        """
        if not keep:
            self.check(path)
        with replacing_folder(path, durable) as partial:
            yield partial
            if keep and not self.is_replaceable(path):
                path.rename(free_path(path.with_name(f"{path.name}-kept")))
            self._add(partial, path)

    def is_replaceable(self, path: Path) -> bool:
        """Whether nothing of anybody's is lost with a file or folder."""
        if path.is_symlink():
            return False
        return not path.exists() or _is_empty(path) or fingerprint(path) in self._known()

    def _add(self, partial: Path, path: Path) -> None:
        self.check(path)  # once more: writing takes long
        # Listed before it is there, so that it is known after a kill, too
        name = ascii(path.relative_to(self.directory).as_posix())[1:-1]
        with open(self.directory / LIST, "ab", 0) as file:  # one call: writers do not mix
            # Begins on a new line whatever a full disk left of the last one
            file.write(f"\n{fingerprint(partial)}  {name}".encode())

    def _known(self) -> set[str]:
        try:
            text = (self.directory / LIST).read_bytes()
        except FileNotFoundError:
            return set()
        return {line.split(b" ")[0].decode("ascii", "replace") for line in text.splitlines()}


def fingerprint(path: Path) -> str:
    """Names a file, or a folder with all that is in it, by names and contents.

    What systems put into folders by themselves, such as ``.DS_Store``, does not count.
    """
    if not path.is_dir():
        return digest_files([path])
    inside = sorted(p for p in path.rglob("*") if not is_junk(p.name))
    names = [p.relative_to(path).as_posix() + "@" * p.is_symlink() for p in inside]
    return digest_texts([*map(ascii, names), digest_files(p for p in inside if p.is_file())])


def holds_only_ours(directory: Path) -> bool:
    """Whether a folder is empty but for what killed writers left there, and the list."""
    return all(path.name == LIST or is_partial(path.name) for path in directory.iterdir())


def free_path(path: Path) -> Path:
    """Returns a path, with a number at its end if there is something of its name."""
    number, free = 1, path
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
