"""The whole chain for one video: queries in; thoughts, key frames, boxes and masks out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fiftyone_revseg.files.digests import digest_texts
from fiftyone_revseg.models.devices import choose_device, choose_dtype, empty_caches
from fiftyone_revseg.models.hub import check_available
from fiftyone_revseg.models.presets import (
    DEFAULT_TRACKER,
    PRESETS,
    Weights,
    default_tracker,
    resolve,
)
from fiftyone_revseg.reasoning import (
    ChainRequest,
    ChainSpec,
    LocalReasoner,
    Reasoner,
    ServerReasoner,
    Trajectory,
    run_chain,
)
from fiftyone_revseg.reasoning.local import checkpoint_spec
from fiftyone_revseg.reasoning.resize import resize_square
from fiftyone_revseg.tracking import MaskTrack, Tracker, load_tracker, track_both_ways
from fiftyone_revseg.tracking.checkpoints import OFFICIAL_PRESETS
from fiftyone_revseg.types import FrameTable, Status
from fiftyone_revseg.video import VideoError, open_video

if TYPE_CHECKING:
    from fiftyone_revseg.video import Video

logger = logging.getLogger(__name__)

Box = tuple[float, float, float, float]

#: ``progress(stage, done, total)``: stage is "decode", "reason" or "track"; done and total count
#: sampled frames, queries and frames walked, respectively
Progress = Callable[[str, int, int], None]

_HELD_BYTES = 512 * 2**20  # of sampled frames at the size of the video

_LOST = "the tracker found nothing in any frame, not even in the box in the key frame"


@dataclass(frozen=True)
class Segmentation:
    """The answer to one query on one video.

    Attributes:
        trajectory: how the model came to its answer
        tracks: one track per object, in the order of ``trajectory.choices``; None where there is
            no box to track from
        status: how it ended; ok as soon as one object was found in one frame
        reason: why the status is not ok, or what went wrong with some of the objects, in words
        timings: wall time in seconds by stage. "decode" and "reason" are the query's share of
            what all queries on the video took together, "turn1" and "turn2" what the model says
            about its replies, "track" is the query's own
        path: of the video
        fps: frames per second; 0 if the video is unreadable
        first_frame: the frame of the file, 0-based, that is frame 0 here; not 0 for clips
        model: the names of the models
    """

    trajectory: Trajectory
    tracks: tuple[MaskTrack | None, ...] = ()
    status: Status = Status.OK
    reason: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    path: str = ""
    fps: float = 0.0
    first_frame: int = 0
    model: str = ""

    @property
    def query(self) -> str:
        """The query."""
        return self.trajectory.query

    @property
    def frame_count(self) -> int:
        """The number of frames in the video; 0 if it is unreadable."""
        return self.trajectory.frame_table.frame_count

    @property
    def size(self) -> tuple[int, int]:
        """The (width, height) of the video in pixels; (0, 0) if it is unreadable."""
        return self.trajectory.source_size

    def object_status(self, i: int) -> Status:
        """Returns how the segmentation of object ``i`` alone ended."""
        track = self.tracks[i]
        if self.trajectory.groundings[i] is None:
            return Status.BAD_BOX
        if track is None:  # its box was fine, so the tracker never came to it
            return self.status
        return Status.OK if track.visible_frames else Status.LOST

    def object_reason(self, i: int) -> str:
        """Returns why the status of object ``i`` is not ok, in words; "" if it is."""
        status = self.object_status(i)
        if status is Status.OK:
            return ""
        if status is Status.LOST:
            return _LOST
        if status is Status.BAD_BOX:
            errors = [turn.error for turn in self.trajectory.turns if turn.object == i]
            return next((error for error in reversed(errors) if error), self.reason)
        return self.reason

    def masks(self) -> np.ndarray:
        """Decodes the masks of all objects together.

        Returns:
            a (T, H, W) boolean array, true where any object is
        """
        width, height = self.size
        masks = np.zeros((self.frame_count, height, width), bool)
        for track in filter(None, self.tracks):
            for k in track.visible_frames:
                masks[k] |= track.mask(k)
        return masks

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-serializable dict."""
        return {
            "trajectory": self.trajectory.to_dict(),
            "tracks": [track and track.to_dict() for track in self.tracks],
            "status": str(self.status),
            "reason": self.reason,
            "timings": dict(self.timings),
            "path": self.path,
            "fps": self.fps,
            "first_frame": self.first_frame,
            "model": self.model,
        }

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Segmentation:
        """Loads a segmentation from :meth:`to_dict`'s output."""
        return cls(
            **{
                **d,
                "trajectory": Trajectory.from_dict(d["trajectory"]),
                "tracks": tuple(track and MaskTrack.from_dict(track) for track in d["tracks"]),
                "status": Status(d["status"]),
            }
        )


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
        status, reason = _explain(error)
        trajectory = Trajectory(
            query=query,
            frame_table=FrameTable((), (), 0, 0.0),
            source_size=(0, 0),
            status=status,
            reason=reason,
        )
        return Segmentation(trajectory, (), status, reason, {}, path, model=self.name)


def load_pipeline(
    name_or_path: str | Path | Reasoner = "revseg-nano",
    tracker: str | Path | Tracker | None = None,
    device: str | None = None,
    dtype: Any = None,
    spec: ChainSpec | dict[str, Any] | None = None,
    server: str | None = None,
    server_key: str | None = None,
) -> RevSeg:
    """Loads a vision-language model and a tracker.

    Weights that a pipeline in this process already holds are shared, not loaded again.

    Example::

        import fiftyone_revseg as revseg

        pipeline = revseg.load_pipeline("revseg-nano")
        (answer,) = pipeline.segment("clip.mp4", ["the red circle"])
        print(answer.status, answer.trajectory.think)

    Args:
        name_or_path ("revseg-nano"): a preset, see :mod:`fiftyone_revseg.models.presets`, a hub
            id or path of an image-text-to-text checkpoint, or a reasoner
        tracker (None): a short name, a hub id or path of a checkpoint of SAM2 or EdgeTAM, as
            :func:`fiftyone_revseg.tracking.load_tracker` takes it, or a tracker. By default, the
            preset's, else SAM 2.1 Hiera-L
        device (None): for example "cuda:1". By default, a GPU if there is one
        dtype (None): for example "bfloat16". By default, what suits the device
        spec (None): how to ask the model: a chain spec, or a dict of the settings to change in
            the checkpoint's own, for example ``{"frames": 12}``; for a checkpoint of an unknown
            family at least ``{"box_convention": "pixels"}`` or ``"relative-1000"``
        server (None): the address of a server of the OpenAI API that has the vision-language
            model, such as "http://localhost:8000/v1"; ``name_or_path`` is its name there, or a
            preset. The tracker runs here
        server_key (None): the server's key; "" for none. By default, that in the environment
            variable ``REVSEG_SERVER_KEY``, if there is one

    Returns:
        a :class:`RevSeg`

    Raises:
        ValueError: if a name stands for nothing, a checkpoint cannot be loaded, a server does not
            answer, or a setting is not valid; the message says what to do
    """
    # What can be wrong is found out first: loading takes long
    if server is not None:
        if not isinstance(name_or_path, (str, Path)):
            raise ValueError("A server needs the name that a model has there, not a reasoner")
        name = str(name_or_path)
        tracker = default_tracker(name, server) if tracker is None else tracker
        if isinstance(tracker, (str, Path)):
            choose_dtype(dtype, choose_device(device))
        name_or_path = ServerReasoner.connect(server, name, spec, server_key)
        spec = name_or_path.spec
    if isinstance(name_or_path, (str, Path)):
        preset = resolve(name_or_path)
        name_or_path = preset.reasoner
        tracker = preset.tracker if tracker is None else tracker
        check_available(preset.reasoner_weights or _reasoner_weights(preset.reasoner))
    if tracker is None:
        tracker = DEFAULT_TRACKER
    if isinstance(tracker, (str, Path)) or isinstance(name_or_path, str):
        choose_dtype(dtype, choose_device(device))
    reasoner = name_or_path
    if isinstance(reasoner, str):
        if not isinstance(spec, ChainSpec):
            spec = checkpoint_spec(reasoner, spec)
    elif isinstance(spec, dict):
        own = getattr(reasoner, "spec", None) or ChainSpec()
        spec = ChainSpec.from_dict({**own.to_dict(), **spec})
    if isinstance(tracker, (str, Path)):
        check_available(_tracker_weights(str(tracker)))
        tracker = load_tracker(tracker, device=device, dtype=dtype)
    if isinstance(reasoner, str):
        reasoner = LocalReasoner.load(reasoner, device=device, dtype=dtype, spec=spec)
        if Path(reasoner.name).is_dir():  # results travel, the folders of this machine do not
            reasoner.name = Path(reasoner.name).name
    return RevSeg(reasoner, tracker, spec)


def _reasoner_weights(name: str) -> Weights:
    """What there is to look for of a checkpoint of which no preset knows more than the name."""
    if Path(name).is_dir():
        return Weights(0, "", folder=Path(name))
    return Weights(0, "", hub_id=name, files=("config.json",))


def _tracker_weights(name: str) -> Weights:
    """The same of a tracker; of those whose files cannot be told from the name, nothing."""
    file = OFFICIAL_PRESETS.get(name.removeprefix("facebook/"))
    if file is None or Path(name).exists():
        return Weights(0, "", folder=Path(name))
    known = (preset.tracker_weights for preset in PRESETS.values())
    for weights in known:
        if weights is not None and weights.files == (file,):
            return weights
    return Weights(0, "", hub_id=f"facebook/{name.removeprefix('facebook/')}", files=(file,))


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


def how_tracking_ended(
    trajectory: Trajectory, tracks: Sequence[MaskTrack | None], error: Exception | None = None
) -> tuple[Status, str]:
    """Returns the status of a query whose boxes were tracked, and its reason.

    Args:
        trajectory: how the model came to the boxes
        tracks: what was tracked, None where that failed
        error (None): why it failed
    """
    if error is not None:
        status, reason = _explain(error)
        return status, f"tracking stopped: {reason}"
    if not any(track is not None and track.visible_frames for track in tracks):
        return Status.LOST, _LOST
    return trajectory.status, trajectory.reason


def _explain(error: Exception) -> tuple[Status, str]:
    """Puts an exception into a status and words."""
    if isinstance(error, VideoError):
        return Status.UNREADABLE, str(error)
    # A bug or a failing device: the traceback belongs in the log, the name in the record
    logger.warning("Segmentation failed", exc_info=error)
    return Status.ERROR, f"{type(error).__name__}: {error}"


def seconds_by_turn(trajectory: Trajectory) -> dict[str, float]:
    """Returns what the model says about the time of its replies, by turn: "turn1", "turn2"."""
    seconds: dict[str, float] = {}
    for turn in trajectory.turns:
        name = f"turn{turn.turn}"
        seconds[name] = seconds.get(name, 0.0) + turn.seconds
    return seconds


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
