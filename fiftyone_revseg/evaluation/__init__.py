"""Numbers: how well predicted masks agree with the true ones.

The modules, in the order in which data flows:

* in: ``benchmarks``, ``expressions``, ``predictions`` (masks of other methods)
* from labels to figures: ``evaluate``, which puts together ``questions`` (what is scored),
  ``video_masks`` and ``answers`` (what was predicted), ``scored_videos`` and ``davis``
* from masks to figures, without FiftyOne: the room ``measures``
* what comes of it: ``results``, ``summary``, ``tables``, ``report*``, and in FiftyOne ``backend*``
* for servers: ``submission*``
* all of it in one call: ``benchmark_run``

What needs FiftyOne is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiftyone_revseg.lazy import lazy_names
from fiftyone_revseg.measures.metrics import contour_accuracy, j_and_f, region_similarity

if TYPE_CHECKING:
    from fiftyone_revseg.dataset.expressions import Expression, expression_values
    from fiftyone_revseg.evaluation.backend import load_evaluation
    from fiftyone_revseg.evaluation.benchmark_run import run_benchmark
    from fiftyone_revseg.evaluation.benchmarks import import_benchmark
    from fiftyone_revseg.evaluation.evaluate import evaluate_view
    from fiftyone_revseg.evaluation.predictions import load_predictions
    from fiftyone_revseg.evaluation.report import write_report
    from fiftyone_revseg.evaluation.results import Evaluation, ExpressionScore
    from fiftyone_revseg.evaluation.submission import validate_submission, write_submission
    from fiftyone_revseg.evaluation.tables import to_markdown, to_text, write_table

__getattr__, __dir__, __all__ = lazy_names(__name__)
__all__ += ["contour_accuracy", "j_and_f", "region_similarity"]
