"""Iterators that run in a thread of their own, a bounded number of items before their consumer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T], ahead: int = 8) -> Iterator[T]:
    """Iterates in a background thread, so that decoding overlaps with what the consumer does.

    The thread starts with the first item asked for. It stops, and the iterator is closed, as
    soon as the item being made is done once the consumer closes or drops this generator. An
    exception of the iterator is raised at the consumer, after the items made before it.

    Args:
        items: what to iterate over; it is only ever touched by the thread
        ahead: the most items that wait for the consumer

    Yields:
        the items, in order

    Raises:
        ValueError: if ``ahead`` is less than 1
    """
    if ahead < 1:
        raise ValueError(f"ahead must be at least 1, not {ahead}")
    return _consume(items, ahead)


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
        self._finished = False  # no more items will come
        self._closed = False  # no more items are wanted
        self._thread = threading.Thread(target=self._run, name="revseg-feed", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether there is an item, the end or an error to take, without waiting for it."""
        return bool(self._waiting) or self._finished

    @property
    def ended(self) -> bool:
        """Whether every item was taken, and no error is left to raise."""
        return self._finished and not self._waiting and self._error is None

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

    def join(self) -> None:
        """Waits for the end of the thread."""
        self._thread.join()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            iterator = iter(self._items)
            try:
                while self._has_room():
                    try:
                        item = next(iterator)
                    except StopIteration:
                        break
                    self._add(item)
                    del item  # or one more frame than promised stays alive
            finally:
                if hasattr(iterator, "close"):
                    iterator.close()  # here, where it ran, so that its file is released at once
        except BaseException as e:
            error = e
        with self._changed:
            self._error, self._finished = error, True
            self._changed.notify_all()

    def _has_room(self) -> bool:
        """Waits for room before an item is made: one in the making counts as one that waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._waiting) < self._ahead)
            return not self._closed

    def _add(self, item: T) -> None:
        with self._changed:
            if not self._closed:
                self._waiting.append(item)
                self._changed.notify_all()


def _consume(items: Iterable[T], ahead: int) -> Iterator[T]:
    changed = threading.Condition()
    feed = Feed(items, ahead, changed)
    try:
        while True:
            with changed:
                changed.wait_for(lambda: feed.ready)
                if feed.ended:
                    break
            yield feed.take()  # type: ignore[misc]  # None only at the end
    finally:
        feed.close()
        feed.join()
