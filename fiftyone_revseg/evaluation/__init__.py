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

import importlib
from typing import TYPE_CHECKING, Any

from fiftyone_revseg.measures.metrics import (
    boundaries,
    contour_accuracy,
    j_and_f,
    region_similarity,
)

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

# Name -> the module that defines it
_HOMES = {
    "Evaluation": "fiftyone_revseg.evaluation.results",
    "Expression": "fiftyone_revseg.dataset.expressions",
    "ExpressionScore": "fiftyone_revseg.evaluation.results",
    "evaluate_view": "fiftyone_revseg.evaluation.evaluate",
    "expression_values": "fiftyone_revseg.dataset.expressions",
    "import_benchmark": "fiftyone_revseg.evaluation.benchmarks",
    "load_evaluation": "fiftyone_revseg.evaluation.backend",
    "load_predictions": "fiftyone_revseg.evaluation.predictions",
    "run_benchmark": "fiftyone_revseg.evaluation.benchmark_run",
    "to_markdown": "fiftyone_revseg.evaluation.tables",
    "to_text": "fiftyone_revseg.evaluation.tables",
    "validate_submission": "fiftyone_revseg.evaluation.submission",
    "write_report": "fiftyone_revseg.evaluation.report",
    "write_submission": "fiftyone_revseg.evaluation.submission",
    "write_table": "fiftyone_revseg.evaluation.tables",
}

__all__ = [
    "Evaluation",
    "Expression",
    "ExpressionScore",
    "boundaries",
    "contour_accuracy",
    "evaluate_view",
    "expression_values",
    "import_benchmark",
    "j_and_f",
    "load_evaluation",
    "load_predictions",
    "region_similarity",
    "run_benchmark",
    "to_markdown",
    "to_text",
    "validate_submission",
    "write_report",
    "write_submission",
    "write_table",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
