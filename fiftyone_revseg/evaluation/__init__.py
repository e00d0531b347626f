"""Numbers: how well predicted masks agree with the true ones.

The modules, in the order in which data flows:

* in: ``benchmarks``, ``expressions``, ``predictions`` (masks of other methods)
* from labels to figures: ``evaluate``, which puts together ``questions`` (what is scored),
  ``video_masks`` and ``answers`` (what was predicted), ``scored_videos`` and ``davis``
* from masks to figures, without FiftyOne: ``metrics`` (the definitions), ``scoring``, ``bit_masks``
  and ``parallel`` (the same, quickly)
* what comes of it: ``results``, ``summary``, ``tables``, ``report*``, and in FiftyOne ``backend*``
* for servers: ``submission*``
* all of it in one call: ``benchmark_run``

What needs FiftyOne is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiftyone_revseg.lazy import lazy_names
from fiftyone_revseg.measures.metrics import (
    boundaries,
    contour_accuracy,
    j_and_f,
    region_similarity,
)

if TYPE_CHECKING:
    from fiftyone_revseg.dataset.expressions import Expression as Expression
    from fiftyone_revseg.dataset.expressions import expression_values as expression_values
    from fiftyone_revseg.evaluation.backend import load_evaluation as load_evaluation
    from fiftyone_revseg.evaluation.benchmark_run import run_benchmark as run_benchmark
    from fiftyone_revseg.evaluation.benchmarks import import_benchmark as import_benchmark
    from fiftyone_revseg.evaluation.evaluate import evaluate_view as evaluate_view
    from fiftyone_revseg.evaluation.predictions import load_predictions as load_predictions
    from fiftyone_revseg.evaluation.report import write_report as write_report
    from fiftyone_revseg.evaluation.results import Evaluation as Evaluation
    from fiftyone_revseg.evaluation.results import ExpressionScore as ExpressionScore
    from fiftyone_revseg.evaluation.submission import validate_submission as validate_submission
    from fiftyone_revseg.evaluation.submission import write_submission as write_submission
    from fiftyone_revseg.evaluation.tables import to_markdown as to_markdown
    from fiftyone_revseg.evaluation.tables import to_text as to_text
    from fiftyone_revseg.evaluation.tables import write_table as write_table

# Module -> the names that it defines
_HOMES = {
    "fiftyone_revseg.dataset.expressions": ("Expression", "expression_values"),
    "fiftyone_revseg.evaluation.backend": ("load_evaluation",),
    "fiftyone_revseg.evaluation.benchmark_run": ("run_benchmark",),
    "fiftyone_revseg.evaluation.benchmarks": ("import_benchmark",),
    "fiftyone_revseg.evaluation.evaluate": ("evaluate_view",),
    "fiftyone_revseg.evaluation.predictions": ("load_predictions",),
    "fiftyone_revseg.evaluation.report": ("write_report",),
    "fiftyone_revseg.evaluation.results": ("Evaluation", "ExpressionScore"),
    "fiftyone_revseg.evaluation.submission": ("validate_submission", "write_submission"),
    "fiftyone_revseg.evaluation.tables": ("to_markdown", "to_text", "write_table"),
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
__all__ += ["boundaries", "contour_accuracy", "j_and_f", "region_similarity"]
