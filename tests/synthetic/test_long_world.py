"""Long worlds with a brief event."""

import numpy as np
import pytest

from fiftyone_revseg.synthetic.long_world import WorldVideo, make_brief_world, make_long_world
from fiftyone_revseg.synthetic.queries import queries_by_kind
from fiftyone_revseg.video.sampling import uniform_indices


@pytest.mark.parametrize("seed", range(5))
def test_one_body_is_there_for_seconds(seed):
    long = make_long_world(seed, "val", 60)
    world = long.world
    assert world.frame_count == 720
    assert 24 <= len(long.frames) <= 48
    assert long.frames.stop <= 720
    first, last = long.frames[0], long.frames[-1]
    for k in (first, (first + last) // 2, last):
        assert world.draw(k)[1][long.event].any()
    for k in (first - 1, last + 1):
        if 0 <= k < 720:
            assert not world.draw(k)[1][long.event].any()
    others = [i for i in range(len(world.bodies)) if i != long.event]
    assert all(len(range(world.bodies[i].first, world.bodies[i].last + 1)) == 720 for i in others)
    assert long.query == f"the {world.bodies[long.event].name}"


def test_the_same_seed_makes_the_same_world():
    one, other = make_long_world(3, "train", 30), make_long_world(3, "train", 30)
    assert np.array_equal(one.world.draw(7)[0], other.world.draw(7)[0])
    assert one.frames == other.frames
    assert make_long_world(4, "train", 30).frames != one.frames


def test_a_world_is_a_video_that_nobody_wrote():
    world = make_long_world(0, "val", 10).world
    video = WorldVideo(world)
    assert len(video) == 120
    assert video.sample(8).indices == uniform_indices(120, 8)
    assert video.sample(8).times[-1] == pytest.approx(119 / 12)
    assert [k for k, _ in video.walk(3, -1)] == [3, 2, 1, 0]
    assert np.array_equal(next(iter(video.walk(118)))[1], world.draw(118)[0])


@pytest.mark.parametrize("seed", range(3))
def test_every_body_comes_and_goes(seed):
    world = make_brief_world(seed, "val")
    assert world.frame_count == 96
    for i, body in enumerate(world.bodies):
        assert 24 <= body.last - body.first + 1 <= 48
        there = [k for k in range(96) if world.draw(k)[1][i].any()]
        assert there
        assert body.first <= there[0]
        assert there[-1] <= body.last
    assert queries_by_kind(world)["attribute"]
    assert make_brief_world(seed, "val").bodies[0].first == world.bodies[0].first
