"""How much two workers of Ray do in the time of one.

    python benchmarks/ray_workers.py [--videos 48] [--frames 60]

Two models: a fake one that sleeps, which any number of workers do beside each other, and the
embedded pair, which computes. Two ideal workers would take half as long as one engine in a process
of its own; on a machine whose cores are shared, no longer than two plain processes that are each
given one half of the videos, with one thread each. Starting and loading are left out of all times.
"""

from __future__ import annotations

import argparse
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
from fiftyone_revseg.pictures import write_video
from fiftyone_revseg.pipeline import RevSeg, load_pipeline
from fiftyone_revseg.reasoning import ChainSpec, Reply
from fiftyone_revseg.synthetic import make_world
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


def embedded() -> RevSeg:
    """The embedded pair."""
    return load_pipeline("revseg-nano", device="cpu")


LOAD = {"sleeping": partial(sleeping, 0.1), "embedded": embedded}


def seconds_of(engine, jobs: list[EngineJob]) -> float:
    """Runs jobs after a first few, which are not timed, and returns how long they took."""
    list(engine.run(jobs[:2]))
    started = time.perf_counter()
    count = sum(1 for _ in engine.run(jobs))
    assert count == len(jobs)
    return time.perf_counter() - started


def with_workers(kind: str, jobs: list[EngineJob], workers: int) -> float:
    """Returns the seconds that workers of Ray take."""
    with RayEngine(LOAD[kind], workers, cpus_per_worker=1, gpus_per_worker=0) as engine:
        while sum(member.is_ready for member in engine._pool.members) < workers:
            list(engine.run(jobs[: 2 * workers]))
        return seconds_of(engine, jobs)


def in_processes(kind: str, jobs: list[EngineJob], count: int) -> float:
    """Returns the seconds that plain processes take that begin at the same time."""
    command = [sys.executable, __file__, "--part", kind]
    processes = []
    for i in range(count):
        part = [str(job.video) for job in jobs[i::count]]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen([*command, *part], stdin=pipe, stdout=pipe, text=True))
    for process in processes:
        process.stdout.readline()  # it is ready
    started = time.perf_counter()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
    return time.perf_counter() - started


def part(kind: str, paths: list[str]) -> None:
    """One of the plain processes."""
    import torch

    torch.set_num_threads(1)
    engine = LocalEngine(LOAD[kind]())
    jobs = [EngineJob(path, (QUERY,)) for path in paths]
    list(engine.run(jobs[:2]))
    print("ready", flush=True)
    sys.stdin.readline()
    list(engine.run(jobs))
    sys.stdout.flush()
    os._exit(0)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=48)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--models", nargs="*", default=list(LOAD))
    parser.add_argument("--part", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    if args.part:
        part(args.part[0], args.part[1:])
        return
    with tempfile.TemporaryDirectory() as folder:
        jobs = []
        for seed in range(args.videos):
            world = make_world(seed % 8, "test")
            path = Path(folder) / f"{seed:03d}.mp4"
            frames = world.render()[0][: args.frames]
            write_video(path, ((k / world.fps, f) for k, f in enumerate(frames)), world.fps)
            jobs.append(EngineJob(str(path), (QUERY,)))
        print(f"{args.videos} videos of up to {args.frames} frames, {os.cpu_count()} cores")
        print(f"{'model':>10} {'1 process':>10} {'2 processes':>12} {'1 worker':>10} ", end="")
        print(f"{'2 workers':>10} {'of 2 processes':>15} {'of 2 ideal':>11}")
        for kind in args.models:
            one, two = (in_processes(kind, jobs, count) for count in (1, 2))
            first, second = (with_workers(kind, jobs, count) for count in (1, 2))
            print(f"{kind:>10} {one:>8.1f} s {two:>10.1f} s {first:>8.1f} s ", end="")
            print(f"{second:>8.1f} s {two / second:>15.2f} {one / 2 / second:>11.2f}")


if __name__ == "__main__":
    main()
