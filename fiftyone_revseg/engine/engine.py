"""What an engine is: jobs in, answers out, in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from fiftyone_revseg.pipeline import EngineJob, Segmentation

#: ``report(job, stage, done, total)``: as :data:`fiftyone_revseg.pipeline.Progress`, for one job
Report = Callable[[EngineJob, str, int, int], None]


class Engine(Protocol):
    """Runs the pipeline over many videos."""

    def run(
        self, jobs: Iterable[EngineJob], report: Report | None = None
    ) -> Iterator[tuple[EngineJob, list[Segmentation]]]:
        """Segments the videos of jobs.

        What is wrong with one job never touches another. Jobs are taken as there is room for
        them, so there may be any number. Close the iterator to stop early.

        Args:
            jobs: the jobs
            report (None): called, in the caller's thread, with how far jobs are. What it raises
                stops the run

        Yields:
            each job, and a list of one :class:`fiftyone_revseg.pipeline.Segmentation` for each of
            its queries, in their order; jobs come in the order in which they are done
        """
        ...
