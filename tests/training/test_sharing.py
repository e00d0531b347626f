"""Checkpoints to share: whole, mergeable, loadable with nothing else, and with a card."""

import json

import pytest
import torch
import yaml
from click.testing import CliRunner
from markdown_it import MarkdownIt
from random_weights import save_random_checkpoint

from fiftyone_revseg.cli import main
from fiftyone_revseg.reasoning import ChainSpec, LocalReasoner
from fiftyone_revseg.training.model_card import write_card
from fiftyone_revseg.training.sharing import share_checkpoint

SPEC = ChainSpec(frames=3, frame_size=32, key_frame_size=64, box_convention="relative-1000")
CONFIG = {"model": "revseg-nano", "steps": 2, "lora_rank": 4, "learning_rate": 1e-3}


@pytest.fixture
def run(tmp_path):
    """The folder of a run, as the trainer leaves it."""
    folder = tmp_path / "run"
    save_random_checkpoint(folder / "checkpoint", "tiny-qwen3-vl", spec=SPEC)
    (folder / "run.json").write_text(json.dumps({"rows": 7, "config": CONFIG}))
    (folder / "curves.csv").write_text("step,format,total\n1,0.25,0.5\n2,1.0,2.5\n")
    for name in ("optimizer.pt", "training_args.bin", "trainer_state.json"):
        (folder / "checkpoint" / name).write_text("not for others")
    return folder


@pytest.fixture
def adapters(run):
    """A ``checkpoint-N/`` of a run that trains adapters, and the model with them switched on."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(run / "checkpoint")
    model = get_peft_model(model, LoraConfig(r=4, target_modules=r".*language_model.*\.(q|v)_proj"))
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    folder = run / "checkpoint-2"
    model.save_pretrained(folder)
    names = ("tokenizer.json", "tokenizer_config.json", "processor_config.json")
    for name in (*names, "chat_template.jinja"):
        (folder / name).write_bytes((run / "checkpoint" / name).read_bytes())
    SPEC.save(folder)
    return folder, model


def weights(path):
    return LocalReasoner.load(path, device="cpu", dtype="float32").model.state_dict()


def test_a_run_becomes_a_folder_to_upload(run, tmp_path):
    out = share_checkpoint(run, tmp_path / "mine")
    names = {path.name for path in out.iterdir()}
    assert {"model.safetensors", "config.json", "revseg.json", "README.md"} <= names
    assert not any(name.endswith((".pt", ".bin")) or "trainer" in name for name in names)
    loaded = LocalReasoner.load(out, device="cpu", dtype="float32")
    assert loaded.spec == SPEC
    for name, weight in weights(run / "checkpoint").items():
        assert torch.equal(weight, loaded.model.state_dict()[name])
    assert not list(tmp_path.glob(".*"))


def test_adapters_are_merged(adapters, run, tmp_path):
    folder, model = adapters
    out = share_checkpoint(folder, tmp_path / "mine")
    assert not [path for path in out.iterdir() if "adapter" in path.name]
    tokens = torch.arange(10)[None]
    with torch.no_grad():
        expected = model(input_ids=tokens).logits
        merged = LocalReasoner.load(out, device="cpu", dtype="float32").model
        found = merged(input_ids=tokens).logits
        plain = LocalReasoner.load(run / "checkpoint", device="cpu", dtype="float32").model
        before = plain(input_ids=tokens).logits
    assert (found - expected).abs().max() < 1e-4
    assert (found - before).abs().max() > 1e-2


def test_what_was_shared_is_a_model(run, tmp_path):
    import fiftyone_revseg as revseg

    out = share_checkpoint(run, tmp_path / "mine")
    model = revseg.load_model(out, query="the red star", tracker="sam2-nano", device="cpu")
    assert model.config.name_or_path == str(out)


def test_the_card_says_where_it_comes_from(run, tmp_path):
    card = (share_checkpoint(run, tmp_path / "mine") / "README.md").read_text()
    head = card.split("---")[1]
    assert "license: apache-2.0" in head
    assert "base_model: revseg-nano" in head
    assert "# mine" in card
    assert "on 7 (video, query) pairs" in card
    assert "| lora_rank | 4 |" in card
    assert "| total | 0.500 | 2.500 |" in card


def test_a_card_without_a_run_and_of_a_model_on_the_hub(run, tmp_path):
    card = write_card(run / "checkpoint", tmp_path / "nowhere", "a").read_text()
    assert card.startswith("---\nlibrary_name")
    assert not (tmp_path / "nowhere").exists()
    config = {**CONFIG, "model": "revseg-qwen2.5-vl-3b"}
    (run / "run.json").write_text(json.dumps({"rows": 1, "config": config}))
    card = write_card(run / "checkpoint", run).read_text()
    assert "license: qwen-research\nbase_model: Qwen/Qwen2.5-VL-3B-Instruct" in card


def test_a_card_is_only_text(run, tmp_path):
    """A run's folder may come from somebody else."""
    image = "![x](http://evil.example/a.png)"
    config = {**CONFIG, "model": f"a\nlicense: none\n`{image}", "beta": f"{image} | <b>"}
    (run / "run.json").write_text(json.dumps({"rows": image, "config": config}))
    card = write_card(run / "checkpoint", run, f"x\n{image}", "mit\nbase_model: b").read_text()
    _, head, body = card.split("---\n", 2)
    said = yaml.safe_load(head)
    assert (said["license"], said["base_model"]) == ("mit\nbase_model: b", config["model"])
    tokens = MarkdownIt().enable("table").parse(body)
    kinds = {child.type for token in tokens for child in token.children or ()}
    assert kinds <= {"text", "code_inline", "softbreak"}


def test_what_cannot_be_shared(run, tmp_path):
    def refused(match, source=run, out=tmp_path / "mine"):
        with pytest.raises(ValueError, match=match) as caught:
            share_checkpoint(source, out)
        assert "\n" not in str(caught.value)

    refused("holds no checkpoint", tmp_path)
    refused("is in use", out=run)
    (run / "checkpoint" / "revseg.json").unlink()
    refused("has no revseg")
    (run / "checkpoint" / "model.safetensors").unlink()
    refused("no weights in safetensors")
    assert not (tmp_path / "mine").exists()


def test_adapters_whose_model_is_gone(adapters, run, tmp_path):
    folder, _ = adapters
    (run / "checkpoint").rename(run / "moved")
    with pytest.raises(ValueError, match="put it back"):
        share_checkpoint(folder, tmp_path / "mine")
    assert not [path for path in tmp_path.iterdir() if path != run]


def test_on_the_command_line(run, tmp_path):
    out = tmp_path / "mine"
    command = ["share", str(run), "-o", str(out), "--name", "star-finder", "--license", "mit"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "ready to upload" in result.output
    card = (out / "README.md").read_text()
    assert "license: mit" in card
    assert "# star-finder" in card
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "is in use" in result.output
