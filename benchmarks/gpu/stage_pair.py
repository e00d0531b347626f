"""The embedded pair on the device, in float32 and bfloat16, against itself on the CPU in float32.

Through the engine and through ``segment``, with both tracker backends, with several objects, with
too little memory, and whether memory is handed back. Figures mean: of the CPU's answers, how many
have the same status and the same boxes (to the pixel, as the model writes them), and the mean IoU
of the masks where the boxes are the same.
"""

from __future__ import annotations

import logging
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from engine import agreement, make_jobs, model_of, one_by_one, with_engine
from results import Results
from stage import Settings, run_stage

# What rounding may change. Decoding is greedy: where two tokens are nearly as likely, another one
# may win, and all that follows is another answer, not a worse one.
TOLERANCE = {
    "float32": {"same status": 1.0, "same boxes": 0.95, "mean IoU": 0.995},
    "bfloat16": {"same status": 0.9, "same boxes": 0.6, "mean IoU": 0.98},
}
SEVERAL = 5357  # a world of the test split with several circles that share a key frame


def measure(settings: Settings, results: Results) -> None:
    """Runs all of it."""
    allocated = _allocated(settings)
    with tempfile.TemporaryDirectory() as folder:
        jobs, sizes = make_jobs(folder, *((2, 1, 8) if settings.tiny else (12, 2)))
        jobs, sizes = _with_several(folder, jobs, sizes)
        reference = _answers(jobs, with_engine, device="cpu", dtype="float32")
        found = sum(status == "ok" for status, _, _ in reference)
        several = sum(len(masks) > 1 for _, _, masks in reference)
        results.say(
            "answers of the CPU, with status ok, with several objects",
            f"{len(reference)}, {found}, {several}",
            "half are ok, one has several",
            2 * found >= len(reference) and several > 0,
        )

        def compare(title: str, dtype: str, run: Callable, **options: Any) -> None:
            found = _answers(jobs, run, device=settings.device, dtype=dtype, **options)
            _say(results, f"{title}, {dtype}", found, reference, sizes, dtype)

        for dtype in TOLERANCE:
            compare("engine", dtype, with_engine)
            compare("segment", dtype, one_by_one)
            backend = {"tracker": "transformers:sam2-nano"}
            compare("engine, tracker of transformers", dtype, with_engine, **backend)
        _out_of_memory(settings, results, jobs, reference, sizes)
    _memory_back(settings, results, allocated)


def _with_several(folder: str, jobs: list, sizes: list) -> tuple[list, list]:
    """Adds a query that two objects answer."""
    from fiftyone_revseg.synthetic import make_world, write_video

    world = make_world(SEVERAL, "test")
    path = Path(folder) / "several.mp4"
    write_video(path, world.render()[0], world.fps)
    return [*jobs, (str(path), ["all circles"])], [*sizes, (world.width, world.height)]


def _answers(jobs: list, run: Callable, **options: Any) -> list:
    import fiftyone_revseg as revseg

    with revseg.load_pipeline("revseg-nano", **options) as pipeline:
        return run(pipeline, jobs)


def _say(
    results: Results, what: str, found: list, reference: list, sizes: list, dtype: str
) -> None:
    # Where another box was chosen, masks are of something else: only the others tell of tracking
    alike = [i for i, pair in enumerate(zip(found, reference, strict=True)) if _same_boxes(*pair)]
    same = agreement(found, reference, sizes)
    masks = agreement(*([values[i] for i in alike] for values in (found, reference, sizes)))
    count, least = same["answers"], TOLERANCE[dtype]
    shares = {
        "same status": same["same status"] / count,
        "same boxes": same["same boxes"] / count,
        "mean IoU": masks["mean IoU"],
    }
    results.say(
        what,
        f"status {same['same status']} of {count}, boxes {same['same boxes']} of {count}; their "
        f"{masks['masks']} masks: mean IoU {masks['mean IoU']:.4f}, "
        f"equal {masks['equal masks']:.1%}",
        f"status {least['same status']:.0%}, boxes {least['same boxes']:.0%}, "
        f"mean IoU {least['mean IoU']}",
        masks["masks"] > 0 and all(shares[name] >= least[name] for name in least),
    )
    results.keep(what, {"all answers": same, "with the same boxes": masks})


def _same_boxes(answer: tuple, other: tuple) -> bool:
    return answer[1] == other[1]


# ---- memory -----------------------------------------------------------------------------------


def _out_of_memory(
    settings: Settings, results: Results, jobs: list, reference: list, sizes: list
) -> None:
    """Leaves too little memory for whole batches: they must be halved, and answers the same."""
    import fiftyone_revseg as revseg

    halved: list[str] = []
    with revseg.load_pipeline(device=settings.device, dtype="float32") as pipeline:

        def run() -> list:
            return with_engine(pipeline, jobs, dialogues=16, objects=16)

        scarce = _Scarce(run, pipeline) if settings.on_gpu else _SmallBatches(pipeline)
        for room in (0.7, 0.5, 0.35, 0.2):  # of what whole batches take
            with scarce(room):
                halved, found = _listening(run)
            if halved:
                break
    results.say(
        "out of memory on purpose: batches halved", f"{len(halved)}", "1 or more", bool(halved)
    )
    results.keep("halved", halved)
    _say(results, "answers with too little memory, float32", found, reference, sizes, "float32")


def _listening(run: Callable[[], Any]) -> tuple[list[str], Any]:
    """What is said about halved batches meanwhile, and the result."""
    said: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, handler = logging.getLogger("fiftyone_revseg.models.batch_size"), Handler()
    logger.addHandler(handler)
    try:
        result = run()
    finally:
        logger.removeHandler(handler)
    return said, result


class _Scarce:
    """Lets this process have only a part of the memory that a run takes."""

    def __init__(self, run: Callable[[], Any], pipeline: Any) -> None:
        import torch

        self._pipeline = pipeline
        self._forget()
        self._base = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        self._peak = torch.cuda.max_memory_allocated()

    @contextmanager
    def __call__(self, room: float) -> Iterator[None]:
        import torch

        self._forget()
        limit = self._base + room * (self._peak - self._base)
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(limit / whole)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)

    def _forget(self) -> None:
        from fiftyone_revseg.models.devices import empty_caches

        model_of(self._pipeline).forget()
        empty_caches()


class _SmallBatches:
    """On a CPU, has batches of more than one raise what a GPU would."""

    def __init__(self, pipeline: Any) -> None:
        self._parts = ((pipeline.reasoner, "generate"), (pipeline.tracker, "step_together"))

    @contextmanager
    def __call__(self, room: float) -> Iterator[None]:
        for part, name in self._parts:
            setattr(part, name, self._failing(getattr(part, name)))
        try:
            yield
        finally:
            for part, name in self._parts:
                delattr(part, name)

    @staticmethod
    def _failing(method: Callable) -> Callable:
        import torch

        def checked(first: Any, *rest: Any) -> Any:
            if len(first) > 1:
                raise torch.OutOfMemoryError("on purpose")
            return method(first, *rest)

        return checked


def _memory_back(settings: Settings, results: Results, allocated: int) -> None:
    """Loads, asks and closes once more: nothing may be left of the models."""
    import numpy as np

    import fiftyone_revseg as revseg
    from fiftyone_revseg.synthetic import make_world, write_video

    world = make_world(0, "test")
    pipeline = revseg.load_pipeline("revseg-nano", device=settings.device)
    models = [weakref.ref(part.model) for part in (pipeline.reasoner, pipeline.tracker)]
    held = _allocated(settings)
    with tempfile.TemporaryDirectory() as folder:
        frames = np.asarray(world.render()[0][:4])
        path = Path(folder) / "one.mp4"
        write_video(path, frames, world.fps)
        pipeline.segment(str(path), "the star")
    pipeline.close()
    alive = sum(model() is not None for model in models)
    results.say("models alive after close()", str(alive), "0", alive == 0)
    if settings.on_gpu:
        left = (_allocated(settings) - allocated) / 2**20
        results.say(
            "MiB on the device while loaded, after close()",
            f"{(held - allocated) / 2**20:.1f}, {left:.1f}",
            "1 at most after close()",
            left <= 1,
        )


def _allocated(settings: Settings) -> int:
    import torch

    if not (settings.on_gpu and torch.cuda.is_initialized()):
        return 0
    with suppress(AttributeError):  # the libraries' work space, which is no model's
        torch._C._cuda_clearCublasWorkspaces()
    return torch.cuda.memory_allocated()


if __name__ == "__main__":
    run_stage(measure, __doc__)
