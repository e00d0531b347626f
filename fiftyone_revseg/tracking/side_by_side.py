"""One step of SAM2 for several passes at once, each over a video of its own or through the same.

Every pass keeps its own :class:`~fiftyone_revseg.tracking.memory.Memory`; they are put together for
the step and taken apart after it. So any passes may go together, and go apart again, whenever
their memories have the same form.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fiftyone_revseg.tracking.memory import FrameFeatures, Memory, StepOutput, track_frame

if TYPE_CHECKING:
    import torch
    from sam2.modeling.sam2_base import SAM2Base


def can_go_together(model: SAM2Base) -> bool:
    """Returns whether objects of different videos may share a step of the model."""
    # This option lets objects of a batch push each other aside
    return not model.non_overlap_masks_for_mem_enc


def form_of(model: SAM2Base, memory: Memory) -> tuple[tuple[int, ...], ...]:
    """Returns what must be the same for memories to be put together.

    That is how far back the frames are that it holds: once a memory is full, this does not change
    any more. Of conditioning frames it is how many there are behind and ahead; but most models of
    SAM2.1 tell the model how far they are, and where there are more than a model looks at, it
    chooses the nearest ones.
    """
    recent = tuple(memory.frame - k for k in memory.outputs["non_cond_frame_outputs"])
    conditioning = tuple(memory.frame - k for k in memory.outputs["cond_frame_outputs"])
    ages = model.use_obj_ptrs_in_encoder and model.add_tpos_enc_to_obj_ptrs
    chooses = 0 <= model.max_cond_frames_in_attn < len(conditioning)
    if not (ages or chooses or model.memory_temporal_stride_for_eval != 1):
        behind = sum(distance > 0 for distance in conditioning)
        conditioning = (behind, len(conditioning) - behind)
    return recent, conditioning


def fork(memory: Memory) -> Memory:
    """Returns a memory of the same frames that goes on by itself."""
    forked = copy.copy(memory)
    forked.outputs = {
        kind: {frame: dict(output) for frame, output in outputs.items()}
        for kind, outputs in memory.outputs.items()
    }
    return forked


def stack_features(features: Sequence[FrameFeatures], counts: Sequence[int]) -> FrameFeatures:
    """Puts the features of frames side by side, one column for each object.

    Args:
        features: those of one frame for each pass; passes may share one
        counts: the number of objects of each pass

    Returns:
        features with as many columns as there are objects
    """
    import torch

    distinct = list({id(f): f for f in features}.values())
    column = {id(f): i for i, f in enumerate(distinct)}
    owners = [
        column[id(f)] for f, count in zip(features, counts, strict=True) for _ in range(count)
    ]
    first = distinct[0]
    maps = first.maps
    if len(distinct) > 1:
        maps = [torch.cat([f.maps[i] for f in distinct], dim=1) for i in range(len(maps))]
    if owners != list(range(len(distinct))):
        rows = torch.tensor(owners, device=maps[0].device)
        maps = [m.index_select(1, rows) for m in maps]
    # The same for every frame of a size; the model looks at the coarsest ones alone
    positions = [first.positions[-1][:, :1].expand(-1, len(owners), -1)]
    return FrameFeatures(maps, positions, first.sizes)


def track_side_by_side(
    model: SAM2Base,
    features: Sequence[FrameFeatures],
    memories: Sequence[Memory],
    counts: Sequence[int],
    prompt: dict[str, torch.Tensor] | None = None,
) -> list[StepOutput]:
    """Runs the model on the next frame of several passes.

    Args:
        model: the SAM2 model
        features: those of the frame of each pass
        memories: the memory of each pass, all of one form (:func:`form_of`), updated in place
        counts: the number of objects of each pass
        prompt (None): as :func:`fiftyone_revseg.tracking.memory.track_frame` takes it, for the
            objects of all passes, if this is their key frame

    Returns:
        what :func:`fiftyone_revseg.tracking.memory.track_frame` would return for each pass
    """
    if len(memories) == 1:  # alone, as if this module did not exist
        alone = stack_features(features, counts)
        return [track_frame(model, alone, memories[0], counts[0], prompt)]
    joined = _join(memories)
    frame = joined.frame
    out = track_frame(model, stack_features(features, counts), joined, sum(counts), prompt)
    kind = "non_cond_frame_outputs" if frame else "cond_frame_outputs"
    remembered = joined.outputs[kind][frame]
    outputs, start = [], 0
    for memory, count in zip(memories, counts, strict=True):
        rows = slice(start, start + count)
        memory.add(
            {
                "maskmem_features": remembered["maskmem_features"][rows],
                "maskmem_pos_enc": [p[rows] for p in remembered["maskmem_pos_enc"]],
                "obj_ptr": remembered["obj_ptr"][rows],
            }
        )
        outputs.append(StepOutput(out.mask_logits[rows], out.iou[rows], out.object_score[rows]))
        start += count
    return outputs


def _join(memories: Sequence[Memory]) -> Memory:
    """One memory of all objects. Frames are told by their distance to the present one."""
    first = memories[0]
    joined = copy.copy(first)
    recent = [memory.outputs["non_cond_frame_outputs"] for memory in memories]
    conditioning = [memory.outputs["cond_frame_outputs"] for memory in memories]
    joined.outputs = {
        "cond_frame_outputs": {
            frame: _cat([list(outputs.values())[i] for outputs in conditioning])
            for i, frame in enumerate(conditioning[0])
        },
        "non_cond_frame_outputs": {
            frame: _cat(
                [
                    outputs[memory.frame - (first.frame - frame)]
                    for memory, outputs in zip(memories, recent, strict=True)
                ]
            )
            for frame in recent[0]
        },
    }
    return joined


def _cat(outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    import torch

    joined: dict[str, Any] = {
        "obj_ptr": torch.cat([output["obj_ptr"] for output in outputs]),
        "maskmem_features": None,
        "maskmem_pos_enc": None,
    }
    if outputs[0]["maskmem_features"] is not None:
        features = torch.cat([output["maskmem_features"] for output in outputs])
        positions = outputs[0]["maskmem_pos_enc"]
        joined["maskmem_features"] = features
        # The same for every map of a size
        joined["maskmem_pos_enc"] = [p[:1].expand(len(features), -1, -1, -1) for p in positions]
    return joined
