"""Learning: reinforcement learning on the chain, what it learns from, and what it leaves.

The names below are imported when they are first used: rewards need no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fiftyone_revseg.measures.rewards import (
        format_reward,
        spatial_reward,
        temporal_reward,
        total_reward,
    )
    from fiftyone_revseg.training.data import world_rows
    from fiftyone_revseg.training.grpo import GrpoConfig, train_grpo

# Name -> the module that defines it.
_HOMES = {
    "GrpoConfig": "fiftyone_revseg.training.grpo",
    "format_reward": "fiftyone_revseg.measures.rewards",
    "spatial_reward": "fiftyone_revseg.measures.rewards",
    "temporal_reward": "fiftyone_revseg.measures.rewards",
    "total_reward": "fiftyone_revseg.measures.rewards",
    "train_grpo": "fiftyone_revseg.training.grpo",
    "world_rows": "fiftyone_revseg.training.data",
}

__all__ = [
    "GrpoConfig",
    "format_reward",
    "spatial_reward",
    "temporal_reward",
    "total_reward",
    "train_grpo",
    "world_rows",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # so that the next access is a plain one
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
