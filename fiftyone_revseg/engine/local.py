"""Many videos in one process: the pipeline in stages, each a thread with a queue before it.

::

    decode -> reason -> track -> encode -> the caller
                ^                   |
                +-- look again <----+

Decoding opens a video and reads the sampled frames, once for all of its queries. Reasoning makes
batches of whatever dialogues wait, of any video and in either turn; while the tracker has enough to
do, it waits until a batch is full. Tracking takes the passes of many videos step by step together.
Encoding makes run lengths of masks, in a thread of its own, and puts together what belongs to a
job; where the model is to look at what was tracked, the job goes back to reasoning, and before
those that are new there. Every queue is bounded, so memory does not depend on how many jobs there
are, nor on how long the videos are.

Threads and not processes: the models release Python's lock while they compute.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fiftyone_revseg.engine.channel import Channel, Stopped
from fiftyone_revseg.engine.engine import Report
from fiftyone_revseg.models.batch_size import BatchSize, fitting
from fiftyone_revseg.pipeline import EngineJob, RevSeg, Segmentation
from fiftyone_revseg.pipeline.work import Work
from fiftyone_revseg.reasoning.rolling import RollingChain
from fiftyone_revseg.tracking.lockstep import Ended, Found, Lockstep

_LOOK = 0.02  # seconds between two looks at whether there is more to track
_DECODERS = 2  # one video that is slow to open must not hold up the others
_PATIENCE = 10.0  # seconds that threads get to end when the caller stops early

# About what one takes at full size, with Qwen2.5-VL 7B and SAM2.1 large: a dialogue's keys and
# values with the vision tower at work on its frames; an object's step, its memory, and the
# encoder's work on its frame
_DIALOGUE_BYTES = 2 * 2**30
_OBJECT_BYTES = 2**30
_MOST_DIALOGUES, _MOST_OBJECTS = 32, 32
_DIALOGUES_ON_CPU, _OBJECTS_ON_CPU = 8, 4  # measured: larger batches gain nothing there


class LocalEngine:
    """Runs a pipeline over many videos in this process.

    Answers are those of :meth:`fiftyone_revseg.pipeline.RevSeg.segment`, up to the rounding of
    batches: with ``objects=1`` masks are the same bit by bit, else in nearly all pixels.

    Args:
        pipeline: the pipeline
        dialogues (None): how many dialogues the model continues in one batch. By default, as many
            as the free memory of the GPU allows; 8 on a CPU
        objects (None): how many objects are tracked in one step. By default, as many as the free
            memory of the GPU allows; 4 on a CPU
        trackers (None): how many threads track, where the tracker can go in lockstep. By default
            1 on a GPU, and on a CPU as many as torch has threads (each then computes with one)
        patience (600): after how many seconds without a frame a video is given up, so that a disk
            or a decoder that hangs does not keep a run from ending. A tracker that cannot go in
            lockstep walks by itself, without this limit. None to wait however long it takes

    Attributes:
        dialogues: the batch size for reasoning, which shrinks when memory runs out
        objects: the batch size for tracking, likewise

    Raises:
        ValueError: if a number is less than 1, or the patience is not more than 0
    """

    def __init__(
        self,
        pipeline: RevSeg,
        dialogues: int | None = None,
        objects: int | None = None,
        trackers: int | None = None,
        patience: float | None = 600.0,
    ):
        self.pipeline = pipeline
        reasoner, tracker = pipeline.reasoner, pipeline.tracker
        self.start_lockstep: Callable[..., Lockstep] | None
        self.start_lockstep = getattr(tracker, "lockstep", None)
        device = getattr(tracker, "device", None)
        model_device = getattr(getattr(reasoner, "model", None), "device", None)
        self._on_cpu = getattr(device, "type", "") == "cpu" and self.start_lockstep is not None
        # A server says itself how many it takes at a time, and makes its own batches
        on_server = getattr(reasoner, "concurrency", None)
        self.waits_for_batches = on_server is None
        if dialogues is None:
            # Samples of one dialogue share what they were read into, and only decode side by side
            on_cpu = _DIALOGUES_ON_CPU * (1 + pipeline.spec.samples)
            dialogues = on_server or fitting(model_device, _DIALOGUE_BYTES, _MOST_DIALOGUES, on_cpu)
        if objects is None:
            objects = fitting(device, _OBJECT_BYTES, _MOST_OBJECTS, _OBJECTS_ON_CPU)
        if trackers is None:
            trackers = _threads_of_torch() if self._on_cpu else 1
        if trackers < 1:
            raise ValueError(f"{trackers} threads cannot track: give 1 or more")
        if patience is not None and not patience > 0:
            raise ValueError(f"A patience of {patience} seconds is none: give more, or None")
        self.dialogues = BatchSize("reasoning", dialogues)
        self.objects = BatchSize("tracking", objects)
        self.patience = patience
        self.trackers = trackers if self.start_lockstep is not None else 1

    def run(
        self, jobs: Iterable[EngineJob], report: Report | None = None
    ) -> Iterator[tuple[EngineJob, list[Segmentation]]]:
        """Segments the videos of jobs; see :meth:`fiftyone_revseg.engine.Engine.run`."""
        run = _Run(self, iter(jobs))
        try:
            with _one_thread_each(self.trackers if self._on_cpu else None):
                run.start()
                while (news := run.output.get()) is not None:
                    if isinstance(news, BaseException):
                        raise news
                    if isinstance(news, _Progressed):
                        if report is not None:
                            report(news.job, news.stage, news.done, news.total)
                        continue
                    yield news.job, news.answers
        finally:
            run.close()


@dataclass(frozen=True)
class _Progressed:
    """How far a stage of a job is."""

    job: EngineJob
    stage: str
    done: int
    total: int


@dataclass(eq=False)
class _Finished:
    """A job that is done."""

    job: EngineJob
    answers: list[Segmentation]


class _Run:
    """The threads and queues of one run."""

    def __init__(self, engine: LocalEngine, jobs: Iterator[EngineJob]):
        self._pipeline = engine.pipeline
        self._engine = engine
        self._jobs = jobs
        self._jobs_lock = threading.Lock()
        self._stop = threading.Event()
        # Enough to make whole batches while others are being decoded
        dialogues = engine.dialogues.size // (1 + engine.pipeline.spec.samples)
        ahead = max(2, dialogues) + _DECODERS
        self._decoded: Channel[Work] = Channel(ahead, self._stop)
        self._grounded: Channel[Work] = Channel(max(2, engine.objects.size), self._stop)
        self._tracked: Channel[Work | _Progressed | Found | Ended] = Channel(64, self._stop)
        self.output: Channel[_Finished | _Progressed | BaseException] = Channel(64, self._stop)
        # Bounded by what is under way: jobs between reasoning and the caller
        self._returned: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._under_way = 0
        self._under_way_lock = threading.Lock()
        self._lockstep: Lockstep | None = None
        self._open: set[Work] = set()
        self._open_lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        engine = self._engine
        if engine.start_lockstep is not None:
            self._lockstep = engine.start_lockstep(
                engine.objects,
                patience=engine.patience,
                comes_back=self._pipeline.spec.tracks_in_turns,
            )
        track = self._track if self._lockstep is None else self._track_together
        stages: list[tuple[Callable[[], None], int, Any]] = [
            (self._decode, _DECODERS, self._decoded),
            (self._reason, 1, self._grounded),
            (track, engine.trackers, self._tracked),
            (self._encode, 1, self.output),
        ]
        for stage, count, following in stages:
            following.writers = count
            for _ in range(count):
                thread = threading.Thread(
                    target=self._stage, args=(stage, following), name="revseg-engine", daemon=True
                )
                self._threads.append(thread)
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends all threads; the one in a model's step ends with that."""
        self._stop.set()
        end = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        if self._lockstep is not None:
            self._lockstep.close()
        # In a thread, as a video does not close while a decoder hangs
        closing = threading.Thread(target=self._close_videos, name="revseg-close", daemon=True)
        closing.start()
        closing.join(max(1.0, end - time.monotonic()))

    def _close_videos(self) -> None:
        for work in list(self._open):
            work.close()

    def _stage(self, stage: Callable[[], None], following: Any) -> None:
        """Runs a stage, and then says that no more will come of this thread."""
        try:
            stage()
        except Stopped:
            return
        except BaseException as error:  # of the caller's jobs, or a bug: never in silence
            try:
                self.output.put(error)
            except Stopped:
                return
        following.close()

    def _decode(self) -> None:
        while True:
            with self._jobs_lock:  # so that numbers, and what is told, are in the jobs' order
                number = self._decoded.begin()
                job = next(self._jobs, None)
                if job is not None:
                    frames = self._pipeline.spec.frames
                    self.output.put(_Progressed(job, "decode", 0, frames))
            if job is None:
                self._decoded.cancel(number)
                return
            work = Work(self._pipeline, job, ahead=0 if self._lockstep is not None else None)
            with self._open_lock:
                self._open.add(work)
            work.open(self._engine.patience)
            self.output.put(_Progressed(job, "decode", work.sampled, work.sampled or 1))
            self._decoded.put(work, number)

    def _reason(self) -> None:
        pipeline = self._pipeline
        chain = RollingChain(pipeline.reasoner, pipeline.spec, self._engine.dialogues)
        while True:
            while chain.waiting < self._engine.dialogues.size:
                work = self._next_to_reason(wait=not chain.waiting)
                if work is None:
                    break
                talks = [] if work.failed else work.talks()
                if talks:
                    self.output.put(_Progressed(work.job, "reason", 0, len(work.queries)))
                    chain.add(work, talks)
                    self._hand_on(chain.take_finished())
                else:  # nothing to ask, perhaps something to track
                    self._grounded.put(work)
            if not chain.waiting:
                return
            if chain.waiting < self._engine.dialogues.size and self._has_time():
                self._stop.wait(_LOOK)
            else:
                self._hand_on(chain.step())

    def _next_to_reason(self, wait: bool) -> Work | None:
        """Takes a job that came back, else a new one; None if there is none now, or ever."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self._returned.get_nowait()
            if (work := self._decoded.get(wait=False)) is not None:
                with self._under_way_lock:
                    self._under_way += 1
                return work
            with self._under_way_lock:
                is_over = self._decoded.ended and not self._under_way
            if is_over or not wait:
                return None
            if self._stop.wait(_LOOK):
                raise Stopped

    def _has_time(self) -> bool:
        """Whether a fuller batch may come before the tracker has nothing to do."""
        if not self._engine.waits_for_batches or self._decoded.ended:
            return False
        lockstep = self._lockstep
        is_full = lockstep is not None and not lockstep.wants_more(self._engine.trackers)
        return is_full or len(self._grounded) > 0

    def _hand_on(self, reasoned: list[tuple[Any, list[Any]]]) -> None:
        for work, results in reasoned:
            work.take(results)
            count = len(work.queries)
            self.output.put(_Progressed(work.job, "reason", count, count))
            self._grounded.put(work)

    def _track(self) -> None:
        """One video after the other, with any tracker."""
        while (work := self._grounded.get()) is not None:

            def report(stage: str, done: int, total: int, job: EngineJob = work.job) -> None:
                self._tracked.put(_Progressed(job, stage, done, total))

            work.track(report)
            self._tracked.put(work)

    def _track_together(self) -> None:
        """Several videos at once, with a tracker that can."""
        lockstep = self._lockstep
        assert lockstep is not None
        while True:
            while lockstep.wants_more(self._engine.trackers):
                # Without waiting: another thread may take the next one, and leave a part of it
                work = self._grounded.get(wait=False)
                if work is None:
                    break
                pursuits = work.pursuits()
                if not pursuits:
                    self._tracked.put(work)
                    continue
                lockstep.add(pursuits)
            if not lockstep.count and self._grounded.ended:
                return
            for result in lockstep.step(_LOOK):
                self._tracked.put(result)

    def _encode(self) -> None:
        while (result := self._tracked.get()) is not None:
            if isinstance(result, _Progressed):
                self.output.put(result)
                continue
            if isinstance(result, Work):
                work = result
            else:
                work = result.pursuit.key
                if isinstance(result, Found):
                    work.found(result)
                else:
                    work.ended(result)
                done, total = work.walked, work.to_walk
                if work.pace.is_due(anyway=done >= total):
                    self.output.put(_Progressed(work.job, "track", done, total))
                if not work.is_tracked:
                    continue
            if work.go_on():
                self._returned.put(work)
                continue
            if self._lockstep is not None:
                self._lockstep.release(work.tracked_video)
            answers = work.finish()
            with self._under_way_lock:
                self._under_way -= 1
            with self._open_lock:
                self._open.discard(work)
            self.output.put(_Finished(work.job, answers))


def _threads_of_torch() -> int:
    import torch

    return max(1, min(torch.get_num_threads(), os.cpu_count() or 1))


@contextlib.contextmanager
def _one_thread_each(threads: int | None) -> Iterator[None]:
    """Lets each of several threads compute with its share of the CPU's cores meanwhile."""
    torch = sys.modules.get("torch")
    if threads is None or torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)
