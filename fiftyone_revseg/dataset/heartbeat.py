"""Signs of life: who is at work on a run, and whether they still are.

All times are those of the database server, so that the clocks of machines need not agree.
"""

from __future__ import annotations

import getpass
import logging
import os
import platform
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import fiftyone as fo
import psutil
from fiftyone.core.odm import get_db_conn
from pymongo.errors import PyMongoError

from fiftyone_revseg.dataset import store

logger = logging.getLogger(__name__)

#: Seconds between two signs of life
BEAT = 10.0
#: Seconds without one after which a run on another machine is taken for dead
SILENCE = 60.0

_NOW = {"$dateToString": {"date": "$$NOW", "format": "%Y-%m-%dT%H:%M:%S.%L+00:00"}}


class Heartbeat:
    """Writes signs of life into a run's record for as long as its context lasts.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        run_key: the key under which the dataset remembers the run
    """

    def __init__(self, dataset: fo.Dataset, run_key: str) -> None:
        self._this = {"_dataset_id": store.dataset_id(dataset), "key": run_key}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="revseg-heartbeat", daemon=True)

    def beat(self) -> None:
        """Writes one sign of life; the first one also says when the run began."""
        began = {"$ifNull": ["$config.began", _NOW]}
        values = {"config.heartbeat": _NOW, "config.began": began}
        get_db_conn().runs.update_one(self._this, [{"$set": values}])

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _go_on(self) -> None:
        while not self._ended.wait(BEAT):
            try:
                self.beat()
            except PyMongoError as error:  # a server that is away may come back
                logger.debug("No sign of life could be written", exc_info=error)


def stored_runs(dataset: fo.Dataset, method: str, **match: Any) -> list[dict[str, Any]]:
    """Reads what is remembered of runs of a kind, of whichever process.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        method: the kind of run
        **match: what else must be remembered of them

    Returns:
        a list of dicts: "run_key", "alive" (whether somebody is at work on it), "silence" (see
        :func:`silence`), and what is remembered
    """
    wanted = {f"config.{name}": value for name, value in {"method": method, **match}.items()}
    found = list(get_db_conn().runs.find({"_dataset_id": store.dataset_id(dataset), **wanted}))
    now = server_now()
    runs = {run["key"]: run["config"] for run in found}
    return [
        {"run_key": key, "alive": is_alive(run, now), "silence": silence(run, now), **run}
        for key, run in runs.items()
    ]


def user_name() -> str:
    """Returns the name of who runs this; "" for somebody without one, as a container may have."""
    with suppress(ImportError, KeyError, OSError):
        return getpass.getuser()
    return ""


def who() -> dict[str, Any]:
    """Says who is at work: the "host", "pid", "user", and what tells whether they still are."""
    return {
        "host": platform.node(),
        "user": user_name(),
        "pid": os.getpid(),
        "machine": _machine(),
        "process_started": psutil.Process().create_time(),
    }


def server_now() -> datetime:
    """Returns the time of the database server."""
    now: datetime = get_db_conn().command("hello")["localTime"]
    return datetime.fromisoformat(f"{now.isoformat()}+00:00")


def silence(config: dict[str, Any], now: datetime) -> float:
    """Returns the seconds since the last sign of life of a run; infinite if there was none.

    Args:
        config: what is remembered of the run
        now: the time of the server
    """
    last = config.get("heartbeat")
    if not last:
        return float("inf")
    return max(0.0, (now - datetime.fromisoformat(last)).total_seconds())


def is_alive(config: dict[str, Any], now: datetime) -> bool:
    """Whether somebody is at work on a run.

    A run whose process is gone is dead at once on the machine where it was, and after
    :data:`SILENCE` seconds for everybody else.

    Args:
        config: what is remembered of the run
        now: the time of the server
    """
    if config.get("state") != "running" or silence(config, now) > SILENCE:
        return False
    return config.get("machine") != _machine() or _is_process(config)


def _machine() -> str:
    """Names this machine, and in it the container, whose numbers of processes are its own."""
    parts = [platform.node()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:  # not Linux
        pass
    return " ".join(parts)


def _is_process(config: dict[str, Any]) -> bool:
    try:
        process = psutil.Process(config["pid"])
        same = abs(process.create_time() - config["process_started"]) < 1
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
