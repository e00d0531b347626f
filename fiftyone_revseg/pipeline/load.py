"""A pipeline by the names of its models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fiftyone_revseg.models.builtin import DEFAULT_TRACKER, PRESETS, Weights
from fiftyone_revseg.models.devices import choose_device, choose_dtype
from fiftyone_revseg.models.hub import check_available
from fiftyone_revseg.models.presets import default_tracker, resolve
from fiftyone_revseg.pipeline.pipeline import RevSeg
from fiftyone_revseg.reasoning import ChainSpec, LocalReasoner, Reasoner, ServerReasoner
from fiftyone_revseg.reasoning.local import checkpoint_spec
from fiftyone_revseg.tracking import Tracker, load_tracker
from fiftyone_revseg.tracking.checkpoints import OFFICIAL_PRESETS


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
