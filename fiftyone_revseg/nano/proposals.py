"""What a checkpoint proposes for queries about worlds: one greedy dialogue and some sampled ones.

Turn 3 is trained on these, so that its certainty is that of what it is going to be shown.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fiftyone_revseg.models.batch_size import BatchSize
from fiftyone_revseg.nano.dialogues import choose_queries
from fiftyone_revseg.reasoning import ChainRequest, ChainSpec, Reasoner
from fiftyone_revseg.reasoning.chain import Pair
from fiftyone_revseg.reasoning.dialogue import Dialogue
from fiftyone_revseg.reasoning.rolling import ask
from fiftyone_revseg.synthetic.queries import Query
from fiftyone_revseg.synthetic.world import World, make_world
from fiftyone_revseg.types import FrameTable

_TOGETHER = 40  # dialogues of one world in a batch: short ones, of a small model


def write_proposals(
    reasoner: Reasoner,
    path: str | Path,
    seeds: range,
    split: str = "train",
    samples: int = 4,
    questions: int = 3,
) -> None:
    """Appends a line for each query: what was asked, what is meant, and what was proposed.

    A line has the world's ``seed`` and ``split``, the query's ``kind``, ``text`` and ``targets``,
    and ``cands``: for each dialogue, the greedy one first, a list of ``[frame, description,
    [box, confidence]]``, the last one null where turn 2 failed; null where turn 1 did. Worlds that
    have lines are left out, so that an interrupted run goes on.

    Args:
        reasoner: the model
        path: the file, of JSON lines
        seeds: of the worlds
        split: of the worlds
        samples: how many dialogues beside the greedy one
        questions: about each world
    """
    path = Path(path)
    done = {record["seed"] for record in read_proposals(path)} if path.exists() else set()
    with open(path, "a", encoding="utf-8") as file:
        for seed in seeds:
            if seed in done:
                continue
            lines = [
                json.dumps({"seed": seed, "split": split, **record}) + "\n"
                for record in _proposals(reasoner, make_world(seed, split), samples, questions)
            ]
            file.write("".join(lines))  # all of a world's or none
            file.flush()
            os.fsync(file.fileno())


def read_proposals(path: str | Path) -> list[dict[str, Any]]:
    """Reads what :func:`write_proposals` wrote; a last, half line is left out."""
    lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _proposals(
    reasoner: Reasoner, world: World, samples: int, questions: int
) -> Iterator[dict[str, Any]]:
    spec = reasoner.spec.replace(temperature=0.0)
    rng = np.random.default_rng([world.seed, 77])
    queries = choose_queries(world, rng, questions)
    requests = _requests(world, queries, spec)
    dialogues = []
    for request in requests:
        pairs = [Pair(request, spec) for _ in range(1 + samples)]
        dialogues.append([(pair, pair.turn1()) for pair in pairs])
    _ask(reasoner, spec, [one[0][1] for one in dialogues])
    _ask(reasoner, spec.replace(temperature=0.8), [d for one in dialogues for _, d in one[1:]])
    boxes: dict[tuple[int, int, str], Dialogue] = {}
    for q, one in enumerate(dialogues):
        for pair, first in one:
            if first.history is None:
                continue
            for position, choice in enumerate(first.result):
                key = (q, choice.frame, choice.description)
                if key not in boxes:
                    boxes[key] = pair.turn2(first.history, position, choice)
    _ask(reasoner, spec, list(boxes.values()))
    for q, (query, one) in enumerate(zip(queries, dialogues, strict=True)):
        yield {
            "kind": query.kind,
            "text": query.text,
            "targets": list(query.targets),
            "cands": [
                None
                if first.history is None
                else [
                    [c.frame, c.description, _found(boxes[q, c.frame, c.description])]
                    for c in first.result
                ]
                for _, first in one
            ],
        }


def _found(dialogue: Dialogue) -> list[Any] | None:
    """The box and its confidence; None if turn 2 failed."""
    if dialogue.history is None:
        return None
    ((box, _),) = dialogue.result
    return [[round(float(v), 1) for v in box], dialogue.turns[-1].confidence]


def _requests(world: World, queries: list[Query], spec: ChainSpec) -> list[ChainRequest]:
    indices = np.linspace(0, world.frame_count - 1, spec.frames).round().astype(int).tolist()
    times = tuple(k / world.fps for k in indices)
    table = FrameTable(tuple(indices), times, world.frame_count, world.frame_count / world.fps)
    images = {k: world.draw(k)[0] for k in indices}
    size = (world.width, world.height)
    return [
        ChainRequest(query.text, table, list(images.values()), images.__getitem__, size)
        for query in queries
    ]


def _ask(reasoner: Reasoner, spec: ChainSpec, dialogues: list[Dialogue]) -> None:
    while waiting := [one for one in dialogues if one.pending is not None]:
        ask(reasoner, spec, waiting, BatchSize("reasoning", _TOGETHER))
