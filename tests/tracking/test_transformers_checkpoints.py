"""Which library runs a tracker, and what is said of files that are no good."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mask_logits import track_logits
from safetensors.torch import load_file, save_file
from tiny_trackers import KINDS, tiny_model

from fiftyone_revseg.tracking import CheckpointError, Sam2Tracker, TransformersTracker, load_tracker
from fiftyone_revseg.tracking.checkpoints import EMBEDDED, build_model, read_config
from fiftyone_revseg.tracking.convert import to_transformers
from fiftyone_revseg.tracking.transformers_checkpoints import find_files, is_transformers

NANO = EMBEDDED / "sam2-nano"
BOXES = np.array([[5, 5, 30, 35], [30, 10, 55, 30]], np.float32)


def frames(count: int = 3):
    rng = np.random.default_rng(0)
    return [(k, rng.integers(0, 255, (40, 60, 3), np.uint8)) for k in range(count)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory of each kind, as transformers saves it."""
    directories = {}
    for kind in KINDS:
        directories[kind] = tmp_path_factory.mktemp(kind)
        tiny_model(kind).save_pretrained(directories[kind])
    return directories


@pytest.fixture
def edgetam(saved, tmp_path):
    """A directory of one's own, to break."""
    return Path(shutil.copytree(saved["edgetam_video"], tmp_path / "edgetam"))


def logits(tracker) -> list:
    return [m for _, m in track_logits(tracker, frames(), BOXES)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_directory_says_by_its_config_who_runs_it(kind, saved):
    tracker = load_tracker(saved[kind], device="cpu")
    assert isinstance(tracker, TransformersTracker)
    assert not tracker.model.training
    assert len(tracker.digest) == 64
    plain = TransformersTracker(tiny_model(kind), device="cpu")
    np.testing.assert_allclose(logits(tracker), logits(plain), rtol=0, atol=1e-4)


def test_the_same_files_are_loaded_once_and_changed_ones_anew(edgetam):
    first, second = (load_tracker(edgetam, device="cpu") for _ in range(2))
    assert first.model is second.model
    state = load_file(edgetam / "model.safetensors")
    save_file({k: v + 1 for k, v in state.items()}, edgetam / "model.safetensors")
    third = load_tracker(edgetam, device="cpu")
    assert third.model is not first.model
    assert third.digest != first.digest


def test_a_prefix_has_transformers_run_what_sam2_wrote(tmp_path):
    tracker = load_tracker("transformers:sam2-nano", device="cpu")
    assert isinstance(tracker, TransformersTracker)
    assert tracker.name == "transformers:sam2-nano"
    assert tracker.digest == Sam2Tracker.load("sam2-nano", device="cpu").digest
    shutil.copytree(NANO, tmp_path / "mine")
    assert load_tracker(f"transformers:{tmp_path / 'mine'}").name == "transformers:mine"
    assert type(load_tracker(tmp_path / "mine")) is Sam2Tracker


def test_what_both_could_read_is_sam2s_unless_the_prefix_says_otherwise(saved, tmp_path):
    directory = shutil.copytree(saved["sam2_video"], tmp_path / "clone")
    (directory / "sam2.1_hiera_tiny.pt").touch()
    assert not is_transformers(directory)
    assert is_transformers(f"transformers:{directory}")
    assert isinstance(load_tracker(f"transformers:{directory}"), TransformersTracker)


@pytest.mark.parametrize(
    ("kind", "files", "expected"),
    [
        ("sam2_video", ["config.json", "model.safetensors"], True),
        ("sam2_video", ["config.json", "model.safetensors", "tuned.pt"], False),
        ("sam2_video", ["config.json", "config.yaml", "model.safetensors"], False),
        ("edgetam_video", ["config.json", "model.safetensors", "original.pt"], True),
        ("sam3_video", ["config.json", "model.safetensors", "sam3.pt"], True),
        ("sam2_video", None, True),
        (None, ["tuned.pt"], False),
    ],
)
def test_a_repository_says_by_its_config_who_runs_it(kind, files, expected, monkeypatch, tmp_path):
    def download(repo_id, filename):
        if kind is None:
            raise OSError("no such file")
        path = tmp_path / filename
        path.write_text(json.dumps({"model_type": kind}))
        return str(path)

    def list_files(repo_id):
        if files is None:
            raise OSError("no connection")
        return files

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.list_repo_files", list_files)
    assert is_transformers("someone/tracker") is expected
    assert not is_transformers("facebook/sam2.1-hiera-tiny")
    assert not is_transformers("sam2.1-hiera-tiny")


def test_the_hub_is_asked_for_safetensors_only(saved, monkeypatch):
    asked = []

    def download(repo_id, allow_patterns):
        asked.append((repo_id, allow_patterns))
        return str(saved["sam2_video"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    for name in ("sam2.1-hiera-tiny", "facebook/sam2.1-hiera-tiny"):
        files = find_files(f"transformers:{name}")
        assert [file.name for file in files] == ["config.json", "model.safetensors"]
    patterns = ["config.json", "*.safetensors", "*.safetensors.index.json"]
    assert asked == [("facebook/sam2.1-hiera-tiny", patterns)] * 2


def test_hub_that_cannot_be_reached(monkeypatch):
    def download(repo_id, allow_patterns):
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(CheckpointError, match="could not be downloaded"):
        load_tracker("transformers:sam2.1-hiera-tiny")


@pytest.mark.parametrize(
    "name", ["transformers:sam3", "transformers:/nowhere/at/all", "transformers:"]
)
def test_unknown_name(name):
    with pytest.raises(CheckpointError, match=r"no tracker called|holds no tracker"):
        load_tracker(name)


def test_a_model_that_is_no_tracker(edgetam):
    (edgetam / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    for name in (edgetam, f"transformers:{edgetam}"):
        with pytest.raises(CheckpointError, match="is a 'qwen2_5_vl' model: a tracker is one of"):
            load_tracker(name)


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[1]", b'{"model_type": 3}', b"{}"])
def test_config_that_is_none(content, edgetam):
    (edgetam / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"has a config\.json that cannot be read"):
        load_tracker(f"transformers:{edgetam}")


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": "large"},
        {"memory_attention_hidden_size": 96},
        {"vision_config": {"model_type": "no-such-model"}},
    ],
)
def test_config_of_another_model(change, edgetam):
    config = json.loads((edgetam / "config.json").read_text())
    (edgetam / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError, match=r"cannot be loaded by transformers|do not fit"):
        load_tracker(edgetam)


@pytest.mark.parametrize(
    "args",
    [
        {"architecture": "hf-hub:someone/else"},
        {"architecture": "repvit_m1", "model_args": {"checkpoint_path": "/etc/passwd"}},
        {"architecture": "repvit_m1", "model_args": {"pretrained_cfg": {"file": "x.pth"}}},
    ],
)
def test_config_may_not_send_timm_to_other_files(args, edgetam):
    config = json.loads((edgetam / "config.json").read_text())
    config["vision_config"]["backbone_config"] = {"model_type": "timm_wrapper", **args}
    (edgetam / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="asks to read other files"):
        load_tracker(edgetam)


def test_encoder_of_a_package_that_is_missing(edgetam, monkeypatch):
    monkeypatch.setattr(
        "transformers.EdgeTamVideoModel.from_pretrained",
        lambda *_, **__: (_ for _ in ()).throw(ImportError("pip install timm")),
    )
    with pytest.raises(CheckpointError, match="needs a package that is not installed: pip install"):
        load_tracker(edgetam)


class Payload:
    """A pickle that would run code."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a checkpoint was run')",))


def test_pickles_are_not_read(edgetam):
    (edgetam / "model.safetensors").unlink()
    torch.save({"weights": Payload()}, edgetam / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"holds no \*\.safetensors"):
        load_tracker(edgetam)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", None])
def test_damaged_weights(content, edgetam):
    path = edgetam / "model.safetensors"
    path.write_bytes(path.read_bytes()[:10_000] if content is None else content)
    with pytest.raises(CheckpointError, match="cannot be loaded by transformers"):
        load_tracker(edgetam)


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_weights_of_another_model(change, edgetam):
    state = load_file(edgetam / "model.safetensors")
    if change == "missing":
        del state["no_memory_embedding"]
    else:
        state["no_memory_embedding"] = torch.zeros(1, 1, 7)
    save_file(state, edgetam / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"do not fit .* \(no_memory_embedding"):
        load_tracker(edgetam)


def test_layout_of_transformers_without_its_config(saved, tmp_path):
    shutil.copy(saved["sam2_video"] / "model.safetensors", tmp_path)
    for name in (tmp_path, f"transformers:{tmp_path}"):
        with pytest.raises(CheckpointError, match="layout of transformers: give the directory"):
            load_tracker(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory_temporal_stride_for_eval": 2}, "no memory_temporal_stride_for_eval but 1"),
        ({"fixed_no_obj_ptr": False}, "no fixed_no_obj_ptr but True"),
        ({"add_tpos_enc_to_obj_ptrs": True}, "always projects"),
        ({"num_maskmem": 7}, "cannot be run by transformers"),
    ],
)
def test_sam2_of_a_kind_that_transformers_has_not(change, message):
    config = read_config(NANO / "config.yaml")
    state = build_model(config).state_dict()
    with pytest.raises(CheckpointError, match=message):
        to_transformers(config | change, state)


@pytest.mark.slow
def test_end_to_end_with_the_same_answer(tmp_path):
    import fiftyone_revseg as revseg
    from fiftyone_revseg.synthetic import render

    (record,) = render(tmp_path, "test", count=1, queries=1)
    query = record["queries"][0]["text"]
    answers = []
    for tracker in ("sam2-nano", "transformers:sam2-nano"):
        pipeline = revseg.load_pipeline("revseg-nano", tracker=tracker, device="cpu")
        (answer,) = pipeline.segment(tmp_path / record["video"], [query])
        assert pipeline.settings()["tracker"] == tracker
        answers.append(answer)
    ours, theirs = answers
    assert theirs.model == "revseg-nano + transformers:sam2-nano"
    assert ours.status == theirs.status
    assert ours.masks().any()
    assert (ours.masks() != theirs.masks()).mean() < 1e-5


def test_sam3s_whole_checkpoint_holds_its_tracker(saved, tmp_path):
    """Its parts have other names there, and those of the detector are left alone."""
    config = json.loads((saved["sam3_tracker_video"] / "config.json").read_text())
    whole = {"model_type": "sam3_video", "tracker_config": config}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    state = {"detector_model.detr.weight": torch.zeros(1)}
    for name, value in load_file(saved["sam3_tracker_video"] / "model.safetensors").items():
        if name.startswith("vision_encoder.backbone."):
            name = f"detector_model.{name}"
        elif name.startswith("vision_encoder.neck."):
            name = name.replace("vision_encoder.neck", "tracker_neck")
        else:
            name = f"tracker_model.{name}"
        state[name] = value
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    whole, alone = (load_tracker(d, device="cpu") for d in (tmp_path, saved["sam3_tracker_video"]))
    np.testing.assert_allclose(logits(whole), logits(alone), rtol=0, atol=1e-4)
