"""Which of the lists and objects in a reply are its answer.

Models write drafts, examples and explanations around it, and none of these is to be mistaken for
the answer. Values with no words between them are one candidate, as in a list of JSON lines. Of
several candidates that say different things, the last one counts if it alone stands by itself, on
lines of its own; otherwise nobody knows which one was meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from fiftyone_revseg.reasoning.regions import MARKS, ParseError
from fiftyone_revseg.reasoning.values import Found, Items, find_values

T = TypeVar("T")

_WORDS = re.compile(r"[^\W_]")
_NUMBERING = re.compile(r"(?:^|\n)[ \t]{0,9}[0-9]{1,3}[.)]")
_JOINING = re.compile(r"\b(?:and|or)\b", re.IGNORECASE)
# "Answer:", "the answer is" and the end of a sentence, before something at the end of a line
_CUE = re.compile(r"(?:\banswer(?: is)?[\s*`]{0,4}:?|[.:!?])[\s*`]{0,4}$", re.IGNORECASE)
# The same for an empty list, where there is nothing else that might be the answer
_THEREFORE = re.compile(
    r"(?:\b(?:therefore|thus|hence|so|return|output)|[-=]>|\u2192)[\s,:*`]{0,4}$", re.IGNORECASE
)
_PERHAPS = re.compile(
    r"\b(?:would|could|might|if|otherwise|unless|else|instead)\b"
    r"|(?:\bnot|n['\u2019]t|\bnever)(?:\W{1,9}\w{1,30}){0,3}\W{0,9}$",
    re.IGNORECASE,
)
_BECAUSE_NONE = re.compile(
    r"[\s`*.,:;-]{0,9}(?:as |since |because )?(?:there (?:is|are) |there's )?"
    r"(?:no|none|nothing)\b(?!,)[^\n]*\s*$",
    re.IGNORECASE,
)
_BUT = re.compile(r"\b(?:but|except|however|until|although|though|wait|yet)\b", re.IGNORECASE)
# The word before a list that is no box
_SOMETHING_ELSE = re.compile(
    r"(?:(?<![0-9] )\b(?:seconds|times|timestamps?|frames|colou?rs?|rgba?|hsv|scores)"
    r"|(?:\bnot|n['\u2019]t)(?: at| in)?)[\s`*]{0,4}$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Candidate:
    """Values that belong together.

    Attributes:
        values: what was found, in order
        alone: whether they stand by themselves rather than within a sentence
        ends_sentence: whether a sentence, or the word "answer", ends just before them, and
            nothing follows on their last line
        is_something_else: whether the word before says that no box follows: "seconds", "not"
        text: the text that they are in
    """

    values: tuple[Found, ...]
    alone: bool
    ends_sentence: bool
    is_something_else: bool
    text: str = field(repr=False)

    @property
    def start(self) -> int:
        """Where the first of the values starts."""
        return self.values[0].start

    @property
    def end(self) -> int:
        """Where the last of the values ends."""
        return self.values[-1].end

    @property
    def is_empty_list(self) -> bool:
        """Whether this is an empty list, and meant as an answer: "no such object"."""
        if len(self.values) != 1 or not (self.alone or self.ends_sentence):
            return False
        value = self.values[0].value
        return isinstance(value, Items) and value.whole and not value and value.opening == "["


def find_candidates(text: str, strict: bool = False) -> list[Candidate]:
    """Finds what may be the answer.

    Args:
        text: the part of a reply that may hold the answer
        strict (False): see :func:`fiftyone_revseg.reasoning.values.find_values`
    """
    groups: list[list[Found]] = []
    for found in find_values(text, strict):
        if not groups or _says_something(text[groups[-1][-1].end : found.start]):
            groups.append([])
        groups[-1].append(found)
    candidates = []
    for group in groups:
        before = _end_of_line_before(text, group[0].start)
        free = _nothing_follows(text, group[-1].end)
        alone = free and not _WORDS.search(before)
        cue = free and bool(_CUE.search(before))
        if len(groups) == 1:
            cue = cue or _says_none(before, text[group[-1].end :])
        other = bool(_SOMETHING_ELSE.search(before[-99:]))
        candidates.append(Candidate(tuple(group), alone, cue, other, text))
    return candidates


def choose(candidates: list[Candidate], read: Callable[[Candidate], T | None]) -> T | None:
    """Reads the candidate that is the answer.

    Args:
        candidates: what may be the answer
        read: makes something of a candidate; None if it has nothing to do with an answer

    Returns:
        what was made of it; None if no candidate has anything to do with an answer

    Raises:
        ParseError: if several candidates say different things, and nobody knows which one counts
    """
    readings = [(candidate, read(candidate)) for candidate in candidates]
    relevant = [(candidate, reading) for candidate, reading in readings if reading is not None]
    if not relevant:
        return None
    last, answer = relevant[-1]
    if all(reading == answer for _, reading in relevant):
        return answer
    if not last.alone or any(candidate.alone for candidate, _ in relevant[:-1]):
        raise ParseError("it has several answers with words between them: give only one")
    return answer


def _says_none(before: str, after: str) -> bool:
    """Whether words around an empty list say that it is the answer, and has a reason."""
    sentence = re.split(r"[.!?]\s", before)[-1]
    if _PERHAPS.search(sentence):
        return False
    if _WORDS.search(after):
        because = _BECAUSE_NONE.match(MARKS.sub("", after[:300]))
        return not _WORDS.search(before) and bool(because) and not _BUT.search(after)
    return bool(_THEREFORE.search(sentence))


def _says_something(between: str) -> bool:
    between = _NUMBERING.sub("\n", MARKS.sub(" ", between))
    return _WORDS.search(_JOINING.sub("", between)) is not None


def _end_of_line_before(text: str, position: int) -> str:
    start = max(0, position - 300)
    return _NUMBERING.sub("", MARKS.sub("", text[start:position].rpartition("\n")[2]))


def _nothing_follows(text: str, position: int) -> bool:
    end = text.find("\n", position, position + 300)
    line = text[position : end if end >= 0 else position + 300]
    return _WORDS.match(MARKS.sub("", line).lstrip()) is None
