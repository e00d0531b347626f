"""Worker processes that score masks, for :func:`fiftyone_revseg.measures.scoring.score_many`.

They are plain Python processes that read tasks and write scores. ``multiprocessing`` would either
copy a process with threads and database connections in it, or run the user's script once more in
each worker; both are surprises in something that is called like a function.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any


class Workers:
    """Processes that call a function, each fed by a thread that waits for it.

    A worker that dies, for example for want of memory, costs time only: what it was doing, and
    would have done, is done in this process.

    Args:
        function: what they call; it is found by its name, and so belongs to a module
        count: how many processes to start
    """

    def __init__(self, function: Callable[..., Any], count: int) -> None:
        self._function = function
        self._processes = [_start(function) for _ in range(count)]
        self._free: queue.SimpleQueue[subprocess.Popen] = queue.SimpleQueue()
        for process in self._processes:
            self._free.put(process)
        self._closed = False
        self._threads = ThreadPoolExecutor(count, "revseg-worker")

    def submit(self, *args: Any) -> Future:
        """Has the function called in a worker, and returns its value or error to come."""
        return self._threads.submit(self._run, args)

    def _run(self, args: tuple) -> Any:
        process = self._free.get()
        try:
            ok, answer = _ask(process, args)
        except (OSError, EOFError, pickle.UnpicklingError) as error:  # the worker is gone
            if self._closed:
                raise CancelledError from error
            return self._function(*args)
        finally:
            self._free.put(process)
        if not ok:
            raise answer
        return answer

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
            # The pipe to a worker may hold what it did not read any more
            with contextlib.suppress(OSError), process:
                pass
        self._threads.shutdown()


def usable_cores() -> int:
    """Returns how many cores this process may use; 1 if it could not start a Python process."""
    if not sys.executable:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def serve(function: Callable[..., Any]) -> None:
    """Answers what comes in on stdin until it ends: the whole of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the parent's business
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what anything prints is not an answer
    while True:
        try:
            args = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = (True, function(*args))
        except Exception as error:
            answer = (False, error)
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


def _start(function: Callable[..., Any]) -> subprocess.Popen:
    module, name = function.__module__, function.__qualname__
    code = f"from {__name__} import serve; from {module} import {name}; serve({name})"
    # The workers find what this process finds, wherever that was imported from
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )


def _ask(process: subprocess.Popen, args: tuple) -> tuple[bool, Any]:
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:
        raise EOFError("a worker without pipes")
    pickle.dump(args, stdin, pickle.HIGHEST_PROTOCOL)
    stdin.flush()
    return pickle.load(stdout)
