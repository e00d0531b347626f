"""One turn of a dialogue with the model: what is asked, and what is taken of the replies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from fiftyone_revseg.reasoning.backend import Conversation, Reply
from fiftyone_revseg.reasoning.parse import ParseError, answer_span
from fiftyone_revseg.reasoning.regions import (
    MAX_REPLY,
    OPENED_THOUGHT,
    answer_region,
    is_in_thought,
)
from fiftyone_revseg.reasoning.trajectory import Turn
from fiftyone_revseg.text.clean import storable

_KEPT = 10_000  # characters of a reply that is too long to be read


@dataclass(eq=False)
class Dialogue:
    """One turn of one dialogue, with its retries.

    Attributes:
        conversation: what is asked first
        parse: reads the text of a reply; the flag says whether the model ended it
        correction: makes the words that ask again, of what was wrong
        turn: 1, 2 or 3
        object (None): which object turn 2 asks for
        candidate (0): which of several dialogues about the same query it belongs to
        judge (None): completes what ``parse`` made of an accepted reply by what else is known of
            the reply, such as its tokens' probabilities
        turns: every prompt and reply so far
        pending: what waits for a reply; None once there is nothing more to ask
        result: what ``parse`` made of the accepted reply
        history: the dialogue with the accepted reply; None if there is none
        error: what was wrong with the last reply
        crashed: whether the error is the backend's, not the reply's
    """

    conversation: Conversation
    parse: Callable[[str, bool], Any]
    correction: Callable[[str], str]
    turn: int
    object: int | None = None
    candidate: int = 0
    judge: Callable[[Any, Reply], Any] | None = None
    turns: list[Turn] = field(default_factory=list)
    result: Any = None
    history: Conversation | None = None
    error: str | None = None
    crashed: bool = False

    def __post_init__(self) -> None:
        self.pending: Conversation | None = self.conversation

    def take(self, reply: Reply, retries: int) -> None:
        """Uses the reply, or makes the correction that asks for another one."""
        asked = self.pending
        assert asked is not None
        text = _bounded(reply.text)
        turn = Turn(
            prompt=asked.messages[-1].text,
            reply=text,
            tokens=reply.tokens,
            seconds=reply.seconds,
            turn=self.turn,
            object=self.object,
            attempt=len(self.turns),
            confidence=reply.confidence(*answer_span(reply.text)),
            prompt_tokens=reply.prompt_tokens,
            candidate=self.candidate,
        )
        try:
            self.result, self.error = self.parse(reply.text, not reply.cut), None
            if self.judge is not None:
                self.result = self.judge(self.result, reply)
            self.history = self.conversation.say("assistant", plain(text))
            self.pending = None
        except ParseError as e:
            self.error = str(e)
            again = len(self.turns) < retries
            unfinished = reply.cut and asked.thinking is not False and _may_be_thought(reply.text)
            in_thought = unfinished and is_in_thought(reply.text)
            if in_thought:  # nothing is answered yet that could be corrected
                following = self.conversation
            else:
                answered = asked.say("assistant", plain(text))
                following = answered.say("user", self.correction(self.error))
            if unfinished:
                following = replace(following, thinking=False)
            self.pending = following if again else None
            # What follows is for people, as the model can do nothing about it
            if unfinished and again:
                self.error += "; it is asked again without thinking"
            if reply.cut:
                setting = "thinking_tokens" if in_thought else "max_new_tokens"
                if unfinished and not in_thought:
                    setting += ", or thinking_tokens if it thinks,"
                self.error += f"; it was cut off after {reply.tokens} tokens: allow more"
                self.error += f" with {setting} in the spec"
            if reply.remark:
                self.error += f"; {reply.remark}"
        self.turns.append(replace(turn, error=self.error))

    def crash(self, error: Exception) -> None:
        """Ends without a reply."""
        self.error, self.crashed, self.pending = in_words(error), True, None


def _may_be_thought(text: str) -> bool:
    """Whether a reply that was cut off may be all thought.

    Where the prompt opened the thought, a server without a parser for it sends no tag.
    """
    try:
        answer_region(text, complete=False)
    except ParseError:
        return is_in_thought(OPENED_THOUGHT + text)
    return False


def plain(text: str) -> str:
    """Breaks up control tokens such as ``<|im_end|>``, which users and models may not write."""
    return text.replace("<|", "< |")


def _bounded(reply: str) -> str:
    """What is kept of a reply: all of it, unless it is longer than what is read."""
    if len(reply) <= MAX_REPLY:
        return reply
    return f"{reply[:_KEPT]} ... [{len(reply) - _KEPT:,} characters left out]"


def in_words(error: Exception) -> str:
    """An exception as one line that always names something."""
    text = storable(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
