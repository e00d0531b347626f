"""What a run asks of a model, before it is asked."""

from __future__ import annotations

from dataclasses import dataclass

from fiftyone_revseg.reasoning.prompts import default_template
from fiftyone_revseg.reasoning.spec import ChainSpec

_PATCH = 28  # pixels along the side of what makes a token: 28 to 32 in most models
_CHARACTERS = 4  # of a token of text


@dataclass(frozen=True)
class Cost:
    """What the dialogues about some (video, query) pairs take, with one object each.

    Attributes:
        pairs: how many (video, query) pairs
        requests: how many requests, two for each pair
        images: how many pictures are sent; turn 2 has those of turn 1 again
        image_tokens: about how many tokens these are
        text_tokens: about how many tokens of text are read
        most_written: how many tokens may be written at most
    """

    pairs: int
    requests: int
    images: int
    image_tokens: int
    text_tokens: int
    most_written: int

    def money(self, read: float, written: float) -> float:
        """Returns what that costs at most.

        Args:
            read: the price of a million tokens that are read
            written: the price of a million tokens that are written
        """
        tokens = (self.image_tokens + self.text_tokens) * read + self.most_written * written
        return tokens / 1e6

    def __str__(self) -> str:
        what = "query" if self.pairs == 1 else "queries"
        return (
            f"{self.pairs:,} {what}: about {self.requests:,} requests with {self.images:,} "
            f"pictures; about {self.image_tokens:,} tokens of pictures and {self.text_tokens:,} of "
            f"text are read, and at most {self.most_written:,} written. Every further object, and "
            "every reply that has to be asked for again, is one more request"
        )


def estimate_cost(spec: ChainSpec, pairs: int, tokens_per_picture: int | None = None) -> Cost:
    """Estimates what the dialogues about (video, query) pairs take.

    Args:
        spec: how the model is asked
        pairs: how many (video, query) pairs there are
        tokens_per_picture (None): how many tokens a picture is, where its size does not matter.
            By default, one for each 28 x 28 pixels

    Returns:
        a :class:`Cost`
    """
    frame = tokens_per_picture or _square(spec.frame_size)
    key_frame = tokens_per_picture or _square(spec.key_frame_size)
    # Turn 2 reads turn 1 and its reply once more
    labels = spec.frames * len(spec.template("frame"))
    first = (len(spec.template("turn1")) + labels) // _CHARACTERS
    asked = len(spec.template("turn2")) + len(default_template("coordinates_pixels"))
    second = asked // _CHARACTERS
    return Cost(
        pairs=pairs,
        requests=2 * pairs,
        images=pairs * (2 * spec.frames + 1),
        image_tokens=pairs * (2 * spec.frames * frame + key_frame),
        text_tokens=pairs * (2 * first + second + spec.max_new_tokens),
        most_written=2 * pairs * spec.reply_tokens,
    )


def _square(side: int) -> int:
    return max(1, round(side / _PATCH) ** 2)
