"""Text from outside: of models, servers, files and command lines."""

from __future__ import annotations

import re

_UNSTORABLE = re.compile("[\\ud800-\\udfff]")


def storable(text: str) -> str:
    """Makes a text one that every file and every database takes.

    Half characters, as from ``"\\\\ud83d"`` in JSON or from bytes in another encoding,
    become question marks, one for one: positions in the text stay what they were.
    """
    return _UNSTORABLE.sub("?", text)
