"""What this device can do at most, measured: the floor of the time is counted with it."""

from __future__ import annotations

import time
from collections.abc import Callable

from stage import Settings


def matrix_rate(settings: Settings) -> float:
    """Operations a second in products of large matrices, in bfloat16 on a GPU."""
    import torch

    side, dtype = (8192, torch.bfloat16) if settings.on_gpu else (512, torch.float32)
    a, b = torch.randn(2, side, side, device=settings.device).to(dtype)
    return 2 * side**3 / _best(settings, lambda: a @ b)


def bandwidth(settings: Settings) -> float:
    """Bytes a second that are read and written when memory is copied on the device."""
    import torch

    source = torch.zeros(2**31 if settings.on_gpu else 2**24, dtype=torch.uint8)
    source = source.to(settings.device)
    target = torch.empty_like(source)
    return 2 * source.numel() / _best(settings, lambda: target.copy_(source))


def device_name(settings: Settings) -> str:
    """What the device calls itself."""
    import torch

    return torch.cuda.get_device_name(0) if settings.on_gpu else "CPU"


def _best(settings: Settings, work: Callable[[], object], times: int = 10) -> float:
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        work()
        if settings.on_gpu:
            import torch

            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best
