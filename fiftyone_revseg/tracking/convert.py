"""SAM2 checkpoints, as sam2 writes them, in transformers' implementation of SAM2."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn
from transformers import (
    Sam2VideoConfig,
    Sam2VideoMaskDecoderConfig,
    Sam2VideoModel,
    Sam2VideoPromptEncoderConfig,
)

from fiftyone_revseg.tracking.checkpoints import CheckpointError

# What transformers does and offers no choice about: sam2's setting -> the only value, its default
_FIXED = {
    "backbone_stride": (16, 16),
    "use_mask_input_as_output_without_sam": (True, False),
    "directly_add_no_mem_embed": (True, False),
    "use_high_res_features_in_sam": (True, False),
    "iou_prediction_use_sigmoid": (True, False),
    "use_obj_ptrs_in_encoder": (True, False),
    "only_obj_ptrs_in_the_past_for_eval": (True, False),
    "pred_obj_scores": (True, False),
    "pred_obj_scores_mlp": (True, False),
    "fixed_no_obj_ptr": (True, False),
    "use_mlp_for_obj_ptr_proj": (True, False),
    "soft_no_obj_ptr": (False, False),
    "memory_temporal_stride_for_eval": (1, 1),
}

# Parts of names, applied in this order
_RENAMED = (
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"^sam_mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^sam_mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^sam_mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^sam_prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"\.gamma$", ".scale"),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.norm(\d?|_final_attn)\.", r".layer_norm\1."),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
)
_MLP = re.compile(r"(.*)\.layers\.(\d+)\.(weight|bias)")
_DOWNSAMPLER = re.compile(r"(memory_encoder\.mask_downsampler)\.encoder\.(\d+)\.(weight|bias)")
_GAUSSIAN = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_POINTS = re.compile(r"sam_prompt_encoder\.point_embeddings\.(\d+)\.weight")


def to_transformers(config: dict[str, Any], state: dict[str, torch.Tensor]) -> Sam2VideoModel:
    """Builds transformers' SAM2 with the weights of a checkpoint of sam2.

    Args:
        config: the dict from :func:`~fiftyone_revseg.tracking.checkpoints.read_config`
        state: the tensors from :func:`~fiftyone_revseg.tracking.checkpoints.read_weights`

    Returns:
        the model in eval mode, on the CPU

    Raises:
        CheckpointError: if the config asks for what transformers cannot do, or the weights do not
            fit it
    """
    try:
        model: Any = Sam2VideoModel(_to_config(config))
        _fit_memory_width(model)
        weights = rename_weights(state)
        for name, parameter in model.named_parameters():
            if name.endswith(".scale") and name not in weights:  # sam2's blocks may have none
                weights[name] = torch.ones_like(parameter)
        model.load_state_dict(weights)
    except CheckpointError:
        raise
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as e:
        raise CheckpointError(
            "this SAM2 checkpoint cannot be run by transformers "
            f"({str(e).splitlines()[0]}): leave out 'transformers:', so that sam2 runs it"
        ) from e
    if not config["binarize_mask_from_pts_for_mem_enc"]:
        encode = model._encode_new_memory

        def encode_soft_masks(**inputs: Any) -> Any:
            return encode(**{**inputs, "is_mask_from_pts": False})

        model._encode_new_memory = encode_soft_masks  # transformers always binarizes there
    return model.eval()


def rename_weights(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gives the weights of a SAM2 model the names that transformers has for them.

    Args:
        state: tensors by sam2's names

    Returns:
        the same tensors by transformers' names
    """
    deepest: dict[str, int] = {}  # of each MLP and the mask downsampler, its last layer
    for name in state:
        found = _MLP.fullmatch(name) or _DOWNSAMPLER.fullmatch(name)
        if found:
            deepest[found[1]] = max(deepest.get(found[1], 0), int(found[2]))
    renamed, points = {}, {}
    for name, value in state.items():
        if found := _POINTS.fullmatch(name):
            points[int(found[1])] = value
            continue
        if name == _GAUSSIAN:
            renamed["shared_image_embedding.positional_embedding"] = value
            renamed["prompt_encoder.shared_embedding.positional_embedding"] = value
            continue
        if found := _MLP.fullmatch(name):
            prefix, i, kind = found[1], int(found[2]), found[3]
            last = deepest[prefix]
            layer = "proj_in" if i == 0 else "proj_out" if i == last else f"layers.{i - 1}"
            name = f"{prefix}.{layer}.{kind}"
        elif found := _DOWNSAMPLER.fullmatch(name):
            prefix, i, kind = found[1], int(found[2]), found[3]
            layer = f"layers.{i // 3}.{'layer_norm' if i % 3 else 'conv'}"
            name = f"{prefix}.{'final_conv' if i == deepest[prefix] else layer}.{kind}"
        for pattern, new in _RENAMED:
            name = re.sub(pattern, new, name)
        renamed[name] = value
    if points:
        renamed["prompt_encoder.point_embed.weight"] = torch.cat([points[i] for i in range(4)])
    return renamed


def _to_config(config: dict[str, Any]) -> Sam2VideoConfig:
    """sam2's settings in transformers' words."""
    for key, (value, default) in _FIXED.items():
        if config.get(key, default) != value:
            raise CheckpointError(
                f"transformers' SAM2 knows no {key} but {value}: leave out 'transformers:', so "
                "that sam2 runs this checkpoint"
            )
    encoded = config.get("add_tpos_enc_to_obj_ptrs", True)
    if encoded and not config.get("proj_tpos_enc_in_obj_ptrs", False):
        raise CheckpointError(
            "transformers' SAM2 always projects the temporal encoding of object pointers: leave "
            "out 'transformers:', so that sam2 runs this checkpoint"
        )
    trunk, neck = config["image_encoder"]["trunk"], config["image_encoder"]["neck"]
    attention, encoder = config["memory_attention"], config["memory_encoder"]
    cross, fuser = attention["layer"]["cross_attention"], encoder["fuser"]
    size, width = config["image_size"], neck["d_model"]
    stages = trunk.get("stages", [2, 3, 16, 3])
    extra = config.get("sam_mask_decoder_extra_args") or {}
    return Sam2VideoConfig(
        vision_config={
            "model_type": "sam2_vision_model",
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "image_size": [size, size],
                "hidden_size": trunk.get("embed_dim", 96),
                "num_attention_heads": trunk.get("num_heads", 1),
                "blocks_per_stage": stages,
                "embed_dim_per_stage": [trunk.get("embed_dim", 96) * 2**i for i in range(4)],
                "num_attention_heads_per_stage": [
                    trunk.get("num_heads", 1) * 2**i for i in range(4)
                ],
                "window_size_per_stage": trunk.get("window_spec", [8, 4, 14, 7]),
                "global_attention_blocks": trunk.get("global_att_blocks", [12, 16, 20]),
                "window_positional_embedding_background_size": trunk.get(
                    "window_pos_embed_bkg_spatial_size", [14, 14]
                ),
            },
            "backbone_channel_list": neck["backbone_channel_list"],
            "backbone_feature_sizes": [[size // s, size // s] for s in (4, 8, 16)],
            "fpn_hidden_size": width,
            "fpn_top_down_levels": neck.get("fpn_top_down_levels", [0, 1, 2, 3]),
        },
        # Not dicts: transformers 5.15 takes the second for one of the first kind
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(hidden_size=width, image_size=size),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(hidden_size=width, **extra),
        image_size=size,
        num_maskmem=config.get("num_maskmem", 7),
        sigmoid_scale_for_mem_enc=config.get("sigmoid_scale_for_mem_enc", 1.0),
        sigmoid_bias_for_mem_enc=config.get("sigmoid_bias_for_mem_enc", 0.0),
        enable_occlusion_spatial_embedding=config.get("no_obj_embed_spatial", False),
        multimask_output_in_sam=config.get("multimask_output_in_sam", False),
        multimask_min_pt_num=config.get("multimask_min_pt_num", 1),
        multimask_max_pt_num=config.get("multimask_max_pt_num", 1),
        multimask_output_for_tracking=config.get("multimask_output_for_tracking", False),
        max_object_pointers_in_encoder=config.get("max_obj_ptrs_in_encoder", 16),
        enable_temporal_pos_encoding_for_object_pointers=encoded,
        memory_attention_hidden_size=attention["d_model"],
        memory_attention_num_layers=attention["num_layers"],
        memory_attention_num_attention_heads=cross["num_heads"],
        memory_attention_downsample_rate=cross["downsample_rate"],
        memory_attention_feed_forward_hidden_size=attention["layer"]["dim_feedforward"],
        memory_attention_feed_forward_hidden_act=attention["layer"]["activation"],
        memory_attention_rope_feat_sizes=[size // 16, size // 16],
        memory_encoder_hidden_size=encoder.get("in_dim", width),
        memory_encoder_output_channels=encoder["out_dim"],
        mask_downsampler_embed_dim=encoder.get("in_dim", width),
        memory_fuser_num_layers=fuser["num_layers"],
        memory_fuser_embed_dim=fuser["layer"]["dim"],
        memory_fuser_intermediate_dim=4 * fuser["layer"]["dim"],
        memory_fuser_kernel_size=fuser["layer"]["kernel_size"],
        memory_fuser_padding=fuser["layer"]["padding"],
    )


def _fit_memory_width(model: Any) -> None:
    """Widens or narrows the inputs that transformers makes 64 wide, whatever the config says."""
    width = model.config.memory_encoder_output_channels
    for layer in model.memory_attention.layers:
        attention = layer.cross_attn_image
        for name in ("k_proj", "v_proj"):
            if getattr(attention, name).in_features != width:
                setattr(attention, name, nn.Linear(width, attention.internal_dim))
