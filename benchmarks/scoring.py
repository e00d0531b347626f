"""Speed of J and F: this project against a straightforward implementation of their definition.

    python benchmarks/scoring.py [--expressions 200] [--frames 60]

The masks are run-length encoded, as annotations and predictions are: blobs that move and change
their shape, some of them in two parts, predicted a little wrong, and none on a third of the frames.
The reference follows the DAVIS 2017 definition frame by frame and expression by expression: both
masks decoded, both boundary maps, each dilated by a disk on the whole frame, with OpenCV. It is
single-threaded where OpenCV's dilation is, and runs on a part of the expressions, as it is slow;
all its time is proportional to their number. All ways run in turn, several times, and both the
time on the clock and that on the processors count: the latter is what to look at on a busy machine.

Memory is that of one process that scores ever more expressions, each made when it is asked for.
"""

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time

import cv2
import numpy as np
from pycocotools import mask as coco

from fiftyone_revseg.measures.scoring import Pair, score_many
from fiftyone_revseg.tracking import encode_masks

WIDTH, HEIGHT = 854, 480  # of DAVIS and of most benchmarks of this task
PART = 10  # expressions on which the reference runs
CLIPS = 10  # different ones; making them takes longer than scoring them


def straightforward(pred, gt, size):
    """J and F of every frame, from RLEs, as one would write it down from the definition."""
    j, f = [], []
    for p, g in zip(pred, gt, strict=True):
        p, g = decoded(p, size), decoded(g, size)
        union = np.sum(p | g)
        j.append(np.sum(p & g) / union if union else 1.0)
        f.append(straightforward_f(p, g))
    return np.array(j), np.array(f)


def decoded(rle, size):
    return np.zeros(size[::-1], bool) if rle is None else coco.decode(rle).astype(bool)


def straightforward_f(pred, gt):
    radius = math.ceil(0.008 * math.hypot(*pred.shape))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.uint8)
    pred, gt = boundary(pred), boundary(gt)
    near_pred = cv2.dilate(pred.astype(np.uint8), disk).astype(bool)
    near_gt = cv2.dilate(gt.astype(np.uint8), disk).astype(bool)
    if not pred.any() or not gt.any():
        return float(pred.any() == gt.any())
    precision = np.sum(pred & near_gt) / np.sum(pred)
    recall = np.sum(gt & near_pred) / np.sum(gt)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask):
    """A pixel differs from that on the right, below, or both; see DAVIS's ``seg2bmap``."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    edges = (mask ^ padded[:-1, 1:]) | (mask ^ padded[1:, :-1])
    edges[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edges


def make_clip(seed, frames):
    """The RLEs of an object that moves through the frame, predicted and true."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    start, step = rng.uniform(0, (WIDTH, HEIGHT)), rng.uniform(-6, 6, 2)
    radius, bumps, parts = rng.uniform(30, 110), rng.integers(3, 8), rng.integers(1, 3)
    truth, predicted = np.zeros((2, frames, HEIGHT, WIDTH), bool)
    for k in range(frames):
        for masks, shift, wobble in ((truth, 0, 0), (predicted, rng.normal(0, 3, 2), 0.05)):
            for part in range(parts):
                cx, cy = (start + step * k + part * 2.2 * radius + shift) % (WIDTH, HEIGHT)
                angle = np.arctan2(y - cy, x - cx)
                edge = 1 + 0.2 * np.sin(bumps * angle + k / 9) + wobble * np.sin(9 * angle)
                masks[k] |= np.hypot(x - cx, y - cy) < radius * edge
    gone = rng.integers(0, frames)
    truth[np.arange(gone, gone + frames // 3) % frames] = False
    gone += rng.integers(0, 2)  # the prediction is not always right about it
    predicted[np.arange(gone, gone + frames // 3) % frames] = False
    return encode_masks(predicted), encode_masks(truth)


def fresh_pairs(clips, count):
    """Pairs that share no memory with those before, as those that are read from a database."""
    for k in range(count):
        pred, gt = json.loads(clips[k % len(clips)])
        yield Pair(k, pred, gt, (WIDTH, HEIGHT))


def run_straightforward(clips, count):
    return {
        p.key: straightforward(p.pred, p.gt, p.size) for p in fresh_pairs(clips, min(count, PART))
    }


def run_score_many(clips, count, workers):
    found = score_many(fresh_pairs(clips, count), workers)
    return {key: (scores.j, scores.f) for key, scores in found}


def measured(run, clips, count):
    """The result, and the seconds on the clock and on all processors."""
    used, clock = processor_seconds(), time.perf_counter()
    result = run(clips, count)
    seconds = time.perf_counter() - clock
    scale = count / len(result)
    return result, (seconds * scale, (processor_seconds() - used) * scale)


def processor_seconds():
    # Of children that have ended, as the workers have by then
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def peak_memory(clips, count, workers):
    """MB that this file takes at most as a program of its own that only scores."""
    program = [sys.executable, __file__, "--only-score", str(count), "--workers", str(workers)]
    answer = subprocess.run(
        program, input=json.dumps(clips), stdout=subprocess.PIPE, text=True, check=True
    )
    return [float(v) for v in answer.stdout.split()]


def only_score(count, workers):
    clips = json.load(sys.stdin)
    for _ in score_many(fresh_pairs(clips, count), workers):
        pass
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        print(resource.getrusage(who).ru_maxrss / 1024)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--expressions", type=int, default=200)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only-score", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only_score:
        only_score(args.only_score, args.workers)
        return
    print(
        f"{args.expressions} expressions x {args.frames} frames of {WIDTH} x {HEIGHT}, "
        f"{os.cpu_count()} cores ({platform.machine()}), best of {args.repeats}"
    )
    clips = [json.dumps(make_clip(seed, args.frames)) for seed in range(CLIPS)]
    ways = {
        "straightforward": run_straightforward,
        "ours, 1 process": lambda clips, count: run_score_many(clips, count, 1),
        "ours, 2 workers": lambda clips, count: run_score_many(clips, count, 2),
    }
    times = {name: [] for name in ways}
    for _ in range(args.repeats):
        results = {}
        for name, way in ways.items():
            results[name], seconds = measured(way, clips, args.expressions)
            times[name].append(seconds)
        for key, expected in results["straightforward"].items():
            for name, found in results.items():
                np.testing.assert_allclose(found[key], expected, atol=1e-9, err_msg=name)
    best = {name: np.min(found, axis=0) for name, found in times.items()}
    print(f"\n{'':18s} seconds   faster   processor seconds   less work")
    for name, (clock, used) in best.items():
        faster, less = best["straightforward"] / (clock, used)
        print(f"{name:18s} {clock:7.1f}  {faster:6.1f}x  {used:18.1f}  {less:9.1f}x")
    print("\npeak memory in MB  this process   each of 2 workers")
    for count in (args.expressions // 4, args.expressions, args.expressions * 4):
        own, worker = peak_memory(clips, count, 2)
        print(f"{count:5d} expressions  {own:12.0f}  {worker:18.0f}")


if __name__ == "__main__":
    main()
