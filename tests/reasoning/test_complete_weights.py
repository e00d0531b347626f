"""Checkpoints that lack a part: transformers would fill it with random numbers."""

import json
import shutil

import pytest
import torch
from random_weights import save_random_checkpoint
from safetensors.torch import load_file, save_file

from fiftyone_revseg.reasoning import LocalReasoner
from fiftyone_revseg.reasoning.complete_weights import check_weights

FAMILIES = ("tiny-qwen2.5-vl", "tiny-qwen3-vl")


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request, tmp_path_factory):
    return save_random_checkpoint(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture
def damaged(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / "damaged")


def rewrite(directory, change):
    path = directory / "model.safetensors"
    save_file(change(load_file(path)), path, {"format": "pt"})


def without(part):
    return lambda weights: {key: value for key, value in weights.items() if part not in key}


@pytest.mark.parametrize("part", ["layers.1.", "visual", "embed_tokens", "lm_head", "layers.0.mlp"])
def test_missing_tensors_are_refused(damaged, part):
    count = sum(part in key for key in load_file(damaged / "model.safetensors"))
    assert count
    rewrite(damaged, without(part))
    for load in (lambda: LocalReasoner.load(damaged, device="cpu"), lambda: check_weights(damaged)):
        with pytest.raises(ValueError, match=rf"not complete: .* {count} \(.*are missing in") as e:
            load()
        assert len(str(e.value)) < 700


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": 2}, "are missing in its weights"),
        ({"intermediate_size": 2}, "have another shape"),
        ({"num_hidden_layers": 0.5}, "have no place in it"),
    ],
)
def test_a_config_of_another_model_is_refused(damaged, change, words):
    config = json.loads((damaged / "config.json").read_text())
    text = config.get("text_config", config)
    for name, factor in change.items():
        text[name] = int(text[name] * factor)
    if "layer_types" in text:
        kinds = text["layer_types"]
        text["layer_types"] = (kinds * 2)[: text["num_hidden_layers"]]
    (damaged / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=words):
        LocalReasoner.load(damaged, device="cpu")


def shard(directory):
    """Splits the weights into two files; returns the second."""
    whole = directory / "model.safetensors"
    weights = load_file(whole)
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    where = {key: names[i % 2] for i, key in enumerate(weights)}
    for name in names:
        part = {key: value for key, value in weights.items() if where[key] == name}
        save_file(part, directory / name, {"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    whole.unlink()
    return directory / names[1]


def test_shards(damaged):
    second = shard(damaged)
    assert LocalReasoner.load(damaged, device="cpu").digest
    part = load_file(second)
    part.pop(next(key for key in part if "layers.1." in key))
    save_file(part, second, {"format": "pt"})
    with pytest.raises(ValueError, match=r"not complete: .* 1 \(.*layers\.1\."):
        LocalReasoner.load(damaged, device="cpu")
    second.unlink()
    with pytest.raises(ValueError, match=r"Cannot load the model .*00002-of-00002"):
        LocalReasoner.load(damaged, device="cpu")


@pytest.mark.parametrize(
    "extra",
    [
        "visual.rotary_pos_emb.inv_freq",
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "mtp.layers.0.mlp.up_proj.weight",
        "audio_tower.layers.0.weight",
    ],
)
def test_what_is_no_part_of_the_model_is_left_out(damaged, extra):
    rewrite(damaged, lambda weights: {**weights, extra: torch.zeros(3)})
    assert LocalReasoner.load(damaged, device="cpu")


def test_layers_that_predict_several_tokens_are_left_out(damaged):
    def add(weights):
        layer = {k: v.clone() for k, v in weights.items() if "layers.1." in k and "visual" not in k}
        layer = {key.replace("layers.1.", "layers.2."): value for key, value in layer.items()}
        name = next(iter(layer)).partition("layers.2.")[0] + "layers.2.eh_proj.weight"
        return {**weights, **layer, name: torch.zeros(3)}

    rewrite(damaged, add)
    assert LocalReasoner.load(damaged, device="cpu")


def test_tied_weights_are_not_missing(damaged):
    config = json.loads((damaged / "config.json").read_text())
    config["tie_word_embeddings"] = True
    if "text_config" in config:
        config["text_config"]["tie_word_embeddings"] = True
    (damaged / "config.json").write_text(json.dumps(config))
    rewrite(damaged, without("lm_head"))
    model = LocalReasoner.load(damaged, device="cpu").model
    assert model.lm_head.weight is model.get_input_embeddings().weight


def test_adapters_are_refused(damaged):
    (damaged / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(ValueError, match=r"adapters .LoRA., not a whole model"):
        LocalReasoner.load(damaged, device="cpu")
