"""The most memory that this process took so far."""

from __future__ import annotations

from pathlib import Path


def peak() -> float:
    """Returns it, in MiB.

    ``resource.getrusage`` would count what the process that started this one had at that time.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
