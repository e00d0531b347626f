"""Checkpoints that ask for more than can be meant. The limits are lowered, the inputs harmless."""

import json
import shutil

import pytest
import yaml
from random_weights import CHAT_TEMPLATE, save_random_checkpoint

from fiftyone_revseg.models import limits
from fiftyone_revseg.models.limits import LimitError, check_directory, check_template, check_yaml
from fiftyone_revseg.reasoning import ChainSpec, LocalReasoner
from fiftyone_revseg.tracking.checkpoints import CheckpointError, read_config


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_random_checkpoint(tmp_path_factory.mktemp("vlm"), "tiny-qwen3-vl")


@pytest.fixture
def checkpoint(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def change(checkpoint, part, **values):
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    config[part].update(values)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("text_config", {"num_hidden_layers": 10**6}, "1,000,000 layers"),
        ("vision_config", {"depth": 10**6}, "1,000,000 layers"),
        ("text_config", {"hidden_size": 10**6}, "far more than the [0-9,]+ bytes"),
        ("text_config", {"intermediate_size": 10**12}, "far more than"),
        ("text_config", {"vocab_size": 10**9}, "far more than"),
        ("text_config", {"num_hidden_layers": 10**400}, "more than 10.15 layers"),
        ("vision_config", {"num_position_embeddings": 10**9}, "far more than"),
    ],
)
def test_configs_of_absurd_size_are_refused(checkpoint, part, values, words):
    change(checkpoint, part, **values)
    with pytest.raises(ValueError, match=words) as refused:
        LocalReasoner.load(checkpoint, device="cpu")
    assert len(str(refused.value)) < 600


def test_real_configs_are_not():
    """The largest sizes of real models, with as many bytes as their weights have in 4 bits."""
    text = {"num_hidden_layers": 80, "hidden_size": 8192, "intermediate_size": 29568}
    limits.check_config({"text_config": {**text, "vocab_size": 152064}}, "x", 36 * 10**9)
    experts = {"num_hidden_layers": 94, "hidden_size": 4096, "intermediate_size": 12288}
    experts.update(num_experts=128, moe_intermediate_size=1536, vocab_size=151936)
    limits.check_config({"text_config": experts}, "x", 118 * 10**9)
    limits.check_config({"text_config": experts}, "x")  # before the weights are downloaded


@pytest.mark.parametrize(
    "name", ["config.json", "revseg.json", "tokenizer.json", "chat_template.jinja"]
)
def test_large_files_are_not_read(checkpoint, name, monkeypatch):
    monkeypatch.setattr(limits, "MOST_TEXT", 50_000)
    monkeypatch.setattr(limits, "MOST_VOCABULARY", 50_000)
    check_directory(checkpoint)
    with (checkpoint / name).open("a") as file:
        file.write(" " * 50_001)
    with pytest.raises(ValueError, match=rf"{name}' has [0-9,]+ bytes, and more than 50,000"):
        LocalReasoner.load(checkpoint, device="cpu")


LOOP = "{% for i in range(9999) %}"
END = "{% endfor %}"


@pytest.mark.parametrize(
    "template",
    [
        LOOP * 5 + END * 5,
        "{% set n = namespace(s='ab') %}" + LOOP + "{% set n.s = n.s ~ n.s %}" + END,
        "{{ 'a' * 999999999999 }}",
        "{{ 'a'.center(300000000) }}",
    ],
    ids=["endless", "doubled", "multiplied", "wide"],
)
def test_templates_that_do_not_end_are_refused(template):
    with pytest.raises(LimitError, match="does not end within 1 s and 256 MB"):
        check_template(template, "x", seconds=1, megabytes=256)


@pytest.mark.parametrize(
    "template",
    [
        CHAT_TEMPLATE,
        "{% generation %}{{ messages | tojson }}{% endgeneration %}",
        "{{ raise_exception('no') }}",
        "{% broken",
    ],
)
def test_other_templates_are_not(template):
    check_template(template, "x")


def test_a_template_that_does_not_end_is_refused_at_loading(checkpoint, monkeypatch):
    monkeypatch.setattr(limits.check_template.__wrapped__, "__defaults__", (1, 256))
    (checkpoint / "chat_template.jinja").write_text(LOOP * 5 + END * 5)
    with pytest.raises(ValueError, match=r"chat template of .* does not end within"):
        LocalReasoner.load(checkpoint, device="cpu")


def test_yaml_without_aliases(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: &a [1, 1]\nb: &b [*a, *a]\nmodel: [*b, *b]\n")
    with pytest.raises(LimitError, match="uses aliases"):
        check_yaml(path)
    with pytest.raises(CheckpointError, match="uses aliases"):
        read_config(path)
    path.write_text("model: {note: 'a * b & c'}\n")
    check_yaml(path)


def test_a_tracker_of_absurd_size(tmp_path):
    path = tmp_path / "config.yaml"
    base = {"_target_": "sam2.modeling.sam2_base.SAM2Base", "num_maskmem": 7}
    path.write_text(yaml.safe_dump({"model": base}))
    assert read_config(path)["num_maskmem"] == 7
    path.write_text(yaml.safe_dump({"model": {**base, "image_encoder": {"stages": [1, 10**9]}}}))
    with pytest.raises(CheckpointError, match="absurd size"):
        read_config(path)


@pytest.mark.parametrize(
    "name", ["frames", "frame_size", "key_frame_size", "max_new_tokens", "retries"]
)
def test_specs_have_limits(name):
    with pytest.raises(ValueError, match=f"{name} must be at most"):
        ChainSpec(**{name: 10**500})
