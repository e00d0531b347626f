"""How the embedded pair is made: supervised training on made-up worlds, and what came of it.

The names below are imported when they are first used: whoever only renders worlds needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fiftyone_revseg.nano.sft import SftConfig, train_sft
    from fiftyone_revseg.nano.tracker_training import TrackerTraining, train_tracker

# Name -> the module of this package that defines it
_HOMES = {
    "SftConfig": "sft",
    "TrackerTraining": "tracker_training",
    "train_sft": "sft",
    "train_tracker": "tracker_training",
}

__all__ = ["SftConfig", "TrackerTraining", "train_sft", "train_tracker"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
