"""The training runs that a dataset remembers: what was learned from it, and what came out."""

from __future__ import annotations

from typing import Any

import fiftyone as fo

from fiftyone_revseg.dataset.registered_runs import list_registered

#: The kind of run
TRAINING = "revseg_train"


def list_training_runs(dataset: fo.Dataset) -> list[dict[str, Any]]:
    """Lists the training runs that are registered on a dataset.

    Args:
        dataset: a :class:`fiftyone.core.dataset.Dataset`

    Returns:
        a list of dicts, the oldest first, with "run_key", "state" ("running", "done",
        "interrupted" or "failed"; a run that was killed stays "running"), "name", "checkpoint",
        "settings", "rows", "skipped", "curves" (see
        :func:`fiftyone_revseg.training.model_card.summarize_curves`), "started", "seconds" and
        "versions"
    """
    return list_registered(dataset, TRAINING)
