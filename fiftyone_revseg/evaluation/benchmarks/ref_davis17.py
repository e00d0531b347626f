"""Ref-DAVIS17 (Khoreva et al., ACCV 2018): each object described by four annotators."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fiftyone_revseg.dataset.expressions import Expression
from fiftyone_revseg.evaluation.benchmarks.layout import IMAGES, META, BrokenVideoError
from fiftyone_revseg.evaluation.benchmarks.palette import ANNOTATIONS, PaletteBenchmark

ANNOTATORS = 4
#: what an annotator had seen: two people, each after the first frame and after the whole video
KINDS = ("first_frame", "full_video", "first_frame", "full_video")


class RefDavis17(PaletteBenchmark):
    """Ref-DAVIS17, converted to the layout of Ref-YouTube-VOS, as is usual.

    The expressions of an object are those of annotators "0" to "3", in this order.
    """

    name = "ref-davis17"
    default_split = "valid"
    protocol = (
        "two are in use: for each annotator, the objects compete for every pixel with a background"
        " of 0.1, mean over four annotators; or every expression on its own"
    )
    layout = (
        f"meta_expressions/SPLIT/{META}, SPLIT/{IMAGES}/VIDEO/*.jpg,"
        f" SPLIT/{ANNOTATIONS}/VIDEO/*.png"
    )
    more_masks = ("void",)

    def _complete(self, name: str, expressions: list[Expression]) -> tuple[Expression, ...]:
        counts: Counter[tuple[int, ...]] = Counter()
        completed = []
        for expression in expressions:
            objects = expression.objects or ()
            annotator = counts[objects]
            counts[objects] += 1
            if annotator < ANNOTATORS:
                kind = KINDS[annotator]
                completed.append(replace(expression, kind=kind, annotator=str(annotator)))
        wrong = [objects for objects, count in counts.items() if count != ANNOTATORS]
        if wrong:
            raise BrokenVideoError(
                f"'{self.meta_path}' has {counts[wrong[0]]} expressions of object {wrong[0][0]} of"
                f" video '{name}': there must be {ANNOTATORS}, one of each annotator"
            )
        return tuple(completed)
