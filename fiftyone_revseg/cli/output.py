"""What commands say; text of models, files and datasets in it gives the terminal no commands."""

from __future__ import annotations

from typing import Any

import click

from fiftyone_revseg.text.escape import printable


def echo(*parts: Any, err: bool = False, bold: bool = False) -> None:
    r"""Prints a line, or several if there are line breaks in it.

    Characters that a terminal takes for commands are shown, such as ``\u001b``.

    Args:
        *parts: what to print one after the other: anything, or a ``(text, color)``
        err (False): whether to print to the error stream
        bold (False): whether to print it bold
    """
    shown = []
    for part in parts:
        text, color = part if isinstance(part, tuple) else (part, None)
        text = printable(text)
        shown.append(click.style(text, fg=color, bold=bold) if color or bold else text)
    click.echo("".join(shown), err=err)


class Group(click.Group):
    """A group of commands whose errors are printed like all else that they say."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            error.message = printable(error.message)  # type: ignore[misc]
            raise
