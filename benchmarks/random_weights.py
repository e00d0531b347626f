"""Checkpoints with random weights, made on the spot.

They say nothing sensible, but have the architecture, the size and the files of the real ones: for
tests, and for measuring a machine without a download.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fiftyone_revseg.nano.vlm import SPECIAL_TOKENS
from fiftyone_revseg.reasoning.spec import ChainSpec, family_spec

CHAT_TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else %}\
{% for part in message['content'] %}\
{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>\
{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>\
{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

# The published configuration of Qwen2.5-VL-3B-Instruct
_QWEN2_5_VL_3B: dict[str, Any] = {
    "text": {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128000,
        "rms_norm_eps": 1e-6,
        "max_window_layers": 70,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [16, 24, 24],
        },
    },
    "vision": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 2048,
        "patch_size": 14,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "tokens_per_second": 2,
    },
    "tie_word_embeddings": True,
}

# That of Qwen2.5-VL-7B-Instruct, which differs in the language model
_QWEN2_5_VL_7B: dict[str, Any] = {
    "text": {
        **_QWEN2_5_VL_3B["text"],
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_window_layers": 28,
    },
    "vision": {**_QWEN2_5_VL_3B["vision"], "out_hidden_size": 3584},
    "tie_word_embeddings": False,
}

# That of Qwen3.5-9B, whose sizes are the defaults of transformers
_QWEN3_5_9B: dict[str, Any] = {
    "text": {
        "num_hidden_layers": 32,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e7,
            "partial_rotary_factor": 0.25,
            "mrope_section": [11, 11, 10],
            "mrope_interleaved": True,
        },
    },
    "vision": {"depth": 27, "patch_size": 16, "out_hidden_size": 4096},
    "tie_word_embeddings": False,
}

# That of Qwen3-VL-8B-Instruct
_QWEN3_VL_8B: dict[str, Any] = {
    "text": {
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 262144,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5e6,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        },
    },
    "vision": {
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "out_hidden_size": 4096,
        "patch_size": 16,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [8, 16, 24],
    },
    "tie_word_embeddings": False,
}

# That of Qwen3-VL-4B-Instruct
_QWEN3_VL_4B: dict[str, Any] = {
    "text": {**_QWEN3_VL_8B["text"], "hidden_size": 2560, "intermediate_size": 9728},
    "vision": {
        **_QWEN3_VL_8B["vision"],
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "out_hidden_size": 2560,
        "deepstack_visual_indexes": [5, 11, 17],
    },
    "tie_word_embeddings": True,
}

# A few ten thousand parameters each, for tests; wide enough weights that inputs make a difference
TINY_TEXT = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 8192,
    "initializer_range": 0.2,
}
_TINY_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "out_hidden_size": 32,
    "initializer_range": 0.2,
}
_TINY_2_5: dict[str, Any] = {
    "text": {
        **TINY_TEXT,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "mrope_section": [2, 3, 3],
        },
    },
    "vision": {
        **_TINY_VISION,
        "patch_size": 14,
        "window_size": 56,
        "fullatt_block_indexes": [1],
        "tokens_per_second": 2,
    },
}
_TINY_3: dict[str, Any] = {
    "text": {
        **TINY_TEXT,
        "head_dim": 16,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "mrope_section": [2, 3, 3],
            "mrope_interleaved": True,
        },
    },
    "vision": {
        **_TINY_VISION,
        "patch_size": 16,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    },
}
# Three layers with a recurrent state to one with keys and values, as published
_TINY_3_5: dict[str, Any] = {
    "text": {
        **TINY_TEXT,
        "num_hidden_layers": 4,
        "head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "partial_rotary_factor": 0.5,
            "mrope_section": [2, 1, 1],
            "mrope_interleaved": True,
        },
    },
    "vision": {**_TINY_VISION, "patch_size": 16, "num_position_embeddings": 64},
}
_TINY_3_5_MOE: dict[str, Any] = {
    "text": {
        **{k: v for k, v in _TINY_3_5["text"].items() if k != "intermediate_size"},
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
    },
    "vision": _TINY_3_5["vision"],
}
_TINY_2: dict[str, Any] = {
    "text": _TINY_2_5["text"],
    "vision": {
        "depth": 2,
        "embed_dim": 32,
        "hidden_size": 32,
        "num_heads": 2,
        "mlp_ratio": 2,
        "patch_size": 14,
        "initializer_range": 0.2,
    },
}
_TINY_3_MOE: dict[str, Any] = {
    "text": {
        **_TINY_3["text"],
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
    },
    "vision": _TINY_3["vision"],
}
_TINY_4_EXP: dict[str, Any] = {
    "text": {
        **_TINY_3_5_MOE["text"],
        "hc_count": 2,
        "hc_lowrank": 8,
        "ple_layer_ids": [1],
        "ngram_vocab_size_base": 64,
        "make_ngram_vocab_size_divisible_by": 8,
        "heads_per_ngram": 2,
        "split_ngram_parts": 2,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 512,
        "indexer_compress_ratio": 4,
    },
    "vision": _TINY_3_5["vision"],
}
ARCHITECTURES = {
    "qwen2.5-vl-3b": ("qwen2_5_vl", _QWEN2_5_VL_3B),
    "qwen2.5-vl-7b": ("qwen2_5_vl", _QWEN2_5_VL_7B),
    "qwen3.5-9b": ("qwen3_5", _QWEN3_5_9B),
    "qwen3-vl-4b": ("qwen3_vl", _QWEN3_VL_4B),
    "qwen3-vl-8b": ("qwen3_vl", _QWEN3_VL_8B),
    "tiny-qwen2-vl": ("qwen2_vl", _TINY_2),
    "tiny-qwen2.5-vl": ("qwen2_5_vl", _TINY_2_5),
    "tiny-qwen3-vl": ("qwen3_vl", _TINY_3),
    "tiny-qwen3-vl-moe": ("qwen3_vl_moe", _TINY_3_MOE),
    "tiny-qwen3.5": ("qwen3_5", _TINY_3_5),
    "tiny-qwen3.5-moe": ("qwen3_5_moe", _TINY_3_5_MOE),
    "tiny-qwen4-exp": ("qwen4_exp", _TINY_4_EXP),
}


def save_random_checkpoint(
    directory: str | Path,
    architecture: str = "qwen2.5-vl-3b",
    text_layers: int | None = None,
    vision_layers: int | None = None,
    spec: ChainSpec | None = None,
    dtype: str = "float32",
    seed: int = 0,
    vocabulary: int | None = None,
) -> Path:
    """Writes a checkpoint with random weights in the ordinary files.

    Args:
        directory: where to write; created if needed
        architecture ("qwen2.5-vl-3b"): one of ``ARCHITECTURES``, of a published size or tiny
        text_layers (None): fewer layers in the language model than published
        vision_layers (None): fewer layers in the vision tower than published
        spec (None): the settings for its ``revseg.json``; by default those of its family
        dtype ("float32"): the precision of the weights; "bfloat16" halves the files
        seed (0): the seed of the weights
        vocabulary (None): fewer tokens than published, which saves memory

    Returns:
        the directory
    """
    import torch
    from transformers import AutoModelForImageTextToText

    directory = Path(directory)
    config, processor = build(architecture, text_layers, vision_layers)
    if vocabulary is not None:
        config.get_text_config().vocab_size = vocabulary
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        model = AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, dtype))
    finally:
        torch.random.set_rng_state(state)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    (spec or family_spec(config.model_type)).save(directory)
    return directory


def build(
    architecture: str, text_layers: int | None = None, vision_layers: int | None = None
) -> tuple[Any, Any]:
    """Makes the config and the processor of an architecture.

    Args:
        architecture: see :func:`save_random_checkpoint`
        text_layers (None): fewer layers in the language model than published
        vision_layers (None): fewer layers in the vision tower than published

    Returns:
        a transformers config and the processor that goes with it

    Raises:
        ValueError: if the architecture is not known
    """
    from transformers import AutoConfig

    if architecture not in ARCHITECTURES:
        raise ValueError(f"Unknown architecture '{architecture}': use one of {[*ARCHITECTURES]}")
    model_type, sizes = ARCHITECTURES[architecture]
    text, vision = dict(sizes["text"]), dict(sizes["vision"])
    if text_layers is not None:
        text["num_hidden_layers"] = text_layers
    if vision_layers is not None:
        vision["depth"] = vision_layers
        for key in ("fullatt_block_indexes", "deepstack_visual_indexes"):
            if key in vision:
                kept = [i for i in vision[key] if i < vision_layers]
                vision[key] = kept or [vision_layers - 1]
    processor = _processor(model_type, vision["patch_size"])
    ids = processor.tokenizer.convert_tokens_to_ids
    text |= {
        "bos_token_id": ids("<|endoftext|>"),
        "eos_token_id": ids("<|im_end|>"),
        "pad_token_id": ids("<|endoftext|>"),
    }
    config = AutoConfig.for_model(
        model_type,
        text_config=text,
        vision_config=vision,
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=sizes.get("tie_word_embeddings", False),
    )
    return config, processor


def _processor(model_type: str, patch_size: int) -> Any:
    from transformers import (
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    parts: dict[str, Any] = {
        "image_processor": Qwen2VLImageProcessor(patch_size=patch_size),
        "tokenizer": _byte_tokenizer(),
        "chat_template": CHAT_TEMPLATE,
    }
    if model_type not in ("qwen2_vl", "qwen2_5_vl"):
        parts["video_processor"] = Qwen3VLVideoProcessor(patch_size=patch_size)
        return Qwen3VLProcessor(**parts)
    parts["video_processor"] = Qwen2VLVideoProcessor(patch_size=patch_size)
    return (Qwen2VLProcessor if model_type == "qwen2_vl" else Qwen2_5_VLProcessor)(**parts)


def _byte_tokenizer() -> Any:
    """A tokenizer with one token for each byte, and Qwen's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
    )
