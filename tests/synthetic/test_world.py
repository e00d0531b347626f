"""The synthetic world: exact, deterministic, and with one right answer to each question."""

import numpy as np
import pytest

from fiftyone_revseg.synthetic import KINDS, all_queries, make_world, pick_queries
from fiftyone_revseg.synthetic.shapes import COLORS


def worlds(count=40, split="test"):
    return [make_world(seed, split) for seed in range(count)]


def test_same_seed_same_world_and_splits_are_disjoint():
    a, b = make_world(7, "test"), make_world(7, "test")
    np.testing.assert_array_equal(a.render()[0], b.render()[0])
    np.testing.assert_array_equal(a.render()[1], b.render()[1])
    first_frames = {
        make_world(seed, split).draw(0)[0].tobytes()
        for split in ("train", "val", "test")
        for seed in range(20)
    }
    assert len(first_frames) == 60


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="train, val or test"):
        make_world(0, "dev")


def test_masks_are_exactly_what_is_seen():
    """Inside a visible mask the picture has the body's hue; masks never overlap."""
    for world in worlds(12):
        picture, masks = world.draw(world.frame_count // 2)
        assert masks.sum(axis=0).max() <= 1
        for body, mask in zip(world.bodies, masks, strict=True):
            if mask.sum() < 100:
                continue
            color = np.array(COLORS[body.color], float)
            seen = np.median(picture[mask], axis=0)
            assert np.argmax(seen) == np.argmax(color) or np.ptp(color) < 30
            cosine = seen @ color / np.linalg.norm(seen) / np.linalg.norm(color)
            assert cosine > 0.97


def test_bodies_exist_only_in_their_life():
    for world in worlds(20):
        areas = world.areas
        for body, area in zip(world.bodies, areas, strict=True):
            assert not area[: body.first].any()
            assert not area[body.last + 1 :].any()
            assert area.max() > 0


def test_growing_bodies_grow_and_moving_bodies_move():
    seen = set()
    for world in worlds(60):
        for body in world.bodies:
            seen |= {body.motion, body.growth}
            travel = body.path[-1] - body.path[0]
            if body.motion in ("left", "right"):
                assert np.sign(travel[0]) == (1 if body.motion == "right" else -1)
            if body.growth == "grows":
                assert body.radii[-1] > 1.5 * body.radii[0]
    assert seen >= {"left", "right", "up", "down", "still", "grows", "shrinks", "keeps"}


def test_every_kind_of_query_occurs_and_kinds_are_mixed():
    kinds = [q.kind for world in worlds(150) for q in pick_queries(world, 4)]
    assert set(kinds) == set(KINDS)
    assert min(kinds.count(kind) for kind in KINDS) > 20


def test_queries_of_a_world_never_contradict_each_other():
    for world in worlds(60):
        answers = {}
        for query in all_queries(world):
            assert answers.setdefault(query.text, query.targets) == query.targets
            assert (query.kind == "no_target") == (query.targets == ())
            assert (query.kind == "several") == (len(query.targets) >= 2)
            for i in query.targets:
                assert world.bodies[i].name in query.thought.split("So ")[-1]


def test_order_queries_agree_with_the_visible_masks():
    checked = 0
    for world in worlds(120):
        for query in all_queries(world):
            if query.text == "the object that appears last":
                first_seen = [np.flatnonzero(area)[0] for area in world.areas]
                assert np.argmax(first_seen) == query.targets[0]
                checked += 1
            if query.text == "the object that disappears first":
                last_life = [body.last for body in world.bodies]
                assert np.argmin(last_life) == query.targets[0]
                checked += 1
    assert checked > 20


def test_bumping_bodies_touch():
    hits = 0
    for world in worlds(80):
        for body in world.bodies:
            if body.hits is None:
                continue
            other = world.bodies[body.hits]
            distance = np.linalg.norm(body.path - other.path, axis=1)
            assert distance.min() <= body.radius + other.radius
            assert distance[0] > body.radius + other.radius
            hits += 1
    assert hits > 5
