"""Names of a package that are imported when they are first used, so that importing it is quick."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Makes what a package needs for its names to be imported when they are first used.

    Args:
        package: its ``__name__``
        homes: module, by its whole name -> the names that it defines

    Returns:
        the package's ``__getattr__``, ``__dir__``, and the list of the names
    """
    home_of = {name: module for module, names in homes.items() for name in names}
    contents = vars(sys.modules[package])

    def getattr_(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        # So that the next access is a plain one
        value = contents[name] = getattr(importlib.import_module(home_of[name]), name)
        return value

    def dir_() -> list[str]:
        return sorted({*contents, *home_of})

    return getattr_, dir_, sorted(home_of)
