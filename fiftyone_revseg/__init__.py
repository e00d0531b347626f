"""Reasoning video segmentation for FiftyOne.

A query and a video go in; a thought, a key frame, a box and a mask on every frame come out.

The names below are imported when they are first used, so that ``import fiftyone_revseg`` is quick
and the core works on a machine without FiftyOne.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiftyone_revseg.lazy import lazy_names
from fiftyone_revseg.version import __version__

if TYPE_CHECKING:
    from fiftyone_revseg.dataset import list_runs as list_runs
    from fiftyone_revseg.dataset import load_model as load_model
    from fiftyone_revseg.dataset import segment_view as segment_view
    from fiftyone_revseg.dataset.compare import compare_fields as compare_fields
    from fiftyone_revseg.dataset.correct import propagate as propagate
    from fiftyone_revseg.dataset.correct import reground as reground
    from fiftyone_revseg.dataset.export import export_results as export_results
    from fiftyone_revseg.dataset.review import accept as accept
    from fiftyone_revseg.dataset.review import reject as reject
    from fiftyone_revseg.dataset.views import make_view as make_view
    from fiftyone_revseg.evaluation.evaluate import evaluate_view as evaluate_view
    from fiftyone_revseg.pipeline import RevSeg as RevSeg
    from fiftyone_revseg.pipeline import Segmentation as Segmentation
    from fiftyone_revseg.pipeline import load_pipeline as load_pipeline
    from fiftyone_revseg.types import FrameTable as FrameTable
    from fiftyone_revseg.types import Status as Status
    from fiftyone_revseg.video import open_video as open_video

# Module -> the names that it defines
_HOMES = {
    "fiftyone_revseg.dataset": ("list_runs", "load_model", "segment_view"),
    "fiftyone_revseg.dataset.compare": ("compare_fields",),
    "fiftyone_revseg.dataset.correct": ("propagate", "reground"),
    "fiftyone_revseg.dataset.export": ("export_results",),
    "fiftyone_revseg.dataset.review": ("accept", "reject"),
    "fiftyone_revseg.dataset.views": ("make_view",),
    "fiftyone_revseg.evaluation.evaluate": ("evaluate_view",),
    "fiftyone_revseg.pipeline": ("RevSeg", "Segmentation", "load_pipeline"),
    "fiftyone_revseg.types": ("FrameTable", "Status"),
    "fiftyone_revseg.video": ("open_video",),
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
__all__ += ["__version__"]
