"""Tells how far a run is: a bar for people, a function for programs."""

from __future__ import annotations

import time
from typing import Any

import fiftyone as fo

from fiftyone_revseg.engine import EngineJob
from fiftyone_revseg.progress import OnProgress, Pace, RunProgress
from fiftyone_revseg.text.escape import one_line

_REFRESH = 0.2  # seconds between two changes of the bar within one video


class Reporter:
    """Tells how far a run is.

    An instance is also what ``RevSeg.segment(..., progress=)`` calls.

    Args:
        progress: whether to show a bar; None for what FiftyOne is configured to do; or an
            :data:`fiftyone_revseg.progress.OnProgress`
        total: how many videos are to be done
        title: what is done to them, for people
    """

    def __init__(self, progress: bool | OnProgress | None, total: int, title: str):
        self._call = progress if callable(progress) else None
        show = fo.config.show_progress_bars if progress is None else progress
        self._show = bool(show) and self._call is None
        self._total, self._title = total, title
        self._done = 0
        self._video = ""
        self._bar: Any = None
        self._pace = Pace(_REFRESH)

    def __enter__(self) -> Reporter:
        from tqdm.auto import tqdm

        self._started = time.perf_counter()
        self._bar = tqdm(total=self._total, desc=self._title, unit="video", disable=not self._show)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def start(self, video: str) -> None:
        """Says which video is next."""
        self._video = video

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Says how far the video is."""
        if self._call is not None:
            seconds = time.perf_counter() - self._started
            about = self._done, self._total, self._video, stage, done, total, seconds
            self._call(RunProgress(*about))
        elif self._pace.is_due():
            self._bar.set_postfix_str(one_line(f"{self._video}: {stage} {done}/{total}"))

    def finish(self) -> None:
        """Says that the video is done."""
        self._done += 1
        self._bar.update()
        self._video = self._video if self._done < self._total else ""
        self.count()

    def count(self) -> None:
        """Says how many are done, to a function: a bar shows that by itself."""
        if self._call is not None:
            self("", 0, 0)


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
