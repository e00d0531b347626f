"""Rows: the same every time, the same from a world and from its video, and nothing lost."""

import numpy as np
import pytest

from fiftyone_revseg.synthetic import KINDS, write_video
from fiftyone_revseg.training.data import VideoRow, world_rows


def test_worlds_give_the_same_rows_every_time():
    rows = world_rows(30, "train", seed=100)
    assert rows == world_rows(40, "train", seed=100)[:30]
    assert len({row.seed for row in rows}) == 30
    assert len({row.kind for row in rows}) >= 5
    assert {row.kind for row in rows} <= set(KINDS)
    assert all(bool(row.targets) == (row.kind != "no_target") for row in rows)
    first, again = rows[0].load(8), rows[0].load(8)
    assert all((a == b).all() for a, b in zip(first.frames, again.frames, strict=True))


def test_kinds_can_be_chosen():
    assert {row.kind for row in world_rows(5, kinds=["order", "motion"])} <= {"order", "motion"}
    with pytest.raises(ValueError, match="riddle"):
        world_rows(1, kinds=["riddle"])
    with pytest.raises(ValueError, match="split"):
        world_rows(1, "elsewhere")


def test_boxes_are_those_of_the_masks():
    row = next(row for row in world_rows(20, "val") if row.kind == "several")
    scene = row.load(8)
    assert scene.boxes.shape == (len(row.targets), 8, 4)
    assert (scene.areas >= 0).all()
    for k in range(8):
        there = scene.areas[:, k] > 0
        assert len(scene.boxes_at(k)) == there.sum()


def _clip(path, frames=6):
    write_video(path, np.zeros((frames, 32, 48, 3), np.uint8), 10)
    return str(path)


def test_an_object_in_no_sampled_frame_is_said_to_be_unseen(tmp_path):
    boxes = np.full((1, 6, 4), np.nan, np.float32)
    boxes[0, 1] = [0, 0, 1, 1]
    row = VideoRow("a", "the cat", "", _clip(tmp_path / "a.mp4"), None, boxes)
    assert row.load(2).unseen
    assert not row.load(6).unseen
