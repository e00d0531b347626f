"""What the samples of a view are scored on: which expressions, and what answers them in truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fiftyone_revseg.dataset.collection import field_values, first_value
from fiftyone_revseg.dataset.expressions import EXPRESSIONS, QUERIES, Expression

_OWN_FIELDS = ("query", QUERIES)  # where samples without expressions may say what they are asked


@dataclass(frozen=True)
class Question:
    """One expression that is scored.

    Attributes:
        expression: the expression; without a text where nothing says what was asked
        by_query: whether the expression does not name its objects: then the true objects are
            those whose own ``query`` is its text, or all where the truth has no ``query``
        label_id: the id of its label in the sample's ``expressions``; None if it has none
    """

    expression: Expression
    by_query: bool = False
    label_id: str | None = None


class Questions:
    """The questions about every video of a collection.

    Args:
        samples: what :func:`fiftyone_revseg.dataset.collection.check_collection` returned
        queries (None): the name of a field of queries, or a list of queries. By default, the
            samples' ``expressions``, else their ``query`` or ``queries``, else the queries that
            the predictions answer

    Raises:
        ValueError: if there is no such field, or it holds no text
    """

    def __init__(self, samples: Any, queries: str | Sequence[str] | None = None):
        texts, field = _chosen(samples, queries)
        self._texts = texts
        self._only = queries is not None
        self._expressions = field_values(samples, EXPRESSIONS)
        fields = [field] if field else [] if self._only else _OWN_FIELDS
        self._queries = [field_values(samples, name) for name in fields]
        self._kinds = field_values(samples, "kind")
        self._names = field_values(samples, "video_name")

    def name_of(self, ids: Iterable[str]) -> str | None:
        """Returns the benchmark's own name of a video; None if it has none."""
        name = first_value(self._names, ids)
        return name if isinstance(name, str) else None

    def of(self, ids: Sequence[str], answered: Iterable[str | None]) -> list[Question]:
        """Lists the questions about one video.

        Args:
            ids: the ids of the samples that it consists of
            answered: the queries that its predictions answer; None stands for predictions that
                do not say

        Returns:
            a list of :class:`Question`
        """
        stored = first_value(self._expressions, ids)
        labels = stored.classifications if stored is not None else []
        own = [Question(Expression.from_label(c), label_id=c.id) for c in labels]
        if own and not self._only:
            return own
        texts = list(self._texts)
        for values in self._queries:
            texts += [] if texts else _texts_in(first_value(values, ids))
        if not texts and not self._only:
            texts = [text for text in answered if text is not None] or [""]
        kind = first_value(self._kinds, ids)
        found: list[Question] = []
        for number, text in enumerate(dict.fromkeys(texts)):
            same = [q for q in own if q.expression.text == text]
            kind = kind if isinstance(kind, str) else ""
            plain = Question(Expression(str(number), text, None, kind), by_query=True)
            found += same or [plain]
        return found


def _chosen(samples: Any, queries: str | Sequence[str] | None) -> tuple[list[str], str | None]:
    """The queries that were given, and the name of the field that was."""
    if queries is None:
        return [], None
    if not isinstance(queries, str):
        texts = [text for text in queries if isinstance(text, str) and text.strip()]
        if len(texts) < len(list(queries)) or not texts:
            raise ValueError(f"queries must be the name of a field or a list of text: {queries!r}")
        return texts, None
    if not samples.has_field(queries):
        raise ValueError(
            f"There is no field '{queries}' with queries: name another, or give the queries "
            "themselves as a list"
        )
    return [], queries


def _texts_in(value: Any) -> list[str]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [text for text in values if isinstance(text, str) and text.strip()]
