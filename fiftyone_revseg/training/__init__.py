"""Learning: reinforcement learning on the chain, what it learns from, and what it leaves.

The names below are imported when they are first used: rewards need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiftyone_revseg.lazy import lazy_names

if TYPE_CHECKING:
    from fiftyone_revseg.measures.rewards import (
        format_reward,
        spatial_reward,
        temporal_reward,
        total_reward,
    )
    from fiftyone_revseg.training.data import world_rows
    from fiftyone_revseg.training.grpo import GrpoConfig, train_grpo

# Of rooms above this one, which never needs them: names that people import from here
_MORE = {
    "fiftyone_revseg.dataset.training_rows": ("view_rows",),
    "fiftyone_revseg.nano": ("SftConfig", "TrackerTraining", "train_sft", "train_tracker"),
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _MORE)
