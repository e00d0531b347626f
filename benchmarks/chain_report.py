"""How good the chain is, and which of its parts is to blame, on videos whose truth is known.

Beside the chain itself, each part is measured on its own and next to two baselines that need no
model, so that a figure can be read: what it would be by luck, and what it could be at best.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fiftyone_revseg.masks.boxes import box_around, box_iou
from fiftyone_revseg.measures.metrics import j_and_f
from fiftyone_revseg.pipeline import RevSeg, Segmentation
from fiftyone_revseg.text.escape import markdown_line
from fiftyone_revseg.tracking import track_both_ways
from fiftyone_revseg.video import open_video

if TYPE_CHECKING:
    from fiftyone_revseg.tracking import Tracker
    from fiftyone_revseg.video import Video

#: What is measured: column of the table -> what it says
MEASURES = {
    "format valid": "share of pairs in which every reply could be used at once, without a retry",
    "chain J&F": "of the whole chain, all objects of a query together",
    "box IoU > 0.5": "share of targets boxed like that in the key frame that the chain chose",
    "tracker J&F": "the tracker alone, from the true boxes in the frames of largest area",
    "random object J&F": "baseline: the true masks of an object picked at random from the video",
    "whole frame J&F": "baseline: every pixel of every frame; it has no boundary, so that "
    "F is 1 where the target is absent",
}


@dataclass(frozen=True)
class Question:
    """A query with the objects that answer it.

    Attributes:
        text: the query
        targets: indices into the video's objects; () if nothing answers it
        kind: what the results are grouped by
    """

    text: str
    targets: tuple[int, ...]
    kind: str


@dataclass(frozen=True)
class Case:
    """A video with its truth and the questions about it.

    Attributes:
        path: of the video file
        masks: (objects, T, H, W) bool, the visible pixels of every object
        questions: what to ask
    """

    path: str
    masks: np.ndarray
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Score:
    """What was measured for one question; see :data:`MEASURES`.

    Attributes:
        path: of the video file
        query: the query
        kind: its kind
        status: how the chain ended
        reason: why, in words
        values: measure -> value in [0, 1]; None where it does not apply: no target has no box
        seconds: what the chain took
    """

    path: str
    query: str
    kind: str
    status: str
    reason: str
    values: dict[str, float | None]
    seconds: float


def evaluate_chain(pipeline: RevSeg, cases: Iterable[Case]) -> Iterator[Score]:
    """Measures the chain, its parts and the baselines.

    Args:
        pipeline: a :class:`fiftyone_revseg.pipeline.RevSeg`
        cases: the videos and questions

    Yields:
        a :class:`Score` for every question

    Raises:
        VideoError: if a video cannot be read
        ValueError: if a video is not of the size or length of its masks
    """
    for case in cases:
        with open_video(case.path) as video:
            shape = (len(video), video.size[1], video.size[0])
            if case.masks.shape[1:] != shape:
                raise ValueError(
                    f"{case.path} has (T, H, W) = {shape}, its masks {case.masks.shape[1:]}"
                )
            tracked: dict[int, np.ndarray] = {}  # one object may answer several questions
            queries = [question.text for question in case.questions]
            for question, answer in zip(
                case.questions, pipeline.segment(video, queries), strict=True
            ):
                for target in question.targets:
                    if target not in tracked:
                        masks = case.masks[target]
                        tracked[target] = _track_from_truth(pipeline.tracker, video, masks)
                yield _score(case, question, answer, tracked)


def summarize(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Averages the scores by kind of query.

    Args:
        scores: the scores

    Returns:
        a list of dicts with "kind", "pairs", and each of :data:`MEASURES` as a mean in [0, 1] or
        None; the last one, "all", is over all pairs
    """
    kinds = list(dict.fromkeys(score.kind for score in scores))
    rows = []
    for kind in [*sorted(kinds), "all"]:
        of_kind = [score for score in scores if kind in ("all", score.kind)]
        row: dict[str, Any] = {"kind": kind, "pairs": len(of_kind)}
        for measure in MEASURES:
            measured = (score.values[measure] for score in of_kind)
            values = [value for value in measured if value is not None]
            row[measure] = float(np.mean(values)) if values else None
        rows.append(row)
    return rows


def to_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Writes the summary as a Markdown table, in percent, and says what the columns are."""
    lines = [
        "| kind | pairs | " + " | ".join(MEASURES) + " |",
        "|---|---:|" + "---:|" * len(MEASURES),
    ]
    for row in rows:
        cells = [
            "-" if row[measure] is None else f"{100 * row[measure]:.1f}" for measure in MEASURES
        ]
        lines.append(
            f"| {markdown_line(row['kind'])} | {row['pairs']} | " + " | ".join(cells) + " |"
        )
    lines += ["", *(f"* {measure}: {meaning}" for measure, meaning in MEASURES.items())]
    return "\n".join(lines)


def _score(
    case: Case, question: Question, answer: Segmentation, tracked: dict[int, np.ndarray]
) -> Score:
    targets = list(question.targets)
    truth = np.asarray(case.masks[targets].any(axis=0))
    predicted = answer.masks() if answer.frame_count else np.zeros_like(truth)
    turns = answer.trajectory.turns
    values = {
        "format valid": float(bool(turns) and all(turn.error is None for turn in turns)),
        "chain J&F": j_and_f(predicted, truth),
        "box IoU > 0.5": _boxed_share(case.masks[targets], answer) if targets else None,
        "tracker J&F": (
            j_and_f(np.any([tracked[i] for i in targets], axis=0), truth) if targets else None
        ),
        "random object J&F": j_and_f(case.masks[_random_object(case, question)], truth),
        "whole frame J&F": j_and_f(np.ones_like(truth), truth),
    }
    seconds = sum(
        seconds for stage, seconds in answer.timings.items() if not stage.startswith("turn")
    )
    return Score(
        case.path,
        question.text,
        question.kind,
        str(answer.status),
        answer.reason,
        values,
        seconds,
    )


def _random_object(case: Case, question: Question) -> int:
    """Picks one of the objects, for the same question always the same one."""
    seed = zlib.crc32(f"{Path(case.path).name} {question.text}".encode())
    return int(np.random.default_rng(seed).integers(len(case.masks)))


def _boxed_share(targets: np.ndarray, answer: Segmentation) -> float:
    """The share of targets whose box was met; a box counts for one target only."""
    pairs = []
    for i, grounding in enumerate(answer.trajectory.groundings):
        if grounding is None:
            continue
        for t, masks in enumerate(targets):
            true_box = box_around(masks[answer.trajectory.key_frames[i]])
            if true_box is not None:
                pairs.append((box_iou(grounding.box_xyxy_px, true_box), i, t))
    boxes, met = set(), set()
    for iou, i, t in sorted(pairs, reverse=True):
        if iou > 0.5 and i not in boxes and t not in met:
            boxes.add(i)
            met.add(t)
    return len(met) / len(targets)


def _track_from_truth(tracker: Tracker, video: Video, masks: np.ndarray) -> np.ndarray:
    """Tracks one object, (T, H, W) bool, from its true box where it is largest."""
    key_frame = int(masks.sum(axis=(1, 2)).argmax())
    box = box_around(masks[key_frame])
    if box is None:
        raise ValueError(f"a target is visible in no frame of {video.path}")
    (track,) = track_both_ways(tracker, video, key_frame, np.array([box], float))
    return track.masks()
