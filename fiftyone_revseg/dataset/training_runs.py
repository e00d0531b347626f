"""The training runs that a dataset remembers: what was learned from it, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fiftyone as fo

from fiftyone_revseg.dataset.registered_runs import RegisteredRun, list_registered
from fiftyone_revseg.dataset.runs import versions
from fiftyone_revseg.training.model_card import summarize_curves

_METHOD = "revseg_train"


class TrainingRun(RegisteredRun):
    """One training run, see :class:`RegisteredRun`.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        name: of the new checkpoint
        settings: a JSON-serializable dict of what the run depends on
        rows: how many (video, query) pairs there are to learn from
        skipped: how many were left out
    """

    def __init__(
        self, dataset: fo.Dataset, name: str, settings: dict[str, Any], rows: int, skipped: int
    ) -> None:
        super().__init__(
            dataset,
            _METHOD,
            "train",
            name=name,
            settings=settings,
            rows=rows,
            skipped=skipped,
            versions=versions(),
            checkpoint=None,
            curves={},
        )

    def finish(self, checkpoint: str, curves: Sequence[dict[str, float]]) -> dict[str, list[float]]:
        """Notes what came out.

        Args:
            checkpoint: the path of the new checkpoint
            curves: what :meth:`fiftyone_revseg.training.run_folder.RunFolder.curves` returns

        Returns:
            what is remembered of the curves
        """
        kept = summarize_curves(curves)
        self.remember(checkpoint=checkpoint, curves=kept)
        return kept


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
    return list_registered(dataset, _METHOD)
