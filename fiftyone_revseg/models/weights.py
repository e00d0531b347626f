"""Weights in memory, shared between all in this process that use the same ones."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

# Weakly: whoever uses weights holds them, and the last one to go releases them
_held: weakref.WeakValueDictionary[Hashable, object] = weakref.WeakValueDictionary()
_locks: weakref.WeakValueDictionary[Hashable, threading.Lock] = weakref.WeakValueDictionary()
_guard = threading.Lock()


def share(key: Hashable, load: Callable[[], T]) -> T:
    """Returns what is loaded under a key, and loads it if nobody in this process holds it.

    Threads that ask for the same at the same time load it once. What comes back is changed by
    nobody, since others use it too.

    Args:
        key: what is loaded, from which files (:func:`stamp`), and to which device
        load: loads it; the result must allow weak references

    Returns:
        the result of ``load``, now or earlier
    """
    with _guard:
        # One lock for each key: a download of one model should not hold up another
        lock = _locks.setdefault(key, threading.Lock())
    with lock:
        value = _held.get(key)
        if value is None:
            value = _held[key] = load()
        return value  # type: ignore[return-value]


def stamp(paths: Iterable[str | Path]) -> tuple[tuple[str, int, int, int], ...]:
    """Describes files such that another description means that one of them changed.

    Args:
        paths: existing files, on their own or behind links

    Returns:
        for each file its real path, size in bytes, time of change in nanoseconds, and inode: a
        file may be replaced by one of its size within a tick of the clock
    """
    described = []
    for path in paths:
        real = Path(path).resolve()
        status = real.stat()
        described.append((str(real), status.st_size, status.st_mtime_ns, status.st_ino))
    return tuple(described)


def versions_of(model: Any) -> tuple[int, ...]:
    """Says of each parameter how often it was written to; other weights have other versions.

    Torch counts this for itself. A public ``tensor.version`` would replace it.
    """
    return tuple(p._version for p in model.parameters())
