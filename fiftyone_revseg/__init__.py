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
    from fiftyone_revseg.dataset import list_runs, load_model, segment_view
    from fiftyone_revseg.dataset.ask_again import ask_again
    from fiftyone_revseg.dataset.compare import compare_fields
    from fiftyone_revseg.dataset.correct import propagate, reground
    from fiftyone_revseg.dataset.edit_objects import add_object, delete_object, rename_object
    from fiftyone_revseg.dataset.export import export_results
    from fiftyone_revseg.dataset.review import accept, reject
    from fiftyone_revseg.dataset.undo import undo
    from fiftyone_revseg.dataset.views import make_view
    from fiftyone_revseg.evaluation.evaluate import evaluate_view
    from fiftyone_revseg.pipeline import RevSeg, Segmentation, load_pipeline
    from fiftyone_revseg.types import FrameTable, Status
    from fiftyone_revseg.video import open_video

__getattr__, __dir__, __all__ = lazy_names(__name__)
__all__ += ["__version__"]
