"""The whole chain for one video: queries in; thoughts, key frames, boxes and masks out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fiftyone_revseg.files.digests import digest_texts
from fiftyone_revseg.models.demonstration import demonstration_among
from fiftyone_revseg.models.devices import empty_caches
from fiftyone_revseg.pipeline.job import EngineJob, Progress
from fiftyone_revseg.pipeline.segmentation import Segmentation, explain
from fiftyone_revseg.pipeline.work import Work
from fiftyone_revseg.reasoning import ChainSpec, Reasoner, Trajectory
from fiftyone_revseg.tracking import Tracker
from fiftyone_revseg.types import FrameTable
from fiftyone_revseg.video import Video


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

    @property
    def demonstration(self) -> str | None:
        """The name of that of the two models which knows made-up videos only; None if neither."""
        return demonstration_among(self._names)

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
        if not queries:
            return []
        path: Any = getattr(video, "path", video)
        job = EngineJob(path, tuple(queries), frame_range)
        work = Work(self, job, video=None if isinstance(video, (str, Path)) else video)
        return work.run(progress or (lambda stage, done, total: None))

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
