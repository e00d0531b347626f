"""Text of models, servers, files and people, made harmless for where it is shown.

Who writes a description, a name or a reply may put in what a terminal, Markdown or a spreadsheet
takes for more than text. There is one function for each of them; HTML is escaped by its templates.
"""

from __future__ import annotations

import re
from typing import Any

# Control characters but for tab and line break, what turns the direction of writing, other line
# ends, and halves of characters, which no output can encode
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
# What means something anywhere in Markdown, and what does at the beginning of a line only
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~$&])")
_LINK = re.compile(r"(?<=:)(?=//)|(?<=\bwww)(?=\.)|(?<=\w)(?=@)|(?<=\bmailto:)|(?<=\bxmpp:)", re.I)
_BLOCK = re.compile(r"^[ \t]*(?:([#+=:-])|(\d+)([.)]))?", re.MULTILINE)

# Spreadsheets also skip spaces before a formula, and begin one after a tab or a line break. A text
# that begins as a text with an apostrophe does must not lose it on the way back
_FORMULA = re.compile(r"'*\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|'*[\t\r\n]")


def printable(text: Any) -> str:
    r"""Shows what a terminal would take for a command, such as ``\u001b``, instead of sending it.

    What is written for it is also how JSON writes it: in JSON, the text stays the same.

    Args:
        text: any text; line breaks and tabs stay

    Returns:
        text that can be encoded and printed
    """
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


def first_line(error: object) -> str:
    """Returns the first line of what an error says, or the name of its class if that is nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip()


def one_line(text: Any, width: int | None = None) -> str:
    """Puts a text on one printable line.

    Args:
        text: any text
        width (None): the most characters that it may take

    Returns:
        the text, with " ..." at its end if it was cut
    """
    text = str(text)
    if width is not None:  # what is far beyond that is not even looked at
        text = text[: 10 * width]
    line = printable(" ".join(text.split()))
    if width is None or len(line) <= width:
        return line
    return f"{line[: width - 4].rstrip()} ..."


def markdown(text: Any) -> str:
    """Keeps a text from being read as Markdown or HTML, links and pictures included.

    Of addresses, too, links are made: there, an invisible character (U+2060) keeps them apart.

    Args:
        text: any text; its line breaks stay, spaces at the beginning of a line do not

    Returns:
        Markdown that shows the text
    """
    text = _MARKDOWN.sub(r"\\\1", printable(text))
    return _LINK.sub("\u2060", _BLOCK.sub(_unblock, text))


def _unblock(found: re.Match[str]) -> str:
    mark, number, end = found.groups()
    return f"\\{mark}" if mark else f"{number}\\{end}" if number else ""


def markdown_line(text: Any) -> str:
    """Makes Markdown of a text on one line, as for a heading, an item of a list, or a table."""
    return markdown(one_line(text))


def markdown_block(text: Any, language: str = "") -> str:
    """Makes a block of Markdown that shows a text as it is, in which nothing can end the block.

    Args:
        text: any text
        language (""): what the text is in, for those who colour it
    """
    text = printable(text)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def cell(value: Any) -> Any:
    """Keeps a text in a table of CSV from being calculated by a spreadsheet.

    What a spreadsheet takes for a formula gets the apostrophe before it by which one says there
    that it is text; a number is one, whatever its sign. :func:`from_cell` takes it away.

    Args:
        value: a text, or anything else, which stays as it is

    Returns:
        what to write into the table
    """
    if not isinstance(value, str):
        return value
    value = printable(value)
    return f"'{value}" if _FORMULA.match(value) else value


def from_cell(text: str) -> str:
    """Returns the text that :func:`cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text
