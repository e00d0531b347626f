"""Names of a package that are imported when they are first used, so that importing it is quick."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def lazy_names(
    package: str, more: Mapping[str, Sequence[str]] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Makes what a package needs for its names to be imported when they are first used.

    Which names, and from where, is what its ``__init__.py`` imports under ``if TYPE_CHECKING:``,
    for type checkers and editors: so they are listed once.

    Args:
        package: its ``__name__``
        more (None): further names: module, by its whole name -> the names that it defines

    Returns:
        the package's ``__getattr__``, ``__dir__``, and the list of the names
    """
    home_of = {name: module for module, names in (more or {}).items() for name in names}
    contents = vars(sys.modules[package])
    for node in ast.parse(Path(contents["__file__"]).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                home_of |= {alias.name: str(line.module) for alias in line.names}

    def getattr_(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        # So that the next access is a plain one
        value = contents[name] = getattr(importlib.import_module(home_of[name]), name)
        return value

    def dir_() -> list[str]:
        return sorted({*contents, *home_of})

    return getattr_, dir_, sorted(home_of)
