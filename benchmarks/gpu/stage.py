"""What the scripts of all stages have in common: their options, and where their results go."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from results import Results


@dataclass(frozen=True)
class Settings:
    """How a stage runs.

    Attributes:
        device: "cuda", or "cpu" for a rehearsal
        tiny: whether everything is in miniature
    """

    device: str
    tiny: bool

    @property
    def on_gpu(self) -> bool:
        """Whether there is something to measure that only a GPU has."""
        return self.device.startswith("cuda")


def run_stage(measure: Callable[[Settings, Results], None], about: str | None) -> None:
    """Reads the options of a stage's script, and runs it."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="in miniature")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    args = parser.parse_args()
    import torch

    # In miniature, on a machine that has other work, threads wait for each other
    torch.set_num_threads(1 if args.tiny else min(8, os.cpu_count() or 1))
    measure(Settings(args.device, args.tiny), Results(args.out))
