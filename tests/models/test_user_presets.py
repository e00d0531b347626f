"""Presets of a person's own: known everywhere, never in the way of this package's."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from click.testing import CliRunner
from forgotten_models import forget_models

from fiftyone_revseg.cli import main
from fiftyone_revseg.models.builtin import CHECKPOINTS, PRESETS, ModelNotFoundError
from fiftyone_revseg.models.presets import (
    forget_preset,
    home,
    preset_names,
    register_preset,
    resolve,
    user_presets,
)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("REVSEG_HOME", str(tmp_path / "home"))


@pytest.fixture
def checkpoint(tmp_path):
    return shutil.copytree(CHECKPOINTS / "revseg-nano", tmp_path / "mine")


def models(*arguments, code=0):
    result = CliRunner().invoke(main, ["models", *arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.output


def test_a_name_stands_for_a_checkpoint_everywhere(checkpoint):
    preset = register_preset("my-checkpoint", checkpoint, base="revseg-nano")
    assert preset.own
    assert not preset.embedded
    assert resolve("my-checkpoint") == preset == user_presets()["my-checkpoint"]
    assert preset.reasoner == str(checkpoint)
    assert preset.tracker == "sam2-nano"
    assert preset.license == "Apache-2.0"
    assert preset.size == PRESETS["revseg-nano"].size
    assert preset.gpu_memory() == PRESETS["revseg-nano"].gpu_memory()
    assert preset_names() == [*PRESETS, "my-checkpoint"]
    output = models()
    assert "my-checkpoint" in output
    assert f"In {checkpoint}" in output
    (row,) = [row for row in json.loads(models("--json")) if row["own"]]
    assert (row["name"], row["folder"]) == ("my-checkpoint", str(checkpoint))
    assert row["reasoner"]["on_disk"]
    assert {p.name for p in home().iterdir()} == {"presets.json", ".presets.json.lock"}


def test_the_pipeline_loads_it(checkpoint):
    from fiftyone_revseg.pipeline import load_pipeline

    register_preset("my-checkpoint", checkpoint, tracker="sam2-nano")
    pipeline = load_pipeline("my-checkpoint", device="cpu")
    assert pipeline.settings()["weights"] == load_pipeline(device="cpu").settings()["weights"]


def test_a_retrained_checkpoint_is_not_taken_for_the_old_one(checkpoint, monkeypatch):
    from fiftyone_revseg.app import held_models as kept
    from fiftyone_revseg.pipeline import Loading

    calls = []
    monkeypatch.setattr(Loading, "load", lambda loading: calls.append(loading))
    monkeypatch.setattr(kept, "load_model", lambda pipeline: object())
    register_preset("my-checkpoint", checkpoint)
    forget_models()
    kept.get_model(Loading("my-checkpoint"))
    kept.get_model(Loading("my-checkpoint"))
    assert len(calls) == 1
    (checkpoint / "revseg.json").write_text("{}")
    kept.get_model(Loading("my-checkpoint"))
    assert len(calls) == 2
    forget_models()


@pytest.mark.parametrize("name", [*PRESETS, "", "a/b", "../a", "-a", "a b"])
def test_names_that_cannot_be_given(checkpoint, name):
    with pytest.raises(ValueError, match=r"another name|cannot be the name"):
        register_preset(name, checkpoint)
    assert user_presets() == {}


def test_a_name_is_not_moved_unasked(checkpoint, tmp_path):
    other = shutil.copytree(checkpoint, tmp_path / "other")
    register_preset("mine", checkpoint)
    register_preset("mine", checkpoint, description="Better.")  # the same checkpoint
    assert resolve("mine").description == "Better."
    with pytest.raises(ValueError, match="choose another one"):
        register_preset("mine", other)
    assert resolve("mine").reasoner == str(checkpoint)
    register_preset("mine", other, overwrite=True)
    assert resolve("mine").reasoner == str(other)


def test_a_folder_that_is_gone(checkpoint):
    register_preset("mine", checkpoint)
    shutil.rmtree(checkpoint)
    with pytest.raises(ModelNotFoundError, match=r"is not in '.*mine' any more: put it back"):
        resolve("mine")
    assert "GONE" in models()
    forget_preset("mine")
    with pytest.raises(ModelNotFoundError, match="There is no model 'mine'"):
        resolve("mine")


def test_what_holds_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="holds no checkpoint"):
        register_preset("mine", tmp_path)
    with pytest.raises(ValueError, match="of your own: there is none"):
        forget_preset("mine")


@pytest.mark.parametrize("content", ["{", "[]", '{"a": {}}', '{"a": {"path": "x", "size": 1}}'])
def test_a_damaged_file_is_in_nobodys_way(content):
    home().mkdir()
    (home() / "presets.json").write_text(content)
    assert resolve("revseg-nano")
    assert preset_names() == [*PRESETS]
    with pytest.raises(ModelNotFoundError, match=r"presets\.json', which keeps"):
        resolve("mine")
    assert "repair or delete it" in models(code=1)


def test_on_the_command_line(checkpoint):
    output = models("--add", "mine", str(checkpoint), "--tracker", "sam2-nano")
    assert "mine " in output
    assert resolve("mine").tracker == "sam2-nano"
    assert "a model of this package" in models("--add", "revseg-nano", str(checkpoint), code=1)
    assert "mine" not in models("--forget", "mine")
    assert "there is none" in models("--forget", "mine", code=1)


def test_forms_of_the_app_offer_it(checkpoint):
    from fiftyone_revseg.app import forms

    register_preset("my-checkpoint", checkpoint)
    assert "my-checkpoint" in forms.described_presets()


def test_names_that_two_processes_register_at_the_same_time_are_all_kept(checkpoint):
    writers = []
    for writer in "ab":
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for i in range(20):
                    register_preset(f"{writer}-{i}", checkpoint)
                    if i % 4 == 3:
                        forget_preset(f"{writer}-{i}")
                code = 0
            finally:
                os._exit(code)
        writers.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in writers] == [0, 0]
    names = {f"{writer}-{i}" for writer in "ab" for i in range(20) if i % 4 != 3}
    assert set(user_presets()) == names
