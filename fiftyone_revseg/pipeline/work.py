"""One job on its way through the stages: open, ask, track, answer.

:meth:`Work.run` goes through all of them in the caller's thread; an engine hands many from thread
to thread, and tracks several together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fiftyone_revseg.pipeline.job import EngineJob, Progress
from fiftyone_revseg.pipeline.segmentation import (
    Segmentation,
    how_tracking_ended,
    seconds_by_turn,
)
from fiftyone_revseg.progress import Pace
from fiftyone_revseg.reasoning import ChainRequest, Trajectory, run_chain
from fiftyone_revseg.reasoning.resize import resize_square
from fiftyone_revseg.tracking import MaskTrack
from fiftyone_revseg.tracking.both_ways import FoundMasks, walk_both_ways
from fiftyone_revseg.tracking.lockstep import Ended, Found, Pursuit
from fiftyone_revseg.tracking.prompts import object_prompt
from fiftyone_revseg.types import FrameTable
from fiftyone_revseg.video import Video, VideoError, open_video

if TYPE_CHECKING:
    from fiftyone_revseg.pipeline.pipeline import RevSeg

_HELD_BYTES = 512 * 2**20  # of sampled frames at the size of the video
_SECONDS = 0.1  # between two reports about one stage of one job


@dataclass(eq=False)
class _Tracking:
    """The objects, of any query, that share a key frame."""

    pursuit: Pursuit
    owners: list[tuple[int, int]]  # of each box: which query, which of its objects
    masks: FoundMasks
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
        video (None): the job's video, if it is open already; it stays open
    """

    def __init__(
        self, pipeline: RevSeg, job: EngineJob, ahead: int | None = None, video: Video | None = None
    ):
        self.job = job
        # What is not text, as a field of a dataset may be, is no query: the chain says so
        self.queries = [query if isinstance(query, str) else "" for query in job.queries]
        self.images: list[np.ndarray] = []
        self.walked, self.to_walk = 0, 0  # frames
        self.pace = Pace(_SECONDS)
        self._pipeline = pipeline
        self._options: dict[str, Any] = {} if ahead is None else {"ahead": ahead}
        self._stays_open = video is not None
        self._video = video
        self._table: FrameTable | None = None
        self._failure: Exception | None = None
        self._trajectories: Sequence[Trajectory] = ()
        self._trackings: dict[Pursuit, _Tracking] = {}
        self._decoding = 0.0  # seconds
        self._tracking = [0.0] * len(self.queries)  # seconds of each query
        self._given_up = False

    @property
    def failed(self) -> bool:
        """Whether the video could not be read."""
        return self._failure is not None

    def run(self, report: Progress) -> list[Segmentation]:
        """Goes through all stages, and returns the answers."""
        pipeline, count = self._pipeline, len(self.queries)
        try:
            report("decode", 0, pipeline.spec.frames)
            self.open()
            if not self.failed:
                report("decode", len(self.images), len(self.images))
                report("reason", 0, count)
                self.take(run_chain(pipeline.reasoner, pipeline.spec, self.requests()))
                report("reason", count, count)
                self.track(report)
        finally:
            self.close()
        return self.finish()

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
        job = self.job
        try:
            if self._video is None:
                source = list(job.video) if isinstance(job.video, tuple) else job.video
                self._video = open_video(source, job.frame_range, **self._options)
            self._table = self._video.sample(self._pipeline.spec.frames)
            self.images = self._sampled_frames(self._video, self._table)
        except Exception as error:
            self._failure = error
        self._decoding = time.perf_counter() - started
        if self._given_up:  # in time for nobody
            self._given_up = False
            self.close()

    def _sampled_frames(self, video: Video, table: FrameTable) -> list[np.ndarray]:
        """Reads the sampled frames; those of huge videos at the size that the model sees."""
        width, height = video.size
        frames = video.frames(table.indices)
        if 3 * width * height * len(table.indices) <= _HELD_BYTES:
            return list(frames)
        return [resize_square(frame, self._pipeline.spec.frame_size) for frame in frames]

    def requests(self) -> list[ChainRequest]:
        """Returns what to run the dialogue for."""
        video, table, images = self._video, self._table, self.images
        assert video is not None
        assert table is not None
        width, height = video.size
        sampled = dict(zip(table.indices, images, strict=True))

        def read_frame(k: int) -> np.ndarray:
            frame = sampled.get(k)
            return frame if frame is not None and frame.shape[:2] == (height, width) else video[k]

        return [
            ChainRequest(query, table, images, read_frame, (width, height))
            for query in self.queries
        ]

    def take(self, trajectories: Sequence[Trajectory]) -> None:
        """Takes what the model answered; the sampled frames are not needed any more."""
        self._trajectories = trajectories
        self.images = []

    def track(self, report: Progress) -> None:
        """Tracks by itself with any tracker, one query after the other."""
        for q in range(len(self._trajectories)):
            started = time.perf_counter()
            trackings = self._start([q])
            # Both directions start at the key frame, so it is walked twice; unless it is the first
            total = sum(len(t.pursuit.video) + (t.pursuit.key_frame > 0) for t in trackings)
            done = 0
            for tracking in trackings:
                of = tracking.pursuit
                try:
                    for found in walk_both_ways(
                        self._pipeline.tracker, of.video, of.key_frame, of.prompts
                    ):
                        tracking.masks.add(found)
                        done += 1
                        report("track", done, total)
                except Exception as error:
                    tracking.error = error
            self._tracking[q] = time.perf_counter() - started

    def pursuits(self) -> list[Pursuit]:
        """Returns what to track, all queries together; made with the first call."""
        if not self._trackings:
            trackings = self._start(range(len(self._trajectories)))
            self.to_walk = sum(len(tracking.pursuit.video) for tracking in trackings)
        return list(self._trackings)

    def _start(self, queries: Iterable[int]) -> list[_Tracking]:
        """Groups the objects of some queries by the key frame that they are tracked from."""
        # Points make another prompt than boxes alone, and one array has as many of each object
        together: dict[tuple[int, int], dict[tuple[int, int], Any]] = {}
        for q in queries:
            trajectory = self._trajectories[q]
            for i, grounding in enumerate(trajectory.groundings):
                if grounding is not None:
                    key = trajectory.key_frames[i], len(grounding.points)
                    box, points = grounding.box_xyxy_px, grounding.points
                    prompt: Any = object_prompt(box, points) if points else box
                    together.setdefault(key, {})[q, i] = prompt
        started = []
        for (key_frame, _), prompts in together.items():
            assert self._video is not None
            pursuit = Pursuit(self._video, key_frame, np.array(list(prompts.values()), float), self)
            masks = FoundMasks(self._video, len(prompts))
            self._trackings[pursuit] = _Tracking(pursuit, list(prompts), masks)
            started.append(self._trackings[pursuit])
        return started

    def found(self, found: Found) -> None:
        """Encodes masks and keeps them."""
        tracking = self._trackings[found.pursuit]
        tracking.frames += 1
        self.walked += 1
        started = time.perf_counter()
        try:
            tracking.masks.add(found.encode())
        except Exception as error:
            tracking.error = error
            return
        share = (found.seconds + time.perf_counter() - started) / len(tracking.owners)
        for q, _ in tracking.owners:
            self._tracking[q] += share

    def ended(self, ended: Ended) -> None:
        """Notes that no more masks of a key frame's objects will come."""
        tracking = self._trackings[ended.pursuit]
        tracking.ended = ended
        tracking.error = tracking.error or ended.error

    @property
    def is_tracked(self) -> bool:
        """Whether all masks are there."""
        return all(tracking.is_done for tracking in self._trackings.values())

    def close(self) -> None:
        """Lets go of the video."""
        if self._video is None or self._stays_open or self._given_up:
            return  # one that was given up hangs, and so would closing it
        self._video.close()

    def finish(self) -> list[Segmentation]:
        """Returns the answers, one for each query; lets go of the video, and of all else."""
        self.close()
        if self._failure is not None:
            failed = self._pipeline.failed
            return [failed(self.job.path, query, self._failure) for query in self.queries]
        tracks: list[list[MaskTrack | None]] = [[None] * len(t.choices) for t in self._trajectories]
        errors: dict[int, Exception] = {}
        trackings, self._trackings = self._trackings, {}  # which know this work, and it them
        for tracking in trackings.values():
            for (q, i), track in zip(tracking.owners, tracking.masks.tracks(), strict=True):
                if tracking.error is not None:
                    errors.setdefault(q, tracking.error)
                else:
                    tracks[q][i] = replace(track, object_id=i)
        return [
            self._answer(trajectory, tracks[q], errors.get(q), self._tracking[q])
            for q, trajectory in enumerate(self._trajectories)
        ]

    def _answer(
        self,
        trajectory: Trajectory,
        tracks: list[MaskTrack | None],
        error: Exception | None,
        seconds: float,
    ) -> Segmentation:
        video = self._video
        assert video is not None
        status, reason = how_tracking_ended(trajectory, tracks, error)
        turns = seconds_by_turn(trajectory)
        timings = {
            "decode": self._decoding / len(self.queries),
            "reason": sum(turns.values()),
            **turns,
            "track": seconds,
        }
        return Segmentation(
            trajectory,
            tuple(tracks),
            status,
            reason,
            timings,
            path=str(video.path if isinstance(self.job.video, tuple) else self.job.video),
            fps=float(video.fps),
            first_frame=video.first_frame,
            model=self._pipeline.name,
        )
