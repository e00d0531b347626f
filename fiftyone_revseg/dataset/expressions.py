"""Referring expressions: a query with what it refers to, and how samples hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

EXPRESSIONS = "expressions"  # the sample field with everything that is known about them
QUERIES = "queries"  # the sample field with their texts, for ``prompt_field``

#: What a label answers: a query, and the id of the one expression that is meant where several
#: expressions of a video have the same text
Answered = tuple["str | None", "str | None"]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Expression:
    """A query about a video, with its answer.

    Attributes:
        id: the benchmark's own id of it, unique in its video
        text: the query
        objects: the ``index`` of each true object that it refers to; () if nothing in the video
            fits; None if that is not known, as in the test splits that only a server can score
        kind: what results are grouped by, such as "referring", "reasoning" or "no_target"
        annotator: who wrote it, where a benchmark has several for the same objects
    """

    id: str
    text: str
    objects: tuple[int, ...] | None
    kind: str = ""
    annotator: str = ""

    @property
    def answered(self) -> tuple[Answered, Answered]:
        """What :func:`answered_by` says of its answers: of its own, or those to its text."""
        return (self.text, self.id), (self.text, None)

    def to_label(self) -> Any:
        """Returns a ``fiftyone.core.labels.Classification`` that holds it."""
        import fiftyone as fo

        return fo.Classification(
            label=self.text,
            expression_id=self.id,
            objects=None if self.objects is None else list(self.objects),
            kind=self.kind,
            annotator=self.annotator,
        )

    @classmethod
    def from_label(cls, label: Any) -> Expression:
        """Loads an expression from :meth:`to_label`'s output."""
        objects = value_of(label, "objects")
        return cls(
            id=label["expression_id"],
            text=label.label,
            objects=None if objects is None else tuple(objects),
            kind=value_of(label, "kind") or "",
            annotator=value_of(label, "annotator") or "",
        )


def expression_values(expressions: Sequence[Expression]) -> dict[str, Any]:
    """Returns the values of the sample fields :data:`EXPRESSIONS` and :data:`QUERIES`.

    A text that several expressions share is asked once.
    """
    import fiftyone as fo

    return {
        EXPRESSIONS: fo.Classifications(classifications=[e.to_label() for e in expressions]),
        QUERIES: distinct_texts(expressions),
    }


def expressions_of(sample: Any) -> list[Expression]:
    """Returns the expressions of a sample; [] if it has none."""
    value = value_of(sample, EXPRESSIONS)
    return [] if value is None else [Expression.from_label(c) for c in value.classifications]


def distinct_texts(expressions: Iterable[Expression]) -> list[str]:
    """Returns the texts of expressions in their order, each once."""
    return list(dict.fromkeys(expression.text for expression in expressions))


def answered_by(label: Any) -> Answered:
    """Returns what a predicted detection, or an answer, is about."""
    return value_of(label, "query"), value_of(label, "expression_id")


def answer_in(known: Mapping[Answered, _T], expression: Expression) -> _T | None:
    """Returns what is known under an expression, or else under its text; None if nothing is."""
    own, by_text = expression.answered
    return known.get(own, known.get(by_text))


def value_of(label: Any, name: str) -> Any:
    """Returns the value of a field of a label or sample; None if it has no such field."""
    return label[name] if label.has_field(name) else None
