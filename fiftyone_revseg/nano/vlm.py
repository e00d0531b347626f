"""The architecture of the embedded VLM: Qwen3-VL's own classes, made small.

Everything here is an ordinary Qwen3-VL checkpoint in miniature. Only the sizes, the tokenizer's
vocabulary and the prompts differ, so whatever loads the nano model loads a real one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

FRAMES = 8
FRAME_SIZE = 96  # pixels; 6 x 6 tokens
KEY_FRAME_SIZE = 192  # pixels; 12 x 12 tokens
PATCH = 8
MERGE = 2

# Every prompt token costs a small model attention, so its prompts are as short as they can be.
PROMPTS = {
    "system": "",
    "turn1": "{frames}Find {query}",
    "frame": "{index}:",
    "turn2": "{image}Detect {description}",
}

# Those of a checkpoint that judges tracks, beside them
VERDICT_PROMPTS = {
    "turn3": "Find {query}",
    # In the words of turn 1's thoughts. The number is last, where all facts can be seen, so that
    # what fits only needs to be copied
    "thought3": "<think>{objects}</think>",
    "object": "The {description} {life} {motion} is {size} wide is at {x} {y} {growth}: {number}.",
    "ask3": "{votes} of {candidates}",
    "again": "Not {rejected}",
}

#: Qwen-VL's
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

TAGS = ("<think>", "</think>", "<answer>", "</answer>")

# Qwen's dialogue format (ChatML), with its image and video markers.
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\n' }}"
    "{%- if message['content'] is string %}{{- message['content'] }}{%- else %}"
    "{%- for part in message['content'] %}"
    "{%- if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{%- elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{%- elif part['type'] == 'text' %}{{- part['text'] }}{%- endif %}"
    "{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)


def build_tokenizer(corpus: Iterable[str]) -> PreTrainedTokenizerFast:
    """Builds a byte-level BPE tokenizer of about 1,500 tokens.

    Each whole number from 0 to 1000 is one token: a coordinate is then a single choice among
    neighbours instead of a sequence of digits, which a small model learns far sooner.

    Args:
        corpus: texts to learn the word pieces from

    Returns:
        a ``transformers.PreTrainedTokenizerFast``
    """
    tokenizer = Tokenizer(models.BPE())
    words_digits_or_punctuation = Regex(r" ?[A-Za-z_]+|[0-9]+|\s+(?=\S)|[^A-Za-z0-9]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words_digits_or_punctuation, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=520,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    tokenizer.add_tokens([AddedToken(str(n), normalized=False) for n in range(1001)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        chat_template=CHAT_TEMPLATE,
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLProcessor:
    """Qwen3-VL's processor with this model's patch size, around a tokenizer."""
    pixels = {"shortest_edge": (PATCH * MERGE) ** 2, "longest_edge": 512 * 512}
    common = {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    for name, token in (("image", "<|image_pad|>"), ("video", "<|video_pad|>")):
        setattr(tokenizer, f"{name}_token", token)
        setattr(tokenizer, f"{name}_token_id", tokenizer.convert_tokens_to_ids(token))
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=pixels, **common),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(
            size={"shortest_edge": pixels["shortest_edge"], "longest_edge": 16 * 512 * 512},
            **common,
        ),
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3VLForConditionalGeneration:
    """A freshly initialized model of about 4 million parameters."""
    torch.manual_seed(seed)
    token: Any = tokenizer.convert_tokens_to_ids
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": -(-len(tokenizer) // 64) * 64,
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
            "head_dim": 32,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
        },
        vision_config={
            "depth": 4,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_heads": 4,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "out_hidden_size": 192,
            "num_position_embeddings": (KEY_FRAME_SIZE // PATCH) ** 2,
            "deepstack_visual_indexes": [2],
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = Qwen3VLForConditionalGeneration(config)
    _make_neighbouring_numbers_alike(model, tokenizer)
    model.generation_config.eos_token_id = token("<|im_end|>")
    model.generation_config.pad_token_id = token("<|endoftext|>")
    return model


def number_token_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The token ids of the whole numbers 0 to 1000."""
    ids: Any = tokenizer.convert_tokens_to_ids([str(n) for n in range(1001)])
    return ids


def _make_neighbouring_numbers_alike(
    model: Qwen3VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Starts the embeddings of the numbers on a smooth curve, so that 500 is like 510."""
    embedding: Any = model.get_input_embeddings().weight
    n = np.arange(1001)[:, None] / 1000
    frequencies = 2.0 ** np.arange(-1, 6)[None, :]
    waves = np.concatenate(
        [np.cos(2 * np.pi * n * frequencies), np.sin(2 * np.pi * n * frequencies)], 1
    )
    mixing = np.random.default_rng(0).normal(size=(waves.shape[1], embedding.shape[1]))
    curve = 0.02 * waves @ mixing / np.sqrt(waves.shape[1] / 2)
    with torch.no_grad():
        embedding[number_token_ids(tokenizer)] = torch.tensor(curve, dtype=embedding.dtype)
