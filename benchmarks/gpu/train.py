"""Trains the embedded vision-language model from random weights, as far as the time goes.

    bash benchmarks/gpu/train.sh
    bash benchmarks/gpu/train.sh --seconds 900 --times 8 --out runs/gpu-train

Batches are several times as large as those of a CPU, and made in as many processes as there are
cores. When the time is over, the state and the checkpoint are kept; started again with the same
settings, it goes on. The checkpoint is of less than 16 MiB.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path

from run import missing_device

from fiftyone_revseg.nano.sft import SftConfig, train_sft

MOST = 16 * 2**20  # bytes of a file that is brought back


def settings(times: int, workers: int, tiny: bool) -> SftConfig:
    """As for the embedded model, with larger batches."""
    if tiny:
        return SftConfig(
            image_steps=1, chain_steps=1, word_steps=1, image_batch=2, chain_batch=1, workers=2
        )
    own = SftConfig()
    return SftConfig(
        image_batch=times * own.image_batch, chain_batch=times * own.chain_batch, workers=workers
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="(cuda)")
    parser.add_argument("--tiny", action="store_true", help="a step of each kind")
    parser.add_argument("--seconds", type=int, default=450, help="then it stops (450)")
    parser.add_argument("--times", type=int, default=4, help="the batches of a CPU (4)")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-train"), help="(runs/gpu-train)")
    args = parser.parse_args()
    if problem := missing_device(args.device):
        raise SystemExit(problem)
    config = settings(args.times, max(1, (os.cpu_count() or 2) - 1), args.tiny)
    began = time.monotonic()
    main_process = os.getpid()

    def interrupt(*_: object) -> None:
        if os.getpid() == main_process:
            raise KeyboardInterrupt
        os._exit(1)  # one of those that make worlds

    for stop in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(stop, interrupt)
    signal.alarm(args.seconds)
    try:
        train_sft(args.out, config)
        print("trained to its end")
    except KeyboardInterrupt:
        print(f"out of time: run it again to go on, with the same --out and --times {args.times}")
    signal.alarm(0)
    weights = args.out / "checkpoint" / "model.safetensors"
    if not weights.is_file():
        raise SystemExit("not one step was done by then: give it more --seconds")
    size = weights.stat().st_size
    print(f"{time.monotonic() - began:.0f} s; {weights}: {size / 2**20:.1f} MiB")
    if size > MOST:
        raise SystemExit(f"{weights} is larger than {MOST / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
