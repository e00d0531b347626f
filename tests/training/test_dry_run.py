"""A dry run: the full-size configuration without weights, and accelerate's own reading of files."""

import json
import subprocess
from pathlib import Path

import pytest
from full_size_configs import QWEN2_5_VL_7B
from random_weights import save_random_checkpoint

from fiftyone_revseg.reasoning import ChainSpec
from fiftyone_revseg.training import GrpoConfig
from fiftyone_revseg.training.data import world_rows
from fiftyone_revseg.training.dry_run import Launch, dry_run, read_launch
from fiftyone_revseg.training.grpo import build_trainer

RECIPE = Path(__file__).parents[2] / "recipes" / "grpo_7b_8gpus"
PAPER = {"prompts": 128, "rollouts": 8, "batch": 1, "learning_rate": 1e-6, "beta": 1e-3}


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    """What the hub has of Qwen2.5-VL-7B but for its weights, with a small tokenizer."""
    from transformers import Qwen2_5_VLConfig

    folder = tmp_path_factory.mktemp("seven")
    save_random_checkpoint(folder, "tiny-qwen2.5-vl", spec=ChainSpec())
    tiny = json.loads((folder / "config.json").read_text())
    Qwen2_5_VLConfig(**QWEN2_5_VL_7B).save_pretrained(folder)
    full = json.loads((folder / "config.json").read_text())
    full.update({name: value for name, value in tiny.items() if name.endswith("_token_id")})
    (folder / "config.json").write_text(json.dumps(full))
    for file in folder.glob("*.safetensors"):
        file.unlink()
    return str(folder)


@pytest.fixture(scope="module")
def rows():
    return world_rows(2) * 64


def test_accelerate_reads_the_recipe():
    from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
    from accelerate.utils import DeepSpeedPlugin

    config = load_config_from_file(str(RECIPE / "accelerate.yaml"))
    assert isinstance(config, ClusterConfig)
    assert str(config.distributed_type).endswith("DEEPSPEED")
    file = config.deepspeed_config["deepspeed_config_file"]
    assert RECIPE.parents[1] / file == RECIPE / "deepspeed_zero3.json"
    plugin = DeepSpeedPlugin(hf_ds_config=str(RECIPE / "deepspeed_zero3.json"))
    assert plugin.zero_stage == 3
    assert plugin.zero3_save_16bit_model  # a checkpoint would have no weights else
    # DeepSpeed reads numbers with an exponent as they are, so they must be whole
    assert plugin.deepspeed_config["zero_optimization"]["stage3_max_live_parameters"] == 10**9
    assert read_launch(RECIPE / "accelerate.yaml") == Launch(8, 3)


def test_the_launch_line_is_one_that_the_command_understands():
    import shlex

    from fiftyone_revseg.cli import main

    script = (RECIPE / "launch.sh").read_text()
    line = script.split("TRAIN=(", 1)[1].split(")", 1)[0].replace("$STEPS", "500")
    words = shlex.split(line)
    assert words[:4] == ["-m", "fiftyone_revseg.cli", "train", "grpo"]
    train = main.commands["train"].commands["grpo"]
    context = train.make_context("grpo", words[4:])
    given = {name: context.params[name] for name in PAPER}
    assert given == PAPER
    assert subprocess.run(["bash", "-n", RECIPE / "launch.sh"]).returncode == 0


def test_a_quantized_checkpoint_is_not_trained(tmp_path, rows):
    save_random_checkpoint(tmp_path / "small", "tiny-qwen2.5-vl", spec=ChainSpec())
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (tmp_path / "small" / "config.json").write_text(json.dumps(config))
    given = GrpoConfig(model=str(tmp_path / "small"), **PAPER)
    words = r"quantized \(bitsandbytes\): train the checkpoint that they were made from"
    with pytest.raises(ValueError, match=words):
        dry_run(rows, given)
    with pytest.raises(ValueError, match=words):
        build_trainer(rows, tmp_path / "out", given)


def test_full_size_without_weights(seven, rows):
    config = GrpoConfig(
        model=seven, steps=10, gradient_checkpointing=True, bf16=True, vllm="colocate", **PAPER
    )
    found = dry_run(rows, config, read_launch(RECIPE / "accelerate.yaml"), 80 * 10**9)
    assert found.parameters == 8_292_166_656
    assert (found.frame_tokens, found.key_frame_tokens) == (256, 900)
    assert 16 * 256 < found.prompt_tokens < 16 * 256 + 2000
    assert 2 * 1024 + 900 < found.completion_tokens < 2 * 1024 + 900 + 1000
    assert found.updates == 128
    assert found.epochs == 10
    assert found.fits
    said = str(found)
    assert "8,292 million parameters" in said
    assert "8 processes, ZeRO stage 3" in said
    assert "it fits in 80 GB" in said
    assert any("vllm" in note for note in found.notes)
    one = dry_run(rows, config, Launch(), 80 * 10**9)
    assert not one.fits
    assert "does NOT fit" in str(one)


def test_what_could_not_begin_is_refused(seven, rows, tmp_path):
    def refused(match, launch=None, count=128, **changes):
        config = GrpoConfig(**{"model": seven, **PAPER, **changes})
        with pytest.raises(ValueError, match=match) as caught:
            dry_run(rows[:count], config, launch)
        assert "\n" not in str(caught.value)

    refused("fewer than the 128", count=64)
    refused("batches of 1 on 3 devices", Launch(3))
    refused("key frame with 900", max_completion_length=1000)
    refused("no-such-model", model=str(tmp_path / "no-such-model"))


def test_rows_that_cannot_be_loaded_are_told_of(rows):
    class Broken:
        id, query, kind = "broken", "the cat", ""

        def load(self, frames):
            raise OSError("no such file")

    found = dry_run([Broken(), *rows[:7]], GrpoConfig())
    assert "the first row cannot be loaded (broken: no such file)" in found.notes
    assert found.fits


@pytest.mark.parametrize(
    "content", ["", "[]", "num_processes: many", "deepspeed_config: {zero_stage: x}"]
)
def test_files_that_are_not_accelerates(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match="is no configuration of accelerate"):
        read_launch(path)
    with pytest.raises(ValueError, match="is no configuration of accelerate"):
        read_launch(tmp_path / "missing.yaml")
