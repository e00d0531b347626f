"""FiftyOne data: the model that datasets are segmented with, and the labels it writes.

The names are imported when they are first used: expressions, for example, need no FiftyOne.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiftyone_revseg.lazy import lazy_names

if TYPE_CHECKING:
    from fiftyone_revseg.dataset.labels import SampleLabels, make_labels
    from fiftyone_revseg.dataset.load import load_model
    from fiftyone_revseg.dataset.model import RevSegModel, RevSegModelConfig
    from fiftyone_revseg.dataset.runs import RunSummary, count_statuses, list_runs
    from fiftyone_revseg.dataset.schema import declare_fields, field_names
    from fiftyone_revseg.dataset.segment import segment_view
    from fiftyone_revseg.dataset.zoo import register_zoo_source
    from fiftyone_revseg.progress import RunProgress

__getattr__, __dir__, __all__ = lazy_names(__name__)
