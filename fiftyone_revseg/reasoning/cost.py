"""What a run asks of a model, before it is asked."""

from __future__ import annotations

from dataclasses import dataclass

from fiftyone_revseg.reasoning.prompts import default_template
from fiftyone_revseg.reasoning.seeking import MOST_FRAMES
from fiftyone_revseg.reasoning.spec import ChainSpec

_PATCH = 28  # pixels along the side of what makes a token: 28 to 32 in most models
_CHARACTERS = 4  # of a token of text


@dataclass(frozen=True)
class Cost:
    """What the dialogues about some (video, query) pairs take, with one object each.

    Attributes:
        pairs: how many (video, query) pairs
        requests: how many requests, two for each pair; where the chain looks again, at most
        images: how many pictures are sent; turn 2 has those of turn 1 again
        image_tokens: about how many tokens these are
        text_tokens: about how many tokens of text are read
        most_written: how many tokens may be written at most
        looks_again: whether the chain looks again, which it need not do to the end
    """

    pairs: int
    requests: int
    images: int
    image_tokens: int
    text_tokens: int
    most_written: int
    looks_again: bool = False

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
        about = "at most" if self.looks_again else "about"
        return (
            f"{self.pairs:,} {what}: {about} {self.requests:,} requests with {self.images:,} "
            f"pictures; about {self.image_tokens:,} tokens of pictures and {self.text_tokens:,} of "
            f"text are read, and at most {self.most_written:,} written. Every further object, and "
            "every reply that has to be asked for again, is one more request"
        )


@dataclass(frozen=True)
class Requests:
    """How many requests a (video, query) pair with one object takes at most, by turn."""

    turn1: float
    turn2: float
    turn3: float

    @property
    def total(self) -> float:
        """How many all of them are."""
        return self.turn1 + self.turn2 + self.turn3


def requests_of(spec: ChainSpec, windows: float = 0) -> Requests:
    """Counts what a (video, query) pair with one object takes, if all is made use of.

    Each window and each closer look is a turn 1; a verdict of "none" leads to both turns and a
    verdict once more; and an object is looked for in some frames after each break of its track.

    Args:
        spec: how the model is asked
        windows (0): how many windows of the video are asked about first
    """
    rounds = spec.rounds if spec.verdict else 0
    dialogues = 1 + spec.samples
    return Requests(
        turn1=windows + spec.looks + dialogues + rounds,
        turn2=dialogues + rounds + MOST_FRAMES * spec.anchors,
        turn3=(1 + rounds) * spec.verdict,
    )


def estimate_cost(
    spec: ChainSpec, pairs: int, tokens_per_picture: int | None = None, windows: int = 0
) -> Cost:
    """Estimates what the dialogues about (video, query) pairs take.

    Args:
        spec: how the model is asked
        pairs: how many (video, query) pairs there are
        tokens_per_picture (None): how many tokens a picture is, where its size does not matter.
            By default, one for each 28 x 28 pixels
        windows (0): how many windows of long videos are asked about first, of all pairs together

    Returns:
        a :class:`Cost`
    """
    frame = tokens_per_picture or _square(spec.frame_size)
    asked = requests_of(spec, windows / pairs if pairs else 0)
    key_frame = tokens_per_picture or _square(spec.key_frame_size)
    # Turn 2 reads turn 1 and its reply once more
    labels = spec.frames * len(spec.template("frame"))
    first = (len(spec.template("turn1")) + labels) // _CHARACTERS
    letters = len(spec.template("turn2")) + len(default_template("coordinates_pixels"))
    second = letters // _CHARACTERS
    labels = spec.judged_frames * len(spec.template("frame"))
    third = (len(spec.template("turn3")) + labels) // _CHARACTERS
    # Turns 1 and 2 show all sampled frames
    shown = spec.frames * (asked.turn1 + asked.turn2) + spec.judged_frames * asked.turn3
    boxed = asked.turn2
    read = asked.turn1 * first + boxed * (first + second + spec.max_new_tokens)
    return Cost(
        pairs=pairs,
        requests=round(pairs * asked.total),
        images=round(pairs * (shown + boxed)),
        image_tokens=round(pairs * (shown * frame + boxed * key_frame)),
        text_tokens=round(pairs * (read + asked.turn3 * third)),
        most_written=round(pairs * asked.total * spec.reply_tokens),
        looks_again=asked.total > 2,
    )


def _square(side: int) -> int:
    return max(1, round(side / _PATCH) ** 2)
