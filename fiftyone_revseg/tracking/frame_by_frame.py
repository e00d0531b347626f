"""What trackers that go from frame to frame with one model have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fiftyone_revseg.masks.rle import encode_masks
from fiftyone_revseg.models.devices import choose_device, choose_dtype
from fiftyone_revseg.models.weights import share, stamp
from fiftyone_revseg.tracking.known import Anchor, KnownFrame, check_known, join_anchors
from fiftyone_revseg.tracking.prompts import checked_prompts, to_prompt
from fiftyone_revseg.tracking.tracker import FrameMasks

if TYPE_CHECKING:
    import torch

    from fiftyone_revseg.tracking.memory import FrameFeatures, StepOutput

T = TypeVar("T", bound="FrameByFrameTracker")


@dataclass(frozen=True, eq=False)
class _Weights:
    """What trackers of the same checkpoint share."""

    model: Any
    digest: str


class FrameByFrameTracker:
    """Encodes frames a few ahead in one batch, tracks through them, and makes masks of logits.

    A subclass has a model and says which files a checkpoint consists of (``_find``), how they are
    loaded (``_read``), how the model encodes frames (``_encode``), what it remembers
    (``new_memory``: it has ``frame``, ``skip`` and ``join`` as those of
    :class:`~fiftyone_revseg.tracking.memory.Memory`) and how it goes one frame on (``_step``).

    Args:
        model: the model
        name (None): what to call it in results; by default, as the library that runs it
        device (None): where to run, for example "cuda:1"; by default a CUDA GPU if there is one
        dtype (None): "bfloat16" to compute in bfloat16 where the model allows it (autocast),
            "float32" for full precision; by default the former on GPUs that have it, else the
            latter
        frames_ahead (4): how many frames to encode in one batch
        centre_point (False): prompt with the box's centre too, not the box alone

    Raises:
        ValueError: if an option makes no sense
    """

    def __init__(
        self,
        model: Any,
        name: str | None = None,
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
        self.name = self._library if name is None else name
        self.digest: str | None = None
        self._weights: _Weights | None = None
        self.frames_ahead = frames_ahead
        self.centre_point = centre_point

    @classmethod
    def load(
        cls: type[T],
        name_or_path: str | Path = "sam2-nano",
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        **options: Any,
    ) -> T:
        """Loads a tracker by name.

        What was loaded before from the same files to the same device is shared as long as
        somebody holds it: leave the model's weights as they are.

        Args:
            name_or_path: see the class
            device (None): see the class
            dtype (None): see the class
            **options: ``frames_ahead`` and ``centre_point``, see the class

        Returns:
            a tracker

        Raises:
            CheckpointError: (a ValueError) if there is no such model or its files are no good
            ValueError: if this machine has no such device, or an option makes no sense
        """
        device = choose_device(device)
        dtype = choose_dtype(dtype, device)
        files = cls._find(name_or_path)

        def load() -> _Weights:
            model, digest = cls._read(files)
            return _Weights(model.to(device), digest)

        # The weights are the same in every precision: it is applied while computing
        shared = share((cls.__name__, stamp(files), device), load)
        tracker = cls(shared.model, cls._called(str(name_or_path)), device, dtype, **options)
        tracker.digest, tracker._weights = shared.digest, shared
        return tracker

    def track(
        self,
        frames: Iterable[tuple[int, np.ndarray]],
        prompts: np.ndarray,
        known: Sequence[KnownFrame] = (),
    ) -> Iterator[FrameMasks]:
        """Tracks objects from their prompts in the first frame through all that follow.

        Args:
            frames: (number, (H, W, 3) uint8 RGB) pairs of one size, the key frame first; up to
                ``frames_ahead`` of them are read before the first result comes out
            prompts: (N, 4) boxes in pixels of the key frame, or (N, P, 3) points with labels, see
                :mod:`fiftyone_revseg.tracking.prompts`
            known (()): other frames of which is known where the objects are: they join the memory
                as conditioning frames, before the step after the key frame. Where the walk comes
                to one, the answer is what its own prompts gave

        Yields:
            a :class:`~fiftyone_revseg.tracking.tracker.FrameMasks` for every frame

        Raises:
            ValueError: if the prompts are no such, or frames differ in size
        """
        given = checked_prompts(prompts)
        for k, size, logits, scores in self._logits(frames, given, known):
            yield self.frame_masks(k, size, logits, scores)

    def _logits(
        self,
        frames: Iterable[tuple[int, np.ndarray]],
        prompts: np.ndarray,
        known: Sequence[KnownFrame] = (),
    ) -> Iterator[tuple[int, tuple[int, int], torch.Tensor, np.ndarray]]:
        """Yields number, (height, width), (N, 1, h, w) logits and (N,) scores of every frame."""
        import torch

        memory = self.new_memory()
        prompt = None
        size: tuple[int, int] = (0, 0)
        key_frame = 0
        anchors: dict[int, Anchor] = {}
        for batch in _batches(frames, self.frames_ahead):
            for k, frame in batch:
                size = size if any(size) else frame.shape[:2]
                check_frame(k, frame, size)
            if memory.frame == 0:
                key_frame = batch[0][0]
                check_known([(one.frame, one.prompts) for one in known], key_frame, prompts)
                prompt = self._prompt(prompts, size)
            if not len(prompts):
                for k, _ in batch:
                    yield k, size, torch.zeros(0, 1, 1, 1), np.zeros(0)
                continue
            for (k, _), features in zip(batch, self.encode([f for _, f in batch]), strict=True):
                if memory.frame == 1 and known:
                    anchors = {one.frame: self._anchor(one, size) for one in known}
                    step = 1 if k > key_frame else -1
                    join_anchors(memory, list(anchors.values()), key_frame, step)
                if k in anchors:
                    out = anchors[k].out
                    memory.skip()
                else:
                    out = self._step(features, memory, len(prompts), prompt)
                prompt = None
                yield k, size, out.mask_logits, scores_of(out)

    def _anchor(self, known: KnownFrame, size: tuple[int, int]) -> Anchor:
        """Looks at a known frame of a video of (height, width)."""
        check_frame(known.frame, known.image, size)
        memory, prompts = self.new_memory(), checked_prompts(known.prompts)
        (features,) = self.encode([known.image])
        out = self._step(features, memory, len(prompts), self._prompt(prompts, size))
        return Anchor(known.frame, memory, out)

    def _prompt(self, prompts: np.ndarray, size: tuple[int, int]) -> dict[str, torch.Tensor]:
        """Prompts in pixels of frames of (height, width), as the model takes them."""
        return to_prompt(prompts, size[::-1], self.model.image_size, self.device, self.centre_point)

    _library = ""

    @staticmethod
    def _find(name_or_path: str | Path) -> list[Path]:
        """Finds the files that a name stands for."""
        raise NotImplementedError

    @staticmethod
    def _read(files: list[Path]) -> tuple[Any, str]:
        """Loads the model from its files, on the CPU; returns it and a digest of its content."""
        raise NotImplementedError

    @staticmethod
    def _called(name: str) -> str:
        """What results say of a tracker that was loaded by a name."""
        return name

    def new_memory(self) -> Any:
        """What a pass over a video remembers: has ``frame``, how many frames it has seen."""
        raise NotImplementedError

    def encode(self, frames: Sequence[np.ndarray]) -> list[FrameFeatures]:
        """Encodes (H, W, 3) uint8 RGB frames as one batch."""
        raise NotImplementedError

    def _step(
        self, features: FrameFeatures, memory: Any, count: int, prompt: dict | None
    ) -> StepOutput:
        """Goes one frame on with ``count`` objects; the prompt is there on the first frame only."""
        raise NotImplementedError

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """The modes to compute in: entered in each step, not around the generator of a pass, or
        they would leak into its consumer's code."""
        import torch

        half = torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)
        with torch.inference_mode(), half:
            yield

    def frame_masks(
        self, k: int, size: tuple[int, int], logits: torch.Tensor, scores: np.ndarray
    ) -> FrameMasks:
        """Makes masks of a frame's logits, at its (height, width), and run lengths of masks."""
        return FrameMasks(k, encode_masks(self.at_size(logits, size)), scores)

    def at_size(self, logits: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
        """(N, 1, h, w) logits -> (N, H, W) bool masks."""
        import torch
        from torch.nn.functional import interpolate

        if not len(logits):
            return np.zeros((0, *size), bool)
        with torch.inference_mode():
            logits = interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
            return (logits[:, 0] > 0).cpu().numpy()


def check_frame(k: int, frame: np.ndarray, size: tuple[int, int]) -> None:
    """Checks that a frame is as (height, width) say.

    Raises:
        ValueError: if it is not
    """
    if frame.shape != (*size, 3) or frame.dtype != np.uint8:
        raise ValueError(
            f"frame {k} is {frame.dtype} of {frame.shape}: give (H, W, 3) uint8 RGB frames of one "
            f"size, here {size}"
        )


def scores_of(out: StepOutput) -> np.ndarray:
    """How sure the model is: P(the object is there) times the expected IoU of its mask."""
    scores = out.object_score.float().sigmoid() * out.iou.float().clamp(0, 1)
    return scores.cpu().numpy().astype(float)


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Cuts a stream into lists of up to ``size``."""
    stream = iter(items)
    for first in stream:
        yield list(chain([first], islice(stream, size - 1)))
