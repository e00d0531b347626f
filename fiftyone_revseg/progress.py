"""How far a run is, whatever it does."""

from __future__ import annotations

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
