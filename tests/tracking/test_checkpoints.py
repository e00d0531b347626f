import itertools
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError
from mask_logits import track_logits
from omegaconf import OmegaConf
from safetensors.torch import save_file

from fiftyone_revseg.tracking import Sam2Tracker
from fiftyone_revseg.tracking.checkpoints import (
    EMBEDDED,
    OFFICIAL_CONFIGS,
    OFFICIAL_PRESETS,
    CheckpointError,
    _package_config,
    build_model,
    find_checkpoint,
    load_files,
    read_config,
    recognize,
)

NANO = EMBEDDED / "sam2-nano" / "config.yaml"
TINY = "sam2.1_hiera_tiny.pt"


@pytest.fixture(scope="module")
def nano_state():
    torch.manual_seed(0)
    return build_model(read_config(NANO)).state_dict()


def load_model(name):
    model, _ = load_files(find_checkpoint(name))
    return model


def same_weights(model, state) -> bool:
    return all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_directory_with_config_and_safetensors(tmp_path, nano_state):
    shutil.copy(NANO, tmp_path / "config.yaml")
    save_file(nano_state, tmp_path / "model.safetensors")
    assert same_weights(load_model(tmp_path), nano_state)
    tracker = Sam2Tracker.load(tmp_path, device="cpu")
    assert tracker.name == str(tmp_path)
    assert not tracker.model.training


def test_pt_file_with_its_config_beside_it(tmp_path, nano_state):
    shutil.copy(NANO, tmp_path / "mine.yaml")
    torch.save({"model": nano_state}, tmp_path / "mine.pt")
    assert same_weights(load_model(tmp_path / "mine.pt"), nano_state)
    assert same_weights(load_model(tmp_path), nano_state)


def test_official_pt_file_is_known_by_its_name(tmp_path):
    torch.manual_seed(1)
    state = build_model(read_config(_package_config(OFFICIAL_CONFIGS[TINY]))).state_dict()
    torch.save({"model": state}, tmp_path / TINY)
    model = load_model(tmp_path / TINY)
    assert same_weights(model, state)
    # what sam2's own predictor switches on
    assert model.sam_mask_decoder.dynamic_multimask_via_stability
    assert model.binarize_mask_from_pts_for_mem_enc
    assert same_weights(load_model(tmp_path), state)


@pytest.mark.parametrize("file", list(OFFICIAL_CONFIGS))
def test_every_official_config_is_there_and_allowed(file):
    config = read_config(_package_config(OFFICIAL_CONFIGS[file]))
    assert config["image_size"] == 1024
    assert config["memory_encoder"]["fuser"]["layer"]["layer_scale_init_value"] == 1e-6


def test_official_names_are_the_hubs(monkeypatch, tmp_path):
    asked = []

    def download(repo_id, filename):
        asked.append((repo_id, filename))
        return str(tmp_path / filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    for name in ("sam2.1-hiera-base-plus", "facebook/sam2.1-hiera-base-plus"):
        config, weights = find_checkpoint(name)
        assert config.name == "sam2.1_hiera_b+.yaml"
        assert weights.name == "sam2.1_hiera_base_plus.pt"
    assert asked == [("facebook/sam2.1-hiera-base-plus", "sam2.1_hiera_base_plus.pt")] * 2
    find_checkpoint("someone/small-tracker")
    assert asked[2:] == [
        ("someone/small-tracker", "config.yaml"),
        ("someone/small-tracker", "model.safetensors"),
    ]
    assert {"sam2.1-hiera-tiny", "sam2-hiera-large"} <= set(OFFICIAL_PRESETS)


def test_hub_that_cannot_be_reached(monkeypatch):
    def download(repo_id, filename):
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(CheckpointError, match="could not be downloaded"):
        find_checkpoint("sam2.1-hiera-tiny")


@pytest.mark.parametrize("name", ["sam3", "no/such/thing.pt", "/nowhere/at/all"])
def test_unknown_name(name):
    with pytest.raises(CheckpointError, match="no tracker called"):
        load_model(name)


def test_directory_without_a_tracker(tmp_path):
    with pytest.raises(CheckpointError, match="holds no tracker"):
        load_model(tmp_path)


def test_pt_file_of_unknown_shapes_without_a_config_is_a_question(tmp_path, nano_state):
    torch.save({"model": nano_state}, tmp_path / "mine.pt")
    with pytest.raises(CheckpointError, match=r"no config for .*: which config was it trained"):
        load_model(tmp_path / "mine.pt")


@pytest.mark.parametrize("file", list(OFFICIAL_CONFIGS))
def test_every_official_size_is_known_by_its_shapes(file, tmp_path):
    config = _package_config(OFFICIAL_CONFIGS[file])
    state = build_model(read_config(config)).state_dict()
    assert recognize(state, tmp_path / "finetuned.pt") == config


@pytest.mark.parametrize("version", ["sam2", "sam2.1"])
def test_a_fine_tuned_file_needs_neither_config_nor_official_name(version, tmp_path):
    config = read_config(_package_config(f"configs/{version}/{version}_hiera_t.yaml"))
    torch.manual_seed(2)
    state = build_model(config).state_dict()
    # as sam2's own training saves it, and as bare tensors
    path = tmp_path / "checkpoint.pt"
    torch.save({"model": state, "epoch": 3, "best_meter_values": {}}, path)
    assert same_weights(load_model(path), state)
    assert same_weights(load_model(tmp_path), state)
    torch.save(state, path)
    assert same_weights(load_model(path), state)
    path.unlink()
    save_file(state, tmp_path / "model.safetensors")
    assert same_weights(load_model(tmp_path), state)


@pytest.mark.parametrize("version", ["sam2", "sam2.1"])
def test_both_versions_track(version, tmp_path):
    contents = OmegaConf.load(_package_config(f"configs/{version}/{version}_hiera_t.yaml"))
    contents.model.image_size = 256  # for speed
    OmegaConf.save(contents, tmp_path / "config.yaml")
    torch.manual_seed(3)
    model = build_model(read_config(tmp_path / "config.yaml"))
    # or random weights would say that no object is there, and all masks would be the same
    torch.nn.init.constant_(model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 10)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    tracker = Sam2Tracker.load(tmp_path, device="cpu")
    rng = np.random.default_rng(0)
    frames = [(k, rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)) for k in range(3)]
    logits = [m for _, m in track_logits(tracker, frames, np.array([[8, 8, 40, 40]]))]
    assert len(logits) == 3
    assert all(np.isfinite(m).all() for m in logits)
    assert all(np.abs(a - b).max() > 1e-3 for a, b in itertools.pairwise(logits))


def test_transformers_own_layout_is_refused_in_one_sentence(tmp_path):
    save_file({"vision_encoder.neck.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "sam2_video"}')
    for path in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(CheckpointError, match=r"layout of transformers.*give the \.pt file"):
            load_model(path)


@pytest.mark.parametrize(
    ("files", "expected"),
    [(["README.md", "tuned.pt"], "tuned.pt"), (["a.pt", "b.pt"], None), ([], None)],
)
def test_a_repository_with_one_pt_file(files, expected, monkeypatch, tmp_path):
    def download(repo_id, filename):
        if filename not in files:
            raise EntryNotFoundError(filename)
        return str(tmp_path / filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.list_repo_files", lambda repo_id: files)
    if expected:
        assert find_checkpoint("someone/tuned") == [tmp_path / expected]
    else:
        with pytest.raises(CheckpointError, match=r"'someone/tuned' on the hub holds no tracker"):
            find_checkpoint("someone/tuned")


class Payload:
    """A pickle that would run code."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a checkpoint was run')",))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "pickle", "no model in it"])
def test_bad_weights_are_refused_in_one_sentence(content, tmp_path, nano_state):
    shutil.copy(NANO, tmp_path / "config.yaml")
    path = tmp_path / "mine.pt"
    if content == "pickle":
        torch.save({"model": Payload()}, path)
    elif content == "no model in it":
        torch.save({"epoch": 3}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as SAM2 weights"):
        load_model(path)


def test_weights_of_another_config_are_refused(tmp_path, nano_state):
    shutil.copy(NANO, tmp_path / "config.yaml")
    state = dict(nano_state)
    state.pop("no_mem_embed")
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="do not fit the config"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "sam2.build_sam.build_sam2",
        # hydra follows attributes of modules, so a prefix would not be enough
        "sam2.modeling.sam2_base.torch.hub.load",
    ],
)
def test_config_may_only_build_sam2s_classes(target, tmp_path):
    path = tmp_path / "config.yaml"
    text = NANO.read_text().replace("sam2.modeling.memory_encoder.CXBlock", target)
    path.write_text(text)
    with pytest.raises(CheckpointError, match="only SAM2's own model classes are allowed"):
        read_config(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("embed_dim: 24", "embed_dim: 24\n      weights_path: /etc/passwd", "asks to read"),
        ("image_size: 256", "image_size: ${oc.env:HOME}", "interpolations"),
        ("_target_: sam2.modeling.sam2_base.SAM2Base", "", "not a SAM2Base"),
        ("model:", "models:", "is not a SAM2 config"),
    ],
)
def test_config_that_is_none_is_refused(old, new, message, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(NANO.read_text().replace(old, new))
    with pytest.raises(CheckpointError, match=message):
        read_config(path)


@pytest.mark.parametrize("content", [b"\x00\xff\xfe", b"- 1\n- 2\n", b"a: [", b""])
def test_config_that_is_not_even_yaml(content, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a SAM2 config"):
        read_config(path)


def test_config_that_does_not_build_says_so(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        NANO.read_text().replace(
            "num_heads: 1\n        downsample", "num_heads: 7\n        downsample"
        )
    )
    with pytest.raises(CheckpointError, match="sam2 cannot build a model from this config"):
        build_model(read_config(path))


def test_nano_is_small():
    model = build_model(read_config(NANO))
    assert sum(p.numel() for p in model.parameters()) < 4e6
