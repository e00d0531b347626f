"""What presets say of themselves, and finding and fetching their weights without a network."""

from __future__ import annotations

import json
import socket

import huggingface_hub
import huggingface_hub.constants
import pytest

from fiftyone_revseg.models.builtin import PRESETS, Weights
from fiftyone_revseg.models.hub import DownloadError, download, is_on_disk
from fiftyone_revseg.models.presets import resolve
from fiftyone_revseg.pipeline import load_pipeline

HUB_PRESETS = [name for name, preset in PRESETS.items() if not preset.embedded]
SHA = "0123456789abcdef0123456789abcdef01234567"
QWEN = PRESETS["revseg-qwen3-vl-8b"].reasoner_weights
SAM2 = PRESETS["revseg-qwen3-vl-8b"].tracker_weights
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = {"model.safetensors.index.json": json.dumps({"weight_map": dict(enumerate(SHARDS))})}
SMALL_FILES = {"config.json": "{}", "tokenizer.json": "{}", **INDEX}
WHOLE = {**SMALL_FILES, SHARDS[0]: "", SHARDS[1]: ""}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub; returns a function that puts a repository's files into it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))

    def put(weights, files):
        repository = tmp_path / f"models--{weights.hub_id.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / "main").write_text(SHA)
        snapshot = repository / "snapshots" / SHA
        snapshot.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (snapshot / name).write_text(text)
        return snapshot

    return put


def test_every_preset_says_what_it_costs():
    for name, preset in PRESETS.items():
        assert len(preset.weights) == 2, name
        assert all(w.size > 1e6 and w.license for w in preset.weights), name
        assert preset.size < preset.gpu_memory() < 1.2 * preset.size + 5e9, name
        assert preset.description.endswith("."), name


def test_only_one_licence_is_not_open():
    closed = {name for name, preset in PRESETS.items() if preset.license != "Apache-2.0"}
    assert closed == {"revseg-qwen2.5-vl-3b"}
    # The preset's own licence stands for both only as long as the tracker's is Apache-2.0
    assert {preset.tracker_weights.license for preset in PRESETS.values()} == {"Apache-2.0"}


def test_embedded_sizes_are_those_of_the_files():
    for weights in PRESETS["revseg-nano"].weights:
        assert (weights.folder / "model.safetensors").stat().st_size == weights.size


@pytest.mark.parametrize("name", HUB_PRESETS)
def test_weights_are_those_that_the_loaders_will_look_for(name):
    from fiftyone_revseg.tracking.checkpoints import OFFICIAL_PRESETS

    preset = PRESETS[name]
    assert preset.reasoner_weights.hub_id == preset.reasoner
    assert preset.tracker_weights.hub_id == f"facebook/{preset.tracker}"
    assert preset.tracker_weights.files == (OFFICIAL_PRESETS[preset.tracker],)


def test_other_checkpoints_have_no_facts():
    preset = resolve("Qwen/Qwen2.5-VL-72B-Instruct")
    assert preset.weights == ()
    assert not preset.embedded


def test_embedded_weights_are_on_disk_unless_a_file_is_missing(tmp_path):
    weights = PRESETS["revseg-nano"].reasoner_weights
    assert is_on_disk(weights)
    download(weights)  # nothing to do
    with pytest.raises(DownloadError, match="install the package"):
        download(Weights(1, "Apache-2.0", folder=tmp_path))


@pytest.mark.parametrize("missing", [None, *WHOLE])
def test_a_checkpoint_in_parts_is_on_disk_when_all_parts_are(cache, missing):
    cache(QWEN, {name: text for name, text in WHOLE.items() if name != missing})
    assert is_on_disk(QWEN) is (missing is None)


def test_a_checkpoint_in_one_file_is_on_disk(cache):
    cache(QWEN, {"config.json": "{}", "tokenizer.json": "{}"})
    assert not is_on_disk(QWEN)
    cache(QWEN, {"model.safetensors": ""})
    assert is_on_disk(QWEN)


def test_the_tracker_needs_its_one_file(cache):
    cache(SAM2, {"model.safetensors": "", "config.json": "{}"})  # for transformers, not for us
    assert not is_on_disk(SAM2)
    cache(SAM2, {"sam2.1_hiera_large.pt": ""})
    assert is_on_disk(SAM2)


def test_what_is_on_disk_is_not_asked_for(cache, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("asked the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    cache(QWEN, WHOLE)
    download(QWEN)


def test_only_the_files_that_are_needed_are_fetched(cache, monkeypatch):
    on_hub = [*WHOLE, "README.md", "merges.txt", "chat_template.jinja", "pytorch_model.bin"]

    def fetch(hub_id, allow_patterns):
        from huggingface_hub.utils import filter_repo_objects

        asked.append(hub_id)
        files = [*on_hub, "sam2.1_hiera_large.pt", "sam2.1_hiera_l.yaml"]
        names = list(filter_repo_objects(files, allow_patterns=allow_patterns))
        fetched.append(names)
        weights = QWEN if hub_id == QWEN.hub_id else SAM2
        cache(weights, {name: WHOLE.get(name, "") for name in names})

    asked, fetched = [], []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    download(QWEN)
    download(SAM2)
    assert asked == ["Qwen/Qwen3-VL-8B-Instruct", "facebook/sam2.1-hiera-large"]
    assert sorted(fetched[0]) == sorted([*WHOLE, "merges.txt", "chat_template.jinja"])
    assert fetched[1] == ["sam2.1_hiera_large.pt"]
    download(QWEN)
    assert len(asked) == 2


@pytest.mark.parametrize("there", [{}, SMALL_FILES], ids=["nothing", "a part"])
def test_without_a_network_one_sentence_says_what_is_missing(cache, there):
    # The hub's own client, which the tests have told to be offline; it takes a part for the whole
    if there:
        cache(QWEN, there)
    with pytest.raises(DownloadError, match=r"'Qwen/Qwen3-VL-8B-Instruct' \(17\.5 GB\)") as caught:
        download(QWEN)
    assert "HF_HUB_OFFLINE" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_error_of_the_hub_is_named(cache, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(DownloadError, match="disk space"):
        download(SAM2)


def test_a_damaged_index_is_a_checkpoint_that_is_not_there(cache):
    cache(QWEN, {**WHOLE, "model.safetensors.index.json": "{"})
    assert not is_on_disk(QWEN)


def test_the_page_on_the_models_says_the_same():
    from math import ceil
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "model-zoo.md").read_text()
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert list(rows) == list(PRESETS)
    for name, preset in PRESETS.items():
        size = f"{preset.size / 1e6:.0f} MB" if preset.embedded else f"{preset.size / 1e9:.1f} GB"
        assert f"| {size}" in rows[name]
        assert f"| {preset.license}" in rows[name]
        if not preset.embedded:
            bits = [ceil(preset.gpu_memory(bits) / 1e9) for bits in (None, "8bit", "4bit")]
            assert rows[name].endswith("| {} GB | {} GB | {} GB |".format(*bits))


def test_what_is_not_here_is_said_at_once_by_the_pipeline(cache):
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set") as caught:
        load_pipeline("revseg-qwen3-vl-8b")
    assert "'Qwen/Qwen3-VL-8B-Instruct' (17.5 GB) is not on this machine" in str(caught.value)
    with pytest.raises(DownloadError, match="'some/model' is not on this machine"):
        load_pipeline("some/model")
    with pytest.raises(DownloadError, match=r"'facebook/sam2\.1-hiera-tiny' is not"):
        load_pipeline("revseg-nano", tracker="sam2.1-hiera-tiny")


def test_no_connection_is_not_tried_for_again(cache, monkeypatch):
    """The hub's own client tries five times, for 38 seconds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # nobody listens there from now on
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: asked.append(a))
    for load in (lambda: load_pipeline("revseg-qwen3-vl-8b"), lambda: download(QWEN)):
        with pytest.raises(DownloadError, match=f"127.0.0.1:{port} does not answer"):
            load()
    assert asked == []
