"""One job on its way through the stages of an engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fiftyone_revseg.pipeline.job import EngineJob, Progress
from fiftyone_revseg.pipeline.pipeline import RevSeg, boxes_by_key_frame
from fiftyone_revseg.pipeline.segmentation import (
    Segmentation,
    how_tracking_ended,
    seconds_by_turn,
)
from fiftyone_revseg.reasoning import ChainRequest, Trajectory
from fiftyone_revseg.tracking import MaskTrack
from fiftyone_revseg.tracking.lockstep import Ended, Found, Pursuit
from fiftyone_revseg.video import VideoError, open_video

if TYPE_CHECKING:
    from fiftyone_revseg.masks.rle import RLE
    from fiftyone_revseg.types import FrameTable
    from fiftyone_revseg.video import Video

_SECONDS = 0.1  # between two reports about one stage of one job


@dataclass(frozen=True)
class Progressed:
    """How far a stage of a job is."""

    job: EngineJob
    stage: str
    done: int
    total: int


@dataclass(eq=False)
class _Counter:
    """How many frames are tracked, and whether that is worth a report."""

    total: int = 0
    done: int = 0
    _reported: float = float("-inf")

    def is_due(self) -> bool:
        now = time.monotonic()
        if self.done < self.total and now - self._reported < _SECONDS:
            return False
        self._reported = now
        return True


@dataclass(eq=False)
class _Tracking:
    """The objects, of any query, that share a key frame."""

    pursuit: Pursuit
    owners: list[tuple[int, int]]  # of each box: which query, which of its objects
    rles: list[list[RLE | None]]
    scores: list[list[float | None]]
    frames: int = 0
    ended: Ended | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.ended is not None and self.frames >= self.ended.frames


class Work:
    """What is known about a job so far. At any time, one stage has it.

    Args:
        pipeline: the pipeline
        job: the job
        ahead (None): how many frames walks through the video decode ahead, 0 for none
    """

    def __init__(self, pipeline: RevSeg, job: EngineJob, ahead: int | None = None):
        self.job = job
        # What is not text, as a field of a dataset may be, is no query: the chain says so
        self.queries = [query if isinstance(query, str) else "" for query in job.queries]
        self.images: list[np.ndarray] = []
        self.progress = _Counter()
        self._pipeline = pipeline
        self._options: dict[str, Any] = {} if ahead is None else {"ahead": ahead}
        self._video: Video | None = None
        self._table: FrameTable | None = None
        self._failure: Exception | None = None
        self._trajectories: Sequence[Trajectory] = ()
        self._answers: list[Segmentation] | None = None
        self._trackings: dict[int, _Tracking] = {}  # by key frame
        self._seconds: dict[str, float] = {}
        self._about: dict[str, Any] = {}
        self._given_up = False

    @property
    def failed(self) -> bool:
        """Whether the video could not be read."""
        return self._failure is not None

    def open(self, patience: float | None = None) -> None:
        """Opens the video and reads the frames that the model is shown.

        Args:
            patience (None): after how many seconds to give the video up. What hangs in a decoder
                cannot be stopped: it is left behind. By default, however long it takes
        """
        if patience is None:
            self._open()
            return
        thread = threading.Thread(target=self._open, name="revseg-open", daemon=True)
        thread.start()
        thread.join(patience)
        if thread.is_alive():
            self._given_up = True
            self._failure = VideoError(
                f"{self.job.path} could not be read within {patience:g} seconds: check the disk "
                "or the network that it is on"
            )

    def _open(self) -> None:
        started = time.perf_counter()
        job, pipeline = self.job, self._pipeline
        try:
            source = list(job.video) if isinstance(job.video, tuple) else job.video
            self._video = open_video(source, job.frame_range, **self._options)
            self._table = self._video.sample(pipeline.spec.frames)
            self.images = pipeline.sampled_frames(self._video, self._table)
            self._about = {
                "path": str(self._video.path if isinstance(job.video, tuple) else job.video),
                "fps": float(self._video.fps),
                "first_frame": self._video.first_frame,
                "model": pipeline.name,
            }
        except Exception as error:
            self._failure = error
        self._seconds["decode"] = time.perf_counter() - started
        if self._given_up:  # in time for nobody
            self._given_up = False
            self.close()

    def requests(self) -> list[ChainRequest]:
        """Returns what to run the dialogue for."""
        assert self._video is not None
        assert self._table is not None
        return self._pipeline.requests(self._video, self._table, self.images, self.queries)

    def take(self, trajectories: Sequence[Trajectory]) -> None:
        """Takes what the model answered; the sampled frames are not needed any more."""
        self._trajectories = trajectories
        self.images = []

    def track(self, report: Progress) -> None:
        """Tracks by itself, with any tracker."""
        answers = []
        for trajectory in self._trajectories:
            started = time.perf_counter()
            assert self._video is not None
            tracks, status, why = self._pipeline._track(self._video, trajectory, report)
            timings = self._timings(trajectory, time.perf_counter() - started)
            answers.append(Segmentation(trajectory, tracks, status, why, timings, **self._about))
        self._answers = answers

    def pursuits(self) -> list[Pursuit]:
        """Returns what to track, all queries together; made with the first call."""
        if not self._trackings:
            boxes: dict[int, list[Any]] = {}
            owners: dict[int, list[tuple[int, int]]] = {}
            for q, trajectory in enumerate(self._trajectories):
                for key_frame, objects in boxes_by_key_frame(trajectory).items():
                    boxes.setdefault(key_frame, []).extend(objects.values())
                    owners.setdefault(key_frame, []).extend((q, i) for i in objects)
            for key_frame in boxes:
                self._trackings[key_frame] = self._tracking(
                    key_frame, np.array(boxes[key_frame], float), owners[key_frame]
                )
            self.progress.total = sum(len(t.rles[0]) for t in self._trackings.values())
        return [tracking.pursuit for tracking in self._trackings.values()]

    def _tracking(
        self, key_frame: int, boxes: np.ndarray, owners: list[tuple[int, int]]
    ) -> _Tracking:
        assert self._video is not None
        frames = len(self._video)
        return _Tracking(
            Pursuit(self._video, key_frame, boxes),
            owners,
            [[None] * frames for _ in owners],
            [[None] * frames for _ in owners],
        )

    def found(self, found: Found) -> None:
        """Encodes masks and keeps them."""
        tracking = self._trackings[found.pursuit.key_frame]
        tracking.frames += 1
        self.progress.done += 1
        started = time.perf_counter()
        try:
            masks = found.encode()
        except Exception as error:
            tracking.error = error
            return
        for n in range(len(tracking.owners)):
            tracking.rles[n][masks.frame] = masks.rles[n]
            tracking.scores[n][masks.frame] = float(masks.scores[n])
        for q, _ in tracking.owners:
            share = (found.seconds + time.perf_counter() - started) / len(tracking.owners)
            self._seconds[f"track{q}"] = self._seconds.get(f"track{q}", 0.0) + share

    def ended(self, ended: Ended) -> None:
        """Notes that no more masks of a key frame's objects will come."""
        tracking = self._trackings[ended.pursuit.key_frame]
        tracking.ended = ended
        tracking.error = tracking.error or ended.error

    @property
    def is_tracked(self) -> bool:
        """Whether all masks are there."""
        return all(tracking.is_done for tracking in self._trackings.values())

    def finish(self) -> list[Segmentation]:
        """Returns the answers, and lets go of the video."""
        self.close()
        if self._failure is not None:
            failed = self._pipeline.failed
            return [failed(self.job.path, query, self._failure) for query in self.queries]
        if self._answers is not None:
            return self._answers
        return [self._answer(q) for q in range(len(self._trajectories))]

    def close(self) -> None:
        """Lets go of the video."""
        if self._video is not None and not self._given_up:  # or it would wait for what hangs
            self._video.close()

    def _answer(self, q: int) -> Segmentation:
        assert self._video is not None
        trajectory = self._trajectories[q]
        tracks: list[MaskTrack | None] = [None] * len(trajectory.choices)
        errors: list[Exception] = []
        tracked = False
        for tracking in self._trackings.values():
            for n, (owner, i) in enumerate(tracking.owners):
                if owner != q:
                    continue
                tracked = True
                if tracking.error is not None:
                    errors.append(tracking.error)
                    continue
                frames = len(tracking.rles[n])
                rles, scores = tuple(tracking.rles[n]), tuple(tracking.scores[n])
                tracks[i] = MaskTrack(i, frames, self._video.size, rles, scores)
        status, reason = trajectory.status, trajectory.reason
        if tracked:
            status, reason = how_tracking_ended(trajectory, tracks, errors[0] if errors else None)
        timings = self._timings(trajectory, self._seconds.get(f"track{q}", 0.0))
        return Segmentation(trajectory, tuple(tracks), status, reason, timings, **self._about)

    def _timings(self, trajectory: Trajectory, track: float) -> dict[str, float]:
        turns = seconds_by_turn(trajectory)
        decode = self._seconds["decode"] / len(self.queries)
        return {"decode": decode, "reason": sum(turns.values()), **turns, "track": track}
