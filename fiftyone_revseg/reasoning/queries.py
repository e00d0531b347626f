"""What can be asked: one answer for every way in."""

from __future__ import annotations

import unicodedata
from typing import Any

from fiftyone_revseg.text.clean import storable

#: The most characters of a query; a page of text has about 3,000
MAX_LENGTH = 10_000


def refusal(query: Any) -> str | None:
    """Says why a query cannot be asked, in one sentence; None if it can."""
    if query is None:
        query = ""
    if not isinstance(query, str):
        return f"The query is no text, but {type(query).__name__}: say what to look for"
    if len(query) > MAX_LENGTH:
        return (
            f"The query has {len(query):,} characters, and at most {MAX_LENGTH:,} can be asked: "
            "shorten it"
        )
    if storable(query) != query:  # as from a file or a command line in another encoding
        return "The query holds broken characters that are no Unicode text: type it again"
    # Neither spaces nor characters that nobody sees ask for anything
    if all(unicodedata.category(character)[0] in "CZ" for character in query):
        return "The query is empty: say what to look for"
    return None
