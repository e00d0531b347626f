"""What is asked of a server on top of a reply, as far as it takes that.

Servers of one API differ in what they know beside the messages. Each extra is asked for in the
server's own way, and given up once it is plain that this server refuses it, or does without.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fiftyone_revseg.reasoning.backend import Conversation
from fiftyone_revseg.reasoning.serving.client import Failure
from fiftyone_revseg.reasoning.thinking import thinking_fields

logger = logging.getLogger(__name__)

# Servers of which it is known how a reply is constrained, and that they take _PLAIN_SAMPLING
PATTERN_FIELDS = {
    "vllm": lambda pattern: {"structured_outputs": {"regex": pattern}},
    "sglang": lambda pattern: {"regex": pattern},
}
# In place of settings that come with a checkpoint, which would distort coordinates
_PLAIN_SAMPLING = {"top_k": -1, "repetition_penalty": 1.0}
# Extra -> what to say of a server that refuses it, or does without; what can best be done without
# first. Without a word about penalties, llama.cpp and transformers serve apply the one that comes
# with a checkpoint
_REFUSALS = {
    "structure": "refuses regular expressions: replies are free text",
    "logprobs": "gives no probabilities: boxes have no confidence",
    "no penalties": "does not let penalties be switched off: coordinates may be distorted",
    "seed": "takes no seed: samples differ from one time to the next",
    "sampling": "lets nobody choose the temperature: replies differ from one time to the next",
    "effort": "lets nobody choose how hard its model thinks: it does as it does",
    "no thinking": "lets nobody choose whether its model thinks: it does as it does",
    "max_tokens": "is told the most tokens of a reply as max_completion_tokens",
}


class Extras:
    """The extras of one server.

    Args:
        url: the server's address, for messages
        owner: what server it is, see
            :class:`fiftyone_revseg.reasoning.serving.served.ServedModel`
        structured: whether to constrain replies where that is possible
    """

    def __init__(self, url: str, owner: str, structured: bool) -> None:
        self._url = url
        self._owner = owner
        left_out = () if structured and owner in PATTERN_FIELDS else ("structure",)
        self._names = tuple(name for name in _REFUSALS if name not in left_out)

    def wanted(self, conversation: Conversation) -> tuple[str, ...]:
        """Returns what to ask for, what can best be done without first."""
        concerned = {
            "structure": conversation.pattern is not None,
            "no penalties": self._owner not in PATTERN_FIELDS,
            "seed": bool(conversation.temperature),
            "effort": conversation.thinking not in (None, False),
            # Some always think, and can be told how hard
            "no thinking": conversation.thinking is False,
        }
        return tuple(name for name in self._names if concerned.get(name, True))

    def added(
        self, request: Mapping[str, Any], conversation: Conversation, extras: Sequence[str]
    ) -> dict[str, Any]:
        """Returns a request with some extras, in the server's own way."""
        owner = self._owner
        fields = dict(request)
        if "sampling" not in extras:
            del fields["temperature"], fields["top_p"]
        if not {"seed", "sampling"} <= {*extras}:
            fields.pop("seed", None)
        if "max_tokens" not in extras:
            fields["max_completion_tokens"] = fields.pop("max_tokens")
        if "logprobs" in extras:
            fields["logprobs"] = True
        body: dict[str, Any] = {}
        if owner in PATTERN_FIELDS:
            body = {**_PLAIN_SAMPLING}
            if "structure" in extras and conversation.pattern:
                body.update(PATTERN_FIELDS[owner](conversation.pattern))
        elif "no penalties" in extras:
            fields["frequency_penalty"] = 0.0
            if owner == "llamacpp":
                body["repeat_penalty"] = 1.0
        if owner == "llamacpp" and "logprobs" in extras:
            fields["top_logprobs"] = 1  # or it sends 20 alternatives of each token
        if "effort" in extras or "no thinking" in extras:
            told = thinking_fields(conversation.thinking, owner)
            body.update(told.pop("extra_body", {}))
            fields.update(told)
        return {**fields, "extra_body": body} if body else fields

    def give_up(self, name: str, why: str | None = None) -> None:
        """Does not ask again for what this server does not do, and says so once."""
        if name in self._names:
            self._names = tuple(other for other in self._names if other != name)
            logger.warning("The server at %s %s", self._url, why or _REFUSALS[name])

    async def find_out(
        self, extras: Sequence[str], complete: Callable[[Sequence[str]], Awaitable[Any | Failure]]
    ) -> None:
        """Finds out whether it is extras that a server refuses, and gives these up.

        Args:
            extras: what was asked for on top of a request that was refused
            complete: makes a small request with some extras
        """
        if not is_refusal(await complete(extras)) or is_refusal(await complete(())):
            return  # the request itself is what it refuses
        kept: tuple[str, ...] = ()
        for name in reversed(extras):
            if is_refusal(await complete((name, *kept))):
                self.give_up(name)
            else:
                kept = (name, *kept)


def is_refusal(answer: Any | Failure) -> bool:
    """Returns whether a server did not like something about a request."""
    return isinstance(answer, Failure) and answer.status in (400, 422)
