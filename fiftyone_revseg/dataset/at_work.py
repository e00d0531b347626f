"""Who else is at work on the same videos, so that nothing is done twice."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import fiftyone as fo
from fiftyone.core.odm import get_db_conn

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.collection import Job
from fiftyone_revseg.dataset.heartbeat import is_alive, server_now, silence

#: In a run's record: what it has to do
WORK = "work"


def pack(jobs: Iterable[Job]) -> str:
    """Packs what there is to do, about 4 bytes for each video of a dataset."""
    lines = sorted(" ".join([job.sample_id, *map(str, job.support or ())]) for job in jobs)
    return base64.b85encode(zlib.compress("\n".join(lines).encode())).decode()


def runs_at_work(dataset: fo.Dataset, method: str, label_field: str) -> list[dict[str, Any]]:
    """Lists the runs that are at work on a label field, in any process on any machine.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        method: the kind of run
        label_field: the label field

    Returns:
        what is remembered of each, with "run_key" and "silence", the seconds since its last sign
        of life
    """
    this = {"_dataset_id": store.dataset_id(dataset), "config.label_field": label_field}
    running = {**this, "config.method": method, "config.state": "running"}
    found = list(get_db_conn().runs.find(running))
    now = server_now() if found else None
    return [
        {**run["config"], "run_key": run["key"], "silence": silence(run["config"], now)}
        for run in found
        if now is not None and is_alive(run["config"], now)
    ]


def twice(run: dict[str, Any], jobs: Sequence[Job]) -> int:
    """Counts the jobs that another run is at work on, too.

    Args:
        run: one of :func:`runs_at_work`
        jobs: the jobs
    """
    if not run.get(WORK):
        return 0
    theirs: dict[str, list[tuple[int, ...]]] = {}
    for line in zlib.decompress(base64.b85decode(run[WORK])).decode().split("\n"):
        sample_id, *support = line.split(" ")
        theirs.setdefault(sample_id, []).append(tuple(map(int, support)))
    return sum(
        any(_overlap(job.support or (), support) for support in theirs.get(job.sample_id, ()))
        for job in jobs
    )


def say(run: dict[str, Any]) -> str:
    """Says who is at work, where, since when, and when they were last heard of."""
    began = datetime.fromisoformat(run["began"]).astimezone()
    who = f"process {run['pid']}" + (f" of {run['user']}" if run["user"] else "")
    return (
        f"{run['run_key']}, {who} on {run['host']}, at work since {began:%Y-%m-%d %H:%M:%S}, last "
        f"sign of life {run['silence']:.0f} s ago"
    )


def _overlap(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two supports have a frame in common; an empty one is that of a whole video."""
    if not one or not other:
        return True
    return one[0] <= other[1] and other[0] <= one[1]
