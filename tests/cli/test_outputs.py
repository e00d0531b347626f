"""What cannot be written is found out before the work, by every command that works long."""

import click
import pytest
from click.testing import CliRunner

from fiftyone_revseg.cli import main
from fiftyone_revseg.cli.options import NamedPath
from fiftyone_revseg.files.whole import NotWritableError, check_writable


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


def test_an_empty_path_is_not_the_working_directory(tmp_path, monkeypatch):
    """As that of a variable that is not set: nothing is written where nobody meant it."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["segment", "a.mp4", "the cat", "-o", ""])
    assert result.exit_code == 2
    assert "the path is empty" in result.output
    assert not list(tmp_path.iterdir())
    paths = [
        (name, parameter.name)
        for name, command in commands(main)
        for parameter in command.params
        if isinstance(parameter.type, click.Path) and not isinstance(parameter.type, NamedPath)
    ]
    assert not paths
    with pytest.raises(NotWritableError, match="is empty"):
        check_writable("")


def commands(group):
    for name, command in group.commands.items():
        yield from commands(command) if isinstance(command, click.Group) else [(name, command)]
