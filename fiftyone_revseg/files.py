"""Files that are written as a whole or not at all, whatever interrupts the writing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a path to write to, whose file takes the place of another one at the end.

    Args:
        path: where the file is to be; missing directories are made

    Yields:
        the path of a hidden file beside it. On an error, it is removed and the old file stays
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file in UTF-8."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, indent: int | None = None) -> None:
    """Writes a JSON file."""
    write_text(path, json.dumps(value, indent=indent) + "\n")
