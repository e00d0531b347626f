"""Ctrl-C that is not lost."""

from __future__ import annotations

import signal
import threading
from typing import Any


class CtrlC:
    """Remembers that Ctrl-C was pressed.

    The exception that it raises is lost where it meets a library that catches whatever is raised
    and goes on, as FiftyOne does in places; or in a finalizer. Outside the main thread, or where
    somebody else sees to Ctrl-C, nothing is changed.

    Attributes:
        pressed: whether it was
    """

    def __init__(self) -> None:
        self.pressed = False
        self._before: Any = None

    def check(self) -> None:
        """Raises ``KeyboardInterrupt`` if it was pressed."""
        if self.pressed:
            raise KeyboardInterrupt

    def __enter__(self) -> CtrlC:
        is_ours = threading.current_thread() is threading.main_thread()
        if is_ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _press(self, number: int, frame: Any) -> None:
        self.pressed = True
        signal.default_int_handler(number, frame)
