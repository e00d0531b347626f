"""What a stage found, in a file that is whole after each finding: a stage may be killed any time.

The table of all stages is made from these files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fiftyone_revseg.files import write_json


class Results:
    """Keeps the findings of one stage.

    Args:
        path: the JSON file, which is replaced
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Any] = {"rows": [], "data": {}}
        self._write()

    def say(self, what: str, found: str, wanted: str = "", holds: bool | None = None) -> None:
        """Adds a row of the table.

        Args:
            what: was measured
            found: the figure
            wanted (""): what it should be, in words
            holds (None): whether it is; None if nothing is wanted
        """
        row = {"what": what, "found": found, "wanted": wanted, "holds": holds}
        self._found["rows"].append(row)
        self._write()
        mark = {None: "", True: "  (holds)", False: "  (DOES NOT HOLD)"}[holds]
        print(f"{what}: {found}{mark}", flush=True)

    def keep(self, name: str, data: Any) -> None:
        """Adds figures that the table has no place for."""
        self._found["data"][name] = data
        self._write()

    def _write(self) -> None:
        write_json(self._path, self._found, indent=1)
