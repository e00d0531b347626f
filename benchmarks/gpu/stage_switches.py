"""What each part of the engine gains on this device, by leaving it out.

Qwen2.5-VL 7B and SAM2.1 large with random weights, few tokens a turn. Only what the package can
switch today: it has no compiled decoding, no CUDA graphs, no compiled encoder, no resizing on the
device of what the language model sees, and no pinned transfers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from engine import make_jobs, model_of, remembering_nothing, with_engine
from engine import measure as timed
from engine_full_size import make_pipeline
from results import Results
from stage import Settings, run_stage


def measure(settings: Settings, results: Results) -> None:
    """Runs the engine as it is, then with one part less each time."""
    tokens, videos, frames = (4, 2, 6) if settings.tiny else (8, 6, None)
    pipeline = make_pipeline(settings.device, tokens, settings.tiny)
    with tempfile.TemporaryDirectory() as folder:
        jobs, _ = make_jobs(folder, videos, 2, frames)
        with_engine(pipeline, jobs[:2])  # what is done only once
        whole = _seconds(pipeline, jobs, nullcontext)
        results.say(f"engine: seconds for {len(jobs)} videos, 2 queries each", f"{whole:.2f}")

        def without(what: str, leaving_out: Callable = nullcontext, **options: int) -> None:
            seconds = _seconds(pipeline, jobs, leaving_out, **options)
            results.say(f"without {what}", f"{seconds:.2f} s, {seconds / whole:.2f} x as long")

        without("batches of dialogues", dialogues=1)
        without("objects side by side", objects=1)
        without("remembering images and dialogues", lambda: remembering_nothing(model_of(pipeline)))


def _seconds(pipeline: Any, jobs: list, leaving_out: Callable, **options: int) -> float:
    with leaving_out():
        _, wall, _ = timed(lambda: with_engine(pipeline, jobs, **options))
    return wall


if __name__ == "__main__":
    run_stage(measure, __doc__)
