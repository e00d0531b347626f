"""SAM2 as a :class:`~fiftyone_revseg.tracking.tracker.Tracker`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fiftyone_revseg.models.batch_size import BatchSize
from fiftyone_revseg.tracking.checkpoints import find_checkpoint, load_files
from fiftyone_revseg.tracking.frame_by_frame import FrameByFrameTracker
from fiftyone_revseg.tracking.lockstep import Lockstep
from fiftyone_revseg.tracking.memory import (
    FrameFeatures,
    Memory,
    StepOutput,
    encode_frames,
    track_frame,
)
from fiftyone_revseg.tracking.preprocess import to_model_images
from fiftyone_revseg.tracking.side_by_side import track_side_by_side


class Sam2Tracker(FrameByFrameTracker):
    """Follows objects with SAM2 (Ravi et al., arXiv 2408.00714), frame by frame.

    All objects share the image encoder's work and go through the rest in one batch. Frames are
    encoded a few ahead in one batch. Memory is one conditioning frame and the model's own bank,
    whatever the length of the video.

    Masks are those of sam2's own predictor with its default post-processing, short of the filling
    of tiny holes (which needs sam2's CUDA extension): logits at a quarter of the model's size,
    resized to the frame's (bilinear) and cut at 0.

    Args:
        model: the SAM2 model; :meth:`load` takes a name instead: "sam2-nano" (the default, comes
            with this package), an official model ("sam2.1-hiera-tiny", ...), a hub id
            ("facebook/sam2.1-hiera-large"), an official or fine-tuned ``.pt`` file, or a directory
            with ``config.yaml`` and ``model.safetensors``
        name ("sam2"): what to call it in results
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

    _library = "sam2"

    _find = staticmethod(find_checkpoint)
    _read = staticmethod(load_files)

    def new_memory(self) -> Memory:
        import torch

        return Memory(self.model, dtype=torch.bfloat16)

    def encode(self, frames: Sequence[np.ndarray]) -> list[FrameFeatures]:
        with self._computing():
            images = to_model_images(frames, self.model.image_size, self.device)
            return encode_frames(self.model, images)

    def _step(
        self, features: FrameFeatures, memory: Memory, count: int, prompt: dict | None
    ) -> StepOutput:
        with self._computing():
            return track_frame(self.model, features, memory, count, prompt)

    def lockstep(
        self, objects: BatchSize, patience: float | None = None, comes_back: bool = False
    ) -> Lockstep:
        """Returns what follows objects through many videos side by side.

        Args:
            objects: how many objects to track in one step, at most
            patience (None): for how many seconds to wait for a frame, before its video is given up
            comes_back (False): whether objects of the same videos may be added later
        """
        return Lockstep(self, objects, patience=patience, comes_back=comes_back)

    def step_together(
        self,
        features: Sequence[FrameFeatures],
        memories: Sequence[Memory],
        prompts: Sequence[np.ndarray],
        sizes: Sequence[tuple[int, int]],
    ) -> list[StepOutput]:
        """As ``_step`` for several passes; prompts are in pixels of videos of (width, height)."""
        import torch

        prompt = None
        if memories[0].frame == 0:
            each = [self._prompt(p, size[::-1]) for p, size in zip(prompts, sizes, strict=True)]
            prompt = {name: torch.cat([p[name] for p in each]) for name in each[0]}
        counts = [len(p) for p in prompts]
        with self._computing():
            return track_side_by_side(self.model, features, memories, counts, prompt)
