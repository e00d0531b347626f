"""Ctrl-C ends a run, whatever library it meets, and every command in the same way."""

import contextlib
import signal

import click
import pytest
from click.testing import CliRunner

from fiftyone_revseg.cli import main
from fiftyone_revseg.cli.bars import RunBars
from fiftyone_revseg.cli.ctrl_c import CtrlC
from fiftyone_revseg.dataset import RunProgress


def test_what_a_library_swallowed_is_raised_with_the_next_news():
    with RunBars() as bars:
        bars(RunProgress(0, 2))
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            bars(RunProgress(0, 2))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_is_raised_at_once_where_nobody_swallows_it():
    with pytest.raises(KeyboardInterrupt), RunBars():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_sees_to_it_already_goes_on_doing_so():
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        with RunBars() as bars:
            signal.raise_signal(signal.SIGINT)
            bars(RunProgress(0, 2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed == [True]


def test_within_another_one_that_sees_to_it():
    with CtrlC() as outer, RunBars() as bars:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            bars(RunProgress(0, 2))
    assert outer.pressed
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _press():
    signal.raise_signal(signal.SIGINT)


def _press_unheard():
    with contextlib.suppress(BaseException):
        _press()


def _press_and_fail():
    try:
        _press()
    except KeyboardInterrupt as error:
        raise click.ClickException("The library could not be imported") from error


def _commands(group, *names):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, *names, name)
        else:
            yield (*names, name), command


@pytest.mark.parametrize("what", [_press, _press_unheard, _press_and_fail])
def test_every_command_ends_with_130_and_one_sentence(monkeypatch, what):
    found = dict(_commands(main))
    assert {("segment",), ("apply",), ("evaluate",), ("train", "grpo")} <= set(found)
    for names, command in found.items():
        monkeypatch.setattr(command, "callback", what)
        monkeypatch.setattr(command, "params", [])
        result = CliRunner().invoke(main, names)
        assert (result.exit_code, result.output) == (130, "Interrupted\n"), names
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_command_may_say_what_becomes_of_its_work(monkeypatch):
    def goes_on():
        raise KeyboardInterrupt("the same command goes on")

    monkeypatch.setattr(main.commands["apply"], "callback", goes_on)
    monkeypatch.setattr(main.commands["apply"], "params", [])
    result = CliRunner().invoke(main, ["apply"])
    assert (result.exit_code, result.output) == (130, "Interrupted: the same command goes on\n")
