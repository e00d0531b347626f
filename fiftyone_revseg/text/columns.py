"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def in_columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> tuple[list[str], str]:
    """Lays rows out as lines whose cells stand below each other.

    Args:
        rows: the cells of each line
        right (()): the columns, from 0, that are aligned at their right

    Returns:
        the lines, and one with a rule below each column
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines, "  ".join("-" * width for width in widths)
