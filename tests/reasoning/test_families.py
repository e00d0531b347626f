"""Checkpoints of other makers: the real classes of transformers, tiny, with random weights."""

import numpy as np
import pytest
import torch
import transformers as tf
from random_weights import CHAT_TEMPLATE, TINY_TEXT
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from fiftyone_revseg.reasoning import Conversation, Image, LocalReasoner, family_spec

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


def make_tokenizer(*special, **named):
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


def template(image):
    return CHAT_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", image)


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
        chat_template=template("<IMG_CONTEXT>\n"),
    )
    config = tf.AutoConfig.for_model(
        "internvl",
        text_config={"model_type": "qwen2", **TINY_TEXT},
        vision_config={**VISION, "image_size": [56, 56], "patch_size": [14, 14]},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
    )
    return config, processor


def glm4v():
    image = "<|begin_of_image|><|image|><|end_of_image|>"
    tokenizer = make_tokenizer("<|begin_of_image|>", "<|image|>", "<|end_of_image|>", "<|video|>")
    ids = tokenizer.convert_tokens_to_ids
    processor = tf.Glm4vProcessor(
        image_processor=tf.Glm4vImageProcessor(),
        video_processor=tf.Glm4vVideoProcessor(),
        tokenizer=tokenizer,
        chat_template=template(image),
    )
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    vision = {k: v for k, v in VISION.items() if not k.startswith("num_")}
    config = tf.AutoConfig.for_model(
        "glm4v",
        text_config={**TINY_TEXT, "rope_parameters": rope, "pad_token_id": 0},
        vision_config={**vision, "depth": 2, "num_heads": 2, "out_hidden_size": 32},
        image_token_id=ids("<|image|>"),
        video_token_id=ids("<|video|>"),
        image_start_token_id=ids("<|begin_of_image|>"),
        image_end_token_id=ids("<|end_of_image|>"),
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


@pytest.fixture(scope="module", params=[internvl, glm4v, llava, gemma3], ids=lambda f: f.__name__)
def checkpoint(request, tmp_path_factory):
    """A directory as its makers publish it: without a revseg.json."""
    directory = tmp_path_factory.mktemp(request.param.__name__)
    config, processor = request.param()
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
    return directory, config.model_type


def load(checkpoint, **settings):
    directory, model_type = checkpoint
    settings = {"frame_size": 56, "key_frame_size": 112, "max_new_tokens": 12, **settings}
    if model_type in ("llava", "gemma3"):
        settings["box_convention"] = "relative-1000"
    return LocalReasoner.load(directory, device="cpu", spec=settings)


def picture(seed, size):
    return Image(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def test_the_family_or_the_caller_says_where_boxes_are(checkpoint):
    directory, model_type = checkpoint
    if model_type in ("llava", "gemma3"):
        question = (
            rf"^In which space does a '{model_type}' model give its boxes\?.*load it with spec"
        )
        for spec in (None, {}, {"frames": 3}):
            with pytest.raises(ValueError, match=question):
                LocalReasoner.load(directory, device="cpu", spec=spec)
        answered = LocalReasoner.load(directory, device="cpu", spec={"box_convention": "pixels"})
        assert answered.spec.box_convention == "pixels"
    else:
        own = LocalReasoner.load(directory, device="cpu").spec
        assert own == family_spec(model_type)
        assert own.box_convention == "relative-1000"
    assert load(checkpoint, frames=3).spec.frames == 3


def test_batches_of_dialogues_with_pictures(checkpoint):
    reasoner = load(checkpoint)
    one = Conversation().say("user", picture(0, 56), "what is it?")
    many = Conversation().say("user", picture(0, 56), "1:", picture(1, 56), picture(2, 56), "?")
    two = one.say("assistant", "a cat").say("user", picture(3, 112), "where?")
    words = Conversation().say("user", "no picture at all")
    together = reasoner.generate([one, many, two, words], reasoner.spec)
    for conversation, reply in zip([one, many, two, words], together, strict=True):
        (alone,) = reasoner.generate([conversation], reasoner.spec)
        assert reply.text == alone.text
        assert reply.prompt_tokens == alone.prompt_tokens


def test_every_picture_reaches_the_model(checkpoint):
    reasoner = load(checkpoint)

    def logits(*pictures):
        inputs = reasoner.encode([Conversation().say("user", *pictures, "?")])
        with torch.inference_mode():
            return reasoner.model(**inputs).logits[0, -1]

    a, b, c = (picture(i, 56) for i in range(3))
    assert (logits(a, b) - logits(a, c)).abs().max() > 1e-4
    assert (logits(a, b) - logits(c, b)).abs().max() > 1e-4
