"""When to ask a server again: pauses that grow, differ at random, and are as long as it asks."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime


@dataclass(frozen=True)
class Backoff:
    """How often a request that failed is made again, and how long to wait before that.

    Args:
        retries (4): how often it is made again after the first time
        first (0.5): the seconds before the first retry; they double from one to the next
        longest (30.0): the most seconds to wait, unless the server asks for more
        jitter (0.5): up to which share of a pause is added at random, such that requests that
            failed together do not come back together

    Raises:
        ValueError: if a value is negative
    """

    retries: int = 4
    first: float = 0.5
    longest: float = 30.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        for name in ("retries", "first", "longest", "jitter"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number >= 0, got {value!r}")

    def pause(self, attempt: int, asked: float | None = None) -> float:
        """Returns how many seconds to wait before the next attempt.

        Args:
            attempt: how many attempts failed before, 0 for the first retry
            asked (None): the seconds that the server asked for, see :func:`retry_after`; they are
                never cut short
        """
        pause = min(self.first * 2 ** min(attempt, 60), self.longest)
        pause = pause if asked is None else max(pause, asked)
        return pause * (1 + self.jitter * random.random())


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Reads how many seconds a server asks to wait.

    Args:
        headers: the headers of its answer; ``Retry-After`` is a number of seconds or a date

    Returns:
        the seconds, at least 0; None if it does not say
    """
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
