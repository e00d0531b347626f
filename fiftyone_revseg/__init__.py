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
    from fiftyone_revseg.pipeline import RevSeg, Segmentation, load_pipeline
    from fiftyone_revseg.types import FrameTable, Status
    from fiftyone_revseg.video import open_video

# Name -> the module that defines it.
_HOMES = {
    "FrameTable": "fiftyone_revseg.types",
    "RevSeg": "fiftyone_revseg.pipeline",
    "Segmentation": "fiftyone_revseg.pipeline",
    "Status": "fiftyone_revseg.types",
    "list_runs": "fiftyone_revseg.dataset",
    "load_model": "fiftyone_revseg.dataset",
    "load_pipeline": "fiftyone_revseg.pipeline",
    "open_video": "fiftyone_revseg.video",
    "segment_view": "fiftyone_revseg.dataset",
}

__all__ = [
    "FrameTable",
    "RevSeg",
    "Segmentation",
    "Status",
    "__version__",
    "list_runs",
    "load_model",
    "load_pipeline",
    "open_video",
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
