"""Single cases for a report: what was predicted and what is true, in pictures, with the thought."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from fiftyone_revseg.dataset.collection import check_collection, is_image_groups, source_dataset
from fiftyone_revseg.dataset.explain import Explanation, explain
from fiftyone_revseg.dataset.expressions import Expression
from fiftyone_revseg.dataset.labelled_videos import LabelledVideo, iter_videos, reason_of
from fiftyone_revseg.evaluation.questions import Question, Questions
from fiftyone_revseg.evaluation.results import Evaluation, ExpressionScore
from fiftyone_revseg.evaluation.video_masks import Track, VideoMasks, beside_truth, read_masks
from fiftyone_revseg.masks import pictures
from fiftyone_revseg.masks.boxes import corners_px
from fiftyone_revseg.masks.rle import decode_masks
from fiftyone_revseg.measures.metrics import region_similarity
from fiftyone_revseg.video import VideoError
from fiftyone_revseg.video.sampling import uniform_indices

#: What a colour means -> its index in the palette of :mod:`fiftyone_revseg.masks.pictures`
COLOURS = {"only predicted": 0, "only true": 1, "predicted and true": 2, "the model's box": 4}

_FRAMES, _COLUMNS, _WIDTH = 8, 4, 240  # in a picture, and the width of each in pixels


@dataclass(frozen=True)
class Case:
    """One expression, to be looked at.

    Attributes:
        score: its figures
        picture: (H, W, 3) uint8 RGB; None if there is none
        note: why there is none, in words
        thought: what the model thought; "" if that is not recorded
        answer: the objects in the model's words; "" if it named none
    """

    score: ExpressionScore
    picture: np.ndarray | None = field(default=None, repr=False)
    note: str = ""
    thought: str = ""
    answer: str = ""

    @property
    def name(self) -> str:
        """The name of the video."""
        return self.score.video


def choose_cases(
    scores: Sequence[ExpressionScore], worst: int, best: int
) -> tuple[list[ExpressionScore], list[ExpressionScore]]:
    """Chooses what to show: expressions without a prediction show nothing, so they are left out.

    As long as there are enough videos, no two of the worst are of one video, nor two of the best.

    Args:
        scores: all of them
        worst: how many of the worst
        best: how many of the best; expressions without an object only where there are no others

    Returns:
        the worst, the worst first, and the best, the best first; none is in both
    """
    shown = sorted(
        (s for s in scores if not s.missing and s.frames),
        key=lambda s: (s.jf, s.video, s.expression_id),
    )
    lowest = _from_many_videos(shown, worst)
    left = [s for s in reversed(shown) if s not in lowest]
    return lowest, _from_many_videos(sorted(left, key=lambda s: s.no_target), best)


def _from_many_videos(scores: Sequence[ExpressionScore], count: int) -> list[ExpressionScore]:
    first = {score.video: score for score in reversed(scores)}
    chosen = [s for s in scores if first[s.video] is s][:count]
    chosen += [s for s in scores if s not in chosen][: count - len(chosen)]
    return sorted(chosen, key=scores.index)


def make_cases(
    evaluation: Evaluation, samples: Any, scores: Sequence[ExpressionScore]
) -> Iterator[Case]:
    """Makes the cases of some scores.

    Args:
        evaluation: the evaluation that they are of
        samples: the dataset or view that was evaluated
        scores: which

    Yields:
        a :class:`Case` for each of the scores, in the order of their videos in the dataset
    """
    wanted = defaultdict(list)
    for score in scores:
        wanted[score.sample_id].append(score)
    samples = check_collection(samples)
    questions = Questions(samples)
    if not is_image_groups(samples):
        samples = samples.select([i for i in wanted if i in set(samples.values("id"))])
    compared, more = (evaluation.pred_field, evaluation.gt_field), beside_truth(samples)
    for video in iter_videos(samples, [*compared, *more]):
        own = wanted.pop(video.id, [])
        if not own:
            continue
        try:
            masks = read_masks(video, *compared, more=more)
            sample = source_dataset(samples)[video.id] if video.images else samples[video.id]
            asked = questions.of(video.ids, [score.query for score in own])
            cases = [
                _case(evaluation, video, sample, masks, _question(score, asked), score)
                for score in own
            ]
        except Exception as error:
            cases = [Case(score, note=reason_of(error)) for score in own]
        yield from cases
    for own in wanted.values():
        note = "The video is not in the dataset any more"
        yield from (Case(score, note=note) for score in own)


def _question(score: ExpressionScore, asked: Sequence[Question]) -> Question:
    plain = Question(Expression(score.expression_id, score.query, None), by_query=True)
    same = (q for q in asked if q.expression.text == score.query)
    return next((q for q in same if q.expression.id == score.expression_id), plain)


def _case(
    evaluation: Evaluation,
    video: LabelledVideo,
    sample: Any,
    masks: VideoMasks,
    question: Question,
    score: ExpressionScore,
) -> Case:
    said = [e for e in explain(sample, evaluation.pred_field) if e.query == score.query]
    thought = next((e.thought for e in said if e.thought), "")
    answer = "; ".join(dict.fromkeys(e.description for e in said if e.description))
    asked = Expression(score.expression_id, score.query, None)
    unnamed = masks.predicted.get((None, None))
    predicted = masks.prediction(asked) or unnamed or masks.nothing()
    truth = masks.union(masks.targets(question))
    try:
        picture = _picture(video, predicted, truth, masks.annotated, score, said)
    except (VideoError, OSError) as error:
        return Case(score, None, f"The video cannot be shown: {error}", thought, answer)
    return Case(score, picture, "", thought, answer)


def _picture(
    video: LabelledVideo,
    predicted: Track,
    truth: Track,
    annotated: np.ndarray,
    score: ExpressionScore,
    said: Sequence[Explanation],
) -> np.ndarray:
    """The key frame as it is, with the model's boxes; then frames spread over the video."""
    first = video.numbers.start
    key = None if score.key_frame is None else score.key_frame - first
    if key not in range(len(video.numbers)):
        key = None
    spread = list(uniform_indices(len(video.numbers), _FRAMES - (key is not None)))
    if key is not None:
        # In the place of the frame next to it, so that the order stays that of the video
        spread[int(np.argmin([abs(k - key) for k in spread]))] = key
    boxes = [e.box_xywh_rel for e in said if e.key_frame == score.key_frame and e.box_xywh_rel]
    cells, captions = [], []
    with video.open() as opened:
        if key is not None:
            cells.append(_with_boxes(pictures.fit_width(opened[key], _WIDTH), boxes))
            captions.append(f"key frame {first + key}")
        for k in spread:
            pair = decode_masks([predicted[k], truth[k]], video.size)
            cells.append(_overlay(pictures.fit_width(opened[k], _WIDTH), pair[0], pair[1]))
            j = 100 * float(region_similarity(pair[:1], pair[1:])[0])
            captions.append(f"frame {first + k}, " + (f"J {j:.0f}" if annotated[k] else "no truth"))
    return pictures.frame_strip(cells, captions, None if key is None else 0, _COLUMNS)


def _overlay(cell: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Paints where two masks agree and where not, as large as the cell."""
    size = (cell.shape[1], cell.shape[0])
    predicted, true = (
        np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        for mask in (predicted, true)
    )
    # On grey, as the colour of the object would change that of the mask
    painted = cell.copy()
    painted[predicted | true] = cell.mean(axis=2, keepdims=True)[predicted | true].astype(np.uint8)
    parts = [predicted & ~true, true & ~predicted, predicted & true]
    return pictures.draw_masks(painted, parts, alpha=0.65)


def _with_boxes(cell: np.ndarray, boxes_xywh_rel: Sequence[Sequence[float]]) -> np.ndarray:
    for rel in boxes_xywh_rel:
        box = corners_px(rel, cell.shape[1::-1])
        cell = pictures.draw_boxes(cell, [*[None] * COLOURS["the model's box"], box])
    return cell
