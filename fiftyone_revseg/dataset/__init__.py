"""FiftyOne data: the model that datasets are segmented with, and the labels it writes."""

from fiftyone_revseg.dataset.labels import SampleLabels, make_labels
from fiftyone_revseg.dataset.load import load_model
from fiftyone_revseg.dataset.model import RevSegModel, RevSegModelConfig
from fiftyone_revseg.dataset.schema import declare_fields, field_names

__all__ = [
    "RevSegModel",
    "RevSegModelConfig",
    "SampleLabels",
    "declare_fields",
    "field_names",
    "load_model",
    "make_labels",
]
