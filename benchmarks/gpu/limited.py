"""A command with a limit of time, with its output in a file; nothing of it goes on afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        outcome: "done", or in words why not
        seconds: on the clock
    """

    outcome: str
    seconds: float


def run_limited(
    command: Sequence[str], seconds: float, log: Path, environment: Mapping[str, str] | None = None
) -> Ended:
    """Runs a command; at its limit it is killed with all that it started.

    Args:
        command: the program and its arguments
        seconds: the limit
        log: where what it prints goes
        environment (None): variables on top of those of this process
    """
    began = time.monotonic()
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # so that all of it can be killed
        )
        try:
            code: int | None = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    took = time.monotonic() - began
    if code is None:
        return Ended(f"out of time after {took:.0f} s", took)
    if code:
        return Ended(f"failed with exit code {code}: {last_line(log)}", took)
    return Ended("done", took)


def last_line(log: Path) -> str:
    """The last line of a log that says something, which of a traceback is the error."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
