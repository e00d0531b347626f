"""Video trackers of transformers with random weights, small enough for a thousand frames."""

from __future__ import annotations

import torch
import transformers

SIDE, WIDTH, MEMORY = 64, 128, 64  # transformers takes no other width of the memory


def tiny_model(kind: str, score: float = 50.0) -> transformers.PreTrainedModel:
    """A model of a kind, such as "sam2_video", that always (or never) sees the object."""
    torch.manual_seed(0)
    model = _BUILDERS[kind]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # or every mask is nearly flat: make the frames matter
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(score)
    return model.eval()


def _hiera() -> dict:
    return {
        "model_type": "sam2_vision_model",
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "image_size": [SIDE, SIDE],
            "hidden_size": 8,
            "blocks_per_stage": [1, 2, 3, 1],
            "embed_dim_per_stage": [8, 16, 32, 64],
            "num_attention_heads_per_stage": [1, 1, 2, 2],
            "window_size_per_stage": [8, 4, 4, 2],
            "global_attention_blocks": [5],
            "window_positional_embedding_background_size": [4, 4],
        },
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[SIDE // s, SIDE // s] for s in (4, 8, 16)],
        "fpn_hidden_size": WIDTH,
    }


def _rest(kind: str, mlp: str = "memory_attention_feed_forward_hidden_size") -> dict:
    prompt_encoder = getattr(transformers, f"{kind}PromptEncoderConfig")
    mask_decoder = getattr(transformers, f"{kind}MaskDecoderConfig")
    return {
        "prompt_encoder_config": prompt_encoder(hidden_size=WIDTH, image_size=SIDE, patch_size=16),
        "mask_decoder_config": mask_decoder(hidden_size=WIDTH, mlp_dim=64, iou_head_hidden_dim=32),
        "image_size": SIDE,
        "memory_attention_hidden_size": WIDTH,
        "memory_attention_num_layers": 2,
        mlp: 64,
        "memory_attention_rope_feat_sizes": [SIDE // 16] * 2,
        "memory_encoder_hidden_size": WIDTH,
        "memory_encoder_output_channels": MEMORY,
        "mask_downsampler_embed_dim": WIDTH,
        "memory_fuser_embed_dim": WIDTH,
        "memory_fuser_intermediate_dim": 64,
    }


def _sam2() -> transformers.PreTrainedModel:
    config = transformers.Sam2VideoConfig(vision_config=_hiera(), **_rest("Sam2Video"))
    return transformers.Sam2VideoModel(config)


def _edgetam() -> transformers.PreTrainedModel:
    """The published encoder needs timm; everything after it is EdgeTAM's own."""
    config = transformers.EdgeTamVideoConfig(
        vision_config=_hiera(),
        **_rest("EdgeTamVideo", "memory_attention_mlp_hidden_size"),
        memory_attention_rope_k_sizes=[2, 2],
        perceiver_resampler_num_latents=4,
        perceiver_resampler_num_latents_2d=4,
        perceiver_resampler_mlp_intermediate_size=32,
    )
    return transformers.EdgeTamVideoModel(config)


def _sam3() -> transformers.PreTrainedModel:
    vision = {
        "model_type": "sam3_vision_model",
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 16,
            "window_size": 2,
            "global_attn_indexes": [1],
            "pretrain_image_size": SIDE,
        },
        "fpn_hidden_size": WIDTH,
        "backbone_feature_sizes": [[SIDE // s, SIDE // s] for s in (4, 8, 16)],
    }
    config = transformers.Sam3TrackerVideoConfig(vision_config=vision, **_rest("Sam3TrackerVideo"))
    return transformers.Sam3TrackerVideoModel(config)


_BUILDERS = {"sam2_video": _sam2, "edgetam_video": _edgetam, "sam3_tracker_video": _sam3}
KINDS = tuple(_BUILDERS)
