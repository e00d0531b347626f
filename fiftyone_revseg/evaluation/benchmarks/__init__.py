"""Benchmarks of referring video object segmentation, in their official layouts.

Reading them needs no FiftyOne: :func:`open_benchmark`. As FiftyOne datasets:
:func:`import_benchmark`, or ``fo.Dataset.from_dir(dataset_type=...)`` with one of the dataset types
of this package, which are loaded when they are asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

from fiftyone_revseg.evaluation.benchmarks.layout import (
    Benchmark,
    BenchmarkVideo,
    BrokenVideoError,
    FrameTruth,
    LayoutError,
)
from fiftyone_revseg.evaluation.benchmarks.registry import BENCHMARKS, open_benchmark

_WITH_FIFTYONE = (
    "ImportSummary",
    "LvVisDataset",
    "MevisDataset",
    "ReasonVosDataset",
    "RefDavis17Dataset",
    "RefYouTubeVosDataset",
    "RevosDataset",
    "import_benchmark",
)

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "BenchmarkVideo",
    "BrokenVideoError",
    "FrameTruth",
    "LayoutError",
    "open_benchmark",
    *_WITH_FIFTYONE,
]


def __getattr__(name: str) -> Any:
    if name in _WITH_FIFTYONE:
        importer = importlib.import_module("fiftyone_revseg.evaluation.benchmarks.importer")
        return getattr(importer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
