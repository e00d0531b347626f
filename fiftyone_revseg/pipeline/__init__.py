"""The whole chain on one video: queries in; thoughts, key frames, boxes and masks out."""

from fiftyone_revseg.pipeline.job import EngineJob, Progress
from fiftyone_revseg.pipeline.loading import Loading, load_pipeline
from fiftyone_revseg.pipeline.pipeline import RevSeg
from fiftyone_revseg.pipeline.segmentation import Segmentation

__all__ = ["EngineJob", "Loading", "Progress", "RevSeg", "Segmentation", "load_pipeline"]
