"""Qwen2.5-VL 7B and SAM2.1 large with random weights: the engine against the sequential loop.

Both write the same number of tokens in each turn. The loop answers a few of the videos, as each
takes it seconds; what is compared is the time for one answer. The floor is that of
engine_floor.py, with all the operations and bytes a second that were measured on this device.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from typing import Any

from busy import Sampled, profile
from card import bandwidth, device_name, matrix_rate
from engine import (
    Forwards,
    agreement,
    make_jobs,
    make_predictor,
    model_of,
    remembering_nothing,
    sequential,
    with_engine,
)
from engine import measure as timed
from engine_full_size import make_pipeline
from results import Results
from stage import Settings, run_stage


def measure(settings: Settings, results: Results) -> None:
    """Runs all of it."""
    tokens, videos, alone, frames = (8, 3, 1, 6) if settings.tiny else (128, 32, 3, None)
    rate, bytes_a_second = matrix_rate(settings), bandwidth(settings)
    results.say(
        f"{device_name(settings)}, measured",
        f"{rate / 1e12:.3g} TFLOP/s in matrix products, {bytes_a_second / 1e12:.3g} TB/s in copies",
    )
    pipeline = make_pipeline(settings.device, tokens, settings.tiny)
    predictor = make_predictor(pipeline.tracker)
    with tempfile.TemporaryDirectory() as folder:
        jobs, sizes = make_jobs(folder, videos, 1, frames)
        _warm_up(pipeline, predictor, jobs)
        answers, engine_seconds = _engine(settings, results, pipeline, jobs)
        results.say(
            "engine: statuses",
            ", ".join(sorted({status for status, _, _ in answers})),
            "ok",
            all(status == "ok" for status, _, _ in answers),
        )
        loop = remembering_nothing(model_of(pipeline))(sequential)
        plain, wall, _ = timed(lambda: loop(pipeline, predictor, jobs[:alone]))
        loop_seconds = wall / alone
        results.say("sequential loop: seconds a video", f"{loop_seconds:.2f}")
        ratio = loop_seconds / engine_seconds
        goal = not settings.tiny and settings.on_gpu
        results.say(
            "engine against sequential loop",
            f"{ratio:.2f} x",
            "5 x" if goal else "",
            ratio >= 5 if goal else None,
        )
        same = agreement(answers[:alone], plain, sizes[:alone])
        results.say(
            "engine and loop: boxes, masks' mean IoU",
            f"same boxes {same['same boxes']} of {same['answers']}, {same['mean IoU']:.4f}",
        )
        _floor(settings, results, pipeline, jobs, engine_seconds, rate, bytes_a_second)
        _profile(settings, results, pipeline, jobs)


def _warm_up(pipeline: Any, predictor: Any, jobs: list) -> None:
    spec = pipeline.spec
    pipeline.spec = spec.replace(max_new_tokens=2)
    with_engine(pipeline, jobs[:2])
    remembering_nothing(model_of(pipeline))(sequential)(pipeline, predictor, jobs[:1])
    pipeline.spec = spec


def _engine(settings: Settings, results: Results, pipeline: Any, jobs: list) -> tuple[list, float]:
    """Answers and seconds a video; how busy the device is, and its memory."""
    if not settings.on_gpu:
        forwards = Forwards()
        with forwards.of(pipeline):
            answers, wall, _ = timed(lambda: with_engine(pipeline, jobs))
        busy, how, peak = forwards.busy / wall, "a forward pass was under way", "not of a CPU"
    else:
        import torch

        torch.cuda.reset_peak_memory_stats()
        with Sampled() as sampled:
            answers, wall, _ = timed(lambda: with_engine(pipeline, jobs))
        busy, how = sampled.share, "nvidia-smi"
        peak = f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
    seconds = wall / len(jobs)
    results.say(f"engine: seconds a video, {len(jobs)} videos", f"{seconds:.3f}")
    results.say("engine: peak memory of the device", peak)
    goal = settings.on_gpu and busy is not None
    results.say(
        f"engine: share of time that the device is busy ({how})",
        "not measured: nvidia-smi is missing, or said nothing" if busy is None else f"{busy:.1%}",
        "85%" if goal else "",
        busy >= 0.85 if goal and busy is not None else None,
    )
    return answers, seconds


def _floor(
    settings: Settings,
    results: Results,
    pipeline: Any,
    jobs: list,
    seconds: float,
    rate: float,
    bytes_a_second: float,
) -> None:
    from pathlib import Path

    import sam2
    from engine_floor import language_floor, report, sam2_flops

    from fiftyone_revseg.tracking.checkpoints import EMBEDDED, read_config
    from fiftyone_revseg.video import open_video

    counts = []
    for path, _ in jobs:
        with open_video(path) as video:
            counts.append(len(video))
    large = Path(sam2.__file__).parent / "configs" / "sam2.1" / "sam2.1_hiera_l.yaml"
    tracker = EMBEDDED / "sam2-nano" / "config.yaml" if settings.tiny else large
    spec = pipeline.spec
    language = language_floor(model_of(pipeline).model.config, spec, spec.max_new_tokens)
    args = Namespace(frames=sum(counts) / len(counts), batch=min(32, len(jobs)))
    floor = report(
        "The floor", language, sam2_flops(read_config(tracker)), args, rate, bytes_a_second
    )
    results.keep("floor", floor)
    results.say(
        "floor with this device's rates: seconds a video",
        f"{floor['seconds']:.3f}; the engine takes {seconds / floor['seconds']:.1f} x",
    )


def _profile(settings: Settings, results: Results, pipeline: Any, jobs: list) -> None:
    if not settings.on_gpu:
        return
    pipeline.spec = pipeline.spec.replace(max_new_tokens=16)
    found = profile(lambda: with_engine(pipeline, jobs[:8]))
    results.keep("longest kernels", found.longest)
    results.say(
        "profiler, 8 videos and 16 tokens a turn: share of time with a kernel",
        f"{found.share:.1%}, {found.kernels} kernels",
    )
    for name, seconds in found.longest[:8]:
        print(f"  {seconds:8.3f} s  {name[:110]}")


if __name__ == "__main__":
    run_stage(measure, __doc__)
