"""transformers' video trackers as a :class:`~fiftyone_revseg.tracking.tracker.Tracker`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fiftyone_revseg.models.devices import choose_device, choose_dtype
from fiftyone_revseg.models.weights import share, stamp
from fiftyone_revseg.tracking.frame_by_frame import FrameByFrameTracker

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from fiftyone_revseg.tracking.memory import FrameFeatures, StepOutput
    from fiftyone_revseg.tracking.streaming import Stream


@dataclass(frozen=True, eq=False)
class _Weights:
    """What trackers of the same checkpoint share."""

    model: PreTrainedModel
    digest: str


class TransformersTracker(FrameByFrameTracker):
    """Follows objects with a video tracker of transformers, frame by frame.

    SAM2 (Ravi et al., arXiv 2408.00714), EdgeTAM (Zhou et al., arXiv 2501.07256) and the tracker
    of SAM3 share one interface there. Frames are prepared and masks are made as in
    :class:`~fiftyone_revseg.tracking.Sam2Tracker`, so that the same SAM2 weights give the same
    masks here and there but for single pixels at edges (what is remembered is rounded to bfloat16,
    which makes much of last digits).

    All objects share the image encoder's work and go through the rest one after the other. Frames
    are encoded a few ahead in one batch. Memory is one conditioning frame and the model's own
    bank, whatever the length of the video.

    Args:
        model: a ``Sam2VideoModel``, ``EdgeTamVideoModel`` or ``Sam3TrackerVideoModel``
        name: what to call it in results
        device (None): where to run, for example "cuda:1"; by default a CUDA GPU if there is one
        dtype (None): "bfloat16" to compute in bfloat16 where the model allows it (autocast),
            "float32" for full precision; by default the former on GPUs that have it, else the
            latter
        frames_ahead (4): how many frames to encode in one batch
        centre_point (False): prompt with the box's centre too, not the box alone

    Attributes:
        digest: names the content of the checkpoint; None if the model is of no checkpoint

    Raises:
        ValueError: if an option makes no sense
    """

    def __init__(
        self,
        model: PreTrainedModel,
        name: str = "transformers",
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        frames_ahead: int = 4,
        centre_point: bool = False,
    ) -> None:
        super().__init__(model, name, device, dtype, frames_ahead, centre_point)

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        **options: Any,
    ) -> TransformersTracker:
        """Loads a tracker by name.

        What was loaded before from the same files to the same device is shared as long as
        somebody holds it: leave the model's weights as they are.

        Args:
            name_or_path: a hub id or a directory of transformers' layout (``config.json`` and
                safetensors), such as "facebook/sam2.1-hiera-large"; or any SAM2 checkpoint that
                :class:`~fiftyone_revseg.tracking.Sam2Tracker` takes, which is converted. A
                "transformers:" before it makes no difference here
            device (None): see the class
            dtype (None): see the class
            **options: ``frames_ahead`` and ``centre_point``, see the class

        Returns:
            a :class:`TransformersTracker`

        Raises:
            CheckpointError: (a ValueError) if there is no such model or its files are no good
            ValueError: if this machine has no such device, or an option makes no sense
        """
        from fiftyone_revseg.tracking.transformers_checkpoints import PREFIX, find_files, load_files

        device = choose_device(device)
        dtype = choose_dtype(dtype, device)
        files = find_files(name_or_path)

        def load() -> _Weights:
            model, digest = load_files(files)
            model.to(device)  # type: ignore[arg-type]
            return _Weights(model, digest)

        # The weights are the same in every precision: it is applied while computing
        shared = share((cls.__name__, stamp(files), device), load)
        name = str(name_or_path)
        path = Path(name.removeprefix(PREFIX))
        if name.startswith(PREFIX) and path.exists():  # results travel, folders do not
            name = PREFIX + path.name
        tracker = cls(shared.model, name, device, dtype, **options)
        tracker.digest, tracker._weights = shared.digest, shared
        return tracker

    def _new_memory(self) -> Stream:
        from fiftyone_revseg.tracking.streaming import Stream

        return Stream(self.model)

    # Modes are entered here, not around the generator: one would leak into its consumer's code.

    def _encode(self, frames: Sequence[np.ndarray]) -> list[FrameFeatures]:
        import torch

        from fiftyone_revseg.tracking.preprocess import MEAN, STD, to_model_images
        from fiftyone_revseg.tracking.streaming import encode_frames

        # SAM3 was trained on [-1, 1], all others as SAM2 was
        sam3 = self.model.config.model_type.startswith("sam3")
        mean, std = ((0.5,) * 3, (0.5,) * 3) if sam3 else (MEAN, STD)
        with torch.inference_mode(), self._autocast():
            images = to_model_images(frames, self.model.image_size, self.device, mean, std)
            return encode_frames(self.model, images)

    def _step(
        self, features: FrameFeatures, memory: Stream, count: int, prompt: dict | None
    ) -> StepOutput:
        import torch

        with torch.inference_mode(), self._autocast():
            if prompt is not None:
                memory.prompt(prompt)
            return memory.step(features)
