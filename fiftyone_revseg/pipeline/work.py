"""One job on its way through the stages: open, ask, track, perhaps ask and track again, answer.

:meth:`Work.run` goes through all of them in the caller's thread; an engine hands many from thread
to thread, and tracks several together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fiftyone_revseg.models.demonstration import caveat
from fiftyone_revseg.pipeline.answering import Answer, Steps, answering
from fiftyone_revseg.pipeline.found_objects import FoundObject
from fiftyone_revseg.pipeline.job import EngineJob, Progress
from fiftyone_revseg.pipeline.segmentation import (
    Segmentation,
    explain,
    how_tracking_ended,
    seconds_by_turn,
)
from fiftyone_revseg.pipeline.steps import Ask, Track
from fiftyone_revseg.progress import Pace
from fiftyone_revseg.reasoning import ChainRequest, Trajectory
from fiftyone_revseg.reasoning.closer import frames_to_sample
from fiftyone_revseg.reasoning.resize import resize_square
from fiftyone_revseg.reasoning.rolling import Talk, run_talks
from fiftyone_revseg.synthetic.made_up import is_made_up
from fiftyone_revseg.tracking.both_ways import FoundMasks, VideoLike, walk_both_ways
from fiftyone_revseg.tracking.lockstep import Ended, Found, Pursuit
from fiftyone_revseg.types import FrameTable
from fiftyone_revseg.video import Video, VideoError, open_video
from fiftyone_revseg.video.cuts import CutFinder, WatchedVideo

if TYPE_CHECKING:
    from fiftyone_revseg.pipeline.pipeline import RevSeg

_HELD_BYTES = 512 * 2**20  # of sampled frames
_SECONDS = 0.1  # between two reports about one stage of one job


@dataclass(eq=False)
class _Tracking:
    """The objects, of any query, that share a key frame."""

    pursuit: Pursuit
    owners: list[tuple[int, FoundObject]]  # of each box: which query, which object
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
        self.walked, self.to_walk = 0, 0  # frames
        self.pace = Pace(_SECONDS)
        self._pipeline = pipeline
        self._options: dict[str, Any] = {} if ahead is None else {"ahead": ahead}
        self._stays_open = video is not None
        self._video = video
        self._table: FrameTable | None = None
        self._frames: dict[int, np.ndarray] = {}  # those that were sampled, while they are needed
        self._failure: Exception | None = None
        self._steps: list[Steps] = []
        self._wants: dict[int, Ask | Track] = {}  # query -> what it waits for
        self._answers: dict[int, Answer] = {}
        self._trackings: dict[Pursuit, _Tracking] = {}
        self._decoding = 0.0  # seconds
        self._tracking = [0.0] * len(self.queries)  # seconds of each query
        self._patience: float | None = None
        self._frames_read = 0
        self._hangs: VideoError | None = None  # why no more frames are asked for
        self._given_up = False
        self._cuts = CutFinder()
        self._watched: VideoLike | None = None

    @property
    def tracked_video(self) -> VideoLike | None:
        """What pursuits walk through: the video, or what watches its walks; None before that."""
        return self._video if self._watched is None else self._watched

    @property
    def sampled(self) -> int:
        """How many frames were read to be shown to the model."""
        return 0 if self._table is None else len(self._table)

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
                report("decode", self.sampled, self.sampled)
                report("reason", 0, count)
                while talks := self.talks():
                    self.take(run_talks(pipeline.reasoner, pipeline.spec, talks))
                    report("reason", count, count)
                    self.track(report)
        finally:
            self.close()
        return self.finish()

    def open(self, patience: float | None = None) -> None:
        """Opens the video and reads the frames that the model is shown.

        Args:
            patience (None): after how many seconds without a frame to give the video up, now and
                later. What hangs in a decoder cannot be stopped: it is left behind. By default,
                however long it takes
        """
        self._patience = patience
        if not self._in_time(self._open):
            self._failure = self._hangs

    def _in_time(self, read: Callable[[], None]) -> bool:
        """Reads frames; returns whether they came. If not, the reader is left behind."""
        if self._patience is None:
            read()
            return True

        def run() -> None:
            read()
            if self._given_up:  # in time for nobody
                self._given_up = False
                self.close()

        thread = threading.Thread(target=run, name="revseg-open", daemon=True)
        thread.start()
        seen = -1
        while thread.is_alive() and seen != self._frames_read:
            seen = self._frames_read
            thread.join(self._patience)
        if not thread.is_alive():
            return True
        self._given_up = True
        self._hangs = VideoError(
            f"{self.job.path} could not be read within {self._patience:g} seconds: check the disk "
            "or the network that it is on"
        )
        return False

    def _open(self) -> None:
        started = time.perf_counter()
        job = self.job
        try:
            if self._video is None:
                source = list(job.video) if isinstance(job.video, tuple) else job.video
                self._video = open_video(source, job.frame_range, **self._options)
            spec = self._pipeline.spec
            table = self._video.sample(frames_to_sample(spec, self._video.duration))
            if len(table) > spec.frames:
                self._read_ahead(self._video, table.indices[: self._most_held])
            else:
                frames = self._sampled_frames(self._video, table.indices)
                self._frames = dict(zip(table.indices, frames, strict=True))
            self._table = table
        except Exception as error:
            self._failure = error
        self._decoding = time.perf_counter() - started

    def _read_ahead(self, video: Video, indices: Sequence[int]) -> None:
        """Reads frames of a long video, up to one that fails: its window will tell of it."""
        for k in indices:
            try:
                self._frames[k] = resize_square(video[k], self._pipeline.spec.frame_size)
            except Exception:
                if not self._frames:
                    raise
                return
            self._frames_read += 1

    @property
    def _most_held(self) -> int:
        """How many frames are held at the size that the model sees."""
        return max(_HELD_BYTES // (3 * self._pipeline.spec.frame_size**2), 1)

    def _sampled_frames(self, video: Video, indices: Sequence[int]) -> list[np.ndarray]:
        """Reads sampled frames; those of huge videos at the size that the model sees."""
        width, height = video.size
        if 3 * width * height * len(indices) <= _HELD_BYTES:
            return video.frames(indices)
        return [resize_square(video[k], self._pipeline.spec.frame_size) for k in indices]

    def talks(self) -> list[Talk]:
        """Returns what to ask now: nothing once all is answered."""
        if not self._steps:
            spec, cuts = self._pipeline.spec, self._cuts
            self._steps = [answering(r, spec, lambda: cuts.cuts) for r in self._requests()]
            for q in range(len(self._steps)):
                self._step(q)
        return [want.talk for want in self._wants.values() if isinstance(want, Ask)]

    def take(self, results: Sequence[Any]) -> None:
        """Takes what came of the talks, in their order."""
        asked = [q for q, want in self._wants.items() if isinstance(want, Ask)]
        for q, result in zip(asked, results, strict=True):
            self._step(q, result)
        spec = self._pipeline.spec
        if not (spec.verdict or spec.looks or spec.max_gap):  # nobody asks for them any more
            self._frames.clear()
        for k, frame in self._frames.items():
            self._frames[k] = resize_square(frame, spec.frame_size)

    def _step(self, q: int, result: Any = None) -> None:
        """Goes on with one query."""
        self._wants.pop(q, None)
        try:
            self._wants[q] = self._steps[q].send(result)
        except StopIteration as end:
            self._answers[q] = end.value
        except Exception as error:  # a bug, which is to touch no other query
            self._answers[q] = self._broken(self.queries[q], error)

    def _broken(self, query: str, error: Exception) -> Answer:
        video, table = self._video, self._table
        assert video is not None
        assert table is not None
        status, reason = explain(error)
        return Answer(Trajectory(query, table, video.size, status, reason), ())

    def _requests(self) -> list[ChainRequest]:
        video, table = self._video, self._table
        assert video is not None
        assert table is not None
        # Lists of their own, which end with the dialogues. Of more frames than turn 1 shows, those
        # that it is to show are read when they are wanted
        whole = len(table) <= self._pipeline.spec.frames
        images = list(self._frames.values()) if whole else []
        read, look = self._read_frame, self._look
        return [
            ChainRequest(query, table, images, read, video.size, look, video.time)
            for query in self.queries
        ]

    def _read_frame(self, k: int) -> np.ndarray:
        """Frame ``k`` at the size of the video."""
        video = self._video
        assert video is not None
        frame = self._frames.get(k)
        if frame is not None and frame.shape[1::-1] == tuple(video.size):
            return frame
        if self._hangs is not None:
            raise self._hangs
        found: list[Any] = []

        def read() -> None:
            try:
                found.append(video[k])
            except Exception as error:
                found.append(error)

        if not self._in_time(read):
            assert self._hangs is not None
            raise self._hangs
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    def _look(self, k: int) -> np.ndarray:
        """Frame ``k`` at the size of sampled frames."""
        frame = self._frames.get(k)
        if frame is None:
            frame = self._read_frame(k)
        frame = resize_square(frame, self._pipeline.spec.frame_size)
        if len(self._frames) < self._most_held:  # other queries, and the verdict, look there, too
            self._frames[k] = frame
        return frame

    def track(self, report: Progress) -> None:
        """Tracks what there is to track by itself, with any tracker, one query after the other."""
        while queries := [q for q, want in self._wants.items() if isinstance(want, Track)]:
            for q in queries:
                self._track(q, report)
                self._tracked([q])

    def _track(self, q: int, report: Progress) -> None:
        started = time.perf_counter()
        trackings = self._start([q])
        # Both directions start at the key frame, so it is walked twice; unless it is the first
        total = sum(
            t.pursuit.length + (t.pursuit.key_frame > (t.pursuit.within or (0,))[0])
            for t in trackings
        )
        done = 0
        for tracking in trackings:
            of = tracking.pursuit
            try:
                for found in walk_both_ways(
                    self._pipeline.tracker,
                    of.video,
                    of.key_frame,
                    of.prompts,
                    of.known,
                    of.within,
                ):
                    tracking.masks.add(found)
                    done += 1
                    report("track", done, total)
            except Exception as error:
                tracking.error = error
        self._tracking[q] += time.perf_counter() - started

    def pursuits(self) -> list[Pursuit]:
        """Returns what to track now, all queries together."""
        if not self._trackings:
            wants = [q for q, want in self._wants.items() if isinstance(want, Track)]
            trackings = self._start(wants)
            self.to_walk += sum(tracking.pursuit.length for tracking in trackings)
        return list(self._trackings)

    def _start(self, queries: Iterable[int]) -> list[_Tracking]:
        """Groups the objects of some queries by the key frame that they are tracked from."""
        # Points make another prompt than boxes alone, and one array has as many of each object
        together: dict[Any, list[tuple[int, FoundObject]]] = {}
        for q in queries:
            want = self._wants[q]
            assert isinstance(want, Track)
            for one in want.objects:
                # What is known of an object beside its key frame is known of that one alone
                alone = id(one) if one.known or one.within else None
                key = one.key_frame, len(one.grounding.points), alone
                together.setdefault(key, []).append((q, one))
        started = []
        for (key_frame, *_), owners in together.items():
            first = owners[0][1]
            prompts = np.array([one.prompt for _, one in owners], float)
            try:
                pursuit = Pursuit(
                    self._walked, key_frame, prompts, self, known=first.known, within=first.within
                )
            except Exception as error:
                for _, one in owners:
                    one.error = error
                continue
            masks = FoundMasks(self._walked, len(prompts))
            self._trackings[pursuit] = _Tracking(pursuit, owners, masks)
            started.append(self._trackings[pursuit])
        return started

    @property
    def _walked(self) -> VideoLike:
        """The video, its cuts found while it is walked where tracks may be repaired."""
        video = self._video
        assert video is not None
        if not self._pipeline.spec.anchors:
            return video
        if self._watched is None:  # one for all, so that passes share what they encode
            self._watched = WatchedVideo(video, self._cuts)
        return self._watched

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
        if isinstance(ended.error, TimeoutError):
            self._hangs = VideoError(str(ended.error))

    @property
    def is_tracked(self) -> bool:
        """Whether all masks are there that there are to come now."""
        return all(tracking.is_done for tracking in self._trackings.values())

    def go_on(self) -> bool:
        """Takes what was tracked.

        Returns:
            whether there is more to ask, :meth:`talks`, or to track, :meth:`pursuits`
        """
        if not self.failed:
            self._tracked([q for q, want in self._wants.items() if isinstance(want, Track)])
        return bool(self._wants)

    def _tracked(self, queries: Iterable[int]) -> None:
        """Goes on with queries whose objects were tracked."""
        trackings, self._trackings = self._trackings, {}  # which know this work, and it them
        for tracking in trackings.values():
            for (_, one), track in zip(tracking.owners, tracking.masks.tracks(), strict=True):
                one.error = tracking.error
                one.track = track if tracking.error is None else None
        for q in queries:
            self._step(q)

    def close(self) -> None:
        """Lets go of the video."""
        if self._video is None or self._stays_open or self._given_up:
            return  # one that was given up hangs, and so would closing it
        self._video.close()

    def finish(self) -> list[Segmentation]:
        """Returns the answers, one for each query; lets go of the video."""
        self.close()
        self._frames.clear()
        self._steps.clear()  # which know this work
        self._watched = None
        if self._failure is not None:
            failed = self._pipeline.failed
            return [failed(self.job.path, query, self._failure) for query in self.queries]
        return [self._answer(self._answers[q], self._tracking[q]) for q in sorted(self._answers)]

    def _answer(self, answer: Answer, seconds: float) -> Segmentation:
        video, trajectory, error = self._video, answer.trajectory, answer.error
        assert video is not None
        tracks = [track and replace(track, object_id=i) for i, track in enumerate(answer.tracks)]
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
            caveat=self._caveat(),
        )

    def _caveat(self) -> str:
        name = self._pipeline.demonstration
        return caveat(name) if name and not is_made_up(self.job.video) else ""
