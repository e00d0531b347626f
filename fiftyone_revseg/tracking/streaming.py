"""transformers' video trackers one frame at a time, with a memory that does not grow.

Their sessions take frames one by one, but keep every frame and every output. What the model will
never look back at is taken out after each frame.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from fiftyone_revseg.tracking.memory import FrameFeatures, StepOutput

if TYPE_CHECKING:
    import torch

# What a session keeps of a frame, and nothing reads again
_WRITE_ONLY = ("pred_masks", "high_res_masks")
_MAPS = ("maskmem_features", "maskmem_pos_enc")


class Ious(threading.local):
    """The expected IoUs of the masks that a decoder made last in this thread, object by object."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []


_watched: weakref.WeakKeyDictionary[Any, Ious] = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def watch_ious(model: Any) -> Ious:
    """Lets a model's mask decoder tell the IoUs it expects, which its tracker passes on to nobody.

    A model is watched once, however many trackers share it: threads may be in it at any time.

    Args:
        model: one of transformers' video trackers

    Returns:
        what each thread finds its own IoUs in
    """
    with _guard:
        if model not in _watched:
            ious = _watched[model] = Ious()

            def keep(_module: Any, _inputs: Any, output: Any) -> None:
                # Of several candidate masks the model takes the one with the highest
                ious.seen.append(output[1].max(dim=-1).values.flatten())

            model.mask_decoder.register_forward_hook(keep)
        return _watched[model]


class Stream:
    """One pass over a video: a session of the model's own that holds what it looks back at.

    That is the conditioning outputs of each object (the key frame and what joins it), the last
    ``num_maskmem - 1`` memory maps and the last ``max_object_pointers_in_encoder - 1`` object
    pointers.

    Args:
        model: one of transformers' video trackers
    """

    def __init__(self, model: Any) -> None:
        self.frame = 0
        self._model = model
        self._ious = watch_ious(model)
        self._maps = model.config.num_maskmem - 1
        self._pointers = max(self._maps, model.config.max_object_pointers_in_encoder - 1)
        self.session = _session_class(model)(
            inference_device=model.device,
            inference_state_device=model.device,
            video_storage_device=model.device,
            dtype=model.dtype,
        )

    def prompt(self, prompt: dict[str, torch.Tensor]) -> None:
        """Says which objects the key frame shows, before its step.

        Args:
            prompt: ``point_coords`` (N, P, 2) in pixels of the model's image and
                ``point_labels`` (N, P); or ``mask_inputs`` (N, 1, S, S)
        """
        masks = prompt.get("mask_inputs")
        for i in range(len(prompt["point_coords"] if masks is None else masks)):
            self.session.obj_id_to_idx(i)
            if masks is not None:
                self.session.add_mask_inputs(i, 0, masks[i][None])
                continue
            # One image, one object: two dimensions more
            points = {name: value[i][None, None] for name, value in prompt.items()}
            self.session.add_point_inputs(i, 0, points)
        self.session.obj_with_new_inputs = list(self.session.obj_ids)

    def step(self, features: FrameFeatures) -> StepOutput:
        """Runs the model on the next frame: the key frame first, then whatever follows it.

        The objects share the frame's features and go through the rest one after the other, as
        transformers has it.

        Args:
            features: of one frame, from :func:`encode_frames`

        Returns:
            a :class:`~fiftyone_revseg.tracking.memory.StepOutput`
        """
        import torch

        session, k = self.session, self.frame
        session.cache.cache_vision_features(
            k, {"vision_feats": features.maps, "vision_pos_embeds": features.positions}
        )
        self._ious.seen.clear()
        # With the features in its cache the model never looks at the frame, but wants one
        frame = features.maps[0].new_zeros(1)
        output = self._model(inference_session=session, frame=frame, frame_idx=k)
        self.skip()
        ious = torch.cat(self._ious.seen)
        self._ious.seen.clear()
        return StepOutput(output.pred_masks.float(), ious, output.object_score_logits.flatten())

    def join(self, known: Stream, distance: int) -> None:
        """As :meth:`fiftyone_revseg.tracking.memory.Memory.join`."""
        for i, outputs in self.session.output_dict_per_obj.items():
            conditioning = outputs["cond_frame_outputs"]
            theirs = known.session.output_dict_per_obj[i]["cond_frame_outputs"]
            conditioning[distance] = theirs[0]

    def skip(self) -> None:
        """Goes on to the next frame; of this one nothing more is remembered."""
        self._prune()
        self.frame += 1

    def _prune(self) -> None:
        session, k = self.session, self.frame
        session.processed_frames.clear()
        for i, outputs in session.output_dict_per_obj.items():
            session.frames_tracked_per_obj[i].clear()
            session.point_inputs_per_obj[i].clear()
            session.mask_inputs_per_obj[i].clear()
            recent = outputs["non_cond_frame_outputs"]
            recent.pop(k - self._pointers, None)
            for found in (recent.get(k), outputs["cond_frame_outputs"].get(k)):
                for name in _WRITE_ONLY if found else ():
                    found.pop(name, None)
            out_of_reach = recent.get(k - self._maps)
            for name in _MAPS if out_of_reach else ():
                out_of_reach.pop(name, None)


def encode_frames(model: Any, images: torch.Tensor) -> list[FrameFeatures]:
    """Encodes a batch of frames.

    Args:
        model: one of transformers' video trackers
        images: (B, 3, S, S) normalized RGB, S = ``model.image_size``

    Returns:
        the features of each of the B frames
    """
    encoded = model.get_image_features(images, return_dict=True)
    sizes = [tuple(size) for size in model.backbone_feature_sizes]
    maps, positions = encoded.fpn_hidden_states, encoded.fpn_position_encoding
    return FrameFeatures(list(maps), list(positions), sizes).split()


def _session_class(model: Any) -> Any:
    """The class of sessions that goes with a model; each has its own."""
    import transformers

    return getattr(transformers, type(model).__name__.replace("Model", "InferenceSession"))
