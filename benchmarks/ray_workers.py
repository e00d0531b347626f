"""How much two workers of Ray do in the time of one.

    python benchmarks/ray_workers.py [--videos 64] [--frames 60] [--rounds 2]

Two models: a fake one that sleeps, which any number of workers do beside each other, and the
embedded pair, which computes. Two ideal workers would take half as long as one engine in a process
of its own; on a machine whose cores are shared, no longer than two plain processes that are each
given one half of the videos, with one thread each. Starting and loading are left out of all times.
All is loaded once, and the three take turns: a machine that is slow for a while is so for all.
Each round has videos of its own, so that nobody remembers any from the round before.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from fiftyone_revseg.engine import EngineJob, LocalEngine
from fiftyone_revseg.engine.ray import RayEngine
from fiftyone_revseg.pipeline import RevSeg, load_pipeline
from fiftyone_revseg.reasoning import ChainSpec, Reply
from fiftyone_revseg.synthetic import make_world, write_video
from fiftyone_revseg.tracking import FrameMasks, encode_masks

QUERY = "the object that appears last"
CHOICE = '<think>x</think><answer>[{"frame_idx": 0, "object description": "x"}]</answer>'
BOX = '[{"bbox_2d": [10, 10, 50, 50], "label": "x"}]'


class SleepingReasoner:
    """Answers after a while, in which it computes nothing."""

    name = "sleeping"
    spec = ChainSpec(frames=4, frame_size=56, key_frame_size=100, retries=0)

    def __init__(self, seconds: float):
        self._seconds = seconds

    def generate(self, conversations, spec):
        """Sleeps for each conversation."""
        time.sleep(self._seconds * len(conversations))
        return [
            Reply(BOX if any(m.role == "assistant" for m in c.messages) else CHOICE)
            for c in conversations
        ]


class EmptyTracker:
    """Finds nothing, at once."""

    name = "empty"

    def track(self, frames, boxes):
        """Gives empty masks."""
        for k, frame in frames:
            rles = encode_masks(np.zeros((len(boxes), *frame.shape[:2]), bool))
            yield FrameMasks(frame=k, rles=rles, scores=np.zeros(len(boxes)))


def sleeping(seconds: float) -> RevSeg:
    """The pipeline that sleeps."""
    return RevSeg(SleepingReasoner(seconds), EmptyTracker())


LOAD = {
    "sleeping": partial(sleeping, 0.1),
    "embedded": partial(load_pipeline, "revseg-nano", device="cpu"),
}


class Processes:
    """Plain processes, each with the models and an engine.

    Args:
        kind: which model
        count: how many
    """

    def __init__(self, kind: str, count: int):
        command = [sys.executable, __file__, "--process", kind]
        pipe = subprocess.PIPE
        self._processes = [
            subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(count)
        ]
        for process in self._processes:
            process.stdout.readline()  # it is ready

    def seconds(self, paths: list[str]) -> float:
        """Returns how long they take for the videos together."""
        started = time.perf_counter()
        for i, process in enumerate(self._processes):
            process.stdin.write(json.dumps(paths[i :: len(self._processes)]) + "\n")
            process.stdin.flush()
        for process in self._processes:
            process.stdout.readline()
        return time.perf_counter() - started

    def close(self) -> None:
        """Ends them."""
        for process in self._processes:
            process.kill()


def process(kind: str) -> None:
    """One of the plain processes: takes lists of paths, and says when they are done."""
    import torch

    torch.set_num_threads(1)
    engine = LocalEngine(LOAD[kind]())
    print("ready", flush=True)
    for line in sys.stdin:
        for _ in engine.run(jobs_of(json.loads(line))):
            pass
        print("done", flush=True)


def jobs_of(paths: list[str]) -> list[EngineJob]:
    """Asks the same about all videos."""
    return [EngineJob(path, (QUERY,)) for path in paths]


def seconds_of(engine: RayEngine, paths: list[str]) -> float:
    """Returns how long workers of Ray take for the videos."""
    started = time.perf_counter()
    count = sum(1 for _ in engine.run(jobs_of(paths)))
    assert count == len(paths)
    return time.perf_counter() - started


def compare(kind: str, rounds: list[list[str]]) -> None:
    """Prints a line.

    Args:
        kind: which model
        rounds: the paths of the videos of each round; the first one is not measured
    """
    alone, together = Processes(kind, 1), Processes(kind, 2)
    with RayEngine(LOAD[kind], 2, cpus_per_worker=1, gpus_per_worker=0) as engine:
        while sum(member.is_ready for member in engine.pool.members) < 2:
            seconds_of(engine, rounds[0])
        for processes in (alone, together):
            processes.seconds(rounds[0])  # what is done only once
        totals = np.zeros(3)
        for paths in rounds[1:]:
            totals += alone.seconds(paths), together.seconds(paths), seconds_of(engine, paths)
    alone.close()
    together.close()
    one, two, workers = totals
    print(f"{kind:>10} {one:>8.1f} s {two:>10.1f} s {workers:>8.1f} s ", end="")
    print(f"{two / workers:>15.2f} {one / 2 / workers:>11.2f}", flush=True)


def write_videos(folder: Path, first: int, count: int, frames: int) -> list[str]:
    """Renders worlds, from a seed on; returns the paths."""
    paths = []
    for seed in range(first, first + count):
        world = make_world(seed, "test")
        paths.append(str(folder / f"{seed}.mp4"))
        write_video(paths[-1], world.render()[0][:frames], world.fps)
    return paths


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=64)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--models", nargs="*", default=list(LOAD))
    parser.add_argument("--process", help=argparse.SUPPRESS)
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    if args.process:
        process(args.process)
        return
    with tempfile.TemporaryDirectory() as folder:
        rounds, first = [], 0
        for count in (4, *[args.videos] * args.rounds):
            rounds.append(write_videos(Path(folder), first, count, args.frames))
            first += count
        print(f"{args.rounds} x {args.videos} videos of up to {args.frames} frames, ", end="")
        print(f"{os.cpu_count()} cores")
        print(f"{'model':>10} {'1 process':>10} {'2 processes':>12} {'2 workers':>10} ", end="")
        print(f"{'of 2 processes':>15} {'of 2 ideal':>11}")
        for kind in args.models:
            compare(kind, rounds)


if __name__ == "__main__":
    main()
