"""Does reinforcement learning teach the chain? Runs the experiment, as long as there is time.

    python benchmarks/grpo.py                     # trains; started again, it goes on
    python benchmarks/grpo.py --steps 60          # all runs to step 60 first
    python benchmarks/grpo.py --evaluate          # before and after, boxes and masks
    python benchmarks/grpo.py --evaluate --cheap  # without tracking
    python benchmarks/grpo.py --ship soft-0,soft-1  # makes their mean the embedded model

A run is a variant and a seed: the chain with the soft, the 0-1 ("binary") or no temporal reward
("none"), or the answer without the chain ("direct"). Runs come one after another, all variants of
a seed before the next seed, each in runs/grpo/VARIANT-SEED, resumed from its newest checkpoint.
Before and after are measured on pairs of the test split, which nothing was trained on; answers are
kept for each checkpoint, so that only what is new is measured. Writes runs/grpo/results.md and
results.json, and docs/images/grpo-*.png.
"""

from __future__ import annotations

import argparse
import json
import shutil
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grpo_masks import track_answers
from grpo_pairs import Answers, base_checkpoint, held_out
from grpo_plots import PANELS, plot_runs
from grpo_tables import fill_page, order_found, results_of, to_markdown
from grpo_weights import checkpoints_of, mean_weights, second_half

from fiftyone_revseg.files.digests import digest_files
from fiftyone_revseg.training.data import world_rows
from fiftyone_revseg.training.grpo import GrpoConfig, train_grpo

VARIANTS = ("soft", "direct", "none", "binary")  # in order of priority
IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"


def matrix(variants: Sequence[str], seeds: Sequence[int]) -> list[tuple[str, int]]:
    """The runs in order of priority: what all variants say about one seed comes first."""
    return [(variant, seed) for seed in seeds for variant in variants]


def settings(variant: str, seed: int, **changes: Any) -> GrpoConfig:
    """The settings of a run; variants differ in nothing but what they are named after."""
    common: dict[str, Any] = {
        "steps": 300,
        "prompts": 8,
        "rollouts": 8,
        "batch": 8,
        "learning_rate": 5e-5,
        "warmup": 3,
        "bf16": _multiplies_bf16(),
        "save_every": 10,
        "sample_every": 10,
        "keep": None,  # they are averaged
    }
    temporal = "none" if variant == "direct" else variant
    return GrpoConfig(**{**common, **changes}, temporal=temporal, seed=seed)


def _multiplies_bf16() -> bool:
    """Whether the processor does: where it does not, bf16 takes twice as long as float32."""
    import torch

    return torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported()


def train(out: Path, runs: Sequence[tuple[str, int]], rows: int, **changes: Any) -> None:
    """Trains one run after another; what fails is said, and the others go on.

    Raises:
        ValueError: if the model is not the one that the runs in the folder began with
    """
    config = settings(*runs[0], **changes)
    keep_base(out, config.model)
    learned = world_rows(rows)
    for variant, seed in runs:
        config, run = settings(variant, seed, **changes), out / f"{variant}-{seed}"
        at = max(checkpoints_of(run), default=0)
        if at >= config.steps:
            print(f"{run.name} has its {config.steps} steps")
            continue
        print(f"{run.name}: from step {at} to {config.steps}")
        try:
            if variant == "direct":
                from direct import DirectTask

                train_grpo(learned, run, config, task_type=DirectTask)
            else:
                train_grpo(learned, run, config)
        except Exception:
            traceback.print_exc()
            print(f"{run.name} ended early; the next run goes on")


def keep_base(out: Path, model: str) -> Path:
    """Keeps the model that all runs begin with, which shipping one of them would replace.

    Raises:
        ValueError: if it is not the one that was kept
    """
    base, source = out / "base", base_checkpoint(model)
    if not base.is_dir():
        partial = out / "base.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial)
        partial.rename(base)
    weights = [digest_files([path / "model.safetensors"]) for path in (base, source)]
    if weights[0] != weights[1]:
        raise ValueError(
            f"'{model}' is not the model any more that the runs in '{out}' began with: choose "
            "another folder with --out"
        )
    return base


def evaluate(
    out: Path,
    runs: Sequence[tuple[str, int]],
    pairs: int,
    cheap: bool,
    step: int | None = None,
    first: int = 0,
) -> dict[str, Any]:
    """Measures the model before, and after each run: the mean over its second half.

    Args:
        out: the folder of all runs
        runs: variants and seeds; those that were not trained yet are left out
        pairs: how many held-out pairs are asked
        cheap: whether their masks are left out
        step (None): where each run is taken to end; by default at its newest checkpoint
        first (0): how many held-out pairs to skip

    Returns:
        the results, as :func:`grpo_tables.results_of` makes them
    """
    rows = held_out(first + pairs)[first:]
    checkpoints = {}
    for variant, seed in runs:
        name = f"{variant}-{seed}"
        if found := second_half(out / name, step):
            mean = mean_weights(list(found.values()), out / "base", out / "means" / name)
            checkpoints[name] = (variant, max(found), mean)
    asked = {"before": ("soft", 0, out / "base"), **checkpoints}
    if any(variant == "direct" for variant, *_ in checkpoints.values()):
        asked["before, direct"] = ("direct", 0, out / "base")
    answers = {
        name: Answers(out / "evaluations", checkpoint, "direct" if variant == "direct" else "chain")
        for name, (variant, _, checkpoint) in asked.items()
    }
    for name, of_one in answers.items():
        if seconds := of_one.think(rows):
            print(f"{name}: {seconds:.2f} s a pair to think")
    if not cheap:
        from fiftyone_revseg.models.presets import default_tracker
        from fiftyone_revseg.tracking import load_tracker

        tracker = load_tracker(default_tracker("revseg-nano"))
        if seconds := track_answers([*answers.values()], rows, tracker):
            print(f"{seconds:.2f} s a pair and checkpoint to track")
    measured = {
        name: {"variant": variant, "step": at, "answers": answers[name].of(rows)}
        for name, (variant, at, _) in asked.items()
    }
    return results_of(measured)


def draw(out: Path, runs: Sequence[tuple[str, int]], images: Path) -> list[Path]:
    """Draws the curves of all runs that have some; the chain's and the direct one's apart."""
    files: dict[str, list[Path]] = {}
    for variant, seed in runs:
        if (path := out / f"{variant}-{seed}" / "curves.csv").is_file():
            files.setdefault(variant, []).append(path)
    chain = {variant: paths for variant, paths in files.items() if variant != "direct"}
    direct = {variant: paths for variant, paths in files.items() if variant == "direct"}
    drawn = []
    for name, of, panels in (
        ("chain", chain, PANELS),
        ("direct", direct, {n: t for n, t in PANELS.items() if "frame" not in n}),
    ):
        if of:
            drawn.append(images / f"grpo-{name}.png")
            plot_runs(of, drawn[-1], panels)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--variants", default=",".join(VARIANTS), help="of the runs, in order of priority")
    add("--seeds", default="0,1,2", help="of the runs (0,1,2)")
    add("--steps", type=int, default=300, help="of each run (300)")
    add("--rows", type=int, default=4000, help="worlds to learn from (4000)")
    add("--model", default="revseg-nano", help="a preset or a path")
    add("--prompts", type=int, default=8, help="rows a step (8)")
    add("--rollouts", type=int, default=8, help="of each row (8)")
    add("--learning-rate", type=float, default=5e-5, help="(5e-5)")
    add("--beta", type=float, default=1e-3, help="weight of the KL term (1e-3)")
    add("--out", type=Path, default=Path("runs/grpo"), help="folder of the runs (runs/grpo)")
    add("--evaluate", action="store_true", help="measure instead of training")
    add("--cheap", action="store_true", help="measure without tracking")
    add("--pairs", type=int, default=420, help="to measure on (420)")
    add("--first", type=int, default=0, help="how many held-out pairs to skip (0)")
    add("--at", type=int, metavar="STEP", help="measure runs as if they ended there (the newest)")
    add("--plot", action="store_true", help="only draw the curves")
    add("--images", type=Path, default=IMAGES, help="where pictures go")
    add("--page", type=Path, help="a page to put the results into, between its marks")
    add("--ship", metavar="RUNS", help="make the mean of runs the embedded model, if it is better")
    args = parser.parse_args()

    runs = matrix(args.variants.split(","), [int(seed) for seed in args.seeds.split(",")])
    unknown = sorted({variant for variant, _ in runs} - set(VARIANTS))
    if unknown:
        parser.error(f"no such variants: {', '.join(unknown)}; choose of {', '.join(VARIANTS)}")
    if args.ship:
        from grpo_ship import ship

        ship(args.out, [args.out / run for run in args.ship.split(",")], args.pairs)
        return
    if args.evaluate:
        if not (args.out / "base").is_dir():
            keep_base(args.out, args.model)
        results = evaluate(args.out, runs, args.pairs, args.cheap, args.at, args.first)
        text = to_markdown(results) + "\n\n" + order_found(results)
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "results.md").write_text(text + "\n", encoding="utf-8")
        (args.out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
        print(text)
        if args.page:
            page = fill_page(args.page.read_text(encoding="utf-8"), text)
            args.page.write_text(page, encoding="utf-8")
    if not args.evaluate and not args.plot:
        train(
            args.out,
            runs,
            args.rows,
            model=args.model,
            steps=args.steps,
            prompts=args.prompts,
            rollouts=args.rollouts,
            learning_rate=args.learning_rate,
            beta=args.beta,
        )
    for path in draw(args.out, runs, args.images):
        print(path)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:  # of what was asked for, in a sentence
        raise SystemExit(str(error)) from error
