"""The floors of the house: nobody imports upwards or sideways, lazily or for types neither."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1] / "fiftyone_revseg"
# From the ground up. Rooms on one floor do not know each other
FLOORS = (
    {"types", "files", "text", "lazy", "prefetch", "version", "progress"},
    {"masks"},
    {"models", "video"},
    {"reasoning", "tracking", "synthetic"},
    {"pipeline", "measures"},  # rewards are about replies
    {"engine"},
    {"training"},
    {"nano"},
    {"dataset"},
    {"evaluation"},
    {"app", "cli"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
WITH_FIFTYONE = {"dataset", "evaluation", "app", "cli"}
# Importing file -> what it may know all the same: to install the plugin, and to make a dataset
ALLOWED = {"cli/install.py": "app", "synthetic/world_files.py": "fiftyone"}


def test_every_room_has_a_floor():
    rooms = {path.stem for path in ROOT.iterdir()} - {"__init__", "__pycache__", "checkpoints"}
    assert rooms == set(FLOOR_OF)


def test_imports_go_down_only():
    wrong = [
        f"{name} imports {other}"
        for path in sorted(ROOT.rglob("*.py"))
        if (name := path.relative_to(ROOT).as_posix()) != "__init__.py"
        for other in imports_of(path)
        if not may_import(path.relative_to(ROOT).parts[0].removesuffix(".py"), other)
        and ALLOWED.get(name) != other
    ]
    assert not wrong


def may_import(room, other):
    if other == "fiftyone":
        return room in WITH_FIFTYONE
    return other == room or FLOOR_OF[other] < FLOOR_OF[room]


def imports_of(path):
    """The rooms that a file imports, and FiftyOne, wherever in the file it does so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for top, *inner in (name.split(".") for name in names):
            if top in ("fiftyone", "fiftyone_revseg"):
                yield "fiftyone" if top == "fiftyone" else inner[0]
