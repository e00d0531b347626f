"""The whole chain on one video: queries in; thoughts, key frames, boxes and masks out."""

from fiftyone_revseg.pipeline.pipeline import Progress, RevSeg, Segmentation, load_pipeline

__all__ = ["Progress", "RevSeg", "Segmentation", "load_pipeline"]
