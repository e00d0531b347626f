"""How well a tracker follows objects through held-out synthetic worlds, from their true boxes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fiftyone_revseg.files import write_text
from fiftyone_revseg.masks.boxes import box_around
from fiftyone_revseg.measures import j_and_f, region_similarity
from fiftyone_revseg.nano.tracker_clips import MIN_AREA
from fiftyone_revseg.synthetic.world import World, make_world
from fiftyone_revseg.tracking import Sam2Tracker, track_both_ways

if TYPE_CHECKING:
    from fiftyone_revseg.nano.tracker_training import TrackerTraining


@dataclass(frozen=True)
class TrackedObject:
    """The result for one object of one world.

    Attributes:
        seed: the world's seed
        body: the object's index in it
        kind: "always visible", or "absent in some frames" (it comes, goes or is fully hidden)
        j_and_f: J&F over all frames, in [0, 100]
        key_j: J in the key frame, in [0, 100]
        present: share of the frames in which the tracker says rightly whether it is visible
    """

    seed: int
    body: int
    kind: str
    j_and_f: float
    key_j: float
    present: float


class WorldVideo:
    """A world's frames as a video that can be walked."""

    def __init__(self, world: World, frames: np.ndarray) -> None:
        self.size = (world.width, world.height)
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def walk(self, start: int, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        """Iterates over (k, frame) from ``start`` to that direction's end."""
        for k in range(start, len(self) if step > 0 else -1, step):
            yield k, self._frames[k]


def evaluate_tracker(tracker: Any, worlds: int = 50) -> list[TrackedObject]:
    """Tracks every object of some held-out worlds, from the frame that shows most of it.

    Args:
        tracker: a tracker
        worlds (50): how many worlds of the test split

    Returns:
        one result per object
    """
    results = []
    for s in range(worlds):
        world = make_world(s, "test")
        frames, masks = world.render()
        areas = masks.sum(axis=(2, 3))
        for body, (truth, area) in enumerate(zip(masks, areas, strict=True)):
            key = int(area.argmax())
            if area[key] < MIN_AREA:
                continue
            box = np.array([box_around(truth[key])], np.float32)
            (track,) = track_both_ways(tracker, WorldVideo(world, frames), key, box)
            found = track.masks()
            results.append(
                TrackedObject(
                    seed=s,
                    body=body,
                    kind="always visible" if area.all() else "absent in some frames",
                    j_and_f=100 * j_and_f(found, truth),
                    key_j=100
                    * float(region_similarity(found[key : key + 1], truth[key : key + 1])[0]),
                    present=float((found.any(axis=(1, 2)) == (area > 0)).mean()),
                )
            )
    return results


def summarize(results: list[TrackedObject]) -> str:
    """Writes results as a Markdown table, by kind and overall."""
    lines = [
        "| objects | count | J&F | J in the key frame | visible or not, right |",
        "|---|---|---|---|---|",
    ]
    for kind in (*sorted({r.kind for r in results}), "all"):
        rows = [r for r in results if kind in (r.kind, "all")]
        jf, key, present = (
            float(np.mean([getattr(r, name) for r in rows]))
            for name in ("j_and_f", "key_j", "present")
        )
        lines.append(f"| {kind} | {len(rows)} | {jf:.1f} | {key:.1f} | {100 * present:.1f} % |")
    return "\n".join(lines)


CARD = """\
# sam2-nano

A small SAM2 (the `sam2` package's own classes, {size} pixels, {parameters:.1f} M parameters) that
follows an object from one box. Trained from random weights, by this project's own script, on
nothing but the synthetic videos of `fiftyone_revseg.synthetic`: plain shapes on soft backgrounds.
It makes demos and tests real and quick. For real videos use the official checkpoints
(`sam2.1-hiera-tiny` and larger): only the name changes.

## Results

From the true box in the frame that shows most of the object, both ways, all frames count, on
{worlds} held-out worlds (`test` split, seeds 0 to {last}; frames as rendered, not compressed):

{table}

J&F as in DAVIS 2017. "Absent" objects come, go, or are fully hidden for a while: a mask left on
such a frame costs both J and F.

## Training

`revseg train tracker`, seed {seed}, {steps} steps: {images} on single frames, {clips} on \
clips of {longest} frames.
{minutes:.0f} minutes on {hardware}. All settings are in `settings.json`.

## Limits

Objects that look alike and cross each other's way are still confused at times. It was
trained on clips of at most {longest} frames: an object that stays hidden until no recent memory
shows it (three frames) is often not found again. It has never seen a photograph.

## Files

`config.yaml` (a SAM2 config, class names and sizes) and `model.safetensors` (fp32, a moving
average of the weights).
"""


def write_model_card(
    directory: str | Path,
    settings: TrackerTraining,
    seconds: float,
    device: torch.device | str,
) -> list[TrackedObject]:
    """Judges the tracker in a run's directory and writes its ``MODEL_CARD.md`` there.

    Args:
        directory: a directory that ``Sam2Tracker.load`` takes
        settings: what it was trained with
        seconds: how long that took
        device: where it was trained, and is judged

    Returns:
        the results per object
    """
    tracker = Sam2Tracker.load(directory, device=device)
    results = evaluate_tracker(tracker, settings.report_worlds)
    card = CARD.format(
        size=tracker.model.image_size,
        parameters=sum(p.numel() for p in tracker.model.parameters()) / 1e6,
        worlds=settings.report_worlds,
        last=settings.report_worlds - 1,
        table=summarize(results),
        seed=settings.seed,
        steps=settings.steps,
        images=settings.image_steps,
        clips=settings.clip_steps,
        longest=settings.clip_length,
        minutes=seconds / 60,
        hardware=_hardware(settings.threads, tracker.device),
    )
    write_text(Path(directory) / "MODEL_CARD.md", card)
    return results


def _hardware(threads: int, device: torch.device) -> str:
    """The machine in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{threads} thread(s) of {os.cpu_count()} CPU cores, no GPU"
