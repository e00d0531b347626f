"""Many videos: the same pipeline, staged and batched."""

from fiftyone_revseg.engine.engine import Engine, Report
from fiftyone_revseg.engine.local import LocalEngine
from fiftyone_revseg.pipeline import EngineJob

__all__ = ["Engine", "EngineJob", "LocalEngine", "Report"]
