"""The table of a run, made from the JSON files of its stages.

python benchmarks/gpu/table.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from stages import RUN

HOLDS = {None: "", True: "yes", False: "NO"}


def make_table(out: Path) -> str:
    """Makes a table in Markdown: a line for each finding, and for each stage that did not end well.

    Args:
        out: the folder of a run
    """
    lines = ["| stage | what | found | wanted | holds |", "|---|---|---|---|---|"]
    for name, ended in json.loads((out / RUN).read_text(encoding="utf-8")).items():
        rows = rows_of(out, name)
        for row in rows:
            cells = [name, row["what"], row["found"], row["wanted"], HOLDS[row["holds"]]]
            lines.append(_line(cells))
        if ended["outcome"] != "done":
            lines.append(_line([name, "**the stage itself**", ended["outcome"], "done", "NO"]))
        elif not rows:
            lines.append(_line([name, "**the stage itself**", "found nothing", "", "NO"]))
    return "\n".join(lines)


def is_good(out: Path) -> bool:
    """Whether all stages of a run ended well and all that was wanted holds."""
    ended = json.loads((out / RUN).read_text(encoding="utf-8"))
    holds = [row["holds"] for name in ended for row in rows_of(out, name)]
    done = all(how["outcome"] == "done" and rows_of(out, name) for name, how in ended.items())
    return done and False not in holds


def rows_of(out: Path, name: str) -> list[dict[str, Any]]:
    """What a stage found, as far as it came."""
    path = out / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    print(make_table(Path(sys.argv[1])))
