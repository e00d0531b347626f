"""Whether something that happens for seconds in a video of minutes is found, and what that costs.

Long worlds with a body that is there for 2 to 4 seconds only are asked about with frames that are
spread over the whole video, as by default, and in windows with ``max_gap``. Found is a key frame
within the event; beside it stands how often something was found in windows of the event, and in no
others. Nothing is tracked: that takes as long either way.

    python benchmarks/long_videos.py --split val --videos 10 --minutes 5
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

from fiftyone_revseg import load_pipeline
from fiftyone_revseg.pipeline import EngineJob
from fiftyone_revseg.pipeline.work import Work
from fiftyone_revseg.reasoning.closer import FirstTurn
from fiftyone_revseg.reasoning.rolling import run_talks
from fiftyone_revseg.synthetic.long_world import WorldVideo, make_long_world


def ask(pipeline, world):
    """Returns key frames, whether the right windows were chosen, and tokens read and written."""
    video = WorldVideo(world.world)
    work = Work(pipeline, EngineJob(video.path, (world.query,)), video=video)
    work.open()
    tokens, chosen = 0, []  # of each window with an answer: whether the event is in it
    while talks := work.talks():
        results = run_talks(pipeline.reasoner, pipeline.spec, talks)
        work.take(results)
        for result in results:
            for one in result if isinstance(result, list) else [result]:
                tokens += sum(turn.tokens + turn.prompt_tokens for turn in one.turns)
                if isinstance(one, FirstTurn) and one.look.choices:
                    chosen.append(any(k in world.frames for k in one.look.frames))
    return [pursuit.key_frame for pursuit in work.pursuits()], bool(chosen) and all(chosen), tokens


def measure(args):
    """Asks about all videos with one setting; prints one line of JSON."""
    pipeline = load_pipeline(args.model, spec={"max_gap": args.gap})
    found, wrong, windows, tokens = [], 0, 0, 0
    started, cpu = time.perf_counter(), time.process_time()
    for seed in range(args.start, args.start + args.videos):
        world = make_long_world(seed, args.split, 60 * args.minutes)
        key_frames, right_windows, read = ask(pipeline, world)
        found.append(bool(key_frames) and all(k in world.frames for k in key_frames))
        wrong += bool(key_frames) and not found[-1]
        windows += right_windows
        tokens += read
    print(
        json.dumps(
            {
                "found": found,
                "wrong": wrong,
                "windows": windows,
                "tokens": tokens / args.videos,
                "seconds": (time.perf_counter() - started) / args.videos,
                "cpu": (time.process_time() - cpu) / args.videos,
                "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def interval(found):
    """The 95 % interval of a share, by drawing the videos again."""
    rng = np.random.default_rng(0)
    means = rng.choice(found, (10_000, len(found))).mean(axis=1)
    return np.percentile(means, [2.5, 97.5])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="revseg-nano")
    parser.add_argument("--split", default="val")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--videos", type=int, default=10)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 5, 10])
    parser.add_argument("--gap", type=float, default=1.0)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        args.minutes = args.minutes[0]
        return measure(args)
    print("| minutes | frames | found | right windows | wrong frame | tokens | CPU s | peak MiB |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    for minutes in args.minutes:
        for gap, name in ((0.0, "spread"), (args.gap, f"windows, {args.gap:g} s apart")):
            # A process each, so that peaks are its own
            shared = ["--model", args.model, "--split", args.split, "--one", "--gap", str(gap)]
            numbers = ["--start", args.start, "--videos", args.videos, "--minutes", minutes]
            done = subprocess.run(
                [sys.executable, __file__, *shared, *map(str, numbers)],
                check=True,
                stdout=subprocess.PIPE,
            )
            r = json.loads(done.stdout)
            low, high = interval(r["found"])
            share = f"{100 * np.mean(r['found']):.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
            windows = r["windows"] if gap else "-"
            print(
                f"| {minutes:g} | {name} | {share} | {windows} | {r['wrong']} | "
                f"{r['tokens']:,.0f} | {r['cpu']:.1f} | {r['memory']:.0f} |",
                flush=True,
            )
    return None


if __name__ == "__main__":
    main()
