"""The tracker against sam2's own predictor, plain and compiled, for one video and for 8.

SAM2.1 large with random weights and a positive object score; in miniature, the embedded tracker's
sizes.
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
        name = str(_random(Path(folder), settings.tiny))
        on = (count, size, settings.device, None)
        tracker = _Case("tracker, 1 video", lambda: run_tracker(name, *on))
        together = _Case(
            f"tracker, {videos} videos side by side", lambda: run_together(name, *on, videos)
        )
        plain = _Case("sam2's predictor", lambda: run_predictor(name, *on, False))
        compiled = _Case("sam2's compiled predictor", lambda: run_predictor(name, *on, True))
        for case in (tracker, together, plain):
            case.run(results, tracker)
        for case in (tracker, together):
            results.say(f"{case.title}, against sam2's predictor", f"{plain.over(case):.2f} x")
        _embedded(settings, results)
        compiled.run(results, tracker)
        for case in (tracker, together):
            ratio = compiled.over(case)
            goal = case is together and settings.on_gpu and not settings.tiny
            results.say(
                f"{case.title}, against sam2's compiled predictor",
                f"{ratio:.2f} x",
                "1.5 x" if goal else "",
                ratio >= 1.5 if goal else None,
            )


class _Case:
    """One way to follow the same object."""

    def __init__(self, title: str, follow: Callable[[], tuple[list, float]]) -> None:
        self.title, self._follow = title, follow
        self.rles: list = []
        self.seconds = 0.0

    def over(self, other: _Case) -> float:
        """How many times as long it took."""
        return self.seconds / other.seconds

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


def _random(folder: Path, tiny: bool) -> Path:
    """Writes a checkpoint with random weights: SAM2.1 large, or of the embedded tracker's sizes."""
    import sam2
    from engine_full_size import make_tracker
    from safetensors.torch import save_file

    from fiftyone_revseg.tracking.checkpoints import EMBEDDED as CHECKPOINTS

    save_file(make_tracker("cpu", tiny).model.state_dict(), folder / "model.safetensors")
    large = Path(sam2.__file__).parent / "configs" / "sam2.1" / "sam2.1_hiera_l.yaml"
    config = CHECKPOINTS / EMBEDDED / "config.yaml" if tiny else large
    shutil.copy(config, folder / "config.yaml")
    return folder


if __name__ == "__main__":
    run_stage(measure, __doc__)
