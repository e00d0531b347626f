"""What candidates and a verdict cost in the engine, beside the greedy chain on the same videos.

The settings take turns in one process, so that whatever else the machine does weighs on all of
them; the first turn is not counted. Beside them stands what five greedy chains would cost, one by
one: five times the first row.

    python benchmarks/candidates.py --videos 16 --turns 3
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from fiftyone_revseg import load_pipeline
from fiftyone_revseg.engine import LocalEngine
from fiftyone_revseg.pipeline import EngineJob
from fiftyone_revseg.synthetic.queries import pick_queries
from fiftyone_revseg.synthetic.world import make_world
from fiftyone_revseg.synthetic.world_files import write_video

SETTINGS = {
    "greedy": {},
    "greedy + verdict": {"verdict": True},
    "5 candidates": {"samples": 4},
    "5 candidates + verdict": {"samples": 4, "verdict": True},
}


def jobs_in(folder, count, queries, split):
    """Writes videos of the synthetic world, and makes a job of each."""
    jobs = []
    for seed in range(count):
        world = make_world(seed, split)
        path = Path(folder) / f"{seed}.mp4"
        write_video(path, world.render()[0], world.fps)
        asked = tuple(query.text for query in pick_queries(world, queries))
        jobs.append(EngineJob(str(path), asked, key=seed))
    return jobs


def measure(pipeline, jobs):
    """Returns wall and CPU seconds, tokens, and objects tracked."""
    pipeline.reasoner.forget()
    started, cpu = time.perf_counter(), time.process_time()
    answers = [answer for _, found in LocalEngine(pipeline).run(jobs) for answer in found]
    seconds = time.perf_counter() - started, time.process_time() - cpu
    turns = [turn for answer in answers for turn in answer.trajectory.turns]
    objects = 0
    for answer in answers:
        candidates = answer.trajectory.candidates
        several = {number for one in candidates for number in one.numbers}
        objects += len(several) if candidates else sum(t is not None for t in answer.tracks)
    return *seconds, sum(turn.tokens for turn in turns), objects


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="revseg-nano")
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--queries", type=int, default=2)
    parser.add_argument("--split", default="val")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--beside",
        nargs="*",
        default=list(SETTINGS)[1:],
        choices=list(SETTINGS)[1:],
        metavar="NAME",
    )
    args = parser.parse_args()
    names = ["greedy", *args.beside]
    pipelines = {name: load_pipeline(args.model, spec=SETTINGS[name]) for name in names}
    found = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        jobs = jobs_in(folder, args.videos, args.queries, args.split)
        for turn in range(args.turns + 1):
            for name, pipeline in pipelines.items():
                measured = measure(pipeline, jobs)
                if turn:
                    found[name].append(measured)
    print("| setting | wall s | x greedy | CPU s | x greedy | tokens written | objects tracked |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, turns in found.items():
        wall, cpu, tokens, objects = (
            statistics.median(column) for column in zip(*turns, strict=True)
        )
        ratios = [
            statistics.median(
                mine[i] / greedy[i] for mine, greedy in zip(turns, found["greedy"], strict=True)
            )
            for i in (0, 1)
        ]
        print(
            f"| {name} | {wall:.1f} | {ratios[0]:.2f} | {cpu:.1f} | {ratios[1]:.2f} | "
            f"{tokens:,.0f} | {objects:,.0f} |"
        )


if __name__ == "__main__":
    main()
