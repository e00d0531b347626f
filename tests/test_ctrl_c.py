"""Ctrl-C ends a run, whatever library it meets."""

import contextlib
import signal

import pytest

from fiftyone_revseg.cli.progress import RunBars
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
