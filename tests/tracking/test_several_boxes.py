import numpy as np
import pytest
from number_tracker import BOXES, HEIGHT, WIDTH, ListVideo, NumberTracker

from fiftyone_revseg.tracking import FrameMasks, encode_masks, track_both_ways
from fiftyone_revseg.tracking.several_boxes import track_prompts


class BoxTracker:
    """Takes the box for the mask in every frame, so that masks tell who governs a frame."""

    def track(self, frames, boxes_xyxy_px, known=()):
        for k, _ in frames:
            masks = np.zeros((len(boxes_xyxy_px), HEIGHT, WIDTH), bool)
            for mask, box in zip(masks, np.asarray(boxes_xyxy_px, int), strict=True):
                mask[box[1] : box[3], box[0] : box[2]] = True
            yield FrameMasks(k, encode_masks(masks), np.full(len(masks), 0.5))


def box_of(number):
    """A box that is ``number`` pixels large."""
    return [0, 0, number, 1]


@pytest.mark.parametrize("key", [0, 3, 6])
def test_one_prompt_is_the_same_as_tracking_both_ways(key):
    trackers = NumberTracker(), NumberTracker()
    track = track_prompts(trackers[0], ListVideo(7), {key: BOXES[0]})
    (expected,) = track_both_ways(trackers[1], ListVideo(7), key, BOXES[:1])
    assert track == expected
    assert trackers[0].passes == trackers[1].passes


def test_each_prompt_governs_the_frames_nearest_to_it():
    boxes = {8: box_of(8), 1: box_of(1), 4: box_of(4)}  # in any order
    track = track_prompts(BoxTracker(), ListVideo(10), boxes)
    # Frame 6 is as near to 4 as to 8: the earlier one has it
    assert track.masks().sum(axis=(1, 2)).tolist() == [1, 1, 1, 4, 4, 4, 4, 8, 8, 8]
    assert None not in track.scores


def test_no_frame_beyond_halfway_is_walked():
    tracker = NumberTracker()
    track_prompts(tracker, ListVideo(9), {2: BOXES[0], 7: BOXES[0]})
    assert tracker.passes == [[2, 3, 4], [2, 1, 0], [7, 8], [7, 6, 5]]


def test_prompts_in_all_frames_are_each_their_own():
    boxes = {k: box_of(k + 1) for k in range(4)}
    track = track_prompts(BoxTracker(), ListVideo(4), boxes)
    assert track.masks().sum(axis=(1, 2)).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ({}, "no box to track from"),
        ({0: BOXES[0], 5: BOXES[0]}, "no frame 5 in a video of 5 frames"),
        ({-1: BOXES[0]}, "no frame -1 in a video of 5 frames"),
    ],
)
def test_prompts_that_make_no_sense_are_refused_before_tracking(boxes, message):
    tracker = NumberTracker()
    with pytest.raises(ValueError, match=message):
        track_prompts(tracker, ListVideo(5), boxes)
    assert tracker.passes == []
