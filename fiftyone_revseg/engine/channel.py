"""Bounded queues between the threads of an engine, which all end when the engine stops."""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOK = 0.1  # seconds between two looks at whether to stop


class Stopped(BaseException):
    """The engine stops: threads unwind with this. Nobody outside sees it."""


class Channel(Generic[T]):
    """A queue with a limited number of places, given out in order, but not at any price.

    A thread may take a place before it begins to make an item, so that what is in the making
    counts, too. What is made late is waited for only for a while: a video that hangs holds up
    nobody.

    Args:
        size: how many items wait or are in the making, at most
        stop: set when the engine stops
        patience (0.5): for how many seconds an item waits for those before it

    Attributes:
        writers: how many threads put items in; once all have closed it, no more will come
    """

    def __init__(self, size: int, stop: threading.Event, patience: float = 0.5):
        self.writers = 1
        self._size = size
        self._stop = stop
        self._patience = patience
        self._changed = threading.Condition()
        self._begun: set[int] = set()
        self._made: dict[int, tuple[T, float]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._made)

    def begin(self) -> int:
        """Takes a place once there is room.

        Returns:
            the number of the item to be made

        Raises:
            Stopped: if the engine stops meanwhile
        """
        with self._changed:
            while len(self._begun) + len(self._made) >= self._size:
                self._wait()
            self._check()
            number = self._next
            self._next += 1
            self._begun.add(number)
            return number

    def cancel(self, number: int) -> None:
        """Gives a place back."""
        with self._changed:
            self._begun.discard(number)
            self._changed.notify_all()

    def put(self, item: T, number: int | None = None) -> None:
        """Adds an item.

        Args:
            item: the item
            number (None): the place that was taken for it. By default, takes one

        Raises:
            Stopped: if the engine stops meanwhile
        """
        number = self.begin() if number is None else number
        with self._changed:
            self._check()
            self._begun.discard(number)
            self._made[number] = (item, time.monotonic())
            self._changed.notify_all()

    def get(self, wait: bool = True) -> T | None:
        """Takes the first item.

        Args:
            wait (True): whether to wait for one

        Returns:
            the item; None if there is none and ``wait`` is False, or none will come any more

        Raises:
            Stopped: if the engine stops meanwhile
        """
        with self._changed:
            while True:
                self._check()
                if self._made:
                    first = min(self._made)
                    item, since = self._made[first]
                    late = time.monotonic() - since > self._patience
                    if late or not any(number < first for number in self._begun):
                        del self._made[first]
                        self._changed.notify_all()
                        return item
                if self._has_ended() or not wait:
                    return None
                self._wait()

    def close(self) -> None:
        """Says that no more items will come of one thread."""
        with self._changed:
            self.writers -= 1
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Whether nothing is in it and nothing will come."""
        with self._changed:
            return self._has_ended()

    def _has_ended(self) -> bool:
        return self.writers <= 0 and not self._begun and not self._made

    def _wait(self) -> None:
        self._check()
        self._changed.wait(_LOOK)

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped
