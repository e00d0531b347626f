"""The seam between the chain and whatever runs the model: conversations in, replies out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from fiftyone_revseg.text.clean import storable

if TYPE_CHECKING:
    import numpy as np

    from fiftyone_revseg.reasoning.spec import ChainSpec


@dataclass(frozen=True, eq=False)
class Image:
    """A picture in a message, already at the size that the model is to see.

    Attributes:
        pixels: a (H, W, 3) uint8 RGB array
    """

    pixels: np.ndarray


@dataclass(frozen=True, eq=False)
class VideoFrames:
    """The sampled frames of a video as one video input, already at the size to be seen.

    Attributes:
        frames: (H, W, 3) uint8 RGB arrays, in order of time
        times: the seconds at which they are shown
    """

    frames: tuple[np.ndarray, ...]
    times: tuple[float, ...]

    @property
    def fps(self) -> float:
        """The mean rate, in frames per second, at which the frames were sampled."""
        span = self.times[-1] - self.times[0]
        return (len(self.times) - 1) / span if span > 0 else 1.0


Content = str | Image | VideoFrames


@dataclass(frozen=True, eq=False)
class Message:
    """What one side says: texts and pictures in order.

    Attributes:
        role: "system", "user" or "assistant"
        content: the parts of the message
    """

    role: str
    content: tuple[Content, ...]

    @property
    def text(self) -> str:
        """The text of the message, with a mark for each picture."""
        marks = {Image: lambda c: "[image]", VideoFrames: lambda c: f"[video:{len(c.frames)}]"}
        return "".join(c if isinstance(c, str) else marks[type(c)](c) for c in self.content)


@dataclass(frozen=True, eq=False)
class Conversation:
    """A dialogue that the model is to continue.

    Attributes:
        messages: what was said
        pattern: a regular expression that a usable reply matches, for backends that can let a
            model write nothing else; the others ignore it
        thinking: whether the model is to think before it answers, as in the chain spec
        temperature (None): the sampling temperature of the reply; by default, the chain spec's
        seed (0): tells replies apart that are sampled to the same dialogue: a model on this
            machine draws the same one again for the same seed, a server need not
    """

    messages: tuple[Message, ...] = ()
    pattern: str | None = None
    thinking: bool | str | None = None
    temperature: float | None = None
    seed: int = 0

    def say(self, role: str, *content: Content) -> Conversation:
        """Returns this dialogue with one more message; empty texts are left out."""
        parts = tuple(part for part in content if not (isinstance(part, str) and not part))
        return replace(self, messages=(*self.messages, Message(role, parts)))

    def expect(self, pattern: str | None) -> Conversation:
        """Returns this dialogue with another pattern for replies."""
        return replace(self, pattern=pattern)

    def sampled(self, temperature: float | None, seed: int = 0) -> Conversation:
        """Returns this dialogue with another temperature for replies."""
        return replace(self, temperature=temperature, seed=seed)


@dataclass(frozen=True)
class Reply:
    """A model's continuation of one conversation.

    Its texts can be stored, see :func:`fiftyone_revseg.text.clean.storable`.

    Attributes:
        text: the whole reply. Where the prompt itself began a thought, as the chat templates of
            thinking models do, its ``<think>`` is the first thing in it
        token_texts: the pieces of ``text``, one for each token; they join to ``text``. Empty if
            the backend does not tell
        token_probabilities: the model's probability, at temperature 1, of each of those tokens
        seconds: the time spent; in a batch, the batch's time shared out evenly
        prompt_tokens: the number of tokens read, pictures included
        tokens: the number of tokens written, with the one that ends the reply
        cut: whether a limit ended the reply rather than the model
        remark: what is odd about how the reply came, in words; "" if nothing is
    """

    text: str
    token_texts: tuple[str, ...] = ()
    token_probabilities: tuple[float, ...] = ()
    seconds: float = 0.0
    prompt_tokens: int = 0
    tokens: int = 0
    cut: bool = False
    remark: str = ""

    def __post_init__(self) -> None:
        for name in ("text", "remark"):
            object.__setattr__(self, name, storable(getattr(self, name)))
        object.__setattr__(self, "token_texts", tuple(map(storable, self.token_texts)))
        if len(self.token_texts) != len(self.token_probabilities):
            raise ValueError(
                f"{len(self.token_texts)} token texts but "
                f"{len(self.token_probabilities)} token probabilities"
            )

    def confidence(self, start: int, end: int) -> float | None:
        """The mean probability of the tokens that overlap ``text[start:end]``.

        Returns:
            a value in [0, 1], or None if the backend gave no probabilities for that span
        """
        inside = self._probabilities(start, end)
        return sum(inside) / len(inside) if inside else None

    def probability(self, start: int, end: int) -> float | None:
        """The probability of ``text[start:end]``, given what stands before it.

        Returns:
            the product over the tokens that overlap it, in [0, 1], or None if the backend gave no
            probabilities for that span
        """
        inside = self._probabilities(start, end)
        return math.prod(inside) if inside else None

    def _probabilities(self, start: int, end: int) -> list[float]:
        """Those of the tokens that overlap ``text[start:end]``."""
        position, inside = 0, []
        for piece, probability in zip(self.token_texts, self.token_probabilities, strict=True):
            if piece and position < end and position + len(piece) > start:
                inside.append(probability)
            position += len(piece)
        return inside


class Reasoner(Protocol):
    """Anything that continues conversations: a local model, a server, a fake.

    Attributes:
        name: the checkpoint's name, for the record
        spec: how the checkpoint wants to be asked
    """

    name: str
    spec: ChainSpec

    def generate(
        self, conversations: Sequence[Conversation], spec: ChainSpec
    ) -> Sequence[Reply | Exception]:
        """Continues each conversation by one assistant message.

        Args:
            conversations: the conversations, each ending with a user's message
            spec: the decoding settings to use: ``max_new_tokens``, ``thinking_tokens`` and
                ``temperature``, where a conversation has none of its own

        Returns:
            one reply for each conversation, in their order; an exception in the place of one that
            failed for good while the others did not. What is raised instead failed for all of
            them, and each is asked again alone
        """
        ...
