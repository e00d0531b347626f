"""Frames that a thread of their own decodes, for a consumer that has other work while it waits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Feed(Generic[T]):
    """Iterates in a background thread; its consumer can see whether it would have to wait.

    Args:
        items: what to iterate over; it is only ever touched by the thread
        ahead: the most items that wait for the consumer
        changed: notified, with its lock held, when there is something to take. Several feeds may
            share one, so that their consumer waits for whichever comes first
    """

    def __init__(self, items: Iterable[T], ahead: int, changed: threading.Condition):
        self._items = items
        self._ahead = ahead
        self._changed = changed
        self._waiting: deque[T] = deque()
        self._error: BaseException | None = None
        self._finished = False
        self._closed = False
        threading.Thread(target=self._run, name="revseg-feed", daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether there is an item, the end or an error to take, without waiting for it."""
        return bool(self._waiting) or self._finished

    def take(self) -> T | None:
        """Takes the next item, None at the end.

        Raises:
            LookupError: if nothing is ready
            Exception: what the iterator raised, after the items before it
        """
        with self._changed:
            if self._waiting:
                self._changed.notify_all()  # the thread may wait for room
                return self._waiting.popleft()
            if not self._finished:
                raise LookupError("nothing is ready")
            if self._error is not None:
                raise self._error
            return None

    def close(self) -> None:
        """Stops the thread as soon as the item that it makes is done; does not wait for that."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            iterator = iter(self._items)
            try:
                while True:
                    with self._changed:
                        self._changed.wait_for(
                            lambda: self._closed or len(self._waiting) < self._ahead
                        )
                        if self._closed:
                            break
                    try:
                        item = next(iterator)
                    except StopIteration:
                        break
                    with self._changed:
                        if self._closed:
                            break
                        self._waiting.append(item)
                        self._changed.notify_all()
                    del item
            finally:
                if hasattr(iterator, "close"):
                    iterator.close()
        except BaseException as e:
            error = e
        with self._changed:
            self._error, self._finished = error, True
            self._changed.notify_all()
