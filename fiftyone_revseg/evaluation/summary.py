"""From the figures of expressions to those of a benchmark, by the rules of that benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fiftyone_revseg.evaluation.davis import REF_DAVIS, ObjectScore
from fiftyone_revseg.evaluation.results import ExpressionScore

REVOS = "revos"
OVERALL = "overall"
REFERRING, REASONING, NO_TARGET = "referring", "reasoning", "no_target"

#: How often videos are drawn anew for a confidence interval, of how many per cent, and from where
RESAMPLES, COVERAGE, SEED = 1000, 95, 0

_MEANS = ("accuracy", "robustness", "key_frame_quality", "found", "false_presence")

#: The figures of a row -> what they are, for those who read a table
COLUMNS = {
    "name": "the kind of expression",
    "videos": "the number of videos",
    "expressions": "the number of expressions",
    "missing": "how many of them have no prediction, and count as zero",
    "j": "region similarity J, mean over the expressions",
    "f": "contour accuracy F, mean over the expressions",
    "jf": "J&F, the mean of J and F",
    "jf_low": "lower end of the 95 % confidence interval of J&F, over the choice of videos",
    "jf_high": "its upper end",
    "accuracy": "A: share of pixels that are right",
    "robustness": "R: 1 - (false positive pixels / pixels of all true objects), at least 0",
    "key_frame_quality": "temporal reward of the chosen frame: 1 where the object is largest",
    "found": "share of the frames with the object in which the prediction touches it",
    "false_presence": "share of the frames without the object on which something is predicted",
}

_ALL_FRAMES = (
    "J is the intersection over union of each frame's masks, F the DAVIS 2017 boundary measure "
    "with a tolerance of 0.008 of the diagonal; all annotated frames count, and both are 1 where "
    "both masks are empty."
)
_PLAIN = "J and F are means over the frames of an expression, then over all expressions."
_MISSING = "A missing prediction counts as zero for J, F and A."
_OWN_RULES = {
    REVOS: "ReVOS: referring and reasoning are means over their expressions, overall is the plain "
    "mean of these two; expressions without a target count for R (row no_target) alone, and not "
    "for J and F.",
    REF_DAVIS: "Ref-DAVIS17, two protocols. 'Per annotator': the masks of the expressions of one "
    "annotator share the pixels, each of which goes to the most confident object or to the "
    "background with 0.1; predicted objects are assigned to true ones for the highest J&F, as in "
    "DAVIS 2017's unsupervised task; means over all objects, then over the annotators. 'Every "
    "expression': each one is a binary problem of its own; means over all expressions.",
}


def protocol_of(benchmark: str) -> str:
    """Says in words how the figures of a benchmark are made; "" is for any other dataset."""
    return f"{_ALL_FRAMES} {_OWN_RULES.get(benchmark, _PLAIN)} {_MISSING}"


def summarize(
    scores: Sequence[ExpressionScore],
    benchmark: str = "",
    objects: Sequence[ObjectScore] = (),
) -> list[dict[str, Any]]:
    """Averages the figures of expressions.

    The confidence interval of J&F is made by drawing videos with replacement, 1,000 times with
    the same seed: expressions of one video share its objects and its difficulties, so they are no
    independent draws.

    Args:
        scores: of all expressions
        benchmark (""): the name of the benchmark; "" for a dataset of one's own
        objects (()): for Ref-DAVIS17, see :func:`fiftyone_revseg.evaluation.davis.assign`

    Returns:
        a list of dicts with the keys :data:`COLUMNS`: one row for each kind, if there are any,
        and at the end "overall". Shares are in [0, 1]; None is what does not apply
    """
    if benchmark == REVOS:
        return _revos(scores)
    if benchmark == REF_DAVIS:
        return _ref_davis(scores, objects)
    kinds = sorted({score.kind for score in scores})
    rows = [_row(kind, [s for s in scores if s.kind == kind]) for kind in kinds if kind]
    return [*rows, _row(OVERALL, scores)]


def headline(table: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the row that a table is quoted by, the last one with a J&F."""
    return next(row for row in reversed(table) if row["jf"] is not None or row is table[0])


def _row(name: str, scores: Sequence[ExpressionScore]) -> dict[str, Any]:
    """The row of some expressions that all count the same."""
    row = _counted(name, scores)
    groups = [[(s.video, s.j, s.f) for s in scores]]
    return {**row, **_figures(groups), **_means(scores)}


def _revos(scores: Sequence[ExpressionScore]) -> list[dict[str, Any]]:
    subsets = [[s for s in scores if s.kind == kind] for kind in (REFERRING, REASONING)]
    without = [s for s in scores if s.kind == NO_TARGET]
    names = (REFERRING, REASONING)
    rows = [_row(name, own) for name, own in zip(names, subsets, strict=True) if own]
    if without:
        means = {name: None for name in _MEANS} | {"robustness": _mean(without, "robustness")}
        rows.append({**_counted(NO_TARGET, without), **_figures([[]]), **means})
    groups = [[(s.video, s.j, s.f) for s in own] for own in subsets if own]
    counted = _counted(OVERALL, [s for own in subsets for s in own])
    means = {name: _plain_mean([_mean(own, name) for own in subsets if own]) for name in _MEANS}
    return [*rows, {**counted, **_figures(groups), **means}]


def _ref_davis(
    scores: Sequence[ExpressionScore], objects: Sequence[ObjectScore]
) -> list[dict[str, Any]]:
    rows = []
    names = sorted({score.annotator for score in objects})
    groups = [[(o.video, o.j, o.f) for o in objects if o.annotator == name] for name in names]
    for name, group in zip(names, groups, strict=True):
        own = [s for s in scores if s.annotator == name]
        rows.append({**_counted(f"annotator {name}", own), **_figures([group]), **_means(own)})
    if groups:
        own = [s for s in scores if s.annotator in names]
        rows.append({**_counted("per annotator", own), **_figures(groups), **_means(own)})
    return [*rows, _row("every expression", scores)]


def _counted(name: str, scores: Sequence[ExpressionScore]) -> dict[str, Any]:
    return {
        "name": name,
        "videos": len({score.video for score in scores}),
        "expressions": len(scores),
        "missing": sum(score.missing for score in scores),
    }


def _figures(groups: Sequence[Sequence[tuple[str, float, float]]]) -> dict[str, Any]:
    """J, F, J&F and its interval: the plain mean over groups of (video, J, F)."""
    if not any(groups):
        return dict.fromkeys(("j", "f", "jf", "jf_low", "jf_high"))
    means = np.array([np.mean([own[1:] for own in group], axis=0) for group in groups if group])
    j, f = means.mean(axis=0)
    low, high = confidence_interval([[(v, (a + b) / 2) for v, a, b in own] for own in groups])
    return {"j": float(j), "f": float(f), "jf": float(j + f) / 2, "jf_low": low, "jf_high": high}


def confidence_interval(
    groups: Sequence[Sequence[tuple[str, float]]], seed: int = SEED
) -> tuple[float | None, float | None]:
    """Bootstraps the 95 % confidence interval of a plain mean of the means of groups.

    Args:
        groups: for each group, its values, each with the name of its video
        seed (0): of the draws; the same seed gives the same interval

    Returns:
        the 2.5th and the 97.5th percentile; None for both if there are less than two videos
    """
    videos = {name: i for i, name in enumerate(sorted({v for own in groups for v, _ in own}))}
    if len(videos) < 2:
        return None, None
    # How often each video is drawn: (resamples, videos). A mean is then a ratio of two products
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(len(videos), np.full(len(videos), 1 / len(videos)), RESAMPLES)
    means = []
    for group in groups:
        owners = np.array([videos[name] for name, _ in group], int)
        values = np.array([value for _, value in group], float)
        sums = draws @ np.bincount(owners, values, len(videos))
        counts = draws @ np.bincount(owners, minlength=len(videos))
        means.append(np.divide(sums, counts, where=counts > 0, out=np.full(RESAMPLES, np.nan)))
    # Where no video of a group was drawn there is no mean of it
    drawn = np.mean(means, axis=0)
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return None, None
    tail = (100 - COVERAGE) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(low), float(high)


def _means(scores: Sequence[ExpressionScore]) -> dict[str, float | None]:
    return {name: _mean(scores, name) for name in _MEANS}


def _mean(scores: Sequence[ExpressionScore], name: str) -> float | None:
    return _plain_mean([getattr(score, name) for score in scores])


def _plain_mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
