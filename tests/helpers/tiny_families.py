"""Checkpoints of many makers: the real classes of transformers, tiny, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from random_weights import CHAT_TEMPLATE, TINY_TEXT, build
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
    "initializer_range": 0.2,
}
SQUARE = {"height": 56, "width": 56}
QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
QWEN_VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"


def make_tokenizer(*special: str, **named: str) -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_end|>", *special])
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=named,
    )


def template(image: str, video: str = "") -> str:
    return CHAT_TEMPLATE.replace(QWEN_IMAGE, image).replace(QWEN_VIDEO, video)


def internvl():
    names = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = make_tokenizer(*names.values(), **names)
    processor = tf.InternVLProcessor(
        image_processor=tf.GotOcr2ImageProcessor(size=SQUARE, crop_to_patches=True),
        video_processor=tf.InternVLVideoProcessor(size=SQUARE),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=template("<IMG_CONTEXT>\n", "<video>\n"),
    )
    config = tf.AutoConfig.for_model(
        "internvl",
        text_config={"model_type": "qwen2", **TINY_TEXT},
        vision_config={**VISION, "image_size": [56, 56], "patch_size": [14, 14]},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
    )
    return config, processor


def llava():  # sees pictures of one size only
    tokenizer = make_tokenizer("<image>")
    processor = tf.LlavaProcessor(
        image_processor=tf.CLIPImageProcessor(size={"shortest_edge": 56}, crop_size=SQUARE),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>"),
    )
    config = tf.AutoConfig.for_model(
        "llava",
        text_config={"model_type": "qwen2", **TINY_TEXT},
        vision_config={"model_type": "clip_vision_model", "projection_dim": 32, **VISION},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return config, processor


def gemma3():  # its processor wants to know which conversation a picture belongs to
    names = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    tokenizer = make_tokenizer(*names.values(), **names)
    ids = tokenizer.convert_tokens_to_ids
    processor = tf.Gemma3Processor(
        image_processor=tf.Gemma3ImageProcessor(size=SQUARE),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=template("<start_of_image>"),
    )
    config = tf.AutoConfig.for_model(
        "gemma3",
        text_config={**TINY_TEXT, "head_dim": 16},
        vision_config=VISION,
        mm_tokens_per_image=4,
        image_token_index=ids("<image_soft_token>"),
        boi_token_index=ids("<start_of_image>"),
        eoi_token_index=ids("<end_of_image>"),
    )
    return config, processor


def gemma4(model_type: str = "gemma4", processors: str = "Gemma4", **vision: Any):
    names = {
        "boi_token": "<|image>",
        "image_token": "<|image|>",
        "eoi_token": "<image|>",
        "boa_token": "<|audio>",
        "audio_token": "<|audio|>",
        "eoa_token": "<audio|>",
    }
    marks = ("<|channel>", "<channel|>")  # around a thought
    tokenizer = make_tokenizer(*names.values(), "<|video|>", *marks, **names)
    ids = tokenizer.convert_tokens_to_ids
    processor = getattr(tf, f"{processors}Processor")(
        feature_extractor=getattr(tf, f"{processors}AudioFeatureExtractor")(),
        image_processor=getattr(tf, f"{processors}ImageProcessor")(),
        video_processor=getattr(tf, f"{processors}VideoProcessor")(),
        tokenizer=tokenizer,
        chat_template=template("<|image|>", "<|video|>"),
    )
    config = tf.AutoConfig.for_model(
        model_type,
        text_config={
            **TINY_TEXT,
            "head_dim": 16,
            "global_head_dim": 16,
            "layer_types": ["sliding_attention", "full_attention"],
            "use_bidirectional_attention": "vision",
            **({} if vision else {"hidden_size_per_layer_input": 8}),
            **({} if vision else {"vocab_size_per_layer_input": 320}),
        },
        vision_config=vision
        or {
            **{k: v for k, v in VISION.items() if k != "image_size"},
            "patch_size": 16,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "position_embedding_size": 64,
        },
        audio_config=None,
        image_token_id=ids("<|image|>"),
        boi_token_id=ids("<|image>"),
        eoi_token_id=ids("<image|>"),
        video_token_id=ids("<|video|>"),
        audio_token_id=ids("<|audio|>"),
    )
    return config, processor


def gemma4_unified():  # without a vision tower
    return gemma4(
        "gemma4_unified", "Gemma4Unified", mm_embed_dim=32, mm_posemb_size=64, output_proj_dims=32
    )


def mistral3():
    tokenizer = make_tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    processor = tf.PixtralProcessor(
        image_processor=tf.PixtralImageProcessor(patch_size={"height": 14, "width": 14}),
        tokenizer=tokenizer,
        patch_size=14,
        spatial_merge_size=2,
        chat_template=template("[IMG]"),
    )
    config = tf.AutoConfig.for_model(
        "mistral3",
        text_config={"model_type": "mistral", **TINY_TEXT, "head_dim": 16},
        vision_config={"model_type": "pixtral", **VISION, "image_size": 1024, "head_dim": 16},
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
    )
    return config, processor


def molmo2():
    names = {
        "image_start_token_id": "<im_start>",
        "low_res_image_start_token_id": "<low_res_im_start>",
        "image_end_token_id": "<im_end>",
        "image_patch_id": "<im_patch>",
        "frame_start_token_id": "<frame_start>",
        "frame_end_token_id": "<frame_end>",
    }
    others = ("<|image|>", "<|video|>", "<im_col>", "<im_low>")
    tokenizer = make_tokenizer(*names.values(), *others)
    processor = tf.Molmo2Processor(
        image_processor=tf.Molmo2ImageProcessor(size=SQUARE, overlap_margins=[1, 1]),
        video_processor=tf.Molmo2VideoProcessor(size=SQUARE),
        tokenizer=tokenizer,
        chat_template=template("<|image|>", "<|video|>"),
    )
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    shape = {"hidden_size": 32, "intermediate_size": 64, "initializer_range": 0.2, **heads}
    config = tf.AutoConfig.for_model(
        "molmo2",
        text_config={**TINY_TEXT, "head_dim": 16, "additional_vocab_size": 16},
        vision_config={
            **shape,
            "num_hidden_layers": 2,
            "image_size": [56, 56],
            "patch_size": 14,
            "num_position_embeddings": 16,
        },
        adapter_config={**shape, "vision_feature_layer": [-1], "text_hidden_size": 32},
        **{name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()},
    )
    return config, processor


GLM_TOKENS = ("<|begin_of_image|>", "<|image|>", "<|end_of_image|>", "<|video|>")
GLM_IMAGE = "<|begin_of_image|><|image|><|end_of_image|>"


def glm(model_type: str, processors: str, vision: dict[str, Any], **text: Any):
    tokenizer = make_tokenizer(*GLM_TOKENS, "<|begin_of_video|>", "<|end_of_video|>")
    ids = tokenizer.convert_tokens_to_ids
    processor = getattr(tf, f"{processors}Processor")(
        image_processor=getattr(tf, f"{processors}ImageProcessor")(),
        video_processor=getattr(tf, f"{processors}VideoProcessor")(),
        tokenizer=tokenizer,
        chat_template=template(GLM_IMAGE, "<|begin_of_video|><|video|><|end_of_video|>"),
    )
    shape = {k: v for k, v in VISION.items() if not k.startswith("num_")}
    config = tf.AutoConfig.for_model(
        model_type,
        text_config={**TINY_TEXT, "pad_token_id": 0, **text},
        vision_config={**shape, "depth": 2, "num_heads": 2, "out_hidden_size": 32, **vision},
        image_token_id=ids("<|image|>"),
        video_token_id=ids("<|video|>"),
        image_start_token_id=ids("<|begin_of_image|>"),
        image_end_token_id=ids("<|end_of_image|>"),
        video_start_token_id=ids("<|begin_of_video|>"),
        video_end_token_id=ids("<|end_of_video|>"),
    )
    return config, processor


GLM_ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}


def glm4v():
    return glm("glm4v", "Glm4v", {}, rope_parameters=GLM_ROPE)


def glm46v():
    config, processor = glm("glm4v", "Glm46V", {}, rope_parameters=GLM_ROPE)
    parts = {name: getattr(config, name).to_dict() for name in ("text_config", "vision_config")}
    ids = {name: value for name, value in config.to_dict().items() if name.endswith("_token_id")}
    return tf.AutoConfig.for_model("glm46v", **parts, **ids), processor


def glm4v_moe():
    return glm(
        "glm4v_moe",
        "Glm4v",
        {},
        rope_parameters={**GLM_ROPE, "partial_rotary_factor": 0.5, "mrope_section": [1, 1, 2]},
        moe_intermediate_size=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
    )


def glm5_next():
    return glm(
        "glm5_next",
        "Glm5Next",
        {"projection_intermediate_size": 64},
        num_hidden_layers=4,
        num_key_value_heads=2,
        moe_intermediate_size=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
        kv_lora_rank=16,
        q_lora_rank=16,
        v_head_dim=16,
        qk_nope_head_dim=16,
        index_topk=512,  # all: which of several equal scores is left out is up to rounding
        index_head_dim=16,
        index_n_heads=2,
        linear_head_dim=16,
        linear_num_heads=2,
    )


def qwen(architecture: str) -> Callable[[], tuple[Any, Any]]:
    return lambda: build(architecture)


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "internvl": internvl,
    "llava": llava,
    "gemma3": gemma3,
    "gemma4": gemma4,
    "gemma4_unified": gemma4_unified,
    "mistral3": mistral3,
    "molmo2": molmo2,
    "glm4v": glm4v,
    "glm46v": glm46v,
    "glm4v_moe": glm4v_moe,
    "glm5_next": glm5_next,
    "qwen2_vl": qwen("tiny-qwen2-vl"),
    "qwen2_5_vl": qwen("tiny-qwen2.5-vl"),
    "qwen3_vl": qwen("tiny-qwen3-vl"),
    "qwen3_vl_moe": qwen("tiny-qwen3-vl-moe"),
    "qwen3_5": qwen("tiny-qwen3.5"),
    "qwen3_5_moe": qwen("tiny-qwen3.5-moe"),
    "qwen4_exp": qwen("tiny-qwen4-exp"),
}


def thinking(chat_template: str) -> str:
    """A template like Qwen3.5's: a thought is opened, or closed at once, and forgotten later."""
    said = "{{ part['text'] }}"
    kept = "part['text'].split('</think>')[-1] if message['role'] == 'assistant' else part['text']"
    start, end = "<|im_start|>assistant\n", "{% endif %}"
    off = "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n"
    assert said in chat_template
    assert chat_template.endswith(start + end)
    whole = chat_template.replace(said, "{{ " + kept + " }}").removesuffix(end)
    return whole + off + "{% else %}<think>\n{% endif %}" + end


def save_family(family: str, directory: Path) -> Path:
    """Writes a checkpoint as its makers publish it, of a model that thinks: no revseg.json."""
    config, processor = FAMILIES[family]()
    processor.chat_template = thinking(processor.chat_template)
    torch.manual_seed(0)
    model = tf.AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "projection_weight" in name:  # Gemma's starts at 0: no picture would matter
                weight.normal_()
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory
