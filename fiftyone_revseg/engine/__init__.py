"""Many videos: the same pipeline, staged and batched."""

from fiftyone_revseg.engine.engine import Engine, EngineJob, Report
from fiftyone_revseg.engine.local import LocalEngine

__all__ = ["Engine", "EngineJob", "LocalEngine", "Report"]
