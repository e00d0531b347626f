"""What an evaluation found out, expression by expression: plain values that files can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from fiftyone_revseg.files import from_json, write_json


@dataclass(frozen=True)
class ExpressionScore:
    """The figures of one expression on one video. All shares are in [0, 1].

    Attributes:
        sample_id: the id of the sample (of the clip, of the first image of a group)
        video: a name for the video, unique in the evaluation
        expression_id: the id of the expression, unique in its video
        query: its text
        kind: what results are grouped by; "" if there are no kinds
        annotator: who wrote it, "" where that does not matter
        no_target: whether nothing in the video fits, in truth
        frames: the number of frames measured
        j: mean J over the frames
        f: mean F over the frames
        accuracy: share of pixels that are right, mean over the frames
        robustness: mean over frames of ``max(1 - false positive pixels / foreground pixels, 0)``,
            the foreground being all true objects of the video; None if there is none
        missing: whether no prediction was there; it then counts as empty, or, where a benchmark
            says so, as zero
        status: how the model ended, such as "ok" or "no_target"; "" if it does not say
        reason: why, in words
        key_frame: the frame number, 1-based, that the model chose; None if unknown
        key_frame_quality: the temporal reward of that frame (paper, section 3.3); None if unknown
        found: share of the frames with the object in which the prediction touches it; None if the
            object is in no frame
        false_presence: share of the frames without the object in which something is predicted;
            None if the object is in all frames
        certainty: of the answer, in [0, 1], the lowest if there are several; None if unknown, or
            if a person corrected it
        certainty_raw: what the model said itself, where its certainty was calibrated
        agreement: with the other candidates
        box_confidence: the confidence of the box in the key frame
    """

    sample_id: str
    video: str
    expression_id: str
    query: str
    kind: str
    annotator: str
    no_target: bool
    frames: int
    j: float
    f: float
    accuracy: float
    robustness: float | None = None
    missing: bool = False
    status: str = ""
    reason: str = ""
    key_frame: int | None = None
    key_frame_quality: float | None = None
    found: float | None = None
    false_presence: float | None = None
    certainty: float | None = None
    certainty_raw: float | None = None
    agreement: float | None = None
    box_confidence: float | None = None

    @property
    def jf(self) -> float:
        """J&F, the mean of J and F."""
        return (self.j + self.f) / 2


@dataclass(frozen=True)
class Evaluation:
    """All scores of one evaluation, and what was compared with what.

    Attributes:
        dataset: the name of the dataset
        benchmark: the name of the benchmark; "" for a dataset of one's own
        protocol: how the figures were made, in words: which expressions and frames count, and
            what missing predictions count as
        pred_field: the label field with the predictions, without "frames."
        gt_field: the label field with the truth, without "frames."
        model: the models that made the predictions; "" if that is not recorded
        created: when, in ISO 8601, UTC
        scores: one for each expression
        table: rows of summary figures, see :mod:`fiftyone_revseg.evaluation.summary`
        notes: what a reader has to know, such as how many predictions were missing
    """

    dataset: str
    benchmark: str
    protocol: str
    pred_field: str
    gt_field: str
    model: str
    created: str
    scores: tuple[ExpressionScore, ...] = field(repr=False)
    table: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-serializable dict."""
        return {**asdict(self), "scores": [asdict(score) for score in self.scores]}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Evaluation:
        """Loads an evaluation from :meth:`to_dict`'s output; fields that it does not know are left.

        Raises:
            ValueError: if it is something else
        """
        try:
            known = {f.name for f in fields(cls)}
            names = {f.name for f in fields(ExpressionScore)}
            values = {name: value for name, value in d.items() if name in known}
            values["scores"] = tuple(
                ExpressionScore(**{k: v for k, v in s.items() if k in names}) for s in d["scores"]
            )
            values["table"] = tuple(d.get("table", ()))
            values["notes"] = tuple(d.get("notes", ()))
            return cls(**values)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"this is not an evaluation: {error}") from error

    def save(self, path: str | Path) -> Path:
        """Writes a JSON file, wholly or not at all."""
        path = Path(path)
        write_json(path, self.to_dict(), indent=1)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Evaluation:
        """Reads what :meth:`save` wrote.

        Raises:
            ValueError: if the file does not hold an evaluation
        """
        try:
            return cls.from_dict(from_json(Path(path).read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"'{path}' holds no evaluation: {error}") from error
