"""How commands end where the work behind them cannot go on: with one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import click

#: What a command says after Ctrl-C that takes up its work where it was
GOES_ON = "what is done is kept, and the same command goes on"

_SAYS_WHY: tuple[type[Exception], ...] = (ImportError, OSError, ValueError)


def refuse_failures(summary: Any, done: str) -> None:
    """Ends a command that left some videos out, after it said which.

    Args:
        summary: with "failures", reason -> ids, and the "total" of videos
        done: what could not be done to them, such as "measured"

    Raises:
        click.ClickException: if there are any
    """
    if count := sum(map(len, summary.failures.values())):
        raise click.ClickException(f"{count} of {summary.total} could not be {done}")


@contextlib.contextmanager
def in_one_sentence(
    *also: type[Exception],
    prefix: str = "",
    interrupted: str = "",
    words: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Makes what goes wrong within it, and says why, the command's last sentence.

    Args:
        *also: kinds of errors that say why, beside those of arguments, files and packages
        prefix (""): what the sentence begins with
        interrupted (""): what becomes of the work after Ctrl-C, as a half sentence
        words (None): words for Python in messages -> what is meant on the command line

    Raises:
        click.ClickException: in the place of such an error
    """
    try:
        yield
    except (*_SAYS_WHY, *also) as error:
        message = f"{prefix}{error}"
        for python, command in (words or {}).items():
            message = message.replace(python, command)
        raise click.ClickException(message) from error
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(interrupted or str(error)) from None
