"""What all runs have in common that a dataset remembers: a key, a state, and how they ended."""

from __future__ import annotations

import logging
import secrets
import time
from typing import Any

import fiftyone as fo

from fiftyone_revseg.dataset.at_work import WORK
from fiftyone_revseg.dataset.heartbeat import Heartbeat, server_now, stored_runs, who

logger = logging.getLogger(__name__)


class RegisteredRun:
    """A run as its dataset remembers it, from before it begins.

    Use it as a context: however that ends is how the run ended, and until then there are signs of
    life in its record.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        method: the kind of run
        prefix: of its key
        **config: what is remembered, JSON-serializable

    Attributes:
        run_key: the key under which the dataset remembers the run
        state: "running", "done", "interrupted" or "failed"
    """

    def __init__(self, dataset: fo.Dataset, method: str, prefix: str, **config: Any) -> None:
        self.state = "running"
        self._dataset = dataset
        now = server_now()
        self._started = time.perf_counter()
        self._config = dataset.init_run(
            method=method,
            state=self.state,
            started=now.isoformat(timespec="seconds"),
            seconds=0.0,
            **who(),
            **config,
        )
        # Unique across processes that start within the same second
        self.run_key = f"{prefix}_{now:%Y%m%d_%H%M%S}_{secrets.token_hex(2)}"
        dataset.register_run(self.run_key, self._config)
        self._heartbeat = Heartbeat(dataset, self.run_key)
        self._heartbeat.beat()

    def remember(self, **config: Any) -> None:
        """Notes values, which are written when the run ends."""
        for name, value in config.items():
            setattr(self._config, name, value)

    @property
    def seconds(self) -> float:
        """The wall time since the run began, in seconds."""
        return time.perf_counter() - self._started

    def withdraw(self) -> None:
        """Has the dataset forget a run that did not begin."""
        self._dataset.delete_run(self.run_key)

    def __enter__(self) -> Any:
        self._heartbeat.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.state = "done" if kind is None else "failed"
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.state = "interrupted"
        self._heartbeat.__exit__()
        self.remember(state=self.state, seconds=self.seconds)
        if hasattr(self._config, WORK):
            delattr(self._config, WORK)
        try:
            self._dataset.update_run_config(self.run_key, self._config)
        except Exception as error:
            if kind is None:
                raise
            # The dataset was deleted, or the server is gone: what ended the run says so
            logger.debug("How the run ended could not be remembered", exc_info=error)


def list_registered(dataset: fo.Dataset, method: str) -> list[dict[str, Any]]:
    """Lists the runs of a kind that a dataset remembers.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        method: the kind

    Returns:
        a list of dicts, the oldest first: "run_key", "alive" (whether somebody is at work on it)
        and what is remembered
    """
    runs = stored_runs(dataset, method)
    for run in runs:
        del run["silence"]
        run.pop(WORK, None)
    return sorted(runs, key=lambda run: str(run.get("started")))
