"""Held-out (video, query) pairs, and what a checkpoint answers to them; answers are kept.

Thinking is cheap and tracking, see :mod:`grpo_masks`, is not: they are two passes over the pairs.
Each pair's figures are kept in a file for each checkpoint: what is known is not measured again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from direct import direct_turn, read_direct
from tqdm import tqdm

from fiftyone_revseg.files import write_json
from fiftyone_revseg.files.digests import digest_files
from fiftyone_revseg.measures.rewards import spatial_reward, temporal_reward_several
from fiftyone_revseg.models.builtin import PRESETS
from fiftyone_revseg.reasoning import ChainRequest, LocalReasoner, run_chain
from fiftyone_revseg.reasoning.parse import ParseError
from fiftyone_revseg.synthetic import KINDS
from fiftyone_revseg.training.data import Scene, WorldRow, world_rows
from fiftyone_revseg.types import Status

FIRST_SEED = 5000  # of the test split, which nothing was trained on
BATCH = 16
MODES = ("chain", "direct")

#: What is measured: column -> what it says
MEASURES = {
    "temporal": "the soft temporal reward of the key frames that were chosen",
    "format": "share of pairs in which every reply could be used at once, without a retry",
    "box": "share of targets boxed with IoU > 0.5 in the frame that the boxes are for",
    "refused": "share of pairs with a target that were answered with none",
    "jf": "J&F of all objects of a query together, tracked by sam2-nano",
}


def held_out(pairs: int, seed: int = FIRST_SEED) -> list[WorldRow]:
    """Makes pairs of the test split, one for each world; the kinds take turns.

    Fewer pairs are the beginning of more, so that a larger evaluation goes on from a smaller one.
    """
    rows: list[WorldRow] = []
    while len(rows) < pairs:
        kind = KINDS[len(rows) % len(KINDS)]
        (row,) = world_rows(1, "test", seed, kinds=[kind])
        rows.append(row)
        seed = row.seed + 1
    return rows


class Answers:
    """What one checkpoint answers, kept in a file that is named by the checkpoint's content.

    Args:
        folder: of all such files
        checkpoint: the directory of the model
        mode: "chain" or "direct"
    """

    def __init__(self, folder: Path, checkpoint: str | Path, mode: str = "chain") -> None:
        if mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
        self.checkpoint, self.mode = Path(checkpoint), mode
        files = [self.checkpoint / "model.safetensors", self.checkpoint / "revseg.json"]
        self.path = folder / f"{digest_files(files)[:16]}-{mode}.json"
        self.pairs: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            self.pairs = json.loads(self.path.read_text(encoding="utf-8"))["pairs"]

    def of(self, rows: Sequence[WorldRow]) -> list[dict[str, Any]]:
        """The answers to these pairs; {} where a pair was not asked yet."""
        return [self.pairs.get(row.id, {}) for row in rows]

    def think(self, rows: Sequence[WorldRow], batch: int = BATCH) -> float:
        """Asks the model what it was not asked yet.

        Returns:
            the seconds that a pair took; 0 if there was none to ask
        """
        missing = [row for row in rows if row.id not in self.pairs]
        if not missing:
            return 0.0
        reasoner = LocalReasoner.load(self.checkpoint)
        ask = _think_in_chain if self.mode == "chain" else _think_directly
        started = time.perf_counter()
        for part in tqdm(_parts(missing, batch), desc=f"{self.checkpoint} {self.mode}"):
            scenes = [row.load(reasoner.spec.frames) for row in part]
            for row, answer in zip(part, ask(reasoner, part, scenes), strict=True):
                self.pairs[row.id] = {"query": row.query, "kind": row.kind, **answer}
            self.save()
        return (time.perf_counter() - started) / len(missing)

    def save(self) -> None:
        """Writes the answers."""
        content = {"checkpoint": str(self.checkpoint), "mode": self.mode, "pairs": self.pairs}
        write_json(self.path, content, indent=1)


def base_checkpoint(model: str) -> Path:
    """The directory of a preset's model, or a path as it is."""
    return Path(PRESETS[model].reasoner if model in PRESETS else model)


def _think_in_chain(
    reasoner: LocalReasoner, rows: Sequence[WorldRow], scenes: Sequence[Scene]
) -> list[dict[str, Any]]:
    requests = [_request(row, scene) for row, scene in zip(rows, scenes, strict=True)]
    answers = []
    for row, scene, trajectory in zip(
        rows, scenes, run_chain(reasoner, reasoner.spec, requests, BATCH), strict=True
    ):
        chosen = [choice.frame for choice in trajectory.choices]
        frames = scene.frame_table.indices
        pairs = [
            (k, [round(side, 2) for side in grounding.box_xyxy_px])
            for k, grounding in zip(chosen, trajectory.groundings, strict=True)
            if grounding is not None
        ]
        refused = trajectory.status is Status.NO_TARGET
        answers.append(
            {
                "status": str(trajectory.status),
                "format": float(all(turn.error is None for turn in trajectory.turns)),
                "temporal": _temporal(scene, chosen, refused),
                "box": _boxed(row, scene, pairs),
                "refused": float(refused) if row.targets else None,
                "frames": chosen,
                "boxes": [(frames[k], box) for k, box in pairs],
                "tokens": sum(turn.tokens for turn in trajectory.turns),
                "replies": [turn.reply for turn in trajectory.turns],
            }
        )
    return answers


def _think_directly(
    reasoner: LocalReasoner, rows: Sequence[WorldRow], scenes: Sequence[Scene]
) -> list[dict[str, Any]]:
    spec = reasoner.spec
    requests = [_request(row, scene) for row, scene in zip(rows, scenes, strict=True)]
    replies = reasoner.generate([direct_turn(request, spec) for request in requests], spec)
    answers = []
    for row, scene, reply in zip(rows, scenes, replies, strict=True):
        try:
            boxes, status = read_direct(reply.text, spec, scene.source_size), Status.OK
            status = Status.OK if boxes else Status.NO_TARGET
        except ParseError:
            boxes, status = [], Status.BAD_BOX
        pairs = [(0, [round(side, 2) for side in box]) for box in boxes]
        refused = status is Status.NO_TARGET
        answers.append(
            {
                "status": str(status),
                "format": float(status is not Status.BAD_BOX),
                "temporal": None,
                "box": _boxed(row, scene, pairs),
                "refused": float(refused) if row.targets else None,
                "frames": [],
                "boxes": pairs,
                "tokens": reply.tokens,
                "replies": [reply.text],
                # No box in frame 0 can be right
                "unanswerable": bool(row.targets) and not scene.boxes_at(0),
            }
        )
    return answers


def _request(row: WorldRow, scene: Scene) -> ChainRequest:
    shown = dict(zip(scene.frame_table.indices, scene.frames, strict=True))
    return ChainRequest(
        row.query, scene.frame_table, scene.frames, shown.__getitem__, scene.source_size
    )


def _temporal(scene: Scene, chosen: Sequence[int], refused: bool) -> float | None:
    if scene.unseen:
        return None
    if not chosen and not refused:
        return 0.0
    return temporal_reward_several(scene.areas.tolist(), chosen)


def _boxed(
    row: WorldRow, scene: Scene, pairs: Sequence[tuple[int, Sequence[float]]]
) -> float | None:
    """The share of targets that were boxed; a box counts for one target only."""
    if not row.targets:
        return None
    hits = np.array(
        [
            [
                bool(spatial_reward([box], [true])) if not np.isnan(true).any() else False
                for true in scene.boxes[:, k]
            ]
            for k, box in pairs
        ]
    )
    if not hits.size:
        return 0.0
    from scipy.optimize import linear_sum_assignment

    met = hits[linear_sum_assignment(hits, maximize=True)].sum()
    return float(met) / len(row.targets)


def _parts(rows: Sequence[WorldRow], size: int) -> list[Sequence[WorldRow]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
