"""Reasoning video segmentation for FiftyOne.

A query and a video go in; a thought, a key frame, a box and a mask on every frame come out.

The names below are imported when they are first used, so that ``import fiftyone_revseg`` is quick
and the core works on a machine without FiftyOne.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fiftyone_revseg.version import __version__

if TYPE_CHECKING:
    from fiftyone_revseg.dataset import list_runs, load_model, segment_view
    from fiftyone_revseg.dataset.compare import compare_fields
    from fiftyone_revseg.dataset.correct import propagate, reground
    from fiftyone_revseg.dataset.export import export_results
    from fiftyone_revseg.dataset.review import accept, reject
    from fiftyone_revseg.dataset.views import make_view
    from fiftyone_revseg.evaluation.evaluate import evaluate_view
    from fiftyone_revseg.pipeline import RevSeg, Segmentation, load_pipeline
    from fiftyone_revseg.types import FrameTable, Status
    from fiftyone_revseg.video import open_video

# Name -> the module that defines it.
_HOMES = {
    "FrameTable": "fiftyone_revseg.types",
    "RevSeg": "fiftyone_revseg.pipeline",
    "Segmentation": "fiftyone_revseg.pipeline",
    "Status": "fiftyone_revseg.types",
    "accept": "fiftyone_revseg.dataset.review",
    "compare_fields": "fiftyone_revseg.dataset.compare",
    "evaluate_view": "fiftyone_revseg.evaluation.evaluate",
    "export_results": "fiftyone_revseg.dataset.export",
    "list_runs": "fiftyone_revseg.dataset",
    "load_model": "fiftyone_revseg.dataset",
    "load_pipeline": "fiftyone_revseg.pipeline",
    "make_view": "fiftyone_revseg.dataset.views",
    "open_video": "fiftyone_revseg.video",
    "propagate": "fiftyone_revseg.dataset.correct",
    "reground": "fiftyone_revseg.dataset.correct",
    "reject": "fiftyone_revseg.dataset.review",
    "segment_view": "fiftyone_revseg.dataset",
}

__all__ = [
    "FrameTable",
    "RevSeg",
    "Segmentation",
    "Status",
    "__version__",
    "accept",
    "compare_fields",
    "evaluate_view",
    "export_results",
    "list_runs",
    "load_model",
    "load_pipeline",
    "make_view",
    "open_video",
    "propagate",
    "reground",
    "reject",
    "segment_view",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # so that the next access is a plain one
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
