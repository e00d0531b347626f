"""How far a run is, whatever it does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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


class VideoProgress:
    """Tells how far the one video is that is being worked on, when it is called as (done, total).

    Args:
        progress: called with a :class:`RunProgress`; anything else is not told
        total: how many videos are to be done
        stage: what is done to them, see :class:`RunProgress`
        started: when the run began, by ``time.perf_counter``

    Attributes:
        done: how many videos are done
        video: the name of the one that is worked on
    """

    def __init__(self, progress: bool | OnProgress | None, total: int, stage: str, started: float):
        self._call = progress if callable(progress) else None
        self._total, self._stage, self._started = total, stage, started
        self.done, self.video = 0, ""

    def __call__(self, done: int, total: int) -> None:
        if self._call is not None:
            about = self.done, self._total, self.video, self._stage, done, total
            self._call(RunProgress(*about, time.perf_counter() - self._started))
