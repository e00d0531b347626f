"""Worlds with a break, measured on their exact masks."""

import numpy as np
import pytest

from fiftyone_revseg.synthetic import BREAKS, make_broken_world


@pytest.fixture(scope="module")
def worlds():
    return {kind: [make_broken_world(seed, kind) for seed in range(3)] for kind in BREAKS}


def test_the_same_seed_makes_the_same_world_and_splits_differ():
    a, b = make_broken_world(4, "cut"), make_broken_world(4, "cut")
    assert all((x == y).all() for x, y in zip(a.draw(50), b.draw(50), strict=True))
    other = make_broken_world(4, "cut", "train")
    assert other.draw(0)[0].tobytes() != a.draw(0)[0].tobytes()


@pytest.mark.parametrize("kind", ["occlusion", "look-alike"])
def test_the_target_is_hidden_for_one_to_two_seconds(worlds, kind):
    for world in worlds[kind]:
        hidden = np.flatnonzero(world.areas == 0)
        assert hidden.tolist() == list(range(world.first, world.after))
        assert 12 <= len(hidden) <= 24
        assert world.frame_count - world.after >= 24
        assert world.cuts == ()


def test_the_look_alike_is_always_in_sight_and_has_the_name(worlds):
    for world in worlds["look-alike"]:
        target = world.bodies[world.target]
        twins = [i for i, b in enumerate(world.bodies) if b.name == target.name]
        assert len(twins) == 2
        (twin,) = (i for i in twins if i != world.target)
        assert all(world.draw(k)[1][twin].any() for k in range(world.frame_count))
        assert world.query == f"the {target.name} that moves {target.motion}"


def test_a_cut_puts_the_same_bodies_elsewhere(worlds):
    for world in worlds["cut"]:
        (cut,) = world.cuts
        assert cut == world.first == world.after
        before, after = (world.draw(k) for k in (cut - 1, cut))
        assert np.abs(before[0].astype(int) - after[0]).mean() > 8
        assert (world.areas > 0).all()
        first, second = world.shots
        assert [b.name for b in first.bodies] == [b.name for b in second.bodies]


def test_in_a_control_the_target_is_always_seen(worlds):
    for world in worlds["none"]:
        assert world.areas.min() > 0.5 * world.areas.max()
        assert world.query == f"the {world.bodies[world.target].name}"


def test_frames_and_masks_are_drawn_one_by_one_or_together():
    world = make_broken_world(1, "cut")
    frames, masks = world.render()
    assert len(frames) == world.frame_count == masks.shape[1]
    k = world.cuts[0]
    assert (world.draw(k)[0] == frames[k]).all()
    assert (world.draw(k)[1] == masks[:, k]).all()
    with pytest.raises(IndexError):
        world.draw(world.frame_count)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="occlusion, look-alike, cut, none"):
        make_broken_world(0, "rain")
