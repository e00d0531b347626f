"""Benchmarks of referring video object segmentation, in their official layouts.

Reading them needs no FiftyOne: :func:`open_benchmark`. As FiftyOne datasets:
:func:`import_benchmark`, or ``fo.Dataset.from_dir(dataset_type=...)`` with one of the dataset types
of this package, which are loaded when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiftyone_revseg.evaluation.benchmarks.layout import (
    Benchmark,
    BenchmarkVideo,
    BrokenVideoError,
    FrameTruth,
    LayoutError,
)
from fiftyone_revseg.evaluation.benchmarks.registry import BENCHMARKS, open_benchmark
from fiftyone_revseg.lazy import lazy_names

if TYPE_CHECKING:
    from fiftyone_revseg.evaluation.benchmarks.importer import (
        ImportSummary,
        LvVisDataset,
        MevisDataset,
        ReasonVosDataset,
        RefDavis17Dataset,
        RefYouTubeVosDataset,
        RevosDataset,
        import_benchmark,
    )

__getattr__, __dir__, _with_fiftyone = lazy_names(__name__)

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "BenchmarkVideo",
    "BrokenVideoError",
    "FrameTruth",
    "LayoutError",
    "open_benchmark",
    *_with_fiftyone,
]
