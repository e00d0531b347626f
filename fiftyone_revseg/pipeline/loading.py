"""A pipeline by the names of its models."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fiftyone_revseg.models.builtin import DEFAULT_TRACKER, PRESETS, Weights
from fiftyone_revseg.models.devices import choose_device, choose_dtype
from fiftyone_revseg.models.hub import check_available
from fiftyone_revseg.models.presets import default_tracker, resolve
from fiftyone_revseg.models.quantization import check_placing
from fiftyone_revseg.pipeline.pipeline import RevSeg
from fiftyone_revseg.reasoning import ChainSpec, LocalReasoner, Reasoner, ServerReasoner
from fiftyone_revseg.reasoning.local import checkpoint_spec
from fiftyone_revseg.tracking import Tracker, load_tracker
from fiftyone_revseg.tracking.checkpoints import OFFICIAL_PRESETS


@dataclass(frozen=True)
class Loading:
    """Which models to load, and how; nothing is loaded or looked for until that is asked for.

    Attributes:
        name ("revseg-nano"): as ``name_or_path`` of :func:`load_pipeline`, as is all else
        tracker (None): the tracker
        device (None): the device
        dtype (None): the data type
        spec (None): how to ask the model
        server (None): the address of a server that has the vision-language model
        server_key (None): the server's key, which is not shown
        server_concurrency (None): how many requests are made at the same time
        server_timeout (None): the seconds that one attempt may take
        image_format (None): how pictures are sent to a server
        quantization (None): the bits of the model's weights
        device_map (None): how the model is spread
    """

    name: str | Path | Reasoner = "revseg-nano"
    tracker: str | Path | Tracker | None = None
    device: str | None = None
    dtype: Any = None
    spec: ChainSpec | dict[str, Any] | None = None
    server: str | None = None
    server_key: str | None = field(default=None, repr=False)
    server_concurrency: int | None = None
    server_timeout: float | None = None
    image_format: str | None = None
    quantization: str | None = None
    device_map: str | None = None

    def load(self) -> RevSeg:
        """Loads both models; see :func:`load_pipeline`."""
        # What can be wrong is found out first: loading takes long
        reasoner: Any = self.name
        tracker, spec = self.tracker, self.spec
        is_named, is_here = isinstance(self.name, (str, Path)), self.server is None
        self._check()
        if is_named and is_here:
            preset = resolve(reasoner)
            reasoner = preset.reasoner
            check_available(preset.reasoner_weights or _reasoner_weights(reasoner))
        if tracker is None:
            tracker = self.tracker_name() if is_named else DEFAULT_TRACKER
        if self.server is not None:
            reasoner = self._connect()
            spec = reasoner.spec
        elif is_named:
            spec = spec if isinstance(spec, ChainSpec) else checkpoint_spec(reasoner, spec)
        elif isinstance(spec, dict):
            own = getattr(reasoner, "spec", None) or ChainSpec()
            spec = ChainSpec.from_dict({**own.to_dict(), **spec})
        if isinstance(tracker, (str, Path)):
            check_available(_tracker_weights(str(tracker)))
            tracker = load_tracker(tracker, device=self.device, dtype=self.dtype)
        if isinstance(reasoner, str):
            reasoner = LocalReasoner.load(
                reasoner, self.device, self.dtype, spec, self.quantization, self.device_map
            )
            if Path(reasoner.name).is_dir():  # results travel, the folders of this machine do not
                reasoner.name = Path(reasoner.name).name
        return RevSeg(reasoner, tracker, spec)

    def chain_spec(self) -> ChainSpec:
        """Finds out how the model wants to be asked, without loading it.

        Raises:
            ValueError: as :func:`load_pipeline`
        """
        self._check()
        if self.server is not None:
            reasoner = self._connect()
            reasoner.close()
            return reasoner.spec
        if isinstance(self.spec, ChainSpec):
            return self.spec
        return checkpoint_spec(resolve(str(self.name)).reasoner, self.spec)

    def _check(self) -> None:
        """Refuses what does not go together, or is no way to load a model."""
        is_named, is_here = isinstance(self.name, (str, Path)), self.server is None
        if not (is_named or is_here):
            raise ValueError("A server needs the name that a model has there, not a reasoner")
        given = [
            f"server_{name}" if name != "image_format" else name for name in self._server_options()
        ]
        if given and is_here:
            raise ValueError(f"{', '.join(given)}: for a model on a server, and none was named")
        if (self.quantization or self.device_map) and not (is_named and is_here):
            raise ValueError(
                "quantization and device_map are for models that are loaded here: leave them out"
            )
        check_placing(self.quantization, self.device_map)
        if (is_named and is_here) or isinstance(self.tracker, (str, Path, type(None))):
            choose_dtype(self.dtype, choose_device(self.device))

    def _connect(self) -> ServerReasoner:
        assert self.server is not None
        options = self._server_options()
        return ServerReasoner.connect(
            self.server, str(self.name), self.spec, self.server_key, **options
        )

    def _server_options(self) -> dict[str, Any]:
        """What was said of how a server is asked."""
        options = {
            "concurrency": self.server_concurrency,
            "timeout": self.server_timeout,
            "image_format": self.image_format,
        }
        return {name: value for name, value in options.items() if value is not None}

    def tracker_name(self) -> str:
        """Returns the name of the tracker, which is the model's where none was named.

        Raises:
            ModelNotFoundError: if the name of the model stands for nothing
        """
        return str(self.tracker or default_tracker(str(self.name), self.server))

    def names(self) -> tuple[str, str]:
        """Returns what the two models are called, as far as that is known before they are loaded.

        Raises:
            ModelNotFoundError: see :meth:`tracker_name`
        """
        parts = (self.name, self.tracker or self.tracker_name())
        first, second = (_called(part) for part in parts)
        return first, second

    def anywhere(self) -> Loading:
        """Returns what loads the same in another process, whatever its working directory is.

        Without the server's key, which stays in the process that has it.
        """
        here = {"name": self.name, "tracker": self.tracker}
        paths = {k: v for k, v in here.items() if isinstance(v, (str, Path)) and Path(v).exists()}
        absolute: dict[str, Any] = {k: str(Path(v).resolve()) for k, v in paths.items()}
        return replace(self, server_key=None, **absolute)


def load_pipeline(
    name_or_path: str | Path | Reasoner = "revseg-nano",
    tracker: str | Path | Tracker | None = None,
    device: str | None = None,
    dtype: Any = None,
    spec: ChainSpec | dict[str, Any] | None = None,
    server: str | None = None,
    server_key: str | None = None,
    server_concurrency: int | None = None,
    server_timeout: float | None = None,
    image_format: str | None = None,
    quantization: str | None = None,
    device_map: str | None = None,
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
            family at least ``{"box_convention": "pixels"}``, or another convention
        server (None): the address of a server of the OpenAI API that has the vision-language
            model, such as "http://localhost:8000/v1"; ``name_or_path`` is its name there, or a
            preset. The tracker runs here
        server_key (None): the server's key; "" for none. By default, that in the environment
            variable ``REVSEG_SERVER_KEY``, if there is one
        server_concurrency (None): how many requests are made to a server at the same time. By
            default 16, or 1 for ``transformers serve``
        server_timeout (None): how many seconds a server may take for one reply. By default 300
        image_format (None): how pictures are sent to a server, "jpeg" or "png". By default "jpeg"
        quantization (None): "4bit" or "8bit", for the weights of the vision-language model in
            fewer bits; needs ``fiftyone-revseg[quantization]``
        device_map (None): "auto" to spread the vision-language model over all GPUs and the CPU

    Returns:
        a :class:`RevSeg`

    Raises:
        ValueError: if a name stands for nothing, a checkpoint cannot be loaded, a server does not
            answer, or a setting is not valid; the message says what to do
    """
    return Loading(
        name_or_path,
        tracker,
        device,
        dtype,
        spec,
        server,
        server_key,
        server_concurrency,
        server_timeout,
        image_format,
        quantization,
        device_map,
    ).load()


def _called(part: Any) -> str:
    return Path(part).name if isinstance(part, (str, Path)) else str(getattr(part, "name", ""))


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
