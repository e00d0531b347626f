"""The training runs that a dataset remembers: what was learned from it, and what came out."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import fiftyone as fo

from fiftyone_revseg.dataset.runs import versions
from fiftyone_revseg.training.model_card import summarize_curves

_METHOD = "revseg_train"


class TrainingRun:
    """One training run as its dataset remembers it, from before the first step.

    Use it as a context: however that ends is how the run ended.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        name: of the new checkpoint
        settings: a JSON-serializable dict of what the run depends on
        rows: how many (video, query) pairs there are to learn from
        skipped: how many were left out

    Attributes:
        run_key: the key under which the dataset remembers the run
    """

    def __init__(
        self, dataset: fo.Dataset, name: str, settings: dict[str, Any], rows: int, skipped: int
    ) -> None:
        self._dataset = dataset
        now = datetime.now(timezone.utc)
        self._started = time.perf_counter()
        self._config = dataset.init_run(
            method=_METHOD,
            state="running",
            started=now.isoformat(timespec="seconds"),
            name=name,
            settings=settings,
            rows=rows,
            skipped=skipped,
            versions=versions(),
            checkpoint=None,
            curves={},
            seconds=0.0,
        )
        # Unique across processes that start within the same second
        self.run_key = f"train_{now:%Y%m%d_%H%M%S}_{secrets.token_hex(2)}"
        dataset.register_run(self.run_key, self._config)

    def finish(self, checkpoint: str, curves: Sequence[dict[str, float]]) -> dict[str, list[float]]:
        """Notes what came out.

        Args:
            checkpoint: the path of the new checkpoint
            curves: what :meth:`fiftyone_revseg.training.run_folder.RunFolder.curves` returns

        Returns:
            what is remembered of the curves
        """
        self._config.checkpoint = checkpoint
        self._config.curves = summarize_curves(curves)
        return self._config.curves

    def __enter__(self) -> TrainingRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._config.seconds = time.perf_counter() - self._started
        self._config.state = "done" if kind is None else "failed"
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._config.state = "interrupted"
        self._dataset.update_run_config(self.run_key, self._config)


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
    dataset.reload()  # other processes may have registered some
    runs = []
    for key in dataset.list_runs(method=_METHOD):
        config = dataset.get_run_info(key).config.serialize()
        runs.append({"run_key": key, **config})
    return sorted(runs, key=lambda run: str(run.get("started")))
