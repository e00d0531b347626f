"""Ctrl-C that is not lost, and that ends every command in the same way."""

from __future__ import annotations

import signal
import threading
from typing import Any

import click

from fiftyone_revseg.cli.output import Group, echo

INTERRUPTED = 130  # what shells expect of a program that Ctrl-C ended: 128 + SIGINT


class CtrlC:
    """Remembers that Ctrl-C was pressed.

    The exception that it raises is lost where it meets a library that catches whatever is raised
    and goes on, as FiftyOne does in places; or in a finalizer. Outside the main thread, or where
    somebody else sees to Ctrl-C, nothing is changed. Within another instance, that one sees to it.
    """

    def __init__(self) -> None:
        self._pressed = False
        self._before: Any = None
        self._outer: CtrlC | None = None

    @property
    def pressed(self) -> bool:
        """Whether it was."""
        return self._pressed or (self._outer is not None and self._outer.pressed)

    def check(self) -> None:
        """Raises ``KeyboardInterrupt`` if it was pressed."""
        if self.pressed:
            raise KeyboardInterrupt

    def __enter__(self) -> CtrlC:
        now = signal.getsignal(signal.SIGINT)
        owner = getattr(now, "__self__", None)
        in_main = threading.current_thread() is threading.main_thread()
        if isinstance(owner, CtrlC):
            self._outer = owner
        elif in_main and now is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _press(self, number: int, frame: Any) -> None:
        self._pressed = True
        signal.default_int_handler(number, frame)


class InterruptibleGroup(Group):
    """Commands that Ctrl-C ends with exit code 130 and one sentence, whatever became of it.

    A command that has more to say raises ``KeyboardInterrupt`` anew, with a half sentence.
    """

    def invoke(self, ctx: click.Context) -> Any:
        with CtrlC() as ctrl_c:
            try:
                value = super().invoke(ctx)
                ctrl_c.check()  # what ended well although a part was cut short is no result
                return value
            except BaseException as error:
                # A library may have made another error of it
                if not (ctrl_c.pressed or isinstance(error, KeyboardInterrupt)):
                    raise
                said = str(error) if isinstance(error, KeyboardInterrupt) else ""
                echo(f"Interrupted{': ' if said else ''}{said}", err=True)
                # Python ends with the signal, not with this code, if the last code from a string,
                # as that of a dataclass, was interrupted
                exec("")
                raise SystemExit(INTERRUPTED) from None
