"""The answer without the chain: what is asked, and what it earns."""

import numpy as np
import pytest
from direct import (
    DirectTask,
    as_one_message,
    direct_turn,
    hear_direct,
    read_direct,
    score_direct,
)

from fiftyone_revseg.models.builtin import PRESETS
from fiftyone_revseg.reasoning import ChainRequest, ChainSpec, LocalReasoner
from fiftyone_revseg.reasoning.backend import Conversation, Image
from fiftyone_revseg.training.data import Scene, WorldRow
from fiftyone_revseg.training.environment import ChainEnvironment, Rewards, Rollout
from fiftyone_revseg.types import FrameTable

NOWHERE = [np.nan] * 4
SPEC = ChainSpec(frames=2, frame_size=32, key_frame_size=64, box_convention="relative-1000")
TABLE = FrameTable((0, 9), (0.0, 1.0), 10, 1.1)
HIT = '[{"bbox_2d": [100, 100, 500, 500], "label": "a"}]'
TWO = '[{"bbox_2d": [100, 100, 500, 500]}, {"bbox_2d": [600, 600, 900, 900]}]'


def rollout_of(*boxes, unseen=False, problem=""):
    """Of objects with these boxes in frames 0 and 9 of a picture of 100 x 100 pixels."""
    frames = (np.zeros((100, 100, 3), np.uint8),) * 2
    boxes = np.array(boxes, float).reshape(-1, 2, 4)
    row = WorldRow(0, "train", "the red star", "attribute", (0,))
    return Rollout(row, Scene(TABLE, frames, boxes, (100, 100), unseen), problem)


def earned(rollout, reply):
    hear_direct(rollout, reply, True, SPEC)
    return score_direct(rollout, SPEC)


def test_only_boxes_in_frame_0_are_asked_for():
    frames = [np.full((100, 100, 3), k, np.uint8) for k in (7, 8)]
    request = ChainRequest("the red star", TABLE, frames, {0: frames[0]}.__getitem__, (100, 100))
    dialogue = direct_turn(request, SPEC)
    assert [m.role for m in dialogue.messages if m.role != "system"] == [
        "user",
        "assistant",
        "user",
    ]
    shown = [p for m in dialogue.messages for p in m.content if isinstance(p, Image)]
    assert [(p.pixels.shape[0], int(p.pixels.max())) for p in shown] == [(32, 7), (32, 8), (64, 7)]
    assert "the red star" in dialogue.messages[-1].text


def test_one_message_reads_as_the_dialogue():
    reasoner = LocalReasoner.load(PRESETS["revseg-nano"].reasoner)
    row = WorldRow(3, "train", "the red star", "attribute", (0,))
    scene = row.load(reasoner.spec.frames)
    shown = dict(zip(scene.frame_table.indices, scene.frames, strict=True))
    request = ChainRequest(
        row.query, scene.frame_table, scene.frames, shown.__getitem__, scene.source_size
    )
    dialogue = direct_turn(request, reasoner.spec)
    alone = Conversation((as_one_message(dialogue),))
    ours, theirs = reasoner.encode([alone]), reasoner.encode([dialogue])
    assert ours["input_ids"].tolist() == theirs["input_ids"].tolist()
    assert bool((ours["pixel_values"] == theirs["pixel_values"]).all())

    environment = ChainEnvironment(DirectTask([row], reasoner.spec))
    blocks = environment.reset(0)
    assert [b["type"] for b in blocks].count("image") == reasoner.spec.frames + 1
    assert environment._task.hear(environment.rollout, "[]", True) is False
    assert environment._task.score(environment.rollout).format == 1.0


def test_boxes_are_rewarded_in_frame_0():
    there, elsewhere = [10, 10, 50, 50], [60, 60, 90, 90]
    assert earned(rollout_of([there, elsewhere]), HIT) == Rewards(1.0, 0.0, 1.0)
    assert earned(rollout_of([elsewhere, there]), HIT) == Rewards(1.0, 0.0, 0.0)
    several = [there, there], [elsewhere, NOWHERE]
    assert earned(rollout_of(*several), TWO) == Rewards(1.0, 0.0, 1.0)
    assert earned(rollout_of(*several), HIT) == Rewards(1.0, 0.0, 0.5)


def test_nothing_is_right_where_nothing_is_in_frame_0():
    assert earned(rollout_of([NOWHERE, [10, 10, 50, 50]]), "[]") == Rewards(1.0, 0.0, 1.0)
    assert earned(rollout_of(), "[]") == Rewards(1.0, 0.0, 1.0)
    assert earned(rollout_of(), HIT) == Rewards(1.0, 0.0, 0.0)
    assert earned(rollout_of([[10, 10, 50, 50], NOWHERE]), "[]") == Rewards(1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("reply", "ended", "ending"),
    [
        (HIT, True, "grounded"),
        ("[]", True, "refused"),
        ("it is on the left", True, "malformed"),
        (" ", True, "empty"),
        (HIT, False, "overlong"),
        ("<think>so", False, "overlong"),
    ],
)
def test_endings(reply, ended, ending):
    rollout = rollout_of([[10, 10, 50, 50], NOWHERE])
    hear_direct(rollout, reply, ended, SPEC)
    assert rollout.ending == ending
    assert bool(rollout.error) == (ending not in ("grounded", "refused"))


def test_what_cannot_be_used_earns_nothing():
    assert earned(rollout_of([[10, 10, 50, 50], NOWHERE]), "left") == Rewards(0.0, 0.0, 0.0)
    unreadable = rollout_of(problem="VideoError: gone")
    assert earned(unreadable, HIT) is None
    assert unreadable.ending == "unreadable"


def test_boxes_are_read_in_source_pixels():
    assert read_direct(HIT, SPEC, (200, 100)) == [(20.0, 10.0, 100.0, 50.0)]
