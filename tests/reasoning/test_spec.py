import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fiftyone_revseg.cli.options import loading
from fiftyone_revseg.reasoning import ChainSpec, family_spec
from fiftyone_revseg.reasoning.spec import read_settings

specs = st.builds(
    ChainSpec,
    frames=st.integers(1, 64),
    frame_size=st.integers(1, 2000),
    key_frame_size=st.integers(1, 2000),
    box_convention=st.sampled_from(["pixels", "relative-1000"]),
    frame_encoding=st.sampled_from(["images", "video"]),
    prompts=st.dictionaries(
        st.sampled_from(["turn1", "turn2", "frame", "system"]),
        st.text(st.characters(codec="utf-8", exclude_characters="{}\r")),
    ),
    max_new_tokens=st.integers(1, 4096),
    retries=st.integers(0, 5),
    temperature=st.floats(0, 2),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(specs)
def test_survives_its_file(tmp_path_factory, spec):
    directory = tmp_path_factory.mktemp("checkpoint")
    spec.save(directory)
    assert ChainSpec.load(directory) == spec
    assert hash(ChainSpec.load(directory)) == hash(spec)


def test_the_defaults_are_the_papers():
    spec = ChainSpec()
    assert (spec.frames, spec.frame_size, spec.key_frame_size) == (16, 448, 840)
    assert (spec.box_convention, spec.max_new_tokens, spec.temperature) == ("pixels", 1024, 0)


@pytest.mark.parametrize(
    ("family", "patch"),
    [
        ("qwen2_5_vl", 28),
        ("qwen2_vl", 28),
        ("glm46v", 28),
        ("qwen3_vl", 32),
        ("qwen3_5", 32),
        ("qwen4_exp", 32),
        ("gemma4", 48),
        ("gemma4_unified", 48),
    ],
)
def test_a_key_frame_makes_1024_tokens_where_the_tower_allows(family, patch):
    assert family_spec(family).frame_size % patch == 0
    assert family_spec(family).key_frame_size % patch == 0
    assert (family_spec(family).key_frame_size / patch) ** 2 >= 1024


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_vl_moe", "qwen2_vl"])
def test_relative_families(family):
    spec = family_spec(family)
    assert spec.box_convention == "relative-1000"
    side = 28 if family == "qwen2_vl" else 32
    assert spec.frame_size % side == spec.key_frame_size % side == 0


def test_an_unknown_family_gets_a_question():
    with pytest.raises(ValueError, match=r"In which space does a 'llava' model give its boxes\?"):
        family_spec("llava")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": 0}, "frames must be a whole number >= 1, got 0"),
        ({"frames": True}, "frames must be a whole number"),
        ({"frame_size": 448.0}, "frame_size must be a whole number"),
        ({"retries": -1}, "retries must be a whole number >= 0"),
        ({"box_convention": "xywh"}, "box_convention must be one of"),
        ({"box_convention": ["pixels"]}, "box_convention must be one of"),
        ({"frame_encoding": "gif"}, "frame_encoding must be one of"),
        ({"temperature": -1}, "temperature must be a number >= 0"),
        ({"temperature": float("nan")}, "temperature must be a number >= 0"),
        ({"temperature": "hot"}, "temperature must be a number >= 0"),
        ({"prompts": []}, "prompts must be a dict or a directory"),
        ({"prompts": {"turn9": "x"}}, "Unknown prompt 'turn9'"),
        ({"prompts": {"turn1": 3}}, "Prompt 'turn1' must be a string"),
        ({"prompts": {"turn1": "{qurey}"}}, r"Prompt 'turn1' cannot use \{qurey\}"),
        ({"prompts": "/no/such/place"}, "There are no prompts in"),
        ({"size": 3}, r"Unknown settings \['size'\]: a chain spec has frames, "),
    ],
)
def test_wrong_settings_are_refused_in_words(settings, message):
    with pytest.raises(ValueError, match=message):
        ChainSpec.from_dict(settings)


@pytest.mark.parametrize(
    ("words", "thinking"),
    [
        ("on On true TRUE yes enabled", True),
        ("off OFF Off false False no NONE none disabled", False),
        ("low", "low"),
    ],
)
def test_the_words_for_on_and_off_are_no_efforts(words, thinking, tmp_path):
    for word in words.split():
        spec = ChainSpec(thinking=word, thinking_tokens=100)
        assert spec.thinking == thinking
        assert spec == ChainSpec(thinking=thinking, thinking_tokens=100)
        assert spec.to_dict() == ChainSpec(thinking=thinking, thinking_tokens=100).to_dict()
        assert (spec.reply_tokens > spec.max_new_tokens) == (thinking is not False)
        (tmp_path / "revseg.json").write_text(json.dumps({"thinking": word}))
        assert read_settings(tmp_path) == {"thinking": thinking}
        given = {"model": "revseg-nano", "thinking": word}
        assert loading(given).chain_spec().thinking == thinking


@pytest.mark.parametrize("text", ["{", "[]", '{"frames": "many"}'])
def test_a_broken_file_is_named(tmp_path, text):
    (tmp_path / "revseg.json").write_text(text)
    with pytest.raises(ValueError, match=r"revseg\.json"):
        ChainSpec.load(tmp_path)


def test_prompts_from_a_directory(tmp_path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "turn1.txt").write_text("find {query}\n")
    spec = ChainSpec(prompts=tmp_path / "prompts")
    assert spec.template("turn1") == "find {query}"
    assert spec.template("turn2") == ChainSpec().template("turn2")
    (tmp_path / "revseg.json").write_text(json.dumps({"prompts": "prompts"}))
    assert ChainSpec.load(tmp_path) == spec
