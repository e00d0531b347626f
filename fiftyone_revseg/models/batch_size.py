"""How much goes into one batch: as much as memory allows, less once it was too much."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from fiftyone_revseg.models.devices import empty_caches

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


class BatchSize:
    """The size of a stage's batches.

    Args:
        stage: what the batches are of, for the log
        size: how many go together at first
    """

    def __init__(self, stage: str, size: int):
        if size < 1:
            raise ValueError(f"The batch size for {stage} is {size}: give 1 or more")
        self.stage = stage
        self._size = size
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """How many go together now."""
        return self._size

    def halve(self, failed: int) -> bool:
        """Makes batches smaller after one did not fit into memory, and says so.

        Args:
            failed: the size of that batch

        Returns:
            whether a smaller batch may be tried; False if it was a single item
        """
        empty_caches()
        if failed <= 1:
            return False
        with self._lock:
            half = (failed + 1) // 2  # of three, two may well fit
            if half < self._size:
                logger.warning(
                    "Out of memory with %d in a batch for %s: %d from now on",
                    failed,
                    self.stage,
                    half,
                )
                self._size = half
        return True


def fitting(device: torch.device | None, item_bytes: int, most: int, on_cpu: int) -> int:
    """Chooses how many items go together.

    Args:
        device: where the model runs; None if that is not known here
        item_bytes: about how much memory one item takes
        most: the largest size that is of use
        on_cpu: the size where there is no GPU: beyond it, a CPU gains nothing

    Returns:
        at least 1
    """
    if device is None or device.type != "cuda":
        return on_cpu
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    reusable = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(1, min(most, (free + reusable) // max(1, item_bytes)))


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether a device ran out of memory, which a smaller batch may not."""
    import sys

    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
