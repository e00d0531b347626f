"""SAM2 as a :class:`~fiftyone_revseg.tracking.tracker.Tracker`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fiftyone_revseg.devices import choose_device, choose_dtype
from fiftyone_revseg.tracking.rle import encode_masks
from fiftyone_revseg.tracking.tracker import FrameMasks
from fiftyone_revseg.weights import share, stamp

if TYPE_CHECKING:
    import torch
    from sam2.modeling.sam2_base import SAM2Base

    from fiftyone_revseg.tracking.memory import FrameFeatures, Memory, StepOutput


@dataclass(frozen=True, eq=False)
class _Weights:
    """What trackers of the same checkpoint share."""

    model: SAM2Base
    digest: str


class Sam2Tracker:
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
        if frames_ahead < 1:
            raise ValueError(f"frames_ahead is {frames_ahead}: encode at least one frame at a time")
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.model = model.eval().to(self.device)
        self.name = name
        self.digest: str | None = None
        self._weights: _Weights | None = None
        self.frames_ahead = frames_ahead
        self.centre_point = centre_point

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

    def track(
        self, frames: Iterable[tuple[int, np.ndarray]], boxes_xyxy_px: np.ndarray
    ) -> Iterator[FrameMasks]:
        """Tracks objects from their boxes in the first frame through all that follow.

        Args:
            frames: (number, (H, W, 3) uint8 RGB) pairs of one size, the key frame first; up to
                ``frames_ahead`` of them are read before the first result comes out
            boxes_xyxy_px: (N, 4) boxes in pixels of the key frame

        Yields:
            a :class:`~fiftyone_revseg.tracking.tracker.FrameMasks` for every frame

        Raises:
            ValueError: if the boxes are not (N, 4) with positive sides, or frames differ in size
        """
        boxes = _checked_boxes(boxes_xyxy_px)
        for k, size, logits, scores in self._logits(frames, boxes):
            yield FrameMasks(k, encode_masks(self._at_size(logits, size)), scores)

    def track_logits(
        self, frames: Iterable[tuple[int, np.ndarray]], boxes_xyxy_px: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray]]:
        """As :meth:`track`, but yields the number and the model's own (N, h, w) mask logits."""
        for k, _, logits, _ in self._logits(frames, _checked_boxes(boxes_xyxy_px)):
            yield k, logits[:, 0].cpu().numpy()

    def _logits(
        self, frames: Iterable[tuple[int, np.ndarray]], boxes: np.ndarray
    ) -> Iterator[tuple[int, tuple[int, int], torch.Tensor, np.ndarray]]:
        """Yields number, (height, width), (N, 1, h, w) logits and (N,) scores of every frame."""
        import torch

        from fiftyone_revseg.tracking.memory import Memory
        from fiftyone_revseg.tracking.preprocess import to_prompt

        memory = Memory(self.model, dtype=torch.bfloat16)
        prompt = None
        size: tuple[int, int] = (0, 0)
        for batch in _batches(frames, self.frames_ahead):
            for k, frame in batch:
                size = size if any(size) else frame.shape[:2]
                if frame.ndim != 3 or frame.shape != (*size, 3) or frame.dtype != np.uint8:
                    raise ValueError(
                        f"frame {k} is {frame.dtype} of {frame.shape}: give (H, W, 3) uint8 RGB "
                        f"frames of one size, here {size}"
                    )
            if memory.frame == 0:
                prompt = to_prompt(
                    boxes, size[::-1], self.model.image_size, self.device, self.centre_point
                )
            if not len(boxes):
                for k, _ in batch:
                    yield k, size, torch.zeros(0, 1, 1, 1), np.zeros(0)
                continue
            for (k, _), features in zip(batch, self._encode([f for _, f in batch]), strict=True):
                out = self._step(features, memory, len(boxes), prompt)
                prompt = None
                yield k, size, out.mask_logits, _scores(out)

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

    def _autocast(self) -> contextlib.AbstractContextManager:
        import torch

        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def _at_size(self, logits: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
        """(N, 1, h, w) logits -> (N, H, W) bool masks."""
        import torch
        from torch.nn.functional import interpolate

        if not len(logits):
            return np.zeros((0, *size), bool)
        with torch.inference_mode():
            logits = interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
            return (logits[:, 0] > 0).cpu().numpy()


def _scores(out: StepOutput) -> np.ndarray:
    """How sure the model is: P(the object is there) times the expected IoU of its mask."""
    scores = out.object_score.float().sigmoid() * out.iou.float().clamp(0, 1)
    return scores.cpu().numpy().astype(float)


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Cuts a stream into lists of up to ``size``."""
    stream = iter(items)
    for first in stream:
        yield list(chain([first], islice(stream, size - 1)))


def _checked_boxes(boxes_xyxy_px: Any) -> np.ndarray:
    """(N, 4) float32 boxes, or a ValueError that says what is wrong with them."""
    boxes = np.asarray(boxes_xyxy_px, np.float32)
    if boxes.size == 0:
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(
            f"boxes of shape {boxes.shape}: give (N, 4), one x0, y0, x1, y1 per object"
        )
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= boxes[:, :2]).any():
        raise ValueError("a box is empty or not finite: give x0 < x1 and y0 < y1 in source pixels")
    return boxes
