"""The ablation of ReVSeg (arXiv 2512.02835): boxes in frame 0 at once, without the chain.

The model is shown what the chain shows over two turns, the sampled frames and frame 0 at the size
of a key frame, but turn 1 is answered in its place: "frame 0, and what the query says". So it
writes one reply only, the boxes, and no thought; only the reasoning is missing, not the pixels.
The tracker goes on from there. Where an object comes later, no such answer can be right.
"""

from __future__ import annotations

import json
from typing import Any

from fiftyone_revseg.measures.rewards import spatial_reward
from fiftyone_revseg.reasoning.backend import Conversation, Message
from fiftyone_revseg.reasoning.chain import ChainRequest, first_turn, second_turn
from fiftyone_revseg.reasoning.parse import ParseError, parse_boxes
from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.reasoning.trajectory import Box, KeyframeChoice
from fiftyone_revseg.training.environment import Rewards, Rollout, Task


def direct_turn(request: ChainRequest, spec: ChainSpec) -> Conversation:
    """Makes the dialogue whose continuation is the boxes in frame 0.

    Args:
        request: the (video, query) pair; its first sampled frame is frame 0
        spec: how the checkpoint is asked in the chain

    Raises:
        ValueError: if the images are not those of the frame table
    """
    item = {"frame_idx": 0, "object description": request.query}
    given = f"<think></think> <answer>{json.dumps([item], ensure_ascii=False)}</answer>"
    history = first_turn(request, spec).say("assistant", given)
    return second_turn(request, spec, history, KeyframeChoice(0, request.query))


def as_one_message(dialogue: Conversation) -> Message:
    """Puts all but the system's message into one of the user's, which renders to the same tokens.

    TRL's environments add to the last message only. The marks between the parts are those of
    ChatML, which the embedded model has, as have all of Qwen's.
    """
    spoken = [message for message in dialogue.messages if message.role != "system"]
    parts: list[Any] = list(spoken[0].content)
    for message in spoken[1:]:
        parts += [f"<|im_end|>\n<|im_start|>{message.role}\n", *message.content]
    return Message("user", tuple(parts))


def read_direct(
    reply: str, spec: ChainSpec, source_size: tuple[int, int], complete: bool = True
) -> list[Box]:
    """Reads the boxes in a reply, in source pixels; [] if it says that there is nothing.

    Args:
        reply: the model's text
        spec: how the model was asked
        source_size: the ``(width, height)`` of the source frames, in pixels
        complete (True): whether the model ended the reply

    Raises:
        ParseError: if there is no usable answer
    """
    return parse_boxes(reply, spec.box_convention, spec.key_frame_size, source_size, complete)


def hear_direct(rollout: Rollout, reply: str, ended: bool, spec: ChainSpec) -> None:
    """Takes the reply.

    Args:
        rollout: the rollout, changed in place
        reply: the model's text
        ended: whether the model ended it, within the tokens that it had
        spec: how the model was asked
    """
    rollout.replies = [reply]
    try:
        boxes = read_direct(reply, spec, rollout.scene.source_size, ended)
        rollout.box_xyxy_px = boxes[0] if boxes else None
        rollout.ending = "grounded" if boxes else "refused"
    except ParseError as e:
        rollout.ending = "malformed" if reply.strip() else "empty"
        rollout.error = f"the only reply: {e}"
    if not ended:
        rollout.ending, rollout.error = "overlong", rollout.error or "it ran out of tokens"
    if rollout.problem:
        rollout.ending = "unreadable"


def score_direct(rollout: Rollout, spec: ChainSpec) -> Rewards | None:
    """Rewards a rollout: r_f is 1 for a reply that can be read, r_s is the chain's, in frame 0.

    There is no key frame to choose, so r_t is 0. An object that is not in frame 0 is rewarded for
    being left out: nothing better can be said about it.

    Returns:
        the rewards; None if nothing can be learned from its row
    """
    if rollout.problem:
        return None
    try:
        boxes = read_direct("".join(rollout.replies), spec, rollout.scene.source_size)
    except ParseError:
        return Rewards(0.0, 0.0, 0.0)
    return Rewards(1.0, 0.0, spatial_reward(boxes, rollout.scene.boxes_at(0)))


class DirectTask(Task):
    """What all environments of such a run share: as for the chain, but for one reply only."""

    def ask(self, request: ChainRequest) -> Conversation:
        """Makes the dialogue that the model continues."""
        return direct_turn(request, self.spec)

    def message(self, asked: Conversation) -> Message:
        """The dialogue as the one message that an environment shows."""
        return as_one_message(asked)

    def hear(self, rollout: Rollout, reply: str, ended: bool) -> bool:
        """Takes the reply; there is no turn 2."""
        hear_direct(rollout, reply, ended, self.spec)
        return False

    def score(self, rollout: Rollout) -> Rewards | None:
        """Rewards a rollout."""
        return score_direct(rollout, self.spec)
