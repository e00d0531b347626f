"""How the embedded pair is made: supervised training on made-up worlds, and what came of it.

The names below are imported when they are first used: whoever only renders worlds needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiftyone_revseg.lazy import lazy_names

if TYPE_CHECKING:
    from fiftyone_revseg.nano.sft import SftConfig as SftConfig
    from fiftyone_revseg.nano.sft import train_sft as train_sft
    from fiftyone_revseg.nano.tracker_training import TrackerTraining as TrackerTraining
    from fiftyone_revseg.nano.tracker_training import train_tracker as train_tracker

# Module -> the names that it defines
_HOMES = {
    "fiftyone_revseg.nano.sft": ("SftConfig", "train_sft"),
    "fiftyone_revseg.nano.tracker_training": ("TrackerTraining", "train_tracker"),
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
