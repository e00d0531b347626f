"""Where in a reply the thought is, and where the answer."""

from __future__ import annotations

import re
from collections import deque

from fiftyone_revseg.reasoning.values import find_values

#: What a chat template writes at the end of a prompt to have the model think first
OPENED_THOUGHT = "<think>"
LAST_TOKENS = 16  # of a prompt, in which it is looked for

MAX_REPLY = 1_000_000  # characters; a thought of 32,000 tokens has about 150,000
MAX_ANSWER = 50_000  # characters; the longest answer that is of any use has about 10,000

# The tags of Qwen, GLM and DeepSeek, of Kimi-VL, of Magistral and of Seed
_OPEN = re.compile(r"<think(?:ing)?>|\u25c1think\u25b7|\[THINK\]|<seed:think>")
_CLOSE = re.compile(r"</think(?:ing)?>|\u25c1/think\u25b7|\[/THINK\]|</seed:think>")
_BEGIN_BOX, _END_BOX = "<|begin_of_box|>", "<|end_of_box|>"  # GLM's marks of an answer

_TOKENS = {"<|channel>": "<think>", "<channel|>": "</think>"}  # Gemma 4's, around a thought

#: What may stand around an answer and says nothing: fences, tags and marks
MARKS = re.compile(
    r"```[a-zA-Z0-9]{0,20}|</?(?:answer|tool_call|box|bbox)>|<\|[a-z_]{1,30}\|>|\\boxed|\*\*"
)


class ParseError(ValueError):
    """A reply that cannot be used; the message says why, in words that a model can act on."""


def thought_is_open(prompt: str) -> bool:
    """Whether a prompt ends within a thought, so that the reply begins in it."""
    return prompt.rstrip().endswith(OPENED_THOUGHT)


def mark_of(token: str) -> str:
    """What a special token is read as: a mark around a thought or an answer, or nothing."""
    if token in (_BEGIN_BOX, _END_BOX, "<answer>", "</answer>"):
        return token
    return _TOKENS.get(token, token if _OPEN.fullmatch(token) or _CLOSE.fullmatch(token) else "")


def is_in_thought(reply: str) -> bool:
    """Whether a reply that was cut off ends within its thought."""
    return bool(_OPEN.search(reply)) and not _CLOSE.search(reply)


def is_marked_answer(text: str) -> bool:
    """Whether a text is an answer rather than a thought: by its tags, or as nothing else is there.

    A thought may begin with a bracket and end with one: "[1] shows a cat, so the answer is []".
    """
    text = text.strip()
    for opening, closing in (("<answer>", "</answer>"), (_BEGIN_BOX, _END_BOX)):
        if text.endswith(closing):
            return opening in text
    if not _starts_with_answer(text) or len(text) > MAX_ANSWER:
        return False
    text = MARKS.sub("", text)
    found = find_values(text)
    ends = [0, *(one.end for one in found)]
    between = [text[end : one.start] for end, one in zip(ends, found, strict=False)]
    rest = "".join([*between, text[ends[-1] :]])
    return not rest.strip(" \t\r\n,") and all(one.value.whole for one in found)


def answer_region(reply: str, complete: bool = True) -> tuple[int, int]:
    """Finds the part of a reply that may hold the answer: behind the thought, inside the marks.

    Args:
        reply: the model's text
        complete (True): whether the model ended the reply, rather than a limit

    Returns:
        where it starts and ends

    Raises:
        ParseError: if the reply is a thought without an answer, or too long
    """
    if len(reply) > MAX_REPLY:
        raise ParseError(
            f"it has {len(reply):,} characters, and more than {MAX_REPLY:,} are not read"
        )
    start, end = _marked_region(reply, complete)
    if end - start > MAX_ANSWER:
        raise ParseError(
            f"its answer has {end - start:,} characters, and more than {MAX_ANSWER:,} are not read"
        )
    return start, end


def _marked_region(reply: str, complete: bool) -> tuple[int, int]:
    opened = _OPEN.search(reply)
    closed = _last(_CLOSE, reply)
    start = closed.end() if closed else 0
    if closed and not reply[start:].strip():
        raise ParseError("nothing follows the thought: the answer is missing")
    # a thought may mention the tags; behind it the first <answer> counts, without it the last
    tag = reply.find("<answer>", start) if closed else _last_answers(reply)
    if tag < 0:
        if opened and not closed:
            raise ParseError("the thought was never finished and no answer follows it")
        if not complete and not closed and not _starts_with_answer(reply):
            raise ParseError("it was cut off before its answer")
        return _boxed(reply, start, len(reply))
    behind = tag + len("<answer>")
    end = reply.rfind("</answer>", behind)
    if opened and not closed and (end < 0 or not complete):
        raise ParseError("neither the thought nor the answer was finished")
    if opened and not closed and reply[end + len("</answer>") :].strip():
        raise ParseError("the thought was never finished: what stands in it may be a draft")
    if not complete and not closed and reply[:tag].strip():
        raise ParseError("it was cut off, and what stands in it may be a draft")
    return _boxed(reply, behind, end if end >= 0 else len(reply))


def _last_answers(reply: str) -> int:
    """Where the last <answer> starts, or the first of several that follow on one another."""
    tag = reply.rfind("<answer>")
    while tag > 0:
        end = reply.rfind("</answer>", 0, tag)
        if end < 0 or reply[end + len("</answer>") : tag].strip():
            break
        tag = reply.rfind("<answer>", 0, end)
    return tag


def _starts_with_answer(reply: str) -> bool:
    return MARKS.sub("", reply[:100]).lstrip()[:1] in ("[", "{", "(")


def _boxed(reply: str, start: int, end: int) -> tuple[int, int]:
    """The part of a region within GLM's marks, if there are any."""
    begin = reply.find(_BEGIN_BOX, start, end)
    if begin < 0:
        return start, end
    begin += len(_BEGIN_BOX)
    last = reply.rfind(_END_BOX, begin, end)
    return begin, last if last >= 0 else end


def _last(pattern: re.Pattern, text: str) -> re.Match | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def tagged_thought(reply: str) -> str | None:
    """The thought as its tags tell, whether or not they are complete; None if there are none."""
    closed = _last(_CLOSE, reply)
    head = reply[: closed.start()] if closed else reply
    opened = _OPEN.search(head)
    if not closed and not opened:
        return reply.partition("<answer>")[0].strip() if "<answer>" in reply else None
    thought = head[opened.end() :] if opened else head
    if not closed:  # cut off, or the closing tag was forgotten
        thought = thought.partition("<answer>")[0]
    return thought.strip()
