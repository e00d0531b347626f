"""SAM2 one frame at a time, with a memory that does not grow.

The same few lines serve inference and training: ``encode_frames`` for a batch of images, then
``track_frame`` on one after the other. They call ``SAM2Base`` itself, so no state of a whole video
exists anywhere (the package's own predictor keeps every frame and every output).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from sam2.modeling.sam2_base import SAM2Base


@dataclass(frozen=True)
class FrameFeatures:
    """The image encoder's output for one frame (or G), as ``SAM2Base`` passes it around.

    Attributes:
        maps: one (H * W, G, C) tensor per feature level, finest first; G is 1, or the number of
            videos that a training batch goes through side by side
        positions: their positional encodings, of the same shapes
        sizes: (H, W) of each level
    """

    maps: list[torch.Tensor]
    positions: list[torch.Tensor]
    sizes: list[tuple[int, int]]

    def split(self, group: int = 1) -> list[FrameFeatures]:
        """Cuts a batch into steps of ``group`` images."""
        return [
            FrameFeatures(
                [m[:, b : b + group] for m in self.maps],
                [p[:, b : b + group] for p in self.positions],
                self.sizes,
            )
            for b in range(0, self.maps[0].shape[1], group)
        ]


@dataclass(frozen=True)
class StepOutput:
    """The model's answer on one frame for N objects.

    Attributes:
        mask_logits: (N, 1, h, w) float, at a quarter of the model's image size
        iou: (N,) the model's own estimate of the mask's IoU
        object_score: (N,) logit of "the object is visible in this frame"
    """

    mask_logits: torch.Tensor
    iou: torch.Tensor
    object_score: torch.Tensor


class Memory:
    """Everything ``SAM2Base`` will ever look back at: its size depends on N, never on the video.

    The conditioning outputs (the key frame and what joins it), the last ``num_maskmem - 1`` memory
    maps and the last ``max_obj_ptrs_in_encoder - 1`` object pointers.

    Args:
        model: the SAM2 model
        dtype (None): the type memory maps are stored in; ``torch.bfloat16`` as in sam2's own
            predictor, None to keep the model's (training)

    Attributes:
        frame: the next frame's number; 0 before the key frame
        reach: how many frames, beside the conditioning ones, it holds at most
    """

    def __init__(self, model: SAM2Base, dtype: torch.dtype | None = None) -> None:
        self.frame = self._key = 0
        self.outputs: dict[str, dict[int, dict[str, Any]]] = {
            "cond_frame_outputs": {},
            "non_cond_frame_outputs": {},
        }
        self._dtype = dtype
        self._maps = (model.num_maskmem - 1) * model.memory_temporal_stride_for_eval
        self.reach = max(self._maps, model.max_obj_ptrs_in_encoder - 1)

    def add(self, output: dict[str, Any]) -> None:
        """Remembers a frame's output, forgets what is out of reach, goes on to the next frame."""
        if self._dtype is not None:
            output["maskmem_features"] = output["maskmem_features"].to(self._dtype)
        if self.frame == 0:
            self.outputs["cond_frame_outputs"][0] = output
        else:
            self.outputs["non_cond_frame_outputs"][self.frame] = output
        self.skip()

    def skip(self) -> None:
        """Goes on to the next frame; of this one nothing more is remembered."""
        recent = self.outputs["non_cond_frame_outputs"]
        recent.pop(self.frame - self.reach, None)
        out_of_reach = recent.get(self.frame - self._maps)
        if out_of_reach is not None:
            out_of_reach["maskmem_features"] = out_of_reach["maskmem_pos_enc"] = None
        self.frame += 1

    def join(self, known: Memory, distance: int) -> None:
        """Adds a conditioning frame that was tracked as another memory's key frame.

        Args:
            known: a memory of that frame only
            distance: how many frames it lies beyond this memory's key frame, negative before it
        """
        before = max(0, -(self._key + distance))
        if before:  # to sam2, numbers below 0 are of no frame
            self.outputs = {
                kind: {k + before: output for k, output in outputs.items()}
                for kind, outputs in self.outputs.items()
            }
            self._key, self.frame = self._key + before, self.frame + before
        conditioning = self.outputs["cond_frame_outputs"]
        conditioning[self._key + distance] = known.outputs["cond_frame_outputs"][0]
        # In the order of time, so that memories which are put together agree
        self.outputs["cond_frame_outputs"] = dict(sorted(conditioning.items()))


def encode_frames(model: SAM2Base, images: torch.Tensor, group: int = 1) -> list[FrameFeatures]:
    """Encodes a batch of frames; in eval mode the same, bit by bit, as one after the other.

    Args:
        model: the SAM2 model
        images: (B, 3, S, S) normalized RGB, S = ``model.image_size``
        group (1): how many consecutive images belong to one step

    Returns:
        the features of each of the B / ``group`` steps
    """
    encoded = model.forward_image(images)
    _, maps, positions, sizes = model._prepare_backbone_features(encoded)
    return FrameFeatures(maps, positions, sizes).split(group)


def track_frame(
    model: SAM2Base,
    features: FrameFeatures,
    memory: Memory,
    count: int,
    prompt: dict[str, torch.Tensor] | None = None,
    remember: bool = True,
) -> StepOutput:
    """Runs the model on the next frame: the prompted key frame first, then whatever follows it.

    This is ``SAM2Base.track_step`` in its two halves, because only the inner one returns the
    predicted IoU. The frame number is the distance from the key frame; direction is unknown here.

    Args:
        model: the SAM2 model
        features: the frame's features
        memory: the memory of this pass, updated in place
        count: the number of objects N, the same for each of the G videos: N is a multiple of G
        prompt (None): ``point_coords`` (N, P, 2) in pixels of the model's image and
            ``point_labels`` (N, P), or ``mask_inputs`` (N, 1, S, S), required on the first frame
            and only there
        remember (True): False on a pass's last frame spares encoding a memory of it

    Returns:
        a :class:`StepOutput`
    """
    first = memory.frame == 0
    if first != (prompt is not None):
        raise ValueError("the key frame, and no other, is tracked with a prompt")
    repeats = count // features.maps[0].shape[1]
    maps, positions = features.maps, features.positions
    if repeats > 1:  # even to repeat once would copy
        maps = [m.repeat_interleave(repeats, dim=1) for m in maps]
        positions = [p.repeat_interleave(repeats, dim=1) for p in positions]
    masks = None if prompt is None else prompt.get("mask_inputs")
    points = prompt if masks is None else None
    output, heads, _, _ = model._track_step(
        frame_idx=memory.frame,
        is_init_cond_frame=first,
        current_vision_feats=maps,
        current_vision_pos_embeds=positions,
        feat_sizes=features.sizes,
        point_inputs=points,
        mask_inputs=masks,
        output_dict=memory.outputs,
        # The length is unknown to a stream. SAM2 uses it only in videos shorter than
        # `max_obj_ptrs_in_encoder`, to scale the pointers' temporal encoding.
        num_frames=sys.maxsize,
        track_in_reverse=False,
        prev_sam_mask_logits=None,
    )
    _, _, ious, low_res_masks, high_res_masks, pointer, object_score = heads
    if remember:
        output["obj_ptr"] = pointer
        model._encode_memory_in_output(
            maps, features.sizes, points, True, high_res_masks, object_score, output
        )
        memory.add(output)
    # Of several candidate masks the model has taken the one with the highest predicted IoU.
    return StepOutput(low_res_masks, ious.max(dim=-1).values, object_score[:, 0])
