"""transformers' video trackers as a :class:`~fiftyone_revseg.tracking.tracker.Tracker`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fiftyone_revseg.tracking.frame_by_frame import FrameByFrameTracker
from fiftyone_revseg.tracking.memory import FrameFeatures, StepOutput
from fiftyone_revseg.tracking.preprocess import MEAN, STD, to_model_images
from fiftyone_revseg.tracking.streaming import Stream, encode_frames
from fiftyone_revseg.tracking.transformers_checkpoints import PREFIX, find_files, load_files


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
        model: a ``Sam2VideoModel``, ``EdgeTamVideoModel`` or ``Sam3TrackerVideoModel``;
            :meth:`load` takes a name instead: a hub id or a directory of transformers' layout
            (``config.json`` and safetensors), such as "facebook/sam2.1-hiera-large"; or any SAM2
            checkpoint that :class:`~fiftyone_revseg.tracking.Sam2Tracker` takes, which is
            converted. A "transformers:" before it makes no difference here
        name ("transformers"): what to call it in results
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

    _library = "transformers"
    _find = staticmethod(find_files)
    _read = staticmethod(load_files)

    @staticmethod
    def _called(name: str) -> str:
        path = Path(name.removeprefix(PREFIX))
        if name.startswith(PREFIX) and path.exists():  # results travel, folders do not
            return PREFIX + path.name
        return name

    def new_memory(self) -> Stream:
        return Stream(self.model)

    def encode(self, frames: Sequence[np.ndarray]) -> list[FrameFeatures]:
        # SAM3 was trained on [-1, 1], all others as SAM2 was
        sam3 = self.model.config.model_type.startswith("sam3")
        mean, std = ((0.5,) * 3, (0.5,) * 3) if sam3 else (MEAN, STD)
        with self._computing():
            images = to_model_images(frames, self.model.image_size, self.device, mean, std)
            return encode_frames(self.model, images)

    def _step(
        self, features: FrameFeatures, memory: Stream, count: int, prompt: dict | None
    ) -> StepOutput:
        with self._computing():
            if prompt is not None:
                memory.prompt(prompt)
            return memory.step(features)
