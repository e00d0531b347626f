"""The chain as an environment: what it shows is what inference shows, and how it rewards."""

import json

import numpy as np
import pytest

from fiftyone_revseg.reasoning import ChainRequest, ChainSpec, Reply, run_chain
from fiftyone_revseg.training.data import Scene, world_rows
from fiftyone_revseg.training.environment import (
    ChainEnvironment,
    Task,
    hear_turn1,
    hear_turn2,
    score,
)
from fiftyone_revseg.training.rollout_log import RolloutLog
from fiftyone_revseg.types import FrameTable

SPEC = ChainSpec(frames=4, frame_size=28, key_frame_size=56, box_convention="relative-1000")
WIDTH, HEIGHT = 200, 100


class FakeRow:
    """A row of 4 sampled frames whose boxes are given in pixels, None where absent."""

    id, kind, query = "fake", "", "the cat"

    def __init__(self, *objects, error=None):
        self.objects, self.error, self.loads = objects, error, 0

    def load(self, frames):
        self.loads += 1
        if self.error:
            raise self.error
        boxes = np.array(
            [[box or (np.nan,) * 4 for box in boxes] for boxes in self.objects], float
        ).reshape(-1, frames, 4)
        seen = boxes[~np.isnan(boxes[..., 0]).all(axis=1)]
        table = FrameTable((0, 10, 20, 30), (0.0, 1.0, 2.0, 3.0), 31, 3.1)
        pictures = tuple(np.full((HEIGHT, WIDTH, 3), k, np.uint8) for k in table.indices)
        unseen = bool(len(boxes)) and not len(seen)
        return Scene(table, pictures, seen, (WIDTH, HEIGHT), unseen)


CAT = [None, (0, 0, 50, 50), (0, 0, 100, 50), (0, 0, 100, 100)]  # areas 0, 2500, 5000, 10000


def answer(*choices):
    items = [{"frame_idx": k, "object description": text} for k, text in choices]
    return f"<think>hm</think> <answer>{json.dumps(items)}</answer>"


def boxed(*box):
    return json.dumps([{"bbox_2d": box, "label": "cat"}])


def play(row, turn1, turn2=None, ended=(True, True), spec=SPEC, variant="soft"):
    """Plays one rollout as the trainer does."""
    environment = ChainEnvironment(Task([row], spec, variant))
    environment.reset(row=0, prompt="ignored")
    if hear_turn1(environment.rollout, turn1, ended[0]):
        environment.keyframe(turn1)
        hear_turn2(environment.rollout, turn2, ended[1], spec)
    return environment.rollout, score(environment.rollout, spec, variant)


@pytest.mark.parametrize(
    ("turn1", "turn2", "ending", "rewards"),
    [
        (answer((3, "a cat")), boxed(0, 0, 500, 1000), "grounded", (1, 1, 1)),
        (answer((2, "a cat")), boxed(0, 0, 500, 500), "grounded", (1, 0.5, 1)),
        (answer((2, "a cat")), boxed(500, 500, 900, 900), "grounded", (1, 0.5, 0)),
        (answer((0, "a cat")), boxed(0, 0, 500, 1000), "grounded", (1, 0, 0)),
        (answer((2, "a cat")), "no idea", "malformed", (0.75, 0.5, 0)),
        (answer((2, "a cat")), "", "empty", (0.75, 0.5, 0)),
        (answer((9, "a cat")), None, "malformed", (0.5, 0, 0)),
        (answer(), None, "refused", (1, 0, 0)),
        ("no idea", None, "malformed", (0, 0, 0)),
        (" \n", None, "empty", (0, 0, 0)),
    ],
)
def test_a_rollout_is_rewarded(turn1, turn2, ending, rewards):
    rollout, earned = play(FakeRow(CAT), turn1, turn2)
    assert rollout.ending == ending
    assert (earned.format, earned.temporal, earned.spatial) == rewards
    assert earned.total == sum(rewards)
    assert bool(rollout.error) == (ending not in ("grounded", "refused"))


def test_no_target_is_rewarded_for_the_empty_answer():
    assert play(FakeRow(), answer())[1].total == 3
    wrong = play(FakeRow(), answer((1, "a cat")), boxed(0, 0, 500, 500))[1]
    assert (wrong.format, wrong.temporal, wrong.spatial) == (1, 0, 0)


def test_variants_of_the_temporal_reward():
    reply = answer((1, "a cat")), boxed(0, 0, 250, 500)
    assert play(FakeRow(CAT), *reply, variant="soft")[1].temporal == 0.25
    assert play(FakeRow(CAT), *reply, variant="binary")[1].temporal == 1
    assert play(FakeRow(CAT), *reply, variant="none")[1].temporal == 0


def test_an_overlong_turn_ends_the_chain():
    rollout, earned = play(FakeRow(CAT), answer((3, "a cat")), ended=(False, True))
    assert (rollout.ending, len(rollout.replies)) == ("overlong", 1)
    assert (earned.format, earned.temporal, earned.spatial) == (0.75, 0, 0)
    rollout, earned = play(
        FakeRow(CAT), answer((3, "a cat")), boxed(0, 0, 500, 1000) + "[" * 99, (True, False)
    )
    assert (rollout.ending, len(rollout.replies), earned.spatial) == ("overlong", 2, 1)


def test_one_object_of_several_is_shown_the_same_one_for_the_same_reply():
    dog = [(100, 0, 200, 100), None, None, None]
    row = FakeRow(CAT, dog)
    reply = answer((3, "a cat"), (0, "a dog"))
    shown = {play(row, reply, boxed(0, 0, 500, 1000))[0].shown for _ in range(5)}
    assert len(shown) == 1
    replies = [reply.replace("hm", f"hm {i}") for i in range(20)]
    assert {play(row, r, "[]")[0].shown for r in replies} == {0, 1}
    for r in replies:
        k = (3, 0)[play(row, r, "[]")[0].shown]
        box = {3: boxed(0, 0, 500, 1000), 0: boxed(500, 0, 1000, 1000)}[k]
        assert play(row, r, box)[1].total == 3
    assert play(row, answer((3, "a cat")), boxed(0, 0, 500, 1000))[1].temporal == 0.5


def test_what_is_shown_is_what_inference_shows():
    """Turn by turn the same words and the same pixels, for the very same replies."""

    class Reasoner:
        name, spec, asked = "fake", SPEC, []

        def generate(self, conversations, spec):
            self.asked += conversations
            turn1 = len(conversations[0].messages) == 1
            return [Reply(answer((2, "a cat")) if turn1 else boxed(0, 0, 9, 99))]

    row = FakeRow(CAT)
    scene = row.load(4)
    request = ChainRequest(
        row.query,
        scene.frame_table,
        scene.frames,
        lambda k: scene.frames[k // 10],
        scene.source_size,
    )
    run_chain(Reasoner(), SPEC, [request])
    environment = ChainEnvironment(Task([row], SPEC))
    blocks = environment.reset(row=0)
    assert hear_turn1(environment.rollout, answer((2, "a cat")), True)
    for shown, asked in zip(
        (blocks, environment.keyframe(answer((2, "a cat")))), Reasoner.asked, strict=True
    ):
        parts = asked.messages[-1].content
        assert len(shown) == len(parts)
        for block, part in zip(shown, parts, strict=True):
            if block["type"] == "text":
                assert block["text"] == part
            else:
                assert (np.array(block["image"]) == part.pixels).all()


def test_rows_are_loaded_once_for_a_group():
    row = FakeRow(CAT)
    task = Task([row], SPEC)
    for _ in range(3):
        ChainEnvironment(task).reset(row=0)
    assert row.loads == 1


def test_what_cannot_be_learned_from_is_counted_and_not_rewarded(tmp_path, caplog):
    rows = [FakeRow(error=OSError("broken file")), FakeRow([None] * 4), FakeRow(CAT)]
    rollouts, rewards = [], []
    for row in rows:
        rollout, earned = play(row, answer((3, "a cat")), boxed(0, 0, 500, 1000))
        rollouts.append(rollout)
        rewards.append(earned)
    assert rewards[:2] == [None, None]
    assert "broken file" in rollouts[0].problem
    assert "none of the sampled frames" in rollouts[1].problem
    log = RolloutLog(tmp_path, every=1, groups=3)
    values = log.add(1, rollouts, rewards, group=1)
    assert values["unreadable"] == pytest.approx(2 / 3)
    assert values["grounded"] == pytest.approx(1 / 3)
    assert values["total"] == 3
    assert values["turns"] == pytest.approx(4 / 3)
    text = (tmp_path / "step_000001.txt").read_text()
    assert "broken file" in text
    assert "Query: the cat" in text
    assert "total 3.00" in text


def test_a_tool_call_without_a_key_frame_is_refused():
    environment = ChainEnvironment(Task([FakeRow(CAT)], SPEC))
    environment.reset(row=0)
    hear_turn1(environment.rollout, "no idea", True)
    with pytest.raises(ValueError, match="no key frame"):
        environment.keyframe("no idea")


def test_a_world_is_played_from_its_truth():
    (row,) = world_rows(1, "val", seed=3, kinds=["attribute"])
    scene = row.load(SPEC.frames)
    (areas,) = scene.areas
    k = int(areas.argmax())
    width, height = scene.source_size
    ((x1, y1, x2, y2),) = scene.boxes_at(k)
    box = [round(v) for v in (x1 * 1000 / width, y1 * 1000 / height)]
    box += [round(v) for v in (x2 * 1000 / width, y2 * 1000 / height)]
    assert play(row, answer((k, "it")), boxed(*box))[1].total == 3
