"""Measures the embedded pair on held-out synthetic videos, by kind of query.

    python benchmarks/nano_accuracy.py                   # 200 (video, query) pairs
    python benchmarks/nano_accuracy.py --limit 20        # a first look

Writes runs/nano_accuracy/results.json and prints the table in Markdown. The videos are those of
the test split, which no training has seen.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from chain_report import (
    MEASURES,
    Case,
    Question,
    evaluate_chain,
    summarize,
    to_markdown,
)
from tqdm import tqdm

from fiftyone_revseg.pipeline import load_pipeline
from fiftyone_revseg.synthetic import render
from fiftyone_revseg.tracking import decode_masks
from fiftyone_revseg.version import __version__


def make_cases(folder: Path, split: str, pairs: int, per_video: int, seed: int) -> Iterator[Case]:
    """Renders videos with up to ``per_video`` questions each, until there are ``pairs`` of them."""
    while pairs > 0:
        (record,) = render(folder / str(seed), split, 1, seed, queries=min(per_video, pairs))
        size = (record["width"], record["height"])
        masks = np.stack([decode_masks(body["masks"], size) for body in record["objects"]])
        questions = tuple(
            Question(q["text"], tuple(q["targets"]), q["kind"]) for q in record["queries"]
        )
        yield Case(str(folder / str(seed) / record["video"]), masks, questions)
        pairs -= len(questions)
        seed += 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="revseg-nano", help="a preset, hub id or path")
    parser.add_argument("--tracker", help="a tracker's name, hub id or path")
    parser.add_argument("--device", help='for example "cuda"')
    parser.add_argument("--limit", type=int, default=200, help="how many pairs (200)")
    parser.add_argument("--per-video", type=int, default=2, help="queries per video (2)")
    parser.add_argument("--split", default="test", choices=["val", "test"])
    parser.add_argument("--seed", type=int, default=0, help="of the first video (0)")
    parser.add_argument("--out", type=Path, default=Path("runs/nano_accuracy"))
    args = parser.parse_args()

    pipeline = load_pipeline(args.model, tracker=args.tracker, device=args.device)
    started = time.perf_counter()
    scores = []
    cases = make_cases(args.out / "videos", args.split, args.limit, args.per_video, args.seed)
    with tqdm(total=args.limit, unit="pair") as bar:
        for score in evaluate_chain(pipeline, cases):
            scores.append(score)
            so_far = summarize(scores)[-1]["chain J&F"]
            bar.set_postfix_str(f"chain J&F {100 * so_far:.1f}")
            bar.update()
    seconds = time.perf_counter() - started

    rows = summarize(scores)
    results = {
        "model": pipeline.name,
        "version": __version__,
        "split": args.split,
        "seed": args.seed,
        "machine": f"{platform.machine()}, device {args.device or 'default'}",
        "seconds": seconds,
        "measures": MEASURES,
        "summary": rows,
        "pairs": [asdict(score) for score in scores],
    }
    path = args.out / "results.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    mean = sum(score.seconds for score in scores) / max(len(scores), 1)
    print(to_markdown(rows))
    print(f"\n{pipeline.name}: {len(scores)} pairs of the {args.split} split, ", end="")
    print(f"{mean:.2f} s per pair for the chain, {seconds:.0f} s in all; details in {path}")


if __name__ == "__main__":
    main()
