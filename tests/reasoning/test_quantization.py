"""Weights in fewer bits, weights that are so already, and weights that are spread."""

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from random_weights import save_random_checkpoint
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, Qwen3VLMoeConfig

from fiftyone_revseg import load_pipeline
from fiftyone_revseg.models import quantization
from fiftyone_revseg.models.builtin import CHECKPOINTS
from fiftyone_revseg.models.quantization import SHARES, check_placing, own_method
from fiftyone_revseg.reasoning import Conversation, Image, LocalReasoner

NANO = CHECKPOINTS / "revseg-nano"


def dialogue():
    seen = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    return Conversation().say("user", Image(seen), "Which is the red circle?")


def logits(reasoner):
    with torch.inference_mode():
        return reasoner.model(**reasoner.encode([dialogue()])).logits[0, -1].float()


def brief(reasoner):
    return replace(reasoner.spec, max_new_tokens=8, thinking_tokens=0)


def weights(reasoner):
    return sum(p.nbytes for p in reasoner.model.parameters())


@pytest.fixture(scope="module")
def whole():
    return LocalReasoner.load(NANO, device="cpu", dtype="bfloat16")


@pytest.mark.parametrize(("bits", "alike"), [("8bit", 0.99), ("4bit", 0.9)])
def test_the_embedded_model_in_fewer_bits(whole, bits, alike):
    pytest.importorskip("bitsandbytes")
    small = LocalReasoner.load(NANO, device="cpu", dtype="bfloat16", quantization=bits)
    assert weights(small) <= 1.3 * SHARES[bits] * weights(whole)  # narrow layers have more norms
    near = torch.cosine_similarity(logits(small), logits(whole), dim=0)
    assert alike < near < 1
    (reply,) = small.generate([dialogue()], brief(small))
    assert reply.tokens == 8
    assert 0.5 < np.mean(reply.token_probabilities) <= 1  # it still knows what to say
    # What is shared is not mixed up with the whole weights
    assert LocalReasoner.load(NANO, device="cpu", dtype="bfloat16").model is whole.model


@pytest.mark.parametrize("own", [[], "x", 5, [1]])
def test_a_quantization_that_is_no_settings(tmp_path, own):
    broken = shutil.copytree(NANO, tmp_path / "broken")
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "quantization_config": own}))
    with pytest.raises(ValueError, match="must be an object of settings"):
        LocalReasoner.load(broken, device="cpu")


@pytest.mark.parametrize(
    ("own", "method"),
    [
        (None, None),
        ({}, None),
        ({"quant_method": "fp8"}, "fp8"),
        ({"load_in_8bit": True}, "bitsandbytes"),
        ({"bits": 4}, "something without a name"),
    ],
)
def test_what_quantized_a_checkpoint(own, method):
    assert own_method(SimpleNamespace(quantization_config=own)) == method


@pytest.mark.parametrize("bits", [["4bit"], {}, 4, "4BIT"])
def test_no_such_quantization(bits):
    with pytest.raises(ValueError, match="give '4bit' or '8bit'"):
        load_pipeline(device="cpu", quantization=bits)


def test_how_a_model_was_quantized_is_a_setting_of_its_answers():
    pytest.importorskip("bitsandbytes")
    small = load_pipeline(device="cpu", quantization="4bit").settings()
    whole = load_pipeline(device="cpu").settings()
    assert small.pop("quantization") == "4bit"
    assert small == whole


@pytest.mark.parametrize("bits", SHARES)
def test_embeddings_that_are_no_output_are_quantized(tmp_path, bits):
    bnb = pytest.importorskip("bitsandbytes")
    whole = shutil.copytree(NANO, tmp_path / "whole")
    model = AutoModelForImageTextToText.from_pretrained(whole)
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model.save_pretrained(whole)
    before = LocalReasoner.load(whole, device="cpu")
    after = LocalReasoner.load(whole, device="cpu", quantization=bits)
    assert isinstance(after.model.get_input_embeddings(), bnb.nn.Embedding8bit)
    layers = {"4bit": bnb.nn.Linear4bit, "8bit": bnb.nn.Linear8bitLt}
    assert isinstance(after.model.lm_head, layers[bits])
    assert 0.9 < torch.cosine_similarity(logits(after), logits(before), dim=0) < 1


def test_experts_are_refused(tmp_path):
    pytest.importorskip("bitsandbytes")
    checkpoint = save_random_checkpoint(tmp_path, "tiny-qwen3-vl")
    whole = AutoModelForImageTextToText.from_pretrained(checkpoint).config
    text = {**whole.text_config.to_dict(), "num_experts": 8, "moe_intermediate_size": 64}
    text.pop("model_type")
    vision = {k: v for k, v in whole.vision_config.to_dict().items() if k != "model_type"}
    ids = {k: v for k, v in whole.to_dict().items() if k.endswith("token_id")}
    config = Qwen3VLMoeConfig(text_config=text, vision_config=vision, **ids)
    AutoModelForImageTextToText.from_config(config).save_pretrained(checkpoint)
    with pytest.raises(ValueError, match="are experts, which bitsandbytes leaves as they are"):
        LocalReasoner.load(checkpoint, device="cpu", quantization="4bit")


def test_what_is_quantized_already_is_loaded_as_it_is(tmp_path, whole):
    pytest.importorskip("bitsandbytes")
    small = LocalReasoner.load(NANO, device="cpu", dtype="bfloat16", quantization="4bit")
    small.model.save_pretrained(tmp_path)
    small.processor.save_pretrained(tmp_path)
    (tmp_path / "revseg.json").write_bytes((NANO / "revseg.json").read_bytes())
    again = LocalReasoner.load(tmp_path, device="cpu", dtype="bfloat16")
    assert weights(again) == weights(small)
    torch.testing.assert_close(logits(again), logits(small))
    with pytest.raises(ValueError, match="quantized already, by bitsandbytes: leave out quant"):
        LocalReasoner.load(tmp_path, device="cpu", quantization="8bit")


def to_fp8(checkpoint, block=64):
    """Rewrites the weights of a checkpoint's language model as the makers of FP8 ones do."""
    state = load_file(checkpoint / "model.safetensors")
    for name in [name for name in state if re.search(r"language_model.*_proj\.weight$", name)]:
        whole = state[name].float()
        rows, columns = whole.shape
        padded = torch.nn.functional.pad(whole, (0, -columns % block, 0, -rows % block))
        blocks = padded.unflatten(0, (-1, block)).unflatten(2, (-1, block))
        scale = blocks.abs().amax(dim=(1, 3)) / torch.finfo(torch.float8_e4m3fn).max
        few = (blocks / scale[:, None, :, None]).flatten(2).flatten(0, 1)[:rows, :columns]
        state[name] = few.to(torch.float8_e4m3fn).contiguous()
        state[f"{name}_scale_inv"] = scale
    save_file(state, checkpoint / "model.safetensors", metadata={"format": "pt"})
    rewrite_config(
        checkpoint,
        quant_method="fp8",
        activation_scheme="dynamic",
        weight_block_size=[block, block],
        modules_to_not_convert=["visual", "lm_head"],
    )


def rewrite_config(checkpoint, **quantization):
    path = checkpoint / "config.json"
    config = {**json.loads(path.read_text()), "quantization_config": quantization}
    path.write_text(json.dumps(config))


def test_a_checkpoint_in_fp8(tmp_path, whole):
    pytest.importorskip("accelerate")
    checkpoint = shutil.copytree(NANO, tmp_path / "fp8")
    to_fp8(checkpoint)
    few = LocalReasoner.load(checkpoint, device="cpu")
    near = torch.cosine_similarity(logits(few), logits(whole), dim=0)
    assert 0.99 < near < 1


def test_what_a_quantized_checkpoint_takes_is_said(tmp_path):
    checkpoint = shutil.copytree(NANO, tmp_path / "gptq")
    rewrite_config(checkpoint, quant_method="gptq", bits=4, group_size=128)
    with pytest.raises(ValueError, match="weights are quantized by gptq: install what that takes"):
        LocalReasoner.load(checkpoint, device="cpu")


def test_a_spread_model_replies_the_same():
    pytest.importorskip("accelerate")
    whole = LocalReasoner.load(NANO, device="cpu")
    spread = LocalReasoner.load(NANO, device="cpu", device_map="auto")
    asked = [dialogue()]
    assert spread.model is not whole.model
    (reply,), (expected,) = (r.generate(asked, brief(r)) for r in (spread, whole))
    assert reply.text == expected.text


def test_there_is_room_for_the_tracker():
    memory = {0: 24 * 10**9, 1: 24 * 10**9, "cpu": 64 * 10**9}
    assert quantization._with_room(memory, 1) == {0: 24 * 10**9, 1: 20 * 10**9, "cpu": 64 * 10**9}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (("5bit", None), "quantization is '5bit': give '4bit' or '8bit'"),
        ((None, "balanced"), "device_map is 'balanced': give 'auto'"),
    ],
)
def test_ways_that_do_not_exist(how, words):
    with pytest.raises(ValueError, match=words):
        check_placing(*how)


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="accelerate and bitsandbytes: pip install"):
        check_placing("4bit", None)


def test_a_server_has_its_own_weights():
    with pytest.raises(ValueError, match="are for models that are loaded here"):
        load_pipeline("m", server="http://localhost:1/v1", quantization="4bit")
