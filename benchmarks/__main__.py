"""Lists the benchmarks, and what each compares.

    python -m benchmarks

Each is a script of its own, which says with ``--help`` how it is run; ``gpu/run`` runs those of its
folder.
"""

import ast
from pathlib import Path

import click

FOLDER = Path(__file__).parent


def main() -> None:
    """Prints the name and the first sentences of every script of this folder."""
    click.echo("Each is run by itself: python benchmarks/NAME.py --help\n")
    rows = []
    for path in sorted(FOLDER.rglob("*.py")):
        code = path.read_text(encoding="utf-8")
        if path.stem != "__main__" and "__main__" in code:  # the others are parts of these
            about = ast.get_docstring(ast.parse(code)) or ""
            name = path.relative_to(FOLDER).with_suffix("").as_posix()
            rows.append((name, " ".join(about.split("\n\n")[0].split())))
    formatter = click.HelpFormatter(max_width=100, width=100)
    formatter.write_dl(rows)
    click.echo(formatter.getvalue(), nl=False)


if __name__ == "__main__":
    main()
