"""What cannot be written is found out before the work, by every command that works long."""

import pytest
from click.testing import CliRunner

from fiftyone_revseg.cli import main


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo", "-o", "{file}/demo"),
        ("train", "grpo", "-o", "{file}/run"),
        ("train", "tracker", "-o", "{file}/run"),
        ("train", "sft", "-o", "{file}/run"),
        ("evaluate", "no-such-dataset", "-o", "{file}/results.json"),
    ],
)
def test_a_command_says_so_at_once(tmp_path, arguments):
    file = tmp_path / "file"
    file.write_text("of a person")
    arguments = [part.format(file=file) for part in arguments]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1, result.output
    assert "Nothing can be written to" in result.output
    assert len(result.output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_text() == "of a person"
