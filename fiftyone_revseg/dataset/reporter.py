"""Tells how far a run is: a bar for people, a function for programs."""

from __future__ import annotations

import time
from typing import Any

import fiftyone as fo

from fiftyone_revseg.engine import EngineJob
from fiftyone_revseg.progress import OnProgress, RunProgress
from fiftyone_revseg.text.escape import one_line

_REFRESH = 0.2  # seconds between two changes of the bar within one video


class Reporter:
    """Tells how far a run is.

    An instance is also what ``RevSeg.segment(..., progress=)`` calls.

    Args:
        progress: whether to show a bar; None for what FiftyOne is configured to do; or an
            :data:`fiftyone_revseg.progress.OnProgress`
        total: how many videos are to be done
    """

    def __init__(self, progress: bool | OnProgress | None, total: int):
        self._call = progress if callable(progress) else None
        show = fo.config.show_progress_bars if progress is None else progress
        self._show = bool(show) and self._call is None
        self._total = total
        self._done = 0
        self._video = ""
        self._bar: Any = None
        self._refreshed = 0.0
        self._started = time.perf_counter()

    def __enter__(self) -> Reporter:
        from tqdm.auto import tqdm

        self._started = time.perf_counter()
        self._bar = tqdm(total=self._total, desc="Segmenting", unit="video", disable=not self._show)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def start(self, video: str) -> None:
        """Says which video is next."""
        self._video = video

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Says how far the video is."""
        if self._call is not None:
            self._call(self._progress(stage, done, total))
            return
        now = time.perf_counter()
        if now - self._refreshed >= _REFRESH:
            self._refreshed = now
            self._bar.set_postfix_str(one_line(f"{self._video}: {stage} {done}/{total}"))

    def finish(self) -> None:
        """Says that the video is done."""
        self._done += 1
        self._bar.update()
        if self._call is not None:
            self._video = self._video if self._done < self._total else ""
            self._call(self._progress("", 0, 0))

    def _progress(self, stage: str, done: int, total: int) -> RunProgress:
        seconds = time.perf_counter() - self._started
        return RunProgress(self._done, self._total, self._video, stage, done, total, seconds)


class InWork:
    """Tells of the one video, of several in work, that was begun first.

    An instance is what ``engine.run(..., report=)`` calls. Bars that showed all of them would jump
    to and fro. What a video went through before its turn came is told then.

    Args:
        reporter: what to tell
    """

    def __init__(self, reporter: Reporter):
        self._reporter = reporter
        # By job, in the order in which they were begun: stage -> (done, total)
        self._jobs: dict[int, tuple[str, dict[str, tuple[int, int]]]] = {}

    def __call__(self, job: EngineJob, stage: str, done: int, total: int) -> None:
        """Says how far a video is."""
        name, stages = self._jobs.setdefault(id(job), (job.key.title, {}))
        stages[stage] = (done, total)
        if id(job) == next(iter(self._jobs)):
            self._reporter.start(name)
            self._reporter(stage, done, total)

    def finish(self, job: EngineJob) -> None:
        """Says that a video is done."""
        was_shown = id(job) == next(iter(self._jobs), None)
        self._jobs.pop(id(job), None)
        self._reporter.finish()
        if was_shown and self._jobs:
            name, stages = next(iter(self._jobs.values()))
            self._reporter.start(name)
            for stage, (done, total) in stages.items():
                self._reporter(stage, done, total)
