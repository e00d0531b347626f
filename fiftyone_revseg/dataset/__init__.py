"""FiftyOne data: the model that datasets are segmented with, and the labels it writes.

The names are imported when they are first used: expressions, for example, need no FiftyOne.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fiftyone_revseg.dataset.labels import SampleLabels, make_labels
    from fiftyone_revseg.dataset.load import load_model
    from fiftyone_revseg.dataset.model import RevSegModel, RevSegModelConfig
    from fiftyone_revseg.dataset.runs import RunSummary, count_statuses, list_runs
    from fiftyone_revseg.dataset.schema import declare_fields, field_names
    from fiftyone_revseg.dataset.segment import segment_view
    from fiftyone_revseg.dataset.zoo import register_zoo_source
    from fiftyone_revseg.progress import RunProgress

# Name -> the module that defines it
_HOMES = {
    "RevSegModel": "fiftyone_revseg.dataset.model",
    "RevSegModelConfig": "fiftyone_revseg.dataset.model",
    "RunProgress": "fiftyone_revseg.progress",
    "RunSummary": "fiftyone_revseg.dataset.runs",
    "SampleLabels": "fiftyone_revseg.dataset.labels",
    "count_statuses": "fiftyone_revseg.dataset.runs",
    "declare_fields": "fiftyone_revseg.dataset.schema",
    "field_names": "fiftyone_revseg.dataset.schema",
    "list_runs": "fiftyone_revseg.dataset.runs",
    "load_model": "fiftyone_revseg.dataset.load",
    "make_labels": "fiftyone_revseg.dataset.labels",
    "register_zoo_source": "fiftyone_revseg.dataset.zoo",
    "segment_view": "fiftyone_revseg.dataset.segment",
}

__all__ = [
    "RevSegModel",
    "RevSegModelConfig",
    "RunProgress",
    "RunSummary",
    "SampleLabels",
    "count_statuses",
    "declare_fields",
    "field_names",
    "list_runs",
    "load_model",
    "make_labels",
    "register_zoo_source",
    "segment_view",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
