"""How the embedded pair is made: supervised training on made-up worlds, and what came of it.

The names below are imported when they are first used: whoever only renders worlds needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiftyone_revseg.lazy import lazy_names

if TYPE_CHECKING:
    from fiftyone_revseg.nano.sft import SftConfig, train_sft
    from fiftyone_revseg.nano.tracker_training import TrackerTraining, train_tracker

__getattr__, __dir__, __all__ = lazy_names(__name__)
