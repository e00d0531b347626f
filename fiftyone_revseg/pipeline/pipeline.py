"""The whole chain for one video: queries in; thoughts, key frames, boxes and masks out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fiftyone_revseg.files.digests import digest_texts
from fiftyone_revseg.models.devices import empty_caches
from fiftyone_revseg.pipeline.job import Progress
from fiftyone_revseg.pipeline.segmentation import (
    Segmentation,
    explain,
    how_tracking_ended,
    seconds_by_turn,
)
from fiftyone_revseg.reasoning import ChainRequest, ChainSpec, Reasoner, Trajectory, run_chain
from fiftyone_revseg.reasoning.resize import resize_square
from fiftyone_revseg.tracking import MaskTrack, Tracker, track_both_ways
from fiftyone_revseg.types import FrameTable, Status
from fiftyone_revseg.video import open_video

if TYPE_CHECKING:
    from fiftyone_revseg.video import Video

Box = tuple[float, float, float, float]

_HELD_BYTES = 512 * 2**20  # of sampled frames at the size of the video


class RevSeg:
    """A reasoner and a tracker that together segment what a query describes.

    A pipeline holds the models' memory until it is closed, or garbage like any object. Use it as
    a context manager to close it::

        with revseg.load_pipeline("revseg-nano") as pipeline:
            pipeline.segment("clip.mp4", "the red circle")

    Args:
        reasoner: the vision-language model, a :class:`fiftyone_revseg.reasoning.Reasoner`
        tracker: a :class:`fiftyone_revseg.tracking.Tracker`
        spec (None): how to ask the model, a :class:`fiftyone_revseg.reasoning.ChainSpec`. By
            default, the reasoner's own

    Attributes:
        spec: how the model is asked
        device: where the tracker runs, "" if it does not say
    """

    def __init__(self, reasoner: Reasoner, tracker: Tracker, spec: ChainSpec | None = None):
        self._parts: tuple[Reasoner, Tracker] | None = (reasoner, tracker)
        self.spec = spec or getattr(reasoner, "spec", None) or ChainSpec()
        self.device = str(getattr(tracker, "device", ""))
        self._names = (_display_name(reasoner), _display_name(tracker))
        self._server = dict(getattr(reasoner, "settings", {}))
        self._weights = digest_texts(
            getattr(part, "digest", None) or name
            for part, name in zip((reasoner, tracker), self._names, strict=True)
        )[:16]

    @property
    def reasoner(self) -> Reasoner:
        """The vision-language model."""
        return self._open()[0]

    @property
    def tracker(self) -> Tracker:
        """The tracker."""
        return self._open()[1]

    @property
    def name(self) -> str:
        """The names of the two models, of local ones without the folders they are in."""
        return " + ".join(self._names)

    def settings(self) -> dict[str, Any]:
        """Describes what answers depend on, beside the video and the query.

        Returns:
            a JSON-serializable dict: the names of the "model" and "tracker"; "weights", 16 digits
            that name the content of both, the same on every machine (models that were not loaded
            from files go by their names); the "spec"; and of a model on a server the "server"'s
            address and how "images" are sent to it
        """
        model, tracker = self._names
        return {
            "model": model,
            "tracker": tracker,
            "weights": self._weights,
            "spec": self.spec.to_dict(),
            **self._server,
        }

    def close(self) -> None:
        """Lets go of the models, and hands their memory back if nobody else uses them.

        The pipeline cannot segment any more after that; its name and settings stay known.
        """
        self._parts = None
        empty_caches()

    def __enter__(self) -> RevSeg:
        self._open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self) -> tuple[Reasoner, Tracker]:
        if self._parts is None:
            raise ValueError(
                f"The pipeline '{self.name}' was closed: load it again with load_pipeline"
            )
        return self._parts

    def segment(
        self,
        video: str | Path | Video,
        queries: str | Sequence[str],
        frame_range: tuple[int, int] | None = None,
        progress: Progress | None = None,
    ) -> list[Segmentation]:
        """Segments what each query describes in one video.

        The sampled frames are decoded once for all queries. Nothing that is wrong with the
        video, the models' answers or the models raises: it ends up in the status.

        Args:
            video: a path, or a video that :func:`fiftyone_revseg.video.open_video` opened, which
                stays open
            queries: the query or queries
            frame_range (None): the 0-based, half-open range of frames to treat as the video, if
                ``video`` is a path
            progress (None): called as ``progress(stage, done, total)``, see :data:`Progress`

        Returns:
            a list of :class:`Segmentation`, one per query and in their order

        Raises:
            ValueError: if the pipeline was closed
        """
        self._open()
        queries = [queries] if isinstance(queries, str) else list(queries)
        # What is not text, as a field of a dataset may be, is no query: the chain says so
        queries = [query if isinstance(query, str) else "" for query in queries]
        if not queries:
            return []
        report = progress or (lambda stage, done, total: None)
        path = str(getattr(video, "path", video))
        with ExitStack() as stack:
            started = time.perf_counter()
            report("decode", 0, self.spec.frames)
            try:
                if isinstance(video, (str, Path)):
                    video = stack.enter_context(open_video(video, frame_range))
                table = video.sample(self.spec.frames)
                images = self.sampled_frames(video, table)
            except Exception as error:
                return [self.failed(path, query, error) for query in queries]
            report("decode", len(images), len(images))
            decode = (time.perf_counter() - started) / len(queries)
            about: dict[str, Any] = {
                "path": path,
                "fps": float(video.fps),
                "first_frame": video.first_frame,
                "model": self.name,
            }

            started = time.perf_counter()
            report("reason", 0, len(queries))
            requests = self.requests(video, table, images, queries)
            trajectories = run_chain(self.reasoner, self.spec, requests)
            report("reason", len(queries), len(queries))
            reason = (time.perf_counter() - started) / len(queries)

            answers = []
            for trajectory in trajectories:
                started = time.perf_counter()
                tracks, status, why = self._track(video, trajectory, report)
                timings = {
                    "decode": decode,
                    "reason": reason,
                    **seconds_by_turn(trajectory),
                    "track": time.perf_counter() - started,
                }
                answers.append(Segmentation(trajectory, tracks, status, why, timings, **about))
            return answers

    def sampled_frames(self, video: Video, table: FrameTable) -> list[np.ndarray]:
        """Reads the sampled frames; those of huge videos at the size that the model sees."""
        width, height = video.size
        frames = video.frames(table.indices)
        if 3 * width * height * len(table.indices) <= _HELD_BYTES:
            return list(frames)
        return [resize_square(frame, self.spec.frame_size) for frame in frames]

    def requests(
        self, video: Video, table: FrameTable, images: list[np.ndarray], queries: Sequence[str]
    ) -> list[ChainRequest]:
        """Returns what to run the dialogue for.

        Args:
            video: the video
            table: which of its frames were sampled
            images: those frames, as :meth:`sampled_frames` returns them
            queries: the queries
        """
        width, height = video.size
        sampled = dict(zip(table.indices, images, strict=True))

        def read_frame(k: int) -> np.ndarray:
            frame = sampled.get(k)
            return frame if frame is not None and frame.shape[:2] == (height, width) else video[k]

        return [
            ChainRequest(query, table, images, read_frame, (width, height)) for query in queries
        ]

    def _track(
        self, video: Video, trajectory: Trajectory, report: Progress
    ) -> tuple[tuple[MaskTrack | None, ...], Status, str]:
        """Follows every object that has a box; those that share a key frame go together."""
        tracks: list[MaskTrack | None] = [None] * len(trajectory.choices)
        together = boxes_by_key_frame(trajectory)
        if not together:
            return tuple(tracks), trajectory.status, trajectory.reason

        # Both directions start at the key frame, so it is walked twice; unless it is the first
        total = sum(len(video) + (key_frame > 0) for key_frame in together)
        walked = _Walked(video, report, total)
        try:
            for key_frame, objects in together.items():
                boxes = np.array(list(objects.values()), float)
                found = track_both_ways(self.tracker, walked, key_frame, boxes)
                for i, track in zip(objects, found, strict=True):
                    tracks[i] = replace(track, object_id=i)
        except Exception as error:
            return tuple(tracks), *how_tracking_ended(trajectory, tracks, error)
        return tuple(tracks), *how_tracking_ended(trajectory, tracks)

    def failed(self, path: str, query: str, error: Exception) -> Segmentation:
        """Returns what is left to say about a query when its video could not be worked on."""
        status, reason = explain(error)
        trajectory = Trajectory(
            query=query,
            frame_table=FrameTable((), (), 0, 0.0),
            source_size=(0, 0),
            status=status,
            reason=reason,
        )
        return Segmentation(trajectory, (), status, reason, {}, path, model=self.name)


def _display_name(part: Any) -> str:
    name = str(getattr(part, "name", type(part).__name__))
    return Path(name).name if Path(name).exists() else name


def boxes_by_key_frame(trajectory: Trajectory) -> dict[int, dict[int, Box]]:
    """Returns what there is to track: for each key frame, the box of each object, by position."""
    together: dict[int, dict[int, Box]] = {}
    for i, grounding in enumerate(trajectory.groundings):
        if grounding is not None:
            together.setdefault(trajectory.key_frames[i], {})[i] = grounding.box_xyxy_px
    return together


class _Walked:
    """A video that reports every frame walked through."""

    def __init__(self, video: Video, report: Progress, total: int):
        self._video, self._report, self._total, self._done = video, report, total, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._video, name)

    def __len__(self) -> int:
        return len(self._video)

    def __getitem__(self, k: int) -> np.ndarray:
        return self._video[k]

    def walk(self, start: int, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        for k, frame in self._video.walk(start, step):
            self._done += 1
            self._report("track", self._done, self._total)
            yield k, frame
