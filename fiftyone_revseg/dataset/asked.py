"""What a label field was asked."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fiftyone import ViewField as F


def asked_queries(samples: Any, label_field: str | None) -> dict[str, int]:
    """Counts in how many samples each query was asked.

    Args:
        samples: a :class:`fiftyone.core.collections.SampleCollection`
        label_field: the label field

    Returns:
        query -> how many samples have an answer to it, whatever the answer; the most often asked
        first, and nothing where the field knows no answers
    """
    answers = f"{label_field}_answers"
    if not (label_field and samples.has_field(answers)):
        return {}
    asked = samples.values(F(f"{answers}.classifications").map(F("query")).unique())
    counts = Counter(query for own in asked for query in own or () if isinstance(query, str))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
