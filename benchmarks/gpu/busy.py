"""For which share of a run's time the device was busy, and with what.

Two ways, as neither is beyond doubt. ``nvidia-smi`` samples whether any kernel runs, and costs the
run nothing. PyTorch's profiler knows when each kernel began and ended, and slows the run down, so
it gets a short one of its own.
"""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass


class Sampled:
    """Samples ``nvidia-smi`` meanwhile; use it as a context manager.

    Attributes:
        percent: the share of time in which kernels ran, as sampled; empty without nvidia-smi
    """

    def __init__(self) -> None:
        self.percent: list[int] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Sampled:
        import torch

        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        uuid = getattr(torch.cuda.get_device_properties(0), "uuid", None)
        command += ["-lms", "100", *(["-i", f"GPU-{uuid}"] if uuid else [])]
        try:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        except OSError:
            self._process = None
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is None:
            return
        self._process.terminate()
        said, _ = self._process.communicate()
        self.percent = [int(line) for line in said.splitlines() if line.strip().isdigit()]

    @property
    def share(self) -> float | None:
        """The mean; None if nothing was sampled."""
        return sum(self.percent) / len(self.percent) / 100 if self.percent else None


@dataclass(frozen=True)
class Profile:
    """What kernels did during a run.

    Attributes:
        share: of the time in which any of them ran
        kernels: how many there were
        longest: (name, seconds) of those that took most time together
    """

    share: float
    kernels: int
    longest: list[tuple[str, float]]


def profile(run: Callable[[], object]) -> Profile:
    """Runs something under PyTorch's profiler; only what the device does is recorded."""
    import torch
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity

    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA]) as recorded:
        began = time.perf_counter()
        run()
        torch.cuda.synchronize()
        took = time.perf_counter() - began
    events = [
        (event.name(), event.start_ns(), event.start_ns() + event.duration_ns())
        for event in recorded.profiler.kineto_results.events()
        if event.device_type() == DeviceType.CUDA
    ]
    totals: dict[str, float] = defaultdict(float)
    for name, start, end in events:
        totals[name] += (end - start) / 1e9
    longest = sorted(totals.items(), key=lambda item: -item[1])[:20]
    spans = ((start, end) for _, start, end in events)
    return Profile(covered(spans) / 1e9 / took, len(events), longest)


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of what (start, end) spans cover together: streams may overlap."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
