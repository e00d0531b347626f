"""The embedded tracker, really tracking."""

import numpy as np
import pytest
from rendered_worlds import Rendered, first_world, moving

from fiftyone_revseg.measures import j_and_f, region_similarity
from fiftyone_revseg.tracking import Sam2Tracker, track_both_ways


@pytest.fixture(scope="module")
def nano():
    return Sam2Tracker.load("sam2-nano", device="cpu")


def test_follows_a_moving_object_both_ways(nano):
    video = Rendered(first_world(moving, bodies=1))
    (truth,) = video.masks
    (track,) = track_both_ways(nano, video, 12, video.boxes(12))
    overlap = region_similarity(track.masks(), truth)
    assert overlap[:12].mean() > 0.75  # backward
    assert overlap[13:].mean() > 0.75  # forward
    # A mask that stays where the box was would not do.
    still = np.repeat(truth[12:13], len(video), axis=0)
    assert j_and_f(track.masks(), truth) > j_and_f(still, truth) + 0.3
    assert min(track.scores) > 0.3


def test_follows_two_objects_in_one_batch(nano):
    video = Rendered(first_world(moving, bodies=2))
    tracks = track_both_ways(nano, video, 0, video.boxes(0))
    assert [t.object_id for t in tracks] == [0, 1]
    own = [j_and_f(t.masks(), truth) for t, truth in zip(tracks, video.masks, strict=True)]
    assert np.mean(own) > 0.7
    swapped = [
        j_and_f(t.masks(), truth) for t, truth in zip(tracks, video.masks[::-1], strict=True)
    ]
    assert np.mean(own) > np.mean(swapped) + 0.3


def test_an_object_that_left_has_no_masks_any_more(nano):
    def leaves(body, world) -> bool:
        return body.first == 0 and body.last < 16 and body.radius > 0.12

    world = first_world(leaves, bodies=1)
    video, last = Rendered(world), world.bodies[0].last
    (track,) = track_both_ways(nano, video, 0, video.boxes(0))
    assert all(track.rles[k] is not None for k in range(last + 1))
    gone = range(last + 1, len(video))
    assert np.mean([track.rles[k] is None for k in gone]) > 0.8
    assert np.mean([track.scores[k] for k in gone]) < 0.5 * np.mean(track.scores[: last + 1])


def test_an_object_that_is_hidden_for_a_while_is_found_again(nano):
    video = Rendered(first_world(lambda b, w: moving(b, w) and b.radius > 0.12, bodies=1))
    # Not longer: with three frames the memory's recent part is empty, which it was not trained for.
    hidden = range(10, 12)
    for k in hidden:  # a curtain in front of everything
        video.frames[k] = (90, 95, 90)
    (track,) = track_both_ways(nano, video, 4, video.boxes(4))
    assert [track.rles[k] for k in hidden] == [None] * 2
    overlap = region_similarity(track.masks(), video.masks[0])
    assert overlap[14:].mean() > 0.6


def test_a_loose_box_will_do(nano):
    video = Rendered(first_world(moving, bodies=1))
    box = video.boxes(12) + np.array([-6, -6, 6, 6], np.float32)
    (track,) = track_both_ways(nano, video, 12, box)
    assert j_and_f(track.masks(), video.masks[0]) > 0.7
