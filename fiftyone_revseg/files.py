"""Files that are written as a whole or not at all, whatever interrupts the writing."""

from __future__ import annotations

import json
import math
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


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
