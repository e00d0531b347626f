"""How far a run is, whatever it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class RunProgress:
    """How far a run is.

    Attributes:
        done: how many videos, or other units, are done
        total: how many are to be done
        video: the name of the video that is worked on, or what else is to be said; "" at the end
        stage: "decode", "reason", "track" or "write"
        stage_done: how much of the stage is done
        stage_total: of how much
        seconds: since the start
        unit: what is counted
    """

    done: int
    total: int
    video: str = ""
    stage: str = ""
    stage_done: int = 0
    stage_total: int = 0
    seconds: float = 0.0
    unit: str = "video"

    @property
    def rate(self) -> float:
        """Videos per second; 0 before the first one is done."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def remaining(self) -> float | None:
        """An estimate of the seconds that are left; None before the first video is done."""
        return (self.total - self.done) / self.rate if self.rate else None


#: Called with a :class:`RunProgress` whenever there is something new. To stop the run, it raises
#: ``KeyboardInterrupt``
OnProgress = Callable[[RunProgress], Any]


class Pace:
    """Keeps reports to as many as a person can read.

    Args:
        seconds: how long after one report the next is due
    """

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._last = float("-inf")

    def is_due(self, anyway: bool = False) -> bool:
        """Returns whether a report is due, or made anyway, and counts from then on."""
        now = time.monotonic()
        if not anyway and now - self._last < self._seconds:
            return False
        self._last = now
        return True


def _name_of(item: Any) -> str:
    return str(getattr(item, "name", item))


def walked(
    items: Iterable[_T],
    total: int,
    progress: bool | OnProgress | None,
    title: str,
    unit: str = "video",
    every: int = 1,
    name_of: Callable[[_T], str] = _name_of,
) -> Iterator[_T]:
    """Walks over what there is to do while saying how far that is.

    Args:
        items: what there is to do
        total: how many there are
        progress: whether to show a bar; or a function that is called with a :class:`RunProgress`,
            and raises ``KeyboardInterrupt`` to stop
        title: what is done to them, for people
        unit ("video"): what they are, for people
        every (1): how many are done between two calls of the function
        name_of: says which one it is. By default, its name, or itself

    Yields:
        the items
    """
    if not callable(progress):
        from tqdm.auto import tqdm

        yield from tqdm(items, title, total, disable=not progress, unit=unit)
        return
    started = time.perf_counter()
    progress(RunProgress(0, total))
    for done, item in enumerate(items, start=1):
        yield item
        if done % every == 0 or done == total:
            name = "" if done == total else name_of(item)
            progress(RunProgress(done, total, name, seconds=time.perf_counter() - started))
