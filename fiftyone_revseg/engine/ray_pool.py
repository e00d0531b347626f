"""The workers of the Ray engine as the driver sees them: started, given jobs, replaced."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fiftyone_revseg.engine.ray_cluster import import_ray, reason_of
from fiftyone_revseg.engine.ray_worker import About, Worker
from fiftyone_revseg.pipeline import EngineJob, RevSeg

logger = logging.getLogger(__name__)

_PATIENCE = 60.0  # seconds without any worker after which that is said


@dataclass(eq=False)
class Task:
    """A job in this run.

    Attributes:
        number: what workers know it by
        job: the job, as the caller gave it
        tries: how many of its workers died, or hung
        suspect: whether it was with others in a worker that died, so that it has to run alone
    """

    number: int
    job: EngineJob
    tries: int = 0
    suspect: bool = False


@dataclass(eq=False)
class Member:
    """One worker.

    Attributes:
        actor: Ray's handle
        opening: what comes of loading its models; None once it is ready
        window: how many jobs keep it busy
        tasks: the jobs that it has, by what comes of them
        asked: when it was last asked how far it is
        news: what comes of that; None if it has answered
        sign: when it was last seen to get on
    """

    actor: Any
    opening: Any = None
    window: int = 0
    tasks: dict[Any, Task] = field(default_factory=dict)
    asked: float = 0.0
    news: Any = None
    sign: float = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether its models are loaded."""
        return self.opening is None

    @property
    def is_alone(self) -> bool:
        """Whether it has a job that has to run alone."""
        return any(task.suspect for task in self.tasks.values())


class Pool:
    """Starts workers and replaces those that died.

    Args:
        model: a pipeline, or a function that loads it in each worker
        cpus: of each worker
        gpus: of each worker; may be a fraction
        attempts: how many workers in a row may fail to start

    Raises:
        ValueError: if the model cannot be sent to workers
    """

    def __init__(self, model: RevSeg | Callable[[], RevSeg], cpus: int, gpus: float, attempts: int):
        self._ray = import_ray()
        self._model = _pickle(model)
        self._cpus, self._gpus = cpus, gpus
        self._attempts = attempts
        self._failed_starts, self._why = 0, ""
        self._without_since = time.monotonic()
        self._said = False
        self.pipeline: RevSeg | None = None
        self.members: list[Member] = []

    def grow(self, count: int) -> None:
        """Asks for workers until there are ``count``; they come when the cluster has room.

        Raises:
            RuntimeError: if too many in a row did not start, and none is left
        """
        if self._failed_starts >= self._attempts and not self.members:
            count, self._failed_starts = self._failed_starts, 0
            raise RuntimeError(f"{count} workers in a row did not start: {self._why}")
        while len(self.members) < count and self._failed_starts < self._attempts:
            options = {"num_cpus": self._cpus, "num_gpus": self._gpus, "max_restarts": 0}
            actor_class = self._ray.remote(Worker).options(**options)
            actor = actor_class.remote(self._model, self._cpus, self._gpus)
            self.members.append(Member(actor, actor.open.remote()))

    def opened(self, member: Member) -> None:
        """Takes what came of loading the models of a worker.

        Raises:
            Exception: what loading raised, if no worker could ever load them
        """
        try:
            about: About = self._ray.get(member.opening)
        except Exception as error:
            self.drop(member)
            cause = getattr(error, "cause", None)
            if self.pipeline is None and isinstance(cause, Exception):
                raise cause from None  # in words of the one who loads
            self._failed_starts, self._why = self._failed_starts + 1, reason_of(error)
            logger.warning("A worker did not start: %s", self._why)
            return
        member.opening = None
        member.window = about.window
        member.sign = time.monotonic()
        self._failed_starts = 0
        if self.pipeline is None:
            self.pipeline = about.pipeline

    def wait_for_first(self) -> RevSeg:
        """Returns the pipeline, without its models, once a worker has loaded it."""
        while self.pipeline is None:
            self.grow(1)
            ready, _ = self._ray.wait([m.opening for m in self.members], timeout=1.0)
            for member in [m for m in self.members if m.opening in ready]:
                self.opened(member)
            self.say_what_is_missing()
        return self.pipeline

    def say_what_is_missing(self) -> None:
        """Says it once if no worker is there for a while: a cluster may grow, or never."""
        if any(member.is_ready for member in self.members):
            self._without_since, self._said = time.monotonic(), False
        elif not self._said and time.monotonic() - self._without_since > _PATIENCE:
            self._said = True
            logger.warning(
                "Waiting for workers, each of %g CPU and %g GPU: of these the cluster has %s",
                self._cpus,
                self._gpus,
                {k: v for k, v in self._ray.available_resources().items() if k in ("CPU", "GPU")}
                or "none free",
            )

    def drop(self, member: Member) -> None:
        """Ends a worker, whatever it does."""
        self.members.remove(member)
        self._ray.kill(member.actor)

    def close(self) -> None:
        """Ends all workers."""
        for member in list(self.members):
            self.drop(member)


def _pickle(model: RevSeg | Callable[[], RevSeg]) -> bytes:
    from ray import cloudpickle

    try:
        return cloudpickle.dumps(model)
    except Exception as error:
        name = f"pipeline '{model.name}'" if isinstance(model, RevSeg) else "function that loads"
        raise ValueError(
            f"The {name} cannot be sent to workers ({error}): loaded models cannot, so give "
            "the model's name, or a function that loads it there"
        ) from error
