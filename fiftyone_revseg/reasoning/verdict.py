"""Turn 3: the model is shown the finished tracks and says which of them, if any, the query means.

It is a dialogue of its own. Frames of the video, with every object outlined and numbered, come
first; then a line for each object with what was measured on its track; then the query. A checkpoint
whose thoughts are made of such lines may have them as a thought of its own (template ``thought3``),
after which it is asked (``ask3``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fiftyone_revseg.reasoning.backend import Conversation, Image, Reply
from fiftyone_revseg.reasoning.dialogue import Dialogue, plain
from fiftyone_revseg.reasoning.looking_again import Verdict
from fiftyone_revseg.reasoning.object_facts import ObjectFacts
from fiftyone_revseg.reasoning.outlines import outline, shown_mask
from fiftyone_revseg.reasoning.parse import parse_choices
from fiftyone_revseg.reasoning.parse_verdict import objects_span, parse_verdict
from fiftyone_revseg.reasoning.patterns import choices_pattern, longest_thought, verdict_pattern
from fiftyone_revseg.reasoning.prompts import fill
from fiftyone_revseg.reasoning.resize import resize_square
from fiftyone_revseg.reasoning.spec import ChainSpec

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture of turn 3.

    Attributes:
        frame: which frame of the source video it is, 0-based
        time: at which second it is shown
        picture: ``(size, size, 3)`` uint8 RGB, with the objects outlined
    """

    frame: int
    time: float
    picture: np.ndarray


def show(
    frame: int, time: float, image: np.ndarray, masks: Sequence[np.ndarray | None], size: int
) -> Shown:
    """Makes a picture of turn 3.

    Args:
        frame: which frame of the source video it is, 0-based
        time: at which second it is shown
        image: the frame, ``(H, W, 3)`` uint8 RGB at source size
        masks: ``(H, W)`` bool for each object, in the order of their numbers; None where it is
            not visible
        size: the side of the picture, in pixels: the spec's ``frame_size``
    """
    small = [None if mask is None else shown_mask(mask, size) for mask in masks]
    numbers = range(1, len(masks) + 1)
    return Shown(frame, time, outline(resize_square(image, size), small, numbers))


def verdict_dialogue(
    query: str, spec: ChainSpec, shown: Sequence[Shown], objects: Sequence[ObjectFacts]
) -> Dialogue:
    """Makes the dialogue of turn 3, whose result is a
    :class:`~fiftyone_revseg.reasoning.looking_again.Verdict`.

    Args:
        query: the user's query
        spec: how to ask
        shown: the pictures, in order of time; none for a model that judges by words alone
        objects: what was measured on each object, in the order of their numbers

    Raises:
        ValueError: if there is nothing to judge, or the numbers are not 1, 2, ...
    """
    if not objects:
        raise ValueError("there are no objects: nothing to judge")
    if [facts.number for facts in objects] != list(range(1, len(objects) + 1)):
        raise ValueError(f"objects must be numbered 1, 2, ..., got {[o.number for o in objects]}")
    lines = "\n".join(
        fill(spec.template("object"), {**facts.words(), "description": plain(facts.description)})
        for facts in objects
    )
    values = {
        "query": plain(query.strip()),
        "last_index": len(shown) - 1,
        "object_count": len(objects),
        "frame_count": len(shown),
        "objects": lines,
        "votes": ", ".join("-" if f.votes is None else str(f.votes) for f in objects),
        "candidates": "-" if objects[0].candidates is None else objects[0].candidates,
    }
    before, mark, after = spec.template("turn3").partition("{frames}")
    if not mark:
        before, after = "", before
    content: list[str | Image] = [fill(before, values)]
    for index, one in enumerate(shown):
        named = {**values, "index": index, "time": f"{one.time:.1f}"}
        content += [fill(spec.template("frame"), named), Image(one.picture)]
    conversation = Conversation(thinking=spec.thinking)
    if system := spec.template("system"):
        conversation = conversation.say("system", system)
    conversation = conversation.say("user", *content, fill(after, values))
    if thought := spec.template("thought3"):
        conversation = conversation.say("assistant", fill(thought, values))
        conversation = conversation.say("user", fill(spec.template("ask3"), values))
    frames = tuple(one.frame for one in shown)

    def parse(text: str, complete: bool) -> Verdict:
        verdict = parse_verdict(text, len(objects), len(shown), complete)
        return replace(verdict, shown=frames, count=len(objects))

    pattern = None
    if "turn3" not in spec.prompts:
        pattern = verdict_pattern(len(objects), len(shown), _longest_thought(spec))
    return Dialogue(
        conversation.expect(pattern),
        parse=parse,
        correction=lambda why: fill(spec.template("correction3"), {**values, "reason": why}),
        turn=3,
        judge=_with_probability,
    )


def ask_again(
    query: str,
    spec: ChainSpec,
    history: Conversation,
    frame_count: int,
    rejected: Sequence[str],
    why: str = "",
) -> Dialogue:
    """Makes the dialogue that goes on with turn 1 after a verdict of "none of these".

    Args:
        query: the user's query
        spec: how to ask
        history: turn 1's dialogue, which ends with the reply whose objects were rejected
        frame_count: how many frames turn 1 showed
        rejected: the descriptions of all objects that were judged; the same ones are named once
        why (""): why none of them is meant, in the verdict's words
    """
    names = list(dict.fromkeys(plain(name) for name in rejected))
    values = {
        "query": plain(query.strip()),
        "rejected": ", ".join(names),
        "why": plain(why),
        "frame_count": frame_count,
        "last_index": frame_count - 1,
    }
    pattern = None
    if "turn1" not in spec.prompts:
        pattern = choices_pattern(frame_count, _longest_thought(spec))
    return Dialogue(
        history.say("user", fill(spec.template("again"), values)).expect(pattern),
        parse=lambda text, complete: parse_choices(text, frame_count, complete),
        correction=lambda reason: fill(spec.template("correction1"), {**values, "reason": reason}),
        turn=1,
    )


def _with_probability(verdict: Verdict, reply: Reply) -> Verdict:
    return replace(verdict, probability=reply.probability(*objects_span(reply.text)))


def _longest_thought(spec: ChainSpec) -> int:
    return longest_thought(spec.max_new_tokens + spec.thinking_tokens)
