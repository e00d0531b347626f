"""The tracker against sam2's own predictor, plain and compiled, for one video and for 8.

SAM2.1 large with random weights and a positive object score; in miniature, the embedded tracker.
sam2's predictor takes one video after the other, so 8 cost it 8 times one. What is compared are
frames of 1280 x 720, in memory, in the precision that suits the device. Masks are compared with
the tracker's own for one video; the weights are random, so outlines are ragged, and rounding moves
them more than those of a real checkpoint. The embedded tracker, whose weights are real, follows.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from results import Results
from stage import Settings, run_stage
from trackers import agreement, run_predictor, run_together, run_tracker

TOGETHER = 8
EMBEDDED = "sam2-nano"


def measure(settings: Settings, results: Results) -> None:
    """Runs each in turn; what takes longest to warm up comes last."""
    if not settings.on_gpu:
        os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compiling for a CPU takes minutes for nothing
    count, size = (6, (160, 96)) if settings.tiny else (100, (1280, 720))
    videos = 2 if settings.tiny else TOGETHER
    with tempfile.TemporaryDirectory() as folder:
        name = EMBEDDED if settings.tiny else str(_random_large(Path(folder)))
        on = (count, size, settings.device, None)
        tracker = _Case("tracker, 1 video", lambda: run_tracker(name, *on))
        together = _Case(
            f"tracker, {videos} videos side by side", lambda: run_together(name, *on, videos)
        )
        plain = _Case("sam2's predictor", lambda: run_predictor(name, *on, False))
        compiled = _Case("sam2's compiled predictor", lambda: run_predictor(name, *on, True))
        for case in (tracker, together, plain):
            case.run(results, tracker)
        _embedded(settings, results)
        compiled.run(results, tracker)
        results.say(
            "tracker against sam2's compiled predictor, 1 video",
            f"{compiled.seconds / tracker.seconds:.2f} x",
        )
        ratio = compiled.seconds / together.seconds
        results.say(
            f"tracker against sam2's compiled predictor, {videos} videos",
            f"{ratio:.2f} x",
            "" if settings.tiny else "1.5 x",
            None if settings.tiny else ratio >= 1.5,
        )


class _Case:
    """One way to follow the same object."""

    def __init__(self, title: str, follow: Callable[[], tuple[list, float]]) -> None:
        self.title, self._follow = title, follow
        self.rles: list = []
        self.seconds = 0.0

    def run(self, results: Results, reference: _Case) -> None:
        import torch

        from fiftyone_revseg.models.devices import empty_caches

        empty_caches()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.rles, self.seconds = self._follow()
        iou, same = agreement(self.rles, reference.rles)
        found = f"{1000 * self.seconds / len(self.rles):.1f} ms a frame and video"
        if torch.cuda.is_available():
            found += f", at most {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB"
        results.say(self.title, f"{found}, masks' mean IoU {iou:.4f}, equal {same:.1%}")
        results.keep(self.title, {"seconds": self.seconds, "frames": len(self.rles), "IoU": iou})


def _embedded(settings: Settings, results: Results) -> None:
    """Whether masks agree where weights are real."""
    on = (6 if settings.tiny else 48, (320, 240), settings.device, "float32")
    ours, _ = run_tracker(EMBEDDED, *on)
    theirs, _ = run_predictor(EMBEDDED, *on, False)
    iou, same = agreement(ours, theirs)
    results.say(
        "embedded tracker and sam2's predictor, float32: masks' mean IoU",
        f"{iou:.5f}, equal {same:.1%}",
        "0.999",
        bool(iou >= 0.999),
    )


def _random_large(folder: Path) -> Path:
    """Writes SAM2.1 large with random weights, as a checkpoint."""
    import sam2
    from engine_full_size import make_tracker
    from safetensors.torch import save_model

    save_model(make_tracker("cpu").model, str(folder / "model.safetensors"))
    configs = Path(sam2.__file__).parent / "configs" / "sam2.1"
    shutil.copy(configs / "sam2.1_hiera_l.yaml", folder / "config.yaml")
    return folder


if __name__ == "__main__":
    run_stage(measure, __doc__)
