"""Long work behind operators: told of while it goes on, and stopped when somebody asks for it.

Work is a function that is called with a function to report to, as ``segment_view`` takes for its
``progress``: when reporting raises ``KeyboardInterrupt``, the work stops cleanly.
"""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone.operators.executor import ExecutionResult
from fiftyone.operators.message import GeneratedMessage, MessageType
from fiftyone.operators.store import ExecutionStore

from fiftyone_revseg.dataset import RunProgress, store
from fiftyone_revseg.progress import Pace

Report = Callable[[RunProgress], None]
Work = Callable[[Report], dict[str, Any]]

#: The operator that stops work
STOP_URI = "fiftyone_revseg/stop"

#: Shows the labels of the sample that is open in the App as they are now
REFRESH_LABELS = "fiftyone_revseg/refresh_labels"

_SHOWN = 0.25  # seconds between two changes of the progress bar within one video
_ASKED = 1.0  # seconds between two looks at whether somebody asked to stop
_KEPT = 24 * 3600  # seconds after which a run that was killed is not listed any more

_STAGES = {
    "decode": "reading frames",
    "reason": "reasoning",
    "track": "tracking",
    "write": "writing",
}


def stream(
    ctx: foo.ExecutionContext,
    work: Work,
    title: str,
    then: Callable[[], Iterable[GeneratedMessage]] = tuple,
) -> Iterator[GeneratedMessage]:
    """Does work in a thread of its own, and shows in the App how far it is, with a button to stop.

    When the App goes away, FiftyOne closes the generator, which stops the work with its next
    report. What was finished until then is kept.

    Args:
        ctx: the :class:`fiftyone.operators.ExecutionContext`
        work: the work; it returns the operator's result, which must be JSON
        title: what the work is called, for a person who wants to stop it
        then (tuple): returns what to tell the App when the work is done and it has loaded what is
            new. By default, nothing

    Yields:
        messages to the App; the last one shows the result, as the operator's ``resolve_output``
        makes it. Scripts find it with :func:`result_of`
    """
    news: queue.SimpleQueue[RunProgress | dict[str, Any] | BaseException] = queue.SimpleQueue()
    gone = threading.Event()
    pace = Pace(_SHOWN)

    def report(progress: RunProgress) -> None:
        if gone.is_set():
            raise KeyboardInterrupt
        if pace.is_due(anyway=not progress.stage):
            news.put(progress)

    def run() -> None:
        try:
            news.put(stoppable(ctx.dataset, work, report, title))
        except BaseException as error:
            news.put(error)

    # Not a daemon: a script that is interrupted waits until the video is in a safe state
    threading.Thread(target=run, name="revseg").start()
    try:
        yield _show_progress(ctx, title, 0.0)
        while not isinstance(new := news.get(), dict):
            if isinstance(new, BaseException):
                raise new
            yield _show_progress(ctx, describe(new), fraction(new))
        yield ctx.ops.reload_dataset()
        yield ctx.trigger(REFRESH_LABELS)
        yield from then()
        yield _show_result(ctx, new)
    except Exception as error:
        if not _from_app(ctx):
            raise
        yield _show_progress(ctx, f"Failed: {error}", 1.0)
        yield _Failure(str(error))
    finally:
        gone.set()


def result_of(execution: ExecutionResult) -> dict[str, Any]:
    """Returns the result of an operator that streams, as FiftyOne gives scripts none.

    Args:
        execution: what ``fiftyone.operators.execute_operator`` returned
    """
    return execution.executor.to_json()["requests"][-1]["params"]["results"]


def run_delegated(ctx: foo.ExecutionContext, work: Work, title: str) -> dict[str, Any]:
    """Does work as a delegated operation.

    Args:
        ctx: the :class:`fiftyone.operators.ExecutionContext`
        work: the work
        title: what the work is called, for a person who wants to stop it

    Returns:
        the operator's result
    """
    pace = Pace(_SHOWN)

    def report(progress: RunProgress) -> None:
        if pace.is_due(anyway=not progress.stage):
            ctx.set_progress(progress=fraction(progress), label=describe(progress))

    return stoppable(ctx.dataset, work, report, title)


def stoppable(dataset: fo.Dataset, work: Work, report: Report, title: str) -> dict[str, Any]:
    """Does work that :func:`stop_runs` stops, from whichever process that is called.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset` that the work is about
        work: the work
        report: what to report to
        title: what the work is called

    Returns:
        what the work returns
    """
    store, key = _store(dataset), uuid.uuid4().hex
    store.set(key, {"title": title, "stop": False}, ttl=_KEPT)
    looks = Pace(_ASKED)

    def report_and_look(progress: RunProgress) -> None:
        report(progress)
        if looks.is_due() and (store.get(key) or {}).get("stop"):
            raise KeyboardInterrupt

    try:
        return work(report_and_look)
    finally:
        store.delete(key)


def list_active(dataset: fo.Dataset) -> dict[str, str]:
    """Lists the work that goes on about a dataset, in any process.

    Args:
        dataset: a :class:`fiftyone.core.dataset.Dataset`

    Returns:
        a dict of key -> title
    """
    store = _store(dataset)
    found = {key: store.get(key) for key in store.list_keys()}
    return {key: value["title"] for key, value in found.items() if value}


def stop_runs(dataset: fo.Dataset) -> list[str]:
    """Asks all work to stop, which it does within about a second, or after the step it is at.

    Args:
        dataset: a :class:`fiftyone.core.dataset.Dataset`

    Returns:
        the titles of what was asked to stop
    """
    store, active = _store(dataset), list_active(dataset)
    for key, title in active.items():
        store.set(key, {"title": title, "stop": True}, ttl=_KEPT)
    return list(active.values())


def describe(progress: RunProgress) -> str:
    """Says in one line how far a run is."""
    parts = [f"{progress.done} of {progress.total} {progress.unit}s"]
    if progress.video:
        parts.append(progress.video)
    if progress.stage:
        stage = _STAGES.get(progress.stage, progress.stage)
        counted = progress.stage_total > 1
        parts.append(f"{stage} {progress.stage_done}/{progress.stage_total}" if counted else stage)
    rate = progress.rate
    if rate:
        unit = progress.unit
        parts.append(f"{rate:.1f} {unit}s/s" if rate >= 1 else f"{1 / rate:.1f} s per {unit}")
    if progress.remaining:
        parts.append(f"about {duration(progress.remaining)} left")
    return " · ".join(parts)


def fraction(progress: RunProgress) -> float:
    """How much of a run is done, from 0 to 1: videos, and of the one at work its stages."""
    names = list(_STAGES)
    part = 0.0
    if progress.stage in names and progress.stage_total:
        stage = progress.stage_done / progress.stage_total
        part = (names.index(progress.stage) + stage) / len(names)
    return min(1.0, (progress.done + part) / max(1, progress.total))


def duration(seconds: float) -> str:
    """Says a time span in words, such as "2 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"


def _show_result(ctx: foo.ExecutionContext, result: dict[str, Any]) -> GeneratedMessage:
    """Puts the operator's output in the place of the progress, which would cover it else."""
    ctx.request_params["results"] = result
    outputs = foo.get_operator(ctx.operator_uri).resolve_output(ctx)
    outputs = outputs or types.Property(types.Object())
    return ctx.ops.show_output(outputs.to_json(), result)


def _show_progress(ctx: foo.ExecutionContext, label: str, done: float) -> GeneratedMessage:
    # Not FiftyOne's own set_progress, which has no place for a button
    outputs = types.Object()
    outputs.float("progress", view=types.ProgressView(label=label))
    if done < 1:
        outputs.btn("stop", "Stop", icon="stop_circle", on_click=STOP_URI)
    return ctx.ops.show_output(types.Property(outputs).to_json(), {"progress": done})


def _from_app(ctx: foo.ExecutionContext) -> bool:
    """Whether the App asked, not a script.

    Only the App names the operator in its request. There is no ``prompt_id`` in it, though there
    is one in those for forms.
    """
    return "operator_uri" in ctx.request_params


class _Failure(GeneratedMessage):
    """An error in the form in which the App understands it once a generator has begun.

    An exception would only end the connection, and the App would have nothing to show.
    """

    def __init__(self, error: str):
        super().__init__(MessageType.ERROR)
        self.error = error

    def to_json(self) -> dict[str, Any]:
        return {"type": str(self.type), "cls": None, "body": None, "error": self.error}


def _store(dataset: fo.Dataset) -> ExecutionStore:
    return ExecutionStore.create("revseg_runs", store.dataset_id(dataset))
