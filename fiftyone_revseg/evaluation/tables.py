"""Result tables as Markdown, CSV and JSON, each with the protocol that its figures follow."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fiftyone_revseg.evaluation.results import Evaluation
from fiftyone_revseg.evaluation.summary import COLUMNS
from fiftyone_revseg.files import check_writable, write_text
from fiftyone_revseg.text.columns import in_columns
from fiftyone_revseg.text.escape import cell, markdown_line, one_line

_COUNTS = {"videos": "videos", "expressions": "expressions", "missing": "missing"}
#: Column that is a share -> its head in tables for people, which have it in per cent
SHARES = {
    "jf": "J&F",
    "j": "J",
    "f": "F",
    "accuracy": "A",
    "robustness": "R",
    "key_frame_quality": "key frame",
    "found": "found",
    "false_presence": "false presence",
}
#: The head of the column with the confidence interval of J&F
INTERVAL = "95 % interval"


def to_markdown(evaluation: Evaluation) -> str:
    """Writes an evaluation as Markdown: a table in per cent, its notes and its protocol."""
    head, rows = table_cells(evaluation.table)
    lines = [
        f"| {' | '.join(head)} |",
        f"|{'|'.join(['---', *['---:'] * (len(head) - 1)])}|",
        *(f"| {' | '.join([markdown_line(row[0]), *row[1:]])} |" for row in rows),
        "",
        *(f"* {markdown_line(line)}" for line in about(evaluation)),
    ]
    return "\n".join(lines)


def to_text(evaluation: Evaluation) -> str:
    """Writes an evaluation for a terminal: the table, its notes and its protocol."""
    head, rows = table_cells(evaluation.table)
    shown = [head, *([one_line(text) for text in row] for row in rows)]
    lines, _ = in_columns(shown, right=range(1, len(head)))
    return "\n".join([*lines, "", *map(one_line, about(evaluation))])


def to_csv(evaluation: Evaluation) -> str:
    """Writes the table as CSV, shares from 0 to 1, after lines with ``#`` that say what it is."""
    out = io.StringIO()
    for line in about(evaluation):
        out.write(f"# {one_line(line)}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in evaluation.table:
        writer.writerow(["" if row.get(name) is None else cell(row[name]) for name in COLUMNS])
    return out.getvalue()


def about(evaluation: Evaluation) -> list[str]:
    """Says what a table is about: what was compared, what is missing, and the protocol."""
    what = f"'{evaluation.pred_field}' against '{evaluation.gt_field}' in '{evaluation.dataset}'"
    if evaluation.benchmark:
        what += f", as {evaluation.benchmark}"
    if evaluation.model:
        what += f"; model: {evaluation.model}"
    return [f"{what}; {evaluation.created}", *evaluation.notes, f"Protocol: {evaluation.protocol}"]


def write_table(evaluation: Evaluation, path: str | Path) -> Path:
    """Writes a result table to a file, wholly or not at all.

    Args:
        evaluation: the evaluation
        path: a name that ends in ``.md``, ``.csv``, or ``.json``, which holds all scores, too

    Returns:
        the path

    Raises:
        ValueError: if the name ends in anything else
    """
    path = check_path(path)
    if path.suffix == ".json":
        return evaluation.save(path)
    write_text(path, _WRITERS[path.suffix](evaluation).rstrip("\n") + "\n")
    return path


def check_path(path: str | Path) -> Path:
    """Checks that a table can be written to a path.

    Raises:
        ValueError: if it does not end in ``.md``, ``.csv`` or ``.json``
        NotWritableError: (a ValueError) if nothing can be written there
    """
    path = Path(path)
    if path.suffix not in (*_WRITERS, ".json"):
        raise ValueError(f"'{path}' is no table: name a file that ends in .md, .csv or .json")
    check_writable(path, folder=False)
    return path


_WRITERS: dict[str, Callable[[Evaluation], str]] = {".md": to_markdown, ".csv": to_csv}


def table_cells(table: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Returns the head and the rows as text, without columns in which there is nothing."""
    shown = [name for name in SHARES if any(row.get(name) is not None for row in table)]
    has_interval = any(row.get("jf_low") is not None for row in table)
    head = ["", *_COUNTS.values()]
    for name in shown:
        head += [SHARES[name], *([INTERVAL] if name == "jf" and has_interval else [])]
    rows = []
    for row in table:
        cells = [row["name"], *(str(row[name]) for name in _COUNTS)]
        for name in shown:
            cells.append(_percent(row.get(name)))
            if name == "jf" and has_interval:
                low, high = row.get("jf_low"), row.get("jf_high")
                cells.append("-" if low is None else f"{_percent(low)} - {_percent(high)}")
        rows.append(cells)
    return head, rows


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
