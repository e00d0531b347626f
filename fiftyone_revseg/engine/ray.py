"""Many videos on many GPUs or machines: workers of Ray, each with the models and a local engine.

::

                       +-> worker: LocalEngine -+
    jobs -> the caller +-> worker: LocalEngine -+-> the caller
                       +-> ...                 -+

Jobs go out as paths and queries, a few to each worker at a time; answers come back as run lengths.
Only the caller writes them anywhere.

A worker that dies or hangs is replaced. Which of its jobs was to blame is not known, so each of
them runs again with a worker to itself; one that takes that along, too, again and again, ends as
an error.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fiftyone_revseg.engine.engine import Report
from fiftyone_revseg.engine.ray_cluster import Cluster, import_ray, reason_of
from fiftyone_revseg.engine.ray_pool import Member, Pool, Task
from fiftyone_revseg.pipeline import EngineJob, Loading, RevSeg, Segmentation

logger = logging.getLogger(__name__)

_LOOK = 0.2  # seconds between two looks at the clock
_WITHOUT_GPUS = 2  # workers
_ASK = 0.5  # seconds between two questions how far a worker is

Answer = tuple[EngineJob, list[Segmentation]]


class RayEngine:
    """Runs a pipeline over many videos on workers of Ray; a
    :class:`fiftyone_revseg.engine.Engine`.

    Answers are those of :class:`fiftyone_revseg.engine.LocalEngine`. Paths must lead to the same
    files on all machines. The key of a server of models is not sent: workers find it in the
    environment that Ray was started in there.

    Example::

        import fiftyone_revseg as revseg
        from fiftyone_revseg.engine.ray import RayEngine

        with RayEngine("revseg-nano", workers=2) as engine:
            revseg.segment_view(dataset, queries="the red circle", engine=engine)

    Args:
        model: a preset, hub id or path; or a :class:`fiftyone_revseg.pipeline.Loading` of such
            names; or a function that loads a pipeline in each worker, such as
            ``functools.partial(load_pipeline, "revseg-nano", spec={"frames": 8})``; or a pipeline
            of parts that can be pickled, such as a model on a server
        workers (None): how many workers there are. By default, one for each GPU, 2 without GPUs
        max_workers (None): up to how many to ask for while there are jobs, which makes clusters
            grow that can; those beyond ``workers`` end when there is nothing left for them. By
            default, as many as ``workers``
        gpus_per_worker (None): GPUs of each worker, may be a fraction such as 0.5. By default 1,
            or 0 if there are none, or the models are to be loaded onto the CPU
        cpus_per_worker (None): CPUs of each worker, and how many threads torch computes with
            there. By default 1, or an equal share of them where Ray is started here and has no GPU
        address (None): the address of a Ray cluster. By default, the one that this process is
            connected to or that ``RAY_ADDRESS`` names, else Ray is started on this machine
        attempts (3): after how many workers lost to it a video is given up, as an error
        timeout (1800.0): the seconds that a worker with jobs may take without getting on with any
            of them before it counts as hanging, and is ended

    Raises:
        ValueError: if a number is not valid, there is no such cluster, or no GPU
        ImportError: if Ray is not installed
    """

    def __init__(
        self,
        model: str | Path | Loading | RevSeg | Callable[[], RevSeg] = "revseg-nano",
        workers: int | None = None,
        max_workers: int | None = None,
        gpus_per_worker: float | None = None,
        cpus_per_worker: int | None = None,
        address: str | None = None,
        attempts: int = 3,
        timeout: float = 1800.0,
    ):
        numbers = {"workers": workers, "cpus_per_worker": cpus_per_worker, "attempts": attempts}
        for what, number in numbers.items():
            if number is not None and number < 1:
                raise ValueError(f"{what} must be 1 or more, got {number}")
        if max_workers is not None and max_workers < (workers or 1):
            raise ValueError(f"max_workers must be {workers or 1} or more, got {max_workers}")
        if not timeout > 0:
            raise ValueError(f"timeout must be a number of seconds > 0, got {timeout}")
        _check_gpus(gpus_per_worker)
        if isinstance(model, (str, Path)):
            model = Loading(model)
        if isinstance(model, Loading):
            if gpus_per_worker is None and model.device == "cpu":
                gpus_per_worker = 0.0
            model = model.anywhere().load
        self.attempts, self.timeout = attempts, timeout
        most = max_workers or workers or _WITHOUT_GPUS
        self._cluster = Cluster(address, cpus=most * (cpus_per_worker or 1))
        try:
            gpus = self._gpus(gpus_per_worker)
            if workers is None:
                there = self._cluster.resource("GPU")
                workers = max(1, int(there / gpus)) if gpus else min(most, _WITHOUT_GPUS)
            self.workers, self.max_workers = workers, max(workers, max_workers or 1)
            cpus = cpus_per_worker or self._cpus(gpus)
            self.pool = Pool(model, cpus, gpus, attempts)
        except BaseException:
            self._cluster.close()
            raise

    @property
    def pipeline(self) -> RevSeg:
        """What workers run, without the models: its name and settings.

        Waits until the first worker has loaded it.

        Raises:
            ValueError: if it cannot be loaded
        """
        return self.pool.wait_for_first()

    def run(self, jobs: Iterable[EngineJob], report: Report | None = None) -> Iterator[Answer]:
        """Segments the videos of jobs; see :meth:`fiftyone_revseg.engine.Engine.run`.

        Raises:
            RuntimeError: if workers cannot be started
        """
        run = _Run(self, iter(jobs), report)
        try:
            yield from run.answers()
        finally:
            run.close()

    def close(self) -> None:
        """Ends the workers, and Ray, if it was started for them."""
        self.pool.close()
        self._cluster.close()

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _gpus(self, gpus: float | None) -> float:
        there = self._cluster.resource("GPU")
        if gpus is None:
            return 1.0 if there else 0.0
        if gpus > there and self._cluster.is_own:  # other clusters may grow
            raise ValueError(
                f"A worker is to have {gpus:g} GPUs, and this machine has {there:g}: give fewer, "
                "or the address of a cluster that has them"
            )
        return gpus

    def _cpus(self, gpus: float) -> int:
        if gpus or not self._cluster.is_own:  # of those of others, no more may ever be free
            return 1
        return max(1, (os.cpu_count() or 1) // self.max_workers)


class _Run:
    """The jobs of one run: waiting, with a worker, or done."""

    def __init__(self, engine: RayEngine, jobs: Iterator[EngineJob], report: Report | None):
        self._engine = engine
        self._pool = engine.pool
        self._ray = import_ray()
        self._jobs: Iterator[EngineJob] | None = jobs
        self._report = report
        self._waiting: deque[Task] = deque()  # a few, to know when the end is near
        self._suspects: deque[Task] = deque()
        self._count = 0
        self._looked = time.monotonic()

    def answers(self) -> Iterator[Answer]:
        """Does all jobs."""
        self._look_ahead()
        while self._waiting or self._suspects or self._busy():
            self._adjust_workers()
            self._hand_out()
            yield from self._collect()
            yield from self._end_hanging()
            self._pool.say_what_is_missing()
            self._look_ahead()

    def close(self) -> None:
        """Ends what is still at work, for a caller that stops early."""
        for member in self._busy():
            self._pool.drop(member)

    def _busy(self) -> list[Member]:
        return [member for member in self._pool.members if member.tasks]

    def _look_ahead(self) -> None:
        windows = [member.window for member in self._pool.members]
        enough = max(windows, default=0) * len(windows) + self._engine.max_workers
        while self._jobs is not None and len(self._waiting) < enough:
            job = next(self._jobs, None)
            if job is None:
                self._jobs = None
                return
            self._waiting.append(Task(self._count, job))
            self._count += 1

    def _adjust_workers(self) -> None:
        """Asks for as many workers as there is something for, and gives others back."""
        members, most = self._pool.members, self._engine.max_workers
        if self._jobs is None:
            running = sum(len(member.tasks) for member in members)
            left = len(self._waiting) + len(self._suspects) + running
            most = max(1, min(most, left))
            for member in [member for member in members if not member.tasks]:
                if len(members) > max(most, self._engine.workers):
                    self._pool.drop(member)
        self._pool.grow(most)

    def _hand_out(self) -> None:
        ready = [member for member in self._pool.members if member.is_ready]
        for member in ready:
            if self._suspects and not member.tasks:
                self._give(member, self._suspects.popleft())
        # So few at a time near the end that none is left with much while others have nothing to
        # do; but several at once to those that have done half of theirs, as dialogues that begin
        # together go in one batch
        hungry = [m for m in ready if len(m.tasks) <= self._room(m, ready) // 2 and not m.is_alone]
        while self._waiting:
            free = [m for m in hungry if len(m.tasks) < self._room(m, ready)]
            if not free:
                return
            # One each in turn, so that all have something
            least = min(free, key=lambda member: len(member.tasks))
            self._give(least, self._waiting.popleft())

    def _room(self, member: Member, ready: list[Member]) -> int:
        """How many jobs a worker may have while so many wait."""
        return min(member.window, max(2, math.ceil(len(self._waiting) / len(ready))))

    def _give(self, member: Member, task: Task) -> None:
        if not member.tasks:
            member.sign = time.monotonic()
        ref = member.actor.segment.remote(task.number, _travelling(task.job))
        member.tasks[ref] = task

    def _collect(self) -> Iterator[Answer]:
        """Takes what has come from workers."""
        self._ask()
        members = list(self._pool.members)
        refs = [ref for m in members for ref in (m.opening, m.news, *m.tasks) if ref is not None]
        if not refs:
            time.sleep(_LOOK)
            return
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=_LOOK)
        if ready:
            ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        came = set(ready)
        for member in members:
            if member.opening in came:
                self._pool.opened(member)
                continue
            error: BaseException | None = None
            for ref in [ref for ref in member.tasks if ref in came]:
                try:
                    answers = self._ray.get(ref)
                except Exception as failed:
                    error = failed
                    continue
                member.sign = time.monotonic()
                yield member.tasks.pop(ref).job, answers
            if error is None and member.news in came:
                error = self._take_news(member)
            if error is not None:
                yield from self._lost(member, reason_of(error))

    def _ask(self) -> None:
        now = time.monotonic()
        for member in self._busy():
            if member.news is None and now - member.asked >= _ASK:
                member.asked, member.news = now, member.actor.news.remote()

    def _take_news(self, member: Member) -> BaseException | None:
        try:
            news = self._ray.get(member.news)
        except Exception as error:
            return error
        member.news = None
        tasks = {task.number: task for task in member.tasks.values()}
        for number, stage, done, total in news:
            member.sign = time.monotonic()
            if self._report is not None and number in tasks:
                self._report(tasks[number].job, stage, done, total)
        return None

    def _end_hanging(self) -> Iterator[Answer]:
        now = time.monotonic()
        away, self._looked = now - self._looked, now
        if away > 10 * _LOOK:  # with the caller, or asleep: what workers did meanwhile is not known
            for member in self._pool.members:
                member.sign += away
        for member in self._busy():
            if now - member.sign > self._engine.timeout:
                timeout = f"{self._engine.timeout:g} s"
                yield from self._lost(member, f"its worker did not get on for {timeout}")

    def _lost(self, member: Member, why: str) -> Iterator[Answer]:
        """Sees to the jobs of a worker that is to be replaced."""
        tasks = list(member.tasks.values())
        self._pool.drop(member)
        if tasks:
            logger.warning("A worker was lost with %d videos: %s", len(tasks), why)
        for task in tasks:
            task.tries += 1
            if len(tasks) > 1:
                # Nobody is given up for what another may have done
                task.tries = min(task.tries, self._engine.attempts - 1)
            if task.tries >= self._engine.attempts:
                yield task.job, self._given_up(task, why)
            else:
                task.suspect = True
                self._suspects.append(task)

    def _given_up(self, task: Task, why: str) -> list[Segmentation]:
        tries = "1 attempt" if task.tries == 1 else f"{task.tries} attempts"
        error = VideoGivenUp(f"after {tries}, the last one alone with a worker, {why}")
        failed = self._engine.pipeline.failed
        return [failed(task.job.path, query, error) for query in task.job.queries]


class VideoGivenUp(RuntimeError):  # noqa: N818  read by people in a status
    """A video took its workers along."""


def _check_gpus(gpus: float | None) -> None:
    if gpus is not None and not (gpus >= 0 and (gpus <= 1 or gpus == int(gpus))):
        raise ValueError(
            f"gpus_per_worker must be a fraction such as 0.5, or a whole number, got {gpus:g}"
        )


def _travelling(job: EngineJob) -> EngineJob:
    """A job without what only the caller understands."""

    def absolute(path: Any) -> str:
        return str(path) if "://" in str(path) else os.path.abspath(path)

    video = job.video
    video = tuple(map(absolute, video)) if isinstance(video, tuple) else absolute(video)
    return replace(job, video=video, key=None)
