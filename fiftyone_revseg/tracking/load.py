"""A tracker from its name, whichever library runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiftyone_revseg.tracking.sam2_tracker import Sam2Tracker
from fiftyone_revseg.tracking.tracker import Tracker
from fiftyone_revseg.tracking.transformers_checkpoints import is_transformers
from fiftyone_revseg.tracking.transformers_tracker import TransformersTracker

if TYPE_CHECKING:
    import torch


def load_tracker(
    name_or_path: str | Path = "sam2-nano",
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    **options: Any,
) -> Tracker:
    """Loads a tracker by name.

    Args:
        name_or_path: "sam2-nano" (comes with this package), an official SAM2 ("sam2.1-hiera-tiny",
            ...), a hub id, a ``.pt`` or ``.safetensors`` file, or a directory. A hub repository or
            directory that has a tracker of transformers (its ``config.json`` says sam2_video,
            edgetam_video or sam3_tracker_video), and nothing that sam2 would read, is run by
            transformers; all else by sam2. "transformers:" before a name has transformers run it
            in any case
        device (None): for example "cuda:1"; by default a CUDA GPU if there is one
        dtype (None): "bfloat16" or "float32"; by default, what suits the device
        **options: ``frames_ahead`` and ``centre_point``, see :class:`Sam2Tracker`

    Returns:
        a :class:`~fiftyone_revseg.tracking.Tracker`

    Raises:
        CheckpointError: (a ValueError) if there is no such model or its files are no good
        ValueError: if this machine has no such device, or an option makes no sense
    """
    kind = TransformersTracker if is_transformers(name_or_path) else Sam2Tracker
    return kind.load(name_or_path, device=device, dtype=dtype, **options)
