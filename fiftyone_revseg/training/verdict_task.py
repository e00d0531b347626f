"""Turn 3 beside the two-turn chain: rollouts that are one verdict on finished tracks.

What is shown is made by the very code that asks for a verdict at inference. A rollout ends with
its first reply; there are no retries.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from fiftyone_revseg.masks.overlap import video_iou
from fiftyone_revseg.measures.rewards import verdict_format_reward, verdict_reward
from fiftyone_revseg.reasoning.backend import Conversation
from fiftyone_revseg.reasoning.chain import ChainRequest
from fiftyone_revseg.reasoning.judging import Judging
from fiftyone_revseg.reasoning.parse import ParseError
from fiftyone_revseg.reasoning.parse_verdict import parse_verdict
from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.training.chat_template import next_turn
from fiftyone_revseg.training.data import Scene
from fiftyone_revseg.training.environment import Rewards, Rollout, Task, content_blocks
from fiftyone_revseg.training.verdict_rows import JudgedScene, VerdictRow

logger = logging.getLogger(__name__)


class VerdictTask(Task):
    """What all environments of a run share, some of whose rows are :class:`VerdictRow`."""

    parts = (*Task.parts, "truth")

    def _load(self, index: int) -> tuple[Scene, ChainRequest, Conversation, list, str]:
        scene, request, asked, blocks, problem = super()._load(index)
        if not isinstance(scene, JudgedScene):  # a row of both turns, or one that is unreadable
            return scene, request, asked, blocks, problem
        request = replace(request, read_frame=scene.read)
        judging = Judging(request, self.spec, scene.objects, scene.candidates)
        dialogues = judging.start()
        if not dialogues:
            return scene, request, asked, blocks, judging.finish("").error
        asked = dialogues[0].conversation
        return scene, request, asked, _as_blocks(asked), problem

    def hear(self, rollout: Rollout, reply: str, ended: bool) -> bool:
        """Takes the first reply."""
        if not isinstance(rollout.row, VerdictRow):
            return super().hear(rollout, reply, ended)
        hear_verdict(rollout, reply, ended)
        return False

    def score(self, rollout: Rollout) -> Rewards | None:
        """Rewards a rollout."""
        if not isinstance(rollout.row, VerdictRow):
            return super().score(rollout)
        return score_verdict(rollout, self.spec)


def _as_blocks(asked: Conversation) -> list[dict[str, Any]]:
    """All but the system's message: turn 3 may hold a thought that the model is given."""
    first, *others = (message for message in asked.messages if message.role != "system")
    blocks = content_blocks(first)
    for message in others:
        blocks += [next_turn(message.role), *content_blocks(message)]
    return blocks


def hear_verdict(rollout: Rollout, reply: str, ended: bool) -> None:
    """Takes the only reply.

    Args:
        rollout: the rollout, changed in place
        reply: the model's text
        ended: whether the model ended it, within the tokens that it had
    """
    rollout.replies = [reply]
    scene = rollout.scene
    if rollout.problem or not isinstance(scene, JudgedScene):
        rollout.ending = "unreadable"
    elif not ended:
        rollout.ending, rollout.error = "overlong", "turn 3 ran out of tokens"
    elif not reply.strip():
        rollout.ending, rollout.error = "empty", "turn 3 has no text"
    else:
        try:
            rollout.verdict = parse_verdict(reply, len(scene.objects), len(scene.shown))
            rollout.ending = "judged"
        except ParseError as e:
            rollout.ending, rollout.error = "malformed", f"turn 3: {e}"


def score_verdict(rollout: Rollout, spec: ChainSpec) -> Rewards | None:
    """Rewards a rollout: r = r_f + r_v, which is 0 where there is no usable verdict.

    Which pictures it calls wrong is not rewarded.

    Args:
        rollout: the finished rollout
        spec: how the model was asked

    Returns:
        the rewards; None if nothing can be learned from its row
    """
    scene = rollout.scene
    if rollout.problem or not isinstance(scene, JudgedScene):
        return None
    form = verdict_format_reward(
        "".join(rollout.replies),
        len(scene.objects),
        len(scene.shown),
        thinks="<think>" in spec.template("turn3"),
    )
    if rollout.verdict is None:
        return Rewards(form, None, None, 0.0)
    chosen = rollout.verdict.objects
    iou = video_iou([scene.objects[n - 1].track for n in chosen], scene.truth)
    return Rewards(form, None, None, verdict_reward(chosen, scene.right, iou))
