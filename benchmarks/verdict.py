"""What candidates, the verdict and what follows from it win, on pairs that nothing was trained on.

Every setting answers the same (video, query) pairs, as many of each kind, in the engine. Beside its
J&F stand what the best of the candidates would have had, the share of that which it wins, and its
cost; then how well its certainty tells wrong answers (J&F below 50) from right ones, beside other
signs, and what correcting the least certain fifth of the answers wins. Intervals are of 95 %, by
bootstrap over videos; all gains are over the greedy answers to the same pairs.

    python benchmarks/verdict.py --split val --pairs 70                 # while developing
    python benchmarks/verdict.py --split test --seed 20000 --pairs 420  # once, at the end

Answers are kept in --out, a line each, and a run that was stopped goes on there. ``--table`` prints
the tables of what is there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from grpo_statistics import RESAMPLES, Estimate

from fiftyone_revseg import load_pipeline
from fiftyone_revseg.engine import LocalEngine
from fiftyone_revseg.measures.metrics import j_and_f
from fiftyone_revseg.pipeline import EngineJob, answering
from fiftyone_revseg.synthetic.queries import KINDS, queries_by_kind
from fiftyone_revseg.synthetic.world import make_world
from fiftyone_revseg.synthetic.world_files import write_video

SETTINGS = {
    "greedy": {},
    "greedy + verdict": {"verdict": True},
    "candidates": {"samples": 4},
    "candidates + verdict": {"samples": 4, "verdict": True},
    "+ again": {"samples": 4, "verdict": True, "rounds": 1},
    "+ repair": {"samples": 4, "verdict": True, "anchors": 1},
    "everything": {"samples": 4, "verdict": True, "rounds": 1, "anchors": 1},
}
DEFAULT = ("greedy", "candidates + verdict", "everything")
WRONG = 0.5  # J&F below which an answer is wrong
FIRST = 0.2  # of the queue that is corrected
SIGNS = ("certainty", "agreement", "box", "turn1", "score")
AT_A_TIME = 12  # videos that are rendered and asked about together


def choose_pairs(split, seed, count, per_video):
    """(seed, queries) of worlds, until there are as many queries of each kind."""
    lacking = dict.fromkeys(KINDS, -(-count // len(KINDS)))
    while any(lacking.values()):
        world = make_world(seed, split)
        by_kind = queries_by_kind(world)
        rng = np.random.default_rng([seed, 20])
        # The kinds that lack most first: some are rare
        kinds = sorted((k for k in by_kind if lacking[k]), key=lambda k: (-lacking[k], k))
        chosen = {}
        for kind in kinds:
            query = by_kind[kind][rng.integers(len(by_kind[kind]))]
            if len(chosen) < per_video and query.text not in chosen:
                chosen[query.text] = query
                lacking[kind] -= 1
        if chosen:
            yield world, list(chosen.values())
        seed += 1


class Watched:
    """Keeps what all candidates found, of which an answer has only what was chosen."""

    def __init__(self):
        self.found = {}
        self._original = answering._answer
        answering._answer = self._answer

    def _answer(self, said, verdict):
        answer = self._original(said, verdict)
        turns = answer.trajectory.turns
        if turns:
            self.found[id(turns[0])] = (turns, said.found)  # with turns, so that the id stays
        return answer

    def take(self, answer):
        turns = answer.trajectory.turns
        return self.found.pop(id(turns[0]))[1] if turns else None


def union(tracks, shape):
    masks = np.zeros(shape, bool)
    for track in tracks:
        masks |= track.masks()
    return masks


def record_of(world, query, answer, found, truth):
    """What is measured of one answer."""
    shape = (world.frame_count, world.height, world.width)
    empty = np.zeros(shape, bool)
    target = truth[list(query.targets)].any(axis=0) if query.targets else empty
    masks = answer.masks() if answer.frame_count else empty
    trajectory = answer.trajectory
    known, sets = {}, []
    for c in range(len(found.trajectories) if found else 0):
        objects = found.seen_by(c)
        key = frozenset(map(id, objects))
        if key not in known:
            known[key] = j_and_f(union([one.track for one in objects], shape), target)
        sets.append((found.trajectories[c], known[key]))
    boxes = [g.confidence for g in trajectory.groundings if g and g.confidence is not None]
    scores = [s for t in answer.tracks if t for s in t.scores if s is not None]
    firsts = [t.confidence for t in trajectory.turns if t.turn == 1 and t.error is None]
    agreements = [one.agreement or 0.0 for one in trajectory.candidates]
    values = [value for _, value in sets]
    return {
        "seed": world.seed,
        "kind": query.kind,
        "query": query.text,
        "status": str(answer.status),
        "jf": j_and_f(masks, target),
        "greedy": values[0] if values else None,
        "best": max(values) if values else None,
        "vote": values[int(np.argmax(agreements))] if agreements and values else None,
        "certainty": trajectory.certainty,
        "agreement": trajectory.agreement,
        "box": float(np.mean(boxes)) if boxes else None,
        "turn1": firsts[0] if firsts else None,
        "score": float(np.mean(scores)) if scores else None,
        "tokens": trajectory.tokens,
        "tracked": len(found.objects) if found else 0,
        "objects": len(found.distinct) if found else 0,
        "verdicts": [one.to_dict() for one in trajectory.verdicts],
        "turn3": [t.error for t in trajectory.turns if t.turn == 3],
    }


def run(args, name, path):
    """Answers what is not answered yet, and appends it to the file of a setting."""
    done = {(r["seed"], r["query"]) for r in read(path)}
    pairs = choose_pairs(args.split, args.seed, args.pairs, args.per_video)
    todo = [(w, qs) for w, qs in pairs if any((w.seed, q.text) not in done for q in qs)]
    if not todo:
        return
    pipeline = load_pipeline(args.model, tracker=args.tracker, spec=SETTINGS[name])
    watched = Watched()
    for start in range(0, len(todo), AT_A_TIME):
        part = todo[start : start + AT_A_TIME]
        with tempfile.TemporaryDirectory() as folder, open(path, "a", encoding="utf-8") as file:
            jobs, truth = [], {}
            for world, queries in part:
                frames, truth[world.seed] = world.render()
                video = Path(folder) / f"{world.seed}.mp4"
                write_video(video, frames, world.fps)
                asked = tuple(query.text for query in queries)
                jobs.append(EngineJob(str(video), asked, key=(world, queries)))
            pipeline.reasoner.forget()
            started, cpu = time.perf_counter(), time.process_time()
            answered = list(LocalEngine(pipeline).run(jobs))
            count = sum(len(queries) for _, queries in part)
            cost = {
                "seconds": (time.perf_counter() - started) / count,
                "cpu": (time.process_time() - cpu) / count,
            }
            for job, answers in answered:
                world, queries = job.key
                for query, answer in zip(queries, answers, strict=True):
                    if (world.seed, query.text) not in done:
                        found = watched.take(answer)
                        record = record_of(world, query, answer, found, truth[world.seed])
                        file.write(json.dumps({**record, **cost}) + "\n")
        print(f"{name}: {start + len(part)} of {len(todo)} videos", flush=True)
    answering._answer = watched._original


def read(path):
    """The records of a setting; a last, half line is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


# Statistics


def over_videos(records, values):
    """The mean of a value of each record, with its interval over videos."""
    values = np.asarray(values, float)
    videos = {seed: i for i, seed in enumerate(dict.fromkeys(r["seed"] for r in records))}
    at = np.array([videos[r["seed"]] for r in records])
    there = ~np.isnan(values)
    if not there.any():
        return None
    sums = np.bincount(at[there], values[there], len(videos))
    counts = np.bincount(at[there], minlength=len(videos))
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(videos), np.full(len(videos), 1 / len(videos)), RESAMPLES)
    means = (drawn @ sums) / np.maximum(drawn @ counts, 1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(values[there].mean()), float(low), float(high))


def resampled(records, measure):
    """A measure of all records, with its interval over videos."""
    by_video = defaultdict(list)
    for record in records:
        by_video[record["seed"]].append(record)
    videos = list(by_video.values())
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(1000):
        picked = rng.integers(len(videos), size=len(videos))
        value = measure([r for i in picked for r in videos[i]])
        if value is not None:
            drawn.append(value)
    value = measure(records)
    if value is None or not drawn:
        return None
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def auroc(records, sign):
    """How often a right answer has a higher sign than a wrong one; halves for equal ones."""
    told = [(r[sign], r["jf"] >= WRONG) for r in records if r.get(sign) is not None]
    right = np.array([value for value, good in told if good])
    wrong = np.array([value for value, good in told if not good])
    if not len(right) or not len(wrong):
        return None
    order = np.sort(wrong)
    below = np.searchsorted(order, right, "left") + np.searchsorted(order, right, "right")
    return float(below.mean() / 2 / len(wrong))


def calibration_error(certainty, right, bins=10):
    """The mean gap between how sure answers are and how often they are right, in ten bins."""
    order = np.argsort(certainty, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    gaps = [abs(certainty[p].mean() - right[p].mean()) * len(p) for p in parts if len(p)]
    return float(sum(gaps) / len(certainty))


def isotonic(certainty, right):
    """The monotone map that fits best, as a function (pool adjacent violators)."""
    order = np.argsort(certainty, kind="stable")
    blocks = []
    for x, y in zip(certainty[order], right[order], strict=True):
        blocks.append([x, x, float(y), 1])
        while len(blocks) > 1 and blocks[-2][2] >= blocks[-1][2]:
            first, last = blocks.pop(-2), blocks.pop()
            weight = first[3] + last[3]
            mean = (first[2] * first[3] + last[2] * last[3]) / weight
            blocks.append([first[0], last[1], mean, weight])
    xs = np.array([x for block in blocks for x in block[:2]])
    ys = np.repeat([block[2] for block in blocks], 2)
    return lambda values: np.interp(values, xs, ys)


def mapped(certainty, right, seeds):
    """Certainties after a map that was made on the other half of the videos."""
    after = np.empty_like(certainty)
    for half in (0, 1):
        mine = seeds % 2 == half
        if mine.any() and (~mine).any():
            after[mine] = isotonic(certainty[~mine], right[~mine])(certainty[mine])
    return after


def corrected(records, sign):
    """How many times what random order wins, when the first of the queue are made right.

    What has no such sign is at the end, as nothing says that it is wrong.
    """
    jf = np.array([r["jf"] for r in records])
    value = np.array([2.0 if r.get(sign) is None else r[sign] for r in records])
    first = np.argsort(value, kind="stable")[: round(FIRST * len(records))]
    by_chance = FIRST * (1 - jf).sum()
    return float((1 - jf[first]).sum() / by_chance) if by_chance else None


def share_of_best(records):
    """The share of what the best candidate has over the greedy one that the answers win."""
    told = [r for r in records if r["greedy"] is not None]
    won = sum(r["jf"] - r["greedy"] for r in told)
    to_win = sum(r["best"] - r["greedy"] for r in told)
    return won / to_win if to_win else None


def shown(estimate, percent=True, sign=False):
    if estimate is None:
        return "-"
    if percent:
        return estimate.percent(sign)
    return f"{estimate.mean:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def table(found):
    """Prints all tables of {setting: records}."""
    found = {name: records for name, records in found.items() if records}
    base = {(r["seed"], r["query"]): r["jf"] for r in found.get("greedy", [])}
    print(
        "| setting | pairs | J&F | over greedy | best candidate | share of its gain won | ", end=""
    )
    print("tokens | tracked | s | CPU s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name, records in found.items():
        greedy = [base.get((r["seed"], r["query"]), r["greedy"]) for r in records]
        gains = [
            np.nan if before is None else r["jf"] - before
            for r, before in zip(records, greedy, strict=True)
        ]
        best = over_videos(records, [np.nan if r["best"] is None else r["best"] for r in records])
        cells = [
            shown(over_videos(records, [r["jf"] for r in records])),
            shown(over_videos(records, gains), sign=True),
            shown(best),
            shown(resampled(records, share_of_best)),
            *(f"{np.mean([r[k] for r in records]):.1f}" for k in ("tokens", "tracked")),
            *(f"{np.mean([r[k] for r in records]):.2f}" for k in ("seconds", "cpu")),
        ]
        print(f"| {name} | {len(records)} | " + " | ".join(cells) + " |")
    print("\n| kind | " + " | ".join(found) + " |\n|---|" + "---:|" * len(found))
    for kind in KINDS:
        cells = []
        for records in found.values():
            mine = [r for r in records if r["kind"] == kind]
            cells.append(shown(over_videos(mine, [r["jf"] for r in mine])) if mine else "-")
        print(f"| {kind} | " + " | ".join(cells) + " |")
    print("\n| setting | sign | known of | AUROC for J&F < 50 | ", end="")
    print(f"calibration error | after the map | first {FIRST:.0%} against chance |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for name, records in found.items():
        for sign in SIGNS:
            told = [r for r in records if r.get(sign) is not None]
            if len(told) < 10:
                continue
            value = np.array([r[sign] for r in told])
            right = np.array([r["jf"] >= WRONG for r in told], float)
            after = mapped(value, right, np.array([r["seed"] for r in told]))
            area = resampled(told, lambda rs, sign=sign: auroc(rs, sign))
            queue = resampled(records, lambda rs, sign=sign: corrected(rs, sign))
            print(
                f"| {name} | {sign} | {len(told)} | {shown(area, percent=False)} | "
                f"{calibration_error(value, right):.3f} | {calibration_error(after, right):.3f} | "
                f"{shown(queue, percent=False)} x |"
            )
    broken = {name: sum(any(r["turn3"]) for r in records) for name, records in found.items()}
    print("\nReplies to turn 3 that could not be used at first: " + str(broken))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="revseg-nano", help="a preset, hub id or path")
    parser.add_argument("--tracker", help="a tracker's name, hub id or path")
    parser.add_argument("--split", default="val", choices=["val", "test"])
    parser.add_argument("--seed", type=int, default=0, help="of the first world")
    parser.add_argument("--pairs", type=int, default=70, help="in all, the kinds in equal parts")
    parser.add_argument("--per-video", type=int, default=2, help="queries of one video at most")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=DEFAULT)
    parser.add_argument("--out", type=Path, default=Path("runs/verdict"))
    parser.add_argument("--table", action="store_true", help="print the tables, run nothing")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in args.settings:
        path = args.out / f"{args.split}_{name.replace(' ', '_').replace('+', 'and')}.jsonl"
        if not args.table:
            run(args, name, path)
        found[name] = read(path)
    table(found)


if __name__ == "__main__":
    main()
