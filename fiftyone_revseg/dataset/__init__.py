"""FiftyOne data: the model that datasets are segmented with, and the labels it writes."""

from fiftyone_revseg.dataset.labels import SampleLabels, make_labels
from fiftyone_revseg.dataset.load import load_model
from fiftyone_revseg.dataset.model import RevSegModel, RevSegModelConfig
from fiftyone_revseg.dataset.runs import RunSummary, count_statuses, list_runs
from fiftyone_revseg.dataset.schema import declare_fields, field_names
from fiftyone_revseg.dataset.segment import segment_view
from fiftyone_revseg.dataset.zoo import register_zoo_source
from fiftyone_revseg.progress import RunProgress

__all__ = [
    "RevSegModel",
    "RevSegModelConfig",
    "RunProgress",
    "RunSummary",
    "SampleLabels",
    "count_statuses",
    "declare_fields",
    "field_names",
    "list_runs",
    "load_model",
    "make_labels",
    "register_zoo_source",
    "segment_view",
]
