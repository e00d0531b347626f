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
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$&=^:@\"'])")


def printable(text: Any) -> str:
    r"""Shows what a terminal would take for a command, such as ``\u001b``, instead of sending it.

    What is written for it is also how JSON writes it: in JSON, the text stays the same.

    Args:
        text: any text; line breaks and tabs stay

    Returns:
        text that can be encoded and printed
    """
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


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

    Args:
        text: any text; its line breaks stay

    Returns:
        Markdown that shows the text
    """
    return _MARKDOWN.sub(r"\\\1", printable(text))


def markdown_line(text: Any, width: int | None = None) -> str:
    """Makes Markdown of a text on one line, as for a heading, an item of a list, or a table.

    Args:
        text: any text
        width (None): the most characters of the text that are shown

    Returns:
        Markdown that shows the text
    """
    return markdown(one_line(text, width))
