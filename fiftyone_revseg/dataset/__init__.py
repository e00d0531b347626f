"""FiftyOne data: the model that datasets are segmented with, and the labels it writes.

The names are imported when they are first used: expressions, for example, need no FiftyOne.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiftyone_revseg.lazy import lazy_names

if TYPE_CHECKING:
    from fiftyone_revseg.dataset.labels import SampleLabels as SampleLabels
    from fiftyone_revseg.dataset.labels import make_labels as make_labels
    from fiftyone_revseg.dataset.load import load_model as load_model
    from fiftyone_revseg.dataset.model import RevSegModel as RevSegModel
    from fiftyone_revseg.dataset.model import RevSegModelConfig as RevSegModelConfig
    from fiftyone_revseg.dataset.runs import RunSummary as RunSummary
    from fiftyone_revseg.dataset.runs import count_statuses as count_statuses
    from fiftyone_revseg.dataset.runs import list_runs as list_runs
    from fiftyone_revseg.dataset.schema import declare_fields as declare_fields
    from fiftyone_revseg.dataset.schema import field_names as field_names
    from fiftyone_revseg.dataset.segment import segment_view as segment_view
    from fiftyone_revseg.dataset.zoo import register_zoo_source as register_zoo_source
    from fiftyone_revseg.progress import RunProgress as RunProgress

# Module -> the names that it defines
_HOMES = {
    "fiftyone_revseg.dataset.labels": ("SampleLabels", "make_labels"),
    "fiftyone_revseg.dataset.load": ("load_model",),
    "fiftyone_revseg.dataset.model": ("RevSegModel", "RevSegModelConfig"),
    "fiftyone_revseg.dataset.runs": ("RunSummary", "count_statuses", "list_runs"),
    "fiftyone_revseg.dataset.schema": ("declare_fields", "field_names"),
    "fiftyone_revseg.dataset.segment": ("segment_view",),
    "fiftyone_revseg.dataset.zoo": ("register_zoo_source",),
    "fiftyone_revseg.progress": ("RunProgress",),
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
