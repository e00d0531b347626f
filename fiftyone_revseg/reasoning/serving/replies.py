"""Reads what a server of the OpenAI API answers, and takes nothing in it for granted."""

from __future__ import annotations

import codecs
import contextlib
import math
from collections.abc import Mapping
from typing import Any

from fiftyone_revseg.reasoning.backend import Reply
from fiftyone_revseg.reasoning.regions import OPENED_THOUGHT, is_marked_answer
from fiftyone_revseg.reasoning.serving.client import Failure
from fiftyone_revseg.reasoning.serving.served import ServedModel, ServerError
from fiftyone_revseg.text.escape import one_line

_SERVERS = ("vllm", "sglang", "llamacpp")
_THOUGHTS = ("reasoning", "reasoning_content")  # how servers call a thought


def read_models(answer: Any, url: str) -> list[ServedModel]:
    """Reads the list of models.

    Raises:
        ServerError: if it is none
    """
    entries = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(entries, list):
        raise ServerError(
            f"What answers at {url} is no server of the OpenAI API: its list of models is missing. "
            "Check the address, which usually ends with /v1"
        )
    return [
        ServedModel(entry["id"], _text(entry.get("root")), _owner(entry))
        for entry in entries
        if isinstance(entry, Mapping) and isinstance(entry.get("id"), str)
    ]


def _owner(entry: Mapping[str, Any]) -> str:
    """What server it is, as far as its list of models tells."""
    owner = _text(entry.get("owned_by"))
    # transformers serve names the owner of the repository, and tells whether a model is loaded
    tells = isinstance(entry.get("status"), Mapping) and entry.get("created") == 0
    return "transformers" if tells and owner not in _SERVERS else owner


def read_reply(answer: Any, url: str, owner: str = "") -> Reply | Failure:
    """Reads a chat completion.

    Args:
        answer: the decoded JSON
        url: the server's address, for the message
        owner (""): what server it is, as in :class:`ServedModel`

    Returns:
        the reply; or what is wrong with it
    """
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    if not isinstance(choices, list) or not choices:
        return Failure(f"The server at {url} answered without any choice", passing=True)
    choice = choices[0] if isinstance(choices[0], Mapping) else {}
    message = choice.get("message")
    message = message if isinstance(message, Mapping) else {}
    ended = _text(choice.get("finish_reason"))
    if refused := _refusal(message, ended):  # the same question gets the same answer
        return Failure(f"The server at {url} {refused}")
    content = _joined_parts(message.get("content"), "text")
    # Servers that take a thought apart from the answer; the record has both
    thought = next(filter(None, _thoughts(message)), "")
    cut = ended == "length"
    if not content and not thought:
        if not cut:
            why = f" (it ended with '{one_line(ended, 40)}')" if ended not in ("", "stop") else ""
            return Failure(f"The server at {url} answered without any text{why}", passing=True)
        content = OPENED_THOUGHT  # of which nothing is shown, as Gemini and OpenAI have it
    text, remark = content, ""
    if thought:
        if owner == "transformers" and content.startswith("<answer>"):
            content = f" {content}"  # as the prompt has it; what is written there is stripped
        text, remark = _joined(thought, content, cut, choice.get("logprobs"))
    pieces, probabilities = _tokens(choice.get("logprobs"), text)
    usage = answer.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    return Reply(
        text=text,
        token_texts=pieces,
        token_probabilities=probabilities,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        tokens=_count(usage.get("completion_tokens")) or len(_entries(choice.get("logprobs"))),
        cut=cut,
        remark=remark,
    )


def thought_apart(answer: Any) -> bool:
    """Whether a chat completion has the thought apart from the answer, whatever it holds."""
    with contextlib.suppress(LookupError, TypeError, AttributeError):
        return any(_thoughts(answer["choices"][0]["message"]))
    return False


def _thoughts(message: Mapping[str, Any]) -> list[str]:
    """What may be the thought of a message, by each of the names that servers have for it."""
    named = [_text(message.get(name)) for name in _THOUGHTS]
    return [*named, _joined_parts(message.get("content"), "thinking")]  # as Mistral has it


def _joined_parts(content: Any, kind: str) -> str:
    """The text of a message, which may come in a list of parts; of these, those of one kind."""
    if not isinstance(content, list):
        return _text(content) if kind == "text" else ""
    parts = [part for part in content if isinstance(part, Mapping) and part.get("type") == kind]
    inner = (part.get(kind) for part in parts)
    return "".join(_joined_parts(t, "text") if isinstance(t, list) else _text(t) for t in inner)


def _refusal(message: Mapping[str, Any], ended: str) -> str:
    """What a server says of a question that its model may not answer, or ""."""
    if said := _text(message.get("refusal")).strip():
        return f"refuses to answer: {one_line(said, 300)}"
    if ended.startswith("content_filter"):  # Gemini says behind it, why
        return f"let a filter of contents end the answer ({one_line(ended, 100)})"
    return ""


def has_probabilities(answer: Any) -> bool:
    """Whether a chat completion has the probabilities of its tokens, or some of them."""
    with contextlib.suppress(LookupError, TypeError, AttributeError):
        return bool(answer["choices"][0]["logprobs"]["content"])
    return False


def _joined(thought: str, content: str, cut: bool, logprobs: Any) -> tuple[str, str]:
    """Puts a thought and an answer that a server took apart together again.

    Returns:
        the text, and what is odd about it
    """
    if content.strip():
        return f"{OPENED_THOUGHT}{thought}</think>{content}", ""
    if cut:
        return f"{OPENED_THOUGHT}{thought}", ""
    # With a parser for thinking models, vLLM takes all of a reply without </think> for a thought.
    # Where that stands among the tokens, or it looks like no answer, it really was one
    if "</think>" not in _written(logprobs) and is_marked_answer(thought):
        return thought, ""
    return f"{OPENED_THOUGHT}{thought}</think>", (
        "the server sent the whole reply as reasoning: if the model does not think before it "
        "answers, start the server without a reasoning parser"
    )


def _written(logprobs: Any) -> str:
    """The tokens that the model wrote, as far as the server tells."""
    tokens = (e.get("token") for e in _entries(logprobs) if isinstance(e, Mapping))
    return "".join(map(_text, tokens))


def _entries(logprobs: Any) -> list[Any]:
    """What is said of each token."""
    entries = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    return entries if isinstance(entries, list) else []


def _tokens(logprobs: Any, text: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """The pieces that join to ``text`` with their probabilities; nothing if they do not join."""
    pieces: list[str] = []
    probabilities: list[float] = []
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    length = 0
    for entry in _entries(logprobs):
        if length >= len(text):
            break  # what is left marks the end of the reply
        logprob = entry.get("logprob") if isinstance(entry, Mapping) else None
        if isinstance(logprob, bool) or not isinstance(logprob, (int, float)):
            return (), ()
        try:  # a character may be spread over several tokens, whose texts are then no text
            piece = decoder.decode(bytes(entry["bytes"]))
        except (KeyError, TypeError, ValueError):
            piece = _text(entry.get("token"))
        pieces.append(piece)
        probabilities.append(min(math.exp(min(logprob, 0.0)), 1.0))
        length += len(piece)
    return (tuple(pieces), tuple(probabilities)) if "".join(pieces) == text else ((), ())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
