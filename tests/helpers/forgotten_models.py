"""The models that operators keep between calls, let go of."""

from fiftyone_revseg.app import held_models
from fiftyone_revseg.models.devices import empty_caches


def forget_models():
    with held_models._lock:
        held_models._models.clear()
        held_models._trackers.clear()
        empty_caches()
