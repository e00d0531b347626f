"""The mark in files of made-up videos, by which they are told from all others."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

_NAME, _MARK = "comment", "fiftyone_revseg: a made-up world"


def mark(container: Any) -> None:
    """Marks what is written to a container of PyAV as made up."""
    container.metadata[_NAME] = _MARK


def is_made_up(path: Any) -> bool:
    """Returns whether a video says of itself that it was made up here.

    Only the head of the file is read. What says nothing, such as images, is not known to be.

    Args:
        path: the path of the video; or those of images
    """
    if not isinstance(path, (str, os.PathLike)):
        return False
    try:
        changed = os.stat(path).st_mtime_ns
    except OSError:
        return False
    return _is_marked(os.fspath(path), changed)


@lru_cache(maxsize=1000)
def _is_marked(path: str, changed: int) -> bool:
    import av

    from fiftyone_revseg.files import name_for_ffmpeg

    try:
        with av.open(name_for_ffmpeg(path)) as container:
            return container.metadata.get(_NAME) == _MARK
    except Exception:  # whatever it is, it is no made-up video; opening it tells what is wrong
        return False
