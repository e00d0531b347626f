"""Run an iterator in a thread, a bounded number of items ahead of its consumer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

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


class _Queue:
    """The shared state of the two threads; every field is guarded by ``changed``."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.ready: deque = deque()
        self.error: BaseException | None = None
        self.finished = False  # no more items will come
        self.stopped = False  # no more items are wanted


def _consume(items: Iterable[T], ahead: int) -> Iterator[T]:
    queue = _Queue()
    thread = threading.Thread(target=_produce, args=(items, ahead, queue), daemon=True)
    thread.start()
    try:
        while True:
            with queue.changed:
                queue.changed.wait_for(lambda: queue.ready or queue.finished)
                if not queue.ready:
                    break
                item = queue.ready.popleft()
                queue.changed.notify_all()
            yield item
            del item  # or one more frame than promised stays alive
        if queue.error is not None:
            raise queue.error
    finally:
        with queue.changed:
            queue.stopped = True
            queue.ready.clear()
            queue.changed.notify_all()
        thread.join()


def _produce(items: Iterable, ahead: int, queue: _Queue) -> None:
    error = None
    try:
        iterator = iter(items)
        try:
            while True:
                # Room first, item second: an item in the making counts as one that waits
                with queue.changed:
                    queue.changed.wait_for(lambda: queue.stopped or len(queue.ready) < ahead)
                    if queue.stopped:
                        break
                try:
                    item = next(iterator)
                except StopIteration:
                    break
                with queue.changed:
                    if queue.stopped:
                        break
                    queue.ready.append(item)
                    queue.changed.notify_all()
                del item
        finally:
            if hasattr(iterator, "close"):
                iterator.close()  # here, where it ran, so that its file is released at once
    except BaseException as e:
        error = e
    with queue.changed:
        queue.error = error
        queue.finished = True
        queue.changed.notify_all()
