"""The part of the Ray engine that runs in other processes, on any machine: the models."""

from __future__ import annotations

import asyncio
import copy
import pickle
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace

from fiftyone_revseg.engine.local import LocalEngine
from fiftyone_revseg.pipeline import EngineJob, RevSeg, Segmentation

#: ``(number of the job, stage, done, total)``, see :data:`fiftyone_revseg.engine.engine.Report`
News = tuple[int, str, int, int]


@dataclass(frozen=True)
class About:
    """What a worker says of itself once its models are loaded.

    Attributes:
        pipeline: the pipeline without its models: its name and settings
        window: how many jobs keep it busy
        process: the id of its process
    """

    pipeline: RevSeg
    window: int
    process: int


class Worker:
    """Holds the models, and runs the jobs that it is given through one engine, together.

    An actor: its methods are called from elsewhere, and never wait for each other.

    Args:
        model: the pipeline, or a function that loads it; pickled, since what cannot be unpickled
            in a constructor is not told to the caller
        cpus: how many threads torch may compute with
        gpus: the share of one GPU that the worker may use; 1 or more for whole ones, 0 for none
    """

    def __init__(self, model: bytes, cpus: int, gpus: float):
        self._model = model
        self._cpus = cpus
        self._gpus = gpus
        self._given: queue.SimpleQueue[EngineJob | None] = queue.SimpleQueue()
        self._answers: dict[int, Future[list[Segmentation]]] = {}
        self._news: dict[int, News] = {}
        self._lock = threading.Lock()
        self._error: BaseException | None = None

    async def open(self) -> About:
        """Loads the models. Not done by the constructor, of whose errors Ray tells less."""
        import os

        import torch

        torch.set_num_threads(max(1, self._cpus))
        shared = 0 < self._gpus < 1 and torch.cuda.is_available()
        if shared:
            torch.cuda.set_per_process_memory_fraction(self._gpus)
        model = pickle.loads(self._model)
        pipeline = model if isinstance(model, RevSeg) else model()
        engine = LocalEngine(pipeline)
        if shared:
            # Sized by the memory that is free now, of which others take their share later
            on_gpu = getattr(getattr(pipeline.reasoner, "model", None), "device", None) is not None
            dialogues = engine.dialogues.size * (self._gpus if on_gpu else 1)
            objects = engine.objects.size * self._gpus
            engine = LocalEngine(pipeline, max(1, int(dialogues)), max(1, int(objects)))
        threading.Thread(target=self._run, args=(engine,), daemon=True).start()
        closed = copy.copy(pipeline)
        closed.close()
        return About(closed, engine.dialogues.size + engine.objects.size, os.getpid())

    async def segment(self, number: int, job: EngineJob) -> list[Segmentation]:
        """Runs a job beside those that are running.

        Args:
            number: what the job is known by
            job: the job
        """
        answer: Future[list[Segmentation]] = Future()
        with self._lock:
            if self._error is not None:
                raise self._error
            self._answers[number] = answer
        self._given.put(replace(job, key=number))
        return await asyncio.wrap_future(answer)

    async def news(self) -> list[News]:
        """Returns how far jobs are, of those that came further since the last call."""
        with self._lock:
            news, self._news = list(self._news.values()), {}
        return news

    def _run(self, engine: LocalEngine) -> None:
        try:
            for job, answers in engine.run(self._jobs(), self._note):
                with self._lock:
                    self._news.pop(job.key, None)
                    answer = self._answers.pop(job.key)
                answer.set_result(answers)
        except BaseException as error:
            with self._lock:
                self._error = error
                left, self._answers = self._answers, {}
            for answer in left.values():
                answer.set_exception(error)

    def _jobs(self) -> Iterator[EngineJob]:
        while (job := self._given.get()) is not None:
            yield job

    def _note(self, job: EngineJob, stage: str, done: int, total: int) -> None:
        with self._lock:
            self._news[job.key] = (job.key, stage, done, total)
