"""Boxes and points as prompts."""

import numpy as np
import pytest
from mask_logits import track_logits
from pocket_tracker import BOXES, HEIGHT, WIDTH, noise, pocket_tracker

from fiftyone_revseg.models.batch_size import BatchSize
from fiftyone_revseg.tracking.lockstep import Ended, Lockstep, Pursuit
from fiftyone_revseg.tracking.prompts import checked_prompts, object_prompt, to_prompt

WITH_POINT = np.stack([object_prompt(b, [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2)]) for b in BOXES])


def masks(tracker, prompts, count=4):
    return [logits for _, logits in track_logits(tracker, noise(count), prompts)]


def test_a_box_and_its_centre_are_a_box_with_the_centre_as_a_point():
    (expected, given) = (
        masks(pocket_tracker(centre_point=True), BOXES),
        masks(pocket_tracker(), WITH_POINT),
    )
    for one, other in zip(expected, given, strict=True):
        np.testing.assert_array_equal(one, other)
    # A point of one's own stands in place of the centre
    again = masks(pocket_tracker(centre_point=True), WITH_POINT)
    np.testing.assert_array_equal(again[-1], expected[-1])


def test_points_alone_and_points_beside():
    on = np.stack([object_prompt(on=[(10, 10)]), object_prompt(on=[(40, 20)])])
    both = np.stack([object_prompt(on=[(10, 10)], beside=[(30, 30)]) for _ in range(2)])
    tracker = pocket_tracker()
    first, second = masks(tracker, on)[0], masks(tracker, both)[0]
    assert first.shape == second.shape == (2, *first.shape[1:])
    assert np.abs(first[0] - first[1]).max() > 1e-3
    assert np.abs(first[0] - second[0]).max() > 1e-3
    prompt = to_prompt(both.astype(np.float32), (60, 40), 256)
    assert prompt["point_labels"].tolist() == [[1, 0]] * 2
    assert prompt["point_coords"][0].tolist() == [[pytest.approx(256 / 6), 64], [128, 192]]


@pytest.mark.parametrize(
    ("prompts", "why"),
    [
        ([[[1, 2, 7]]], "labels of points are"),
        ([[[1, 2, 1], [3, 4, 3]]], "a box takes the first two points"),
        ([[[9, 9, 3], [1, 1, 2]]], "a box takes the first two points"),
        ([[[1, 1, 2], [9, 9, 3], [2, 2, 2]]], "labels of points are"),
        ([[[1, 2, 0]]], "points beside it only"),
        ([[[9, 9, 2], [1, 1, 3]]], "a box is empty"),
        ([[[np.nan, 2, 1]]], "not finite"),
        ([[[1, 2]]], r"shape \(1, 1, 2\)"),
        (np.zeros((1, 0, 3)), r"shape \(1, 0, 3\): an object has no point"),
    ],
)
def test_prompts_that_are_none(prompts, why):
    with pytest.raises(ValueError, match=why):
        checked_prompts(prompts)


class Noise:
    size = (WIDTH, HEIGHT)

    def __len__(self):
        return 5

    def walk(self, start, step=1):
        frames = list(noise(5))
        yield from frames[start:] if step > 0 else frames[start::-1]


def test_objects_with_and_without_points_go_through_one_engine():
    """Side by side they give what each gives alone, bit by bit where one is tracked at a time."""
    tracker, video = pocket_tracker(), Noise()
    pursuits = [Pursuit(video, 2, p) for p in (BOXES, WITH_POINT, BOXES[:1], WITH_POINT[:1])]
    found = {pursuit: {} for pursuit in pursuits}
    lockstep = Lockstep(tracker, BatchSize("tracking", 8))
    lockstep.add(pursuits)
    left = set(pursuits)
    while left:
        for result in lockstep.step():
            if isinstance(result, Ended):
                assert result.error is None
                left.discard(result.pursuit)
            else:
                found[result.pursuit][result.frame] = result.encode()
    for pursuit in pursuits:
        alone = {f.frame: f for f in tracker.track(video.walk(2), pursuit.prompts)}
        for k, expected in alone.items():
            np.testing.assert_allclose(found[pursuit][k].scores, expected.scores, atol=1e-5)
            assert found[pursuit][k].rles == expected.rles
