"""Where a video is cut from one scene to another, seen while its frames are walked.

As PySceneDetect's adaptive detector: two neighbours differ much, and far more than their own
neighbours do. That library is not used, as it brings an OpenCV of its own beside FiftyOne's and
reads videos itself, from front to back; here frames come both ways from where a walk begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

_SIDE = 16  # of the picture that is remembered of a frame
_SAMPLES = 4  # pixels of the frame, each way, that make one of it
_LEAST = 6.0  # of 255, that half of two neighbours' pixels differ by at a cut
_TIMES = 3.0  # as much as each of the differences around it
_AROUND = 2  # how many on each side are looked at


class CutFinder:
    """Collects how much neighbouring frames differ: one number for each, whatever their size."""

    def __init__(self) -> None:
        self._differences: dict[int, float] = {}  # of a frame and the one before it

    def watch(self, walk: Iterator[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
        """Passes a walk's frames on unchanged; several walks may be watched, in several threads.

        Args:
            walk: (number, (H, W, 3) uint8 RGB) pairs, one after the other in either direction
        """
        last: tuple[int, np.ndarray] | None = None
        try:
            for k, frame in walk:
                small = _small(frame)
                if last is not None and abs(k - last[0]) == 1:
                    # The median: an object that appears all at once is no other scene
                    changed = np.abs(small - last[1]).mean(axis=2)
                    self._differences[max(k, last[0])] = float(np.median(changed))
                last = k, small
                yield k, frame
        finally:
            close = getattr(walk, "close", None)
            if close is not None:
                close()

    @property
    def cuts(self) -> tuple[int, ...]:
        """The frames, 0-based, that begin another scene than the frame before them shows."""
        seen = dict(self._differences)  # another thread may go on watching
        return tuple(sorted(k for k in seen if _is_cut(seen, k)))


class WatchedVideo:
    """A video whose walks are watched.

    Args:
        video: has ``walk``, ``size`` and a length
        finder: what watches
    """

    def __init__(self, video: Any, finder: CutFinder):
        self._video, self._finder = video, finder

    @property
    def size(self) -> tuple[int, int]:
        """The (width, height) of the frames in pixels."""
        width, height = self._video.size
        return width, height

    def __len__(self) -> int:
        return len(self._video)

    def walk(self, start: int, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        """Iterates over (k, (H, W, 3) uint8 RGB) from ``start`` to that direction's end."""
        return self._finder.watch(self._video.walk(start, step))


def _is_cut(differences: dict[int, float], k: int) -> bool:
    """A flash makes two differences beside each other, and a pan makes many: neither is a cut."""
    near = [differences.get(k + i) for i in range(-_AROUND, _AROUND + 1) if i]
    around = [difference for difference in near if difference is not None]
    most = max(around, default=_LEAST / _TIMES)
    return differences[k] >= max(_LEAST, _TIMES * most)


def _small(frame: np.ndarray) -> np.ndarray:
    """(_SIDE, _SIDE, 3) float32 of means over a few pixels each."""
    height, width = frame.shape[:2]
    count = _SIDE * _SAMPLES
    rows = np.linspace(0, height - 1, count).round().astype(int)
    columns = np.linspace(0, width - 1, count).round().astype(int)
    few = frame[rows[:, None], columns].astype(np.float32)
    return few.reshape(_SIDE, _SAMPLES, _SIDE, _SAMPLES, 3).mean(axis=(1, 3))
