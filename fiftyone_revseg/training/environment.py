"""The two-turn chain as an environment of TRL: what the model is shown, and what it earns.

One rollout is the chain as at inference, without retries. Turn 1 shows the sampled frames. If its
reply can be used, turn 2 shows one key frame and asks for the box; else the rollout ends. At
inference every object of an answer gets a turn 2 of its own, a branch of the dialogue. A rollout
has one branch: that of an object drawn from the answer, always the same for the same reply, so
that over many rollouts every branch is learned from, and each is a dialogue of inference.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from fiftyone_revseg.measures.rewards import (
    format_reward,
    mask_tiers,
    spatial_reward,
    temporal_reward_several,
)
from fiftyone_revseg.reasoning.backend import Conversation, Image, Message
from fiftyone_revseg.reasoning.chain import ChainRequest, first_turn, second_turn
from fiftyone_revseg.reasoning.looking_again import Verdict
from fiftyone_revseg.reasoning.parse import ParseError, parse_choices, parse_prompt
from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.reasoning.trajectory import Box, KeyframeChoice
from fiftyone_revseg.training.box_masks import BoxMasks
from fiftyone_revseg.training.data import Row, Scene
from fiftyone_revseg.types import FrameTable

logger = logging.getLogger(__name__)

# How a rollout can end
ENDINGS = ("grounded", "refused", "judged", "malformed", "overlong", "empty", "unreadable")


@dataclass(eq=False)
class Rollout:
    """What happened in one rollout.

    Attributes:
        row: its row
        scene: the loaded row; a blank one if it could not be loaded
        problem: why nothing can be learned from the row, in words; "" if something can
        replies: the model's texts, one for each turn
        choices: what turn 1 answered; None if it could not be used
        shown: the position of the choice that turn 2 asked for
        box_xyxy_px: what turn 2 answered, in source pixels; None if there is none
        verdict: what turn 3 answered, in a rollout that is about tracks; None if there is none
        ending: one of :data:`ENDINGS`
        error: why a reply could not be used, in words
        tokens: how many tokens the model wrote, over all turns
    """

    row: Row
    scene: Scene
    problem: str = ""
    replies: list[str] = field(default_factory=list)
    choices: list[KeyframeChoice] | None = None
    shown: int | None = None
    box_xyxy_px: Box | None = None
    verdict: Verdict | None = None
    ending: str = "malformed"
    error: str = ""
    tokens: int = 0


@dataclass(frozen=True)
class Rewards:
    """What a rollout earned, see :mod:`fiftyone_revseg.measures.rewards`.

    r_f, [S1] r_t and [S1 and S2] r_s of the chain, or r_f and r_v of a verdict; the others are
    None.
    """

    format: float
    temporal: float | None
    spatial: float | None
    truth: float | None = None

    @property
    def total(self) -> float:
        """The sum."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, float]:
        """Those that there are, by name."""
        return {name: part for name, part in vars(self).items() if part is not None}


class Task:
    """What all environments of a run share.

    Args:
        rows: the rows to learn from
        spec: how the checkpoint is asked, which is what inference will do
        variant ("soft"): of the temporal reward
        masks (None): what makes masks of boxes, for the spatial reward by tiers of mask IoU; by
            default, boxes are compared with boxes
    """

    parts: tuple[str, ...] = ("format", "temporal", "spatial")  # of the rewards

    def __init__(
        self,
        rows: Sequence[Row],
        spec: ChainSpec,
        variant: str = "soft",
        masks: BoxMasks | None = None,
    ) -> None:
        self.rows = rows
        self.spec = spec
        self.variant = variant
        self.masks = masks
        self.load = lru_cache(maxsize=16)(self._load)  # the rollouts of a group share theirs

    def _load(self, index: int) -> tuple[Scene, ChainRequest, Conversation, list, str]:
        row, problem = self.rows[index], ""
        try:
            scene = row.load(self.spec.frames)
            if scene.unseen:
                problem = "the objects that answer the query are in none of the sampled frames"
        except Exception as e:  # of any decoder
            logger.warning("%s of %r cannot be learned from", row.query, row.id, exc_info=True)
            problem = f"{type(e).__name__}: {e}"
            scene = _blank(self.spec)
        request = _request(row, scene)
        asked = self.ask(request)
        return scene, request, asked, content_blocks(self.message(asked)), problem

    def ask(self, request: ChainRequest) -> Conversation:
        """Makes the dialogue that the model continues."""
        return first_turn(request, self.spec)

    def message(self, asked: Conversation) -> Message:
        """The message of that dialogue that an environment shows."""
        return asked.messages[-1]

    def hear(self, rollout: Rollout, reply: str, ended: bool) -> bool:
        """Takes turn 1's reply, see :func:`hear_turn1`."""
        return hear_turn1(rollout, reply, ended)

    def score(self, rollout: Rollout) -> Rewards | None:
        """Rewards a rollout, see :func:`score`."""
        return score(rollout, self.spec, self.variant, self.masks)


class ChainEnvironment:
    """One rollout at a time of the chain; what TRL calls an environment.

    Every public method but ``reset`` is a tool to TRL.

    Args:
        task: what all environments of a run share

    Attributes:
        rollout: what happened so far
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self.rollout: Rollout | None = None

    def reset(self, row: int, **_: Any) -> list[dict[str, Any]]:
        """Starts a rollout.

        Args:
            row: the index of the row; the same row always starts the same way

        Returns:
            turn 1's frames and question as content blocks
        """
        scene, self._request, self._asked, blocks, problem = self._task.load(row)
        self.rollout = Rollout(self._task.rows[row], scene, problem)
        return list(blocks)

    def keyframe(self, reply: str) -> list[dict[str, Any]]:
        """Shows a key frame of what turn 1 answered.

        Args:
            reply: the model's text in turn 1

        Returns:
            the key frame and turn 2's question as content blocks
        """
        rollout = self.rollout
        if rollout is None or not rollout.choices or rollout.shown is None:
            raise ValueError("the reply to turn 1 chose no key frame")
        history = self._asked.say("assistant", reply)
        choice = rollout.choices[rollout.shown]
        asked = second_turn(self._request, self._task.spec, history, choice)
        return content_blocks(asked.messages[-1])


def hear_turn1(rollout: Rollout, reply: str, ended: bool) -> bool:
    """Takes turn 1's reply.

    Args:
        rollout: the rollout, changed in place
        reply: the model's text
        ended: whether the model ended it, within the tokens that it had

    Returns:
        whether there is a turn 2
    """
    rollout.replies = [reply]
    if not ended:
        rollout.ending, rollout.error = "overlong", "turn 1 ran out of tokens"
    elif not reply.strip():
        rollout.ending, rollout.error = "empty", "turn 1 has no text"
    else:
        try:
            rollout.choices = parse_choices(reply, len(rollout.scene.frame_table))
        except ParseError as e:
            rollout.ending, rollout.error = "malformed", f"turn 1: {e}"
        else:
            rollout.ending = "malformed" if rollout.choices else "refused"
    if rollout.problem:
        rollout.ending = "unreadable"
    if rollout.problem or not rollout.choices:
        return False
    rollout.shown = zlib.crc32(reply.encode()) % len(rollout.choices)
    return True


def hear_turn2(rollout: Rollout, reply: str, ended: bool, spec: ChainSpec) -> None:
    """Takes turn 2's reply; it is read as at inference, where the first box counts."""
    rollout.replies.append(reply)
    try:
        rollout.box_xyxy_px, _ = parse_prompt(reply, spec, rollout.scene.source_size, ended)
    except ParseError as e:
        rollout.error = f"turn 2: {e}"
    if not ended:
        rollout.ending, rollout.error = "overlong", rollout.error or "turn 2 ran out of tokens"
    elif rollout.box_xyxy_px is not None:
        rollout.ending = "grounded"
    else:
        rollout.ending = "malformed" if reply.strip() else "empty"


def score(
    rollout: Rollout, spec: ChainSpec, variant: str = "soft", masks: BoxMasks | None = None
) -> Rewards | None:
    """Rewards a rollout.

    A box counts for any of the objects that answer the query: with several, nobody knows which of
    them was meant.

    Args:
        rollout: the finished rollout
        spec: how the model was asked
        variant ("soft"): of the temporal reward
        masks (None): what makes a mask of the box, which is then rewarded by tiers of its IoU; by
            default, the box itself is, as in the paper

    Returns:
        the rewards; None if nothing can be learned from its row
    """
    if rollout.problem:
        return None
    scene, choices = rollout.scene, rollout.choices
    turn1, turn2 = (*rollout.replies, "", None)[0], (*rollout.replies, None, None)[1]
    form = format_reward(
        turn1 or "",
        turn2,
        len(scene.frame_table),
        spec.box_convention,
        spec.key_frame_size,
        scene.source_size,
    )
    if choices is None:
        return Rewards(form, 0.0, 0.0)
    ks = [choice.frame for choice in choices]
    temporal = temporal_reward_several(scene.areas.tolist(), ks, variant)
    if rollout.shown is None:  # no such object, says the model
        spatial = spatial_reward([], scene.boxes[:, 0].tolist())
        return Rewards(form, temporal, spatial)
    box, k = rollout.box_xyxy_px, ks[rollout.shown]
    if box is not None and masks is not None:
        return Rewards(form, temporal, mask_tiers(masks.best_iou(scene, k, box)))
    true_boxes = scene.boxes_at(k)
    hit = max((spatial_reward([box], [true]) for true in true_boxes if box), default=0.0)
    return Rewards(form, temporal, hit)


def _request(row: Row, scene: Scene) -> ChainRequest:
    sampled = dict(zip(scene.frame_table.indices, scene.frames, strict=True))
    return ChainRequest(
        row.query, scene.frame_table, scene.frames, sampled.__getitem__, scene.source_size
    )


def _blank(spec: ChainSpec) -> Scene:
    """Stands in for a video that cannot be read, so that the batch keeps its shape."""
    frame = np.zeros((spec.frame_size, spec.frame_size, 3), np.uint8)
    table = FrameTable(
        tuple(range(spec.frames)),
        tuple(float(t) for t in range(spec.frames)),
        spec.frames,
        float(spec.frames),
    )
    size = (spec.frame_size, spec.frame_size)
    return Scene(table, (frame,) * spec.frames, np.empty((0, spec.frames, 4)), size)


def content_blocks(message: Message) -> list[dict[str, Any]]:
    """A message of the chain as content blocks."""
    from PIL import Image as Picture

    blocks: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, str):
            blocks.append({"type": "text", "text": part})
        elif isinstance(part, Image):
            blocks.append({"type": "image", "image": Picture.fromarray(part.pixels)})
        else:
            raise ValueError("the trainer takes frames as images: set frame_encoding to 'images'")
    return blocks
