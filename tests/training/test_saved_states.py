"""A checkpoint that is not whole is never gone on from."""

import json
import os
import signal

import pytest
import torch
from safetensors.torch import save_file

from fiftyone_revseg.training.saved_states import (
    damage,
    newest_checkpoint,
    read_settings,
    replacing_checkpoint,
    save_state,
)


def write_checkpoint(out, step):
    """What transformers' trainer writes, in small."""
    folder = out / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    save_file({"a": torch.zeros(100), "b": torch.ones(3)}, folder / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        torch.save({"x": torch.arange(500)}, folder / name)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return folder


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


def another_step(path):
    path.write_text(json.dumps({"global_step": 7}))


DAMAGE = [
    *[
        (f, name)
        for f in (truncate, zeros, empty)
        for name in ("model.safetensors", "optimizer.pt")
    ],
    *[(f, "trainer_state.json") for f in (truncate, zeros, empty, another_step)],
    *[(os.unlink, name) for name in ("model.safetensors", "optimizer.pt", "trainer_state.json")],
    *[(flip_a_byte, name) for name in ("optimizer.pt", "rng_state.pth", "scheduler.pt")],
    (truncate, "config.json"),
    (empty, "scheduler.pt"),
]


@pytest.mark.parametrize(("harm", "name"), DAMAGE)
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path, capsys, harm, name):
    for step in (2, 10, 9):
        write_checkpoint(tmp_path, step)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert not capsys.readouterr().err
    harm(tmp_path / "checkpoint-10" / name)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    said = capsys.readouterr().err
    assert "checkpoint-10' is not whole" in said
    assert f"goes on from '{tmp_path}/checkpoint-9'" in said
    # The trainer writes into a folder that is there, and its old state would make that look whole
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint-2",
        "checkpoint-9",
        "damaged-checkpoint-10",
    ]


def test_shards_and_adapters_are_whole_too(tmp_path):
    folder = write_checkpoint(tmp_path, 1)
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert damage(folder) == "model-2.safetensors is missing"
    (folder / "model.safetensors").rename(folder / "model-2.safetensors")
    index["weight_map"]["a"] = "model-2.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert damage(folder) is None
    (folder / "model-2.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "model.safetensors.index.json").unlink()
    assert damage(folder) is None


def test_where_nothing_is_whole_a_run_starts_from_its_beginning(tmp_path, capsys):
    assert newest_checkpoint(tmp_path) is None
    truncate(write_checkpoint(tmp_path, 1) / "optimizer.pt")
    assert newest_checkpoint(tmp_path) is None
    assert "starts from its beginning" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", '{"seed": ', "[]", "null"])
def test_damaged_settings_are_a_sentence(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run\.json', which keeps the settings .* is damaged"):
        read_settings(tmp_path / "run.json")


def test_a_persons_own_files_in_a_checkpoint_are_kept(tmp_path):
    for text in ("first", "second"):
        with replacing_checkpoint(tmp_path / "checkpoint") as partial:
            (partial / "weights").write_text(text)
    assert not list(tmp_path.glob("*kept*"))
    (tmp_path / "checkpoint" / "notes.md").write_text("mine")
    for text in ("third", "fourth"):
        with replacing_checkpoint(tmp_path / "checkpoint") as partial:
            (partial / "weights").write_text(text)
    kept = tmp_path / "checkpoint-kept"
    assert (kept / "notes.md").read_text() == "mine"
    assert (kept / "weights").read_text() == "second"
    assert [p.name for p in (tmp_path / "checkpoint").iterdir()] == ["weights"]


def test_a_state_can_be_loaded_whenever_its_writer_is_killed(tmp_path):
    """Killed at every call that changes something: the newest state or the one before is whole."""
    path = tmp_path / "state.pt"
    save_state(path, {"step": 0})
    for call in range(12):
        pid = os.fork()
        if pid == 0:
            calls = iter(range(call))

            def counted(function, calls=calls):
                def counting(*args, **kwargs):
                    if next(calls, None) is None:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return function(*args, **kwargs)

                return counting

            for name in ("replace", "unlink", "rmdir", "mkdir", "fsync"):
                setattr(os, name, counted(getattr(os, name)))
            save_state(path, {"step": call + 1})
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        newest = path if path.is_file() else tmp_path / "state-before.pt"
        assert torch.load(newest, weights_only=True)["step"] <= call + 1
        if status == 0:
            break
    assert call > 4
