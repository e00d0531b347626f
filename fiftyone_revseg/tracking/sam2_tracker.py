"""SAM2 as a :class:`~fiftyone_revseg.tracking.tracker.Tracker`."""

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
    from sam2.modeling.sam2_base import SAM2Base

    from fiftyone_revseg.models.batch_size import BatchSize
    from fiftyone_revseg.tracking.lockstep import Lockstep
    from fiftyone_revseg.tracking.memory import FrameFeatures, Memory, StepOutput


@dataclass(frozen=True, eq=False)
class _Weights:
    """What trackers of the same checkpoint share."""

    model: SAM2Base
    digest: str


class Sam2Tracker(FrameByFrameTracker):
    """Follows objects with SAM2 (Ravi et al., arXiv 2408.00714), frame by frame.

    All objects share the image encoder's work and go through the rest in one batch. Frames are
    encoded a few ahead in one batch. Memory is one conditioning frame and the model's own bank,
    whatever the length of the video.

    Masks are those of sam2's own predictor with its default post-processing, short of the filling
    of tiny holes (which needs sam2's CUDA extension): logits at a quarter of the model's size,
    resized to the frame's (bilinear) and cut at 0.

    Args:
        model: the SAM2 model
        name: what to call it in results
        device (None): where to run, for example "cuda:1"; by default a CUDA GPU if there is one
        dtype (None): "bfloat16" to compute in bfloat16 where SAM2 allows it (autocast), "float32"
            for full precision; by default the former on GPUs that have it, else the latter
        frames_ahead (4): how many frames to encode in one batch
        centre_point (False): prompt with the box's centre too, not the box alone

    Attributes:
        digest: names the content of the checkpoint; None if the model is of no checkpoint

    Raises:
        ValueError: if an option makes no sense
    """

    def __init__(
        self,
        model: SAM2Base,
        name: str = "sam2",
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        frames_ahead: int = 4,
        centre_point: bool = False,
    ) -> None:
        super().__init__(model, name, device, dtype, frames_ahead, centre_point)

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = "sam2-nano",
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        **options: Any,
    ) -> Sam2Tracker:
        """Loads a tracker by name.

        What was loaded before from the same files to the same device is shared as long as
        somebody holds it: leave the model's weights as they are.

        Args:
            name_or_path: "sam2-nano" (comes with this package), an official model
                ("sam2.1-hiera-tiny", ...), a hub id ("facebook/sam2.1-hiera-large"), an official
                or fine-tuned ``.pt`` file, or a directory with ``config.yaml`` and
                ``model.safetensors``
            device (None): see the class
            dtype (None): see the class
            **options: ``frames_ahead`` and ``centre_point``, see the class

        Returns:
            a :class:`Sam2Tracker`

        Raises:
            CheckpointError: (a ValueError) if there is no such model or its files are no good
            ValueError: if this machine has no such device, or an option makes no sense
        """
        from fiftyone_revseg.tracking.checkpoints import find_checkpoint, load_files

        device = choose_device(device)
        dtype = choose_dtype(dtype, device)
        config, weights = find_checkpoint(name_or_path)

        def load() -> _Weights:
            model, digest = load_files(config, weights)
            return _Weights(model.to(device), digest)

        # SAM2's weights are the same in every precision: it is applied while computing
        files = stamp([weights] if config is None else [config, weights])
        shared = share((cls.__name__, files, device), load)
        tracker = cls(shared.model, str(name_or_path), device, dtype, **options)
        tracker.digest, tracker._weights = shared.digest, shared
        return tracker

    def _new_memory(self) -> Memory:
        import torch

        from fiftyone_revseg.tracking.memory import Memory

        return Memory(self.model, dtype=torch.bfloat16)

    # Modes are entered here, not around the generator: one would leak into its consumer's code.

    def _encode(self, frames: Sequence[np.ndarray]) -> list[FrameFeatures]:
        import torch

        from fiftyone_revseg.tracking.memory import encode_frames
        from fiftyone_revseg.tracking.preprocess import to_model_images

        with torch.inference_mode(), self._autocast():
            images = to_model_images(frames, self.model.image_size, self.device)
            return encode_frames(self.model, images)

    def _step(
        self, features: FrameFeatures, memory: Memory, count: int, prompt: dict | None
    ) -> StepOutput:
        import torch

        from fiftyone_revseg.tracking.memory import track_frame

        with torch.inference_mode(), self._autocast():
            return track_frame(self.model, features, memory, count, prompt)

    def lockstep(self, objects: BatchSize, patience: float | None = None) -> Lockstep:
        """Returns what follows objects through many videos side by side.

        Args:
            objects: how many objects to track in one step, at most
            patience (None): for how many seconds to wait for a frame, before its video is given up
        """
        from fiftyone_revseg.tracking.lockstep import Lockstep

        return Lockstep(self, objects, patience=patience)

    def _step_together(
        self,
        features: Sequence[FrameFeatures],
        memories: Sequence[Memory],
        boxes: Sequence[np.ndarray],
        sizes: Sequence[tuple[int, int]],
    ) -> list[StepOutput]:
        """As ``_step`` for several passes; boxes are in pixels of videos of (width, height)."""
        import torch

        from fiftyone_revseg.tracking.preprocess import to_prompt
        from fiftyone_revseg.tracking.side_by_side import track_side_by_side

        prompt = None
        if memories[0].frame == 0:
            prompts = [
                to_prompt(b, size, self.model.image_size, self.device, self.centre_point)
                for b, size in zip(boxes, sizes, strict=True)
            ]
            prompt = {name: torch.cat([p[name] for p in prompts]) for name in prompts[0]}
        counts = [len(b) for b in boxes]
        with torch.inference_mode(), self._autocast():
            return track_side_by_side(self.model, features, memories, counts, prompt)
