"""Who else is at work on the same videos, so that nothing is done twice."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import fiftyone as fo

from fiftyone_revseg.dataset.collection import VideoRef
from fiftyone_revseg.dataset.frame_numbers import overlap
from fiftyone_revseg.dataset.heartbeat import stored_runs

#: In a run's record: what it has to do
WORK = "work"


def pack(videos: Iterable[VideoRef]) -> str:
    """Packs what there is to do, about 4 bytes for each video of a dataset."""
    lines = sorted(" ".join([v.sample_id, *map(str, v.support or ())]) for v in videos)
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
    running = stored_runs(dataset, method, label_field=label_field, state="running")
    return [run for run in running if run["alive"]]


def twice(run: dict[str, Any], videos: Sequence[VideoRef]) -> int:
    """Counts the videos that another run is at work on, too.

    Args:
        run: one of :func:`runs_at_work`
        videos: the videos
    """
    if not run.get(WORK):
        return 0
    theirs: dict[str, list[tuple[int, ...] | None]] = {}
    for line in zlib.decompress(base64.b85decode(run[WORK])).decode().split("\n"):
        sample_id, *support = line.split(" ")
        theirs.setdefault(sample_id, []).append(tuple(map(int, support)) or None)
    return sum(
        any(overlap(video.support, support) for support in theirs.get(video.sample_id, ()))
        for video in videos
    )


def say(run: dict[str, Any]) -> str:
    """Says who is at work, where, since when, and when they were last heard of."""
    began = datetime.fromisoformat(run["began"]).astimezone()
    who = f"process {run['pid']}" + (f" of {run['user']}" if run["user"] else "")
    return (
        f"{run['run_key']}, {who} on {run['host']}, at work since {began:%Y-%m-%d %H:%M:%S}, last "
        f"sign of life {run['silence']:.0f} s ago"
    )
