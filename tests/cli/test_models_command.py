"""``revseg models``."""

from __future__ import annotations

import json
import subprocess
import sys

import huggingface_hub.constants
import pytest
from click.testing import CliRunner

from fiftyone_revseg.cli import main
from fiftyone_revseg.models.builtin import PRESETS

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put(cache, hub_id, *files):
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(SHA)
    for name in files:
        path = repository / "snapshots" / SHA / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


def run(*arguments):
    result = CliRunner().invoke(main, ["models", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def lines_by_model(output):
    return {line.split()[0]: line for line in output.splitlines()[1::2]}


def test_all_models_with_size_licence_memory_and_a_sentence():
    output = run()
    lines = lines_by_model(output)
    assert list(lines) == list(PRESETS)
    line = lines["revseg-qwen2.5-vl-3b"]
    assert line.split()[:4] == ["revseg-qwen2.5-vl-3b", "8.4", "GB", "qwen-research"]
    assert " 13 / 10 / 8 GB " in line  # in bfloat16, 8 and 4 bits
    assert lines["revseg-nano"].endswith("comes with the package")
    for preset in PRESETS.values():
        assert preset.description in output


def test_model_and_tracker_are_looked_for_separately(cache):
    files = ("config.json", "tokenizer.json", "model.safetensors")
    put(cache, "Qwen/Qwen3-VL-4B-Instruct", *files)
    lines = lines_by_model(run())
    assert lines["revseg-qwen3-vl-4b"].endswith(" model only")
    assert lines["revseg-qwen3-vl-8b"].endswith(" no")
    put(cache, "facebook/sam2.1-hiera-large", "sam2.1_hiera_large.pt")
    lines = lines_by_model(run())
    assert lines["revseg-qwen3-vl-4b"].endswith(" yes")
    assert lines["revseg-qwen3-vl-8b"].endswith(" tracker only")


def test_json_for_programs(cache):
    put(cache, "facebook/sam2.1-hiera-large", "sam2.1_hiera_large.pt")
    rows = {row["name"]: row for row in json.loads(run("--json"))}
    assert list(rows) == list(PRESETS)
    row = rows["revseg-qwen2.5-vl-7b"]
    assert row["size"] == row["reasoner"]["size"] + row["tracker"]["size"]
    assert row["reasoner"] == {
        "name": "Qwen/Qwen2.5-VL-7B-Instruct",
        "size": 16_584_333_312,
        "license": "Apache-2.0",
        "on_disk": False,
    }
    assert row["tracker"]["name"] == "facebook/sam2.1-hiera-large"
    assert row["tracker"]["on_disk"] is True
    assert rows["revseg-nano"]["embedded"] is True


def test_an_incomplete_installation_is_seen(monkeypatch, tmp_path):
    from dataclasses import replace

    nano = PRESETS["revseg-nano"]
    broken = replace(nano, tracker_weights=replace(nano.tracker_weights, folder=tmp_path))
    monkeypatch.setitem(PRESETS, "revseg-nano", broken)
    assert "MISSING" in lines_by_model(run())["revseg-nano"]


def test_listing_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from fiftyone_revseg.cli import main\n"
        "main(['models'], standalone_mode=False)\n"
        "heavy = {'torch', 'transformers', 'fiftyone', 'sam2', 'av'} & set(sys.modules)\n"
        "sys.exit(repr(sorted(heavy)) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_register_puts_the_models_into_the_zoo(monkeypatch, tmp_path):
    import fiftyone as fo
    import fiftyone.zoo as foz

    monkeypatch.setattr(fo.config, "model_zoo_dir", str(tmp_path / "zoo"))
    for _ in range(2):
        assert "revseg-nano" in run("--register")
        assert set(PRESETS) <= set(foz.list_zoo_models())


def test_a_zoo_that_cannot_be_written_is_one_sentence(monkeypatch, tmp_path):
    import fiftyone as fo

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(fo.config, "model_zoo_dir", str(tmp_path / "file" / "zoo"))
    result = CliRunner().invoke(main, ["models", "--register"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: the models could not be registered: ")
    assert len(result.output.splitlines()) == 1
