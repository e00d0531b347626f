"""An event loop in a thread of its own, for callers that may or may not be in one themselves.

In a notebook or in FiftyOne's server a loop runs already, in which nobody may wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE = 5.0  # seconds that connections may take to close


class LoopThread:
    """Runs coroutines for any number of threads, until it is closed or garbage.

    Args:
        at_end: what closes all that lives in the loop; is called in it when it ends, whichever way
    """

    def __init__(self, at_end: Callable[[], Awaitable[None]]) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon: a program that ends does not wait for answers that nobody reads
        self._thread = threading.Thread(
            target=_serve, args=(self._loop, at_end), name="revseg-server", daemon=True
        )
        self._thread.start()
        self._finalizer = weakref.finalize(self, _stop, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine and returns its result; it is cancelled if the caller is interrupted.

        Raises:
            RuntimeError: if the loop was closed meanwhile
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise RuntimeError("the connections were closed while they were in use") from None
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stops the loop, and waits for its end; what still runs in it is cancelled."""
        self._finalizer()
        self._thread.join(_PATIENCE)


def _serve(loop: asyncio.AbstractEventLoop, at_end: Callable[[], Awaitable[None]]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        # Sockets that outlive their loop complain when they become garbage, in whichever thread
        with contextlib.suppress(Exception):
            loop.run_until_complete(_within(at_end()))
        loop.close()


async def _within(closing: Awaitable[None]) -> None:
    await asyncio.wait_for(closing, _PATIENCE)


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
