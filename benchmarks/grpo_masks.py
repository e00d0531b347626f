"""J&F of what checkpoints answered: the boxes in one video are followed side by side.

Checkpoints that learned alike often choose the same frames. A frame is encoded once for all of
them, and what all have boxed is followed in the same steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from grpo_pairs import Answers
from side_by_side import follow
from tqdm import tqdm

from fiftyone_revseg.measures.metrics import j_and_f
from fiftyone_revseg.synthetic.world import make_world
from fiftyone_revseg.tracking import Sam2Tracker, decode_masks
from fiftyone_revseg.tracking.lockstep import Pursuit
from fiftyone_revseg.training.data import WorldRow

OBJECTS = 16  # followed in one step
_SAVE_EVERY = 10  # pairs

Boxes = tuple[tuple[float, ...], ...]  # (N, 4) in pixels of a frame


def track_answers(
    asked: Sequence[Answers], rows: Sequence[WorldRow], tracker: Sam2Tracker
) -> float:
    """Follows the boxes that were not followed yet, from their frames both ways.

    Args:
        asked: what checkpoints answer to all pairs; each pair's J&F is added
        rows: the pairs
        tracker: the tracker

    Returns:
        the seconds that a pair and checkpoint took; 0 if there was nothing to follow
    """
    started, count = time.perf_counter(), 0
    unsaved: list[Answers] = []
    for i, row in enumerate(tqdm(rows, desc=f"tracking what {len(asked)} checkpoints boxed")):
        missing = [answers for answers in asked if "jf" not in answers.pairs[row.id]]
        if missing:
            boxes = [_by_frame(answers.pairs[row.id]["boxes"]) for answers in missing]
            for answers, jf in zip(missing, _j_and_f(row, boxes, tracker), strict=True):
                answers.pairs[row.id]["jf"] = jf
        count += len(missing)
        unsaved += [answers for answers in missing if answers not in unsaved]
        if i % _SAVE_EVERY == _SAVE_EVERY - 1 or i == len(rows) - 1:
            for answers in unsaved:
                answers.save()
            unsaved.clear()
    return (time.perf_counter() - started) / count if count else 0.0


class DrawnVideo:
    """A world's frames in memory, as what a tracker walks over."""

    def __init__(self, row: WorldRow) -> None:
        world = make_world(row.seed, row.split)
        self.frames, masks = world.render()
        self.size = (world.width, world.height)
        self.truth = masks[list(row.targets)].any(axis=0)

    def __len__(self) -> int:
        return len(self.frames)

    def walk(self, start: int, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        """Iterates over (k, frame) from ``start`` to that direction's end."""
        for k in range(start, len(self) if step > 0 else -1, step):
            yield k, self.frames[k]


def _by_frame(boxes: Sequence[tuple[int, Sequence[float]]]) -> set[tuple[int, Boxes]]:
    """Boxes in the same frame are followed together."""
    frames = {k for k, _ in boxes}
    return {(k, tuple(tuple(box) for at, box in boxes if at == k)) for k in frames}


def _j_and_f(
    row: WorldRow, boxes: Sequence[set[tuple[int, Boxes]]], tracker: Sam2Tracker
) -> list[float]:
    video = DrawnVideo(row)
    distinct = sorted(set().union(*boxes))
    masks = dict(zip(distinct, _masks(video, distinct, tracker), strict=True))
    nothing = np.zeros_like(video.truth)
    return [
        j_and_f(np.any([nothing, *(masks[start] for start in starts)], axis=0), video.truth)
        for starts in boxes
    ]


def _masks(
    video: DrawnVideo, starts: Sequence[tuple[int, Boxes]], tracker: Sam2Tracker
) -> list[np.ndarray]:
    """The union of the masks that each start leads to, ``(T, H, W)`` bool."""
    pursuits = [Pursuit(video, k, np.array(boxes, float)) for k, boxes in starts]
    masks = {id(pursuit): np.zeros_like(video.truth) for pursuit in pursuits}
    for pursuit, found in follow(tracker, pursuits, OBJECTS):
        visible = decode_masks(found.rles, video.size).any(axis=0)
        masks[id(pursuit)][found.frame] |= visible
    return [masks[id(pursuit)] for pursuit in pursuits]
