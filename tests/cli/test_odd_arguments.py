"""Arguments and files that nobody should give end with a sentence, never with a traceback."""

import pytest
from click.testing import CliRunner

from fiftyone_revseg.cli import main
from fiftyone_revseg.files import from_json
from fiftyone_revseg.models.builtin import ModelNotFoundError
from fiftyone_revseg.models.presets import resolve
from fiftyone_revseg.tracking.checkpoints import CheckpointError, find_checkpoint

DEEP = "[" * 100_000


def test_json_that_is_nested_without_end():
    with pytest.raises(ValueError, match="nested too deeply"):
        from_json(DEEP)
    assert from_json('{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize("content", [DEEP, "{", "[1]", "null", '{"scores": 1}', "\x00"])
def test_a_report_of_what_is_no_evaluation(tmp_path, content):
    (tmp_path / "scores.json").write_text(content)
    command = ["report", str(tmp_path / "scores.json"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "holds no evaluation" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_not_the_directory_one_is_in(name):
    with pytest.raises(ModelNotFoundError, match="is empty"):
        resolve(name)
    with pytest.raises(CheckpointError, match="no tracker called"):
        find_checkpoint(name)


def test_a_tracker_for_no_model():
    result = CliRunner().invoke(main, ["models", "--tracker", "sam2-nano"])
    assert result.exit_code == 2
    assert "goes with --add" in result.output
