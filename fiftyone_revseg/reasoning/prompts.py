"""Prompt templates: short text files with ``{placeholders}``, and how they are filled in.

A template is plain text. Only the placeholders named in :data:`PLACEHOLDERS` are replaced, so the
braces of a JSON example need no escaping, and everything is replaced in one pass, so that a query
which happens to contain a placeholder stays as the user wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from fiftyone_revseg.models.limits import read_settings_text

_BOX = ("coordinates", "size", "example")  # how a box or a point is to be written
_CORNERS = ("top_left", "bottom_right")  # "(x1, y1)", or with y first
_OBJECT = ("number", "description", "life", "motion", "growth", "named", "votes", "candidates")
_JUDGED = ("objects", "object_count", "votes", "candidates")
_MEASURED = ("first", "last", "first_time", "last_time", "comes", "goes", "gaps", "x", "y")
_AT_FIRST_AND_LAST = ("first_x", "first_y", "first_size", "last_x", "last_y", "last_size", "size")
# template -> the placeholders that it may use
PLACEHOLDERS: dict[str, frozenset[str]] = {
    "system": frozenset(),
    "turn1": frozenset({"frames", "query", "frame_count", "last_index", "seconds"}),
    "frame": frozenset({"index", "time", "frame_count", "last_index"}),
    "turn2": frozenset({"image", "query", "description", "index", "time", *_BOX, *_CORNERS}),
    "turn2_again": frozenset({"image", "query", "description", "index", "time", *_BOX, *_CORNERS}),
    "turn2_again_point": frozenset({"image", "query", "description", "index", "time", *_BOX}),
    "absent": frozenset({"description"}),
    "turn3": frozenset({"frames", "query", "frame_count", "last_index", *_JUDGED}),
    "thought3": frozenset({"query", *_JUDGED}),
    "ask3": frozenset({"query", *_JUDGED}),
    "object": frozenset({*_OBJECT, *_MEASURED, *_AT_FIRST_AND_LAST}),
    "again": frozenset({"query", "rejected", "why", "frame_count", "last_index"}),
    "closer": frozenset({"last_index"}),
    "point": frozenset({"description"}),
    "turn2_point": frozenset({"image", "query", "description", "index", "time", *_BOX}),
    "coordinates_pixels": frozenset({"size"}),
    "coordinates_relative": frozenset({"size"}),
    "coordinates_shares": frozenset({"size"}),
    "correction1": frozenset({"reason", "query", "frame_count", "last_index"}),
    "correction2": frozenset({"reason", "query", "description", "index", *_BOX}),
    "correction2_point": frozenset({"reason", "query", "description", "index", *_BOX}),
    "correction3": frozenset({"reason", "query", "last_index", "object_count"}),
}

_FIELD = re.compile(r"\{([a-z_0-9]+)\}")
_DEFAULTS = Path(__file__).parent / "prompts"


@cache
def default_template(name: str) -> str:
    """Returns the text of one of the default templates in ``reasoning/prompts``."""
    return _read(_DEFAULTS / f"{name}.txt")


def read_templates(directory: str | Path) -> dict[str, str]:
    """Reads the templates in a directory.

    Args:
        directory: a directory with some of ``turn1.txt``, ``turn2.txt``, ``frame.txt``, ... in it

    Returns:
        a dict mapping template names to texts, of the files that are there

    Raises:
        ValueError: if there is no such directory, or no template in it
    """
    directory = Path(directory)
    files = {name: directory / f"{name}.txt" for name in PLACEHOLDERS}
    found = {name: _read(path) for name, path in files.items() if path.is_file()}
    if not found:
        names = ", ".join(f"{name}.txt" for name in PLACEHOLDERS)
        raise ValueError(f"There are no prompts in '{directory}': put some of {names} there")
    return found


def check_templates(templates: Mapping[str, str]) -> None:
    """Raises a ValueError if a template has an unknown name, or a placeholder it cannot fill."""
    for name, text in templates.items():
        if name not in PLACEHOLDERS:
            raise ValueError(f"Unknown prompt '{name}': use one of {', '.join(PLACEHOLDERS)}")
        if not isinstance(text, str):
            raise ValueError(f"Prompt '{name}' must be a string, got {type(text).__name__}")
        for field in _FIELD.findall(text):
            if field not in PLACEHOLDERS[name]:
                allowed = ", ".join(sorted(PLACEHOLDERS[name])) or "none"
                raise ValueError(f"Prompt '{name}' cannot use {{{field}}}: it has {allowed}")


def fill(template: str, values: Mapping[str, object]) -> str:
    """Replaces the placeholders that ``values`` names, in one pass, and leaves all else alone."""
    return _FIELD.sub(lambda m: str(values[m[1]]) if m[1] in values else m[0], template)


def split_at(template: str, field: str) -> tuple[str, str]:
    """Splits a template at the placeholder where pictures go; without one they come first."""
    before, mark, after = template.partition("{" + field + "}")
    return (before, after) if mark else ("", template)


def _read(path: Path) -> str:
    # an editor's final line break is not part of the prompt
    return read_settings_text(path, most=100_000).removesuffix("\n")
