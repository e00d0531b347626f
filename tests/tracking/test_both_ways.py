import numpy as np
import pytest
from number_tracker import BOXES, HEIGHT, WIDTH, ListVideo, NumberTracker

from fiftyone_revseg.tracking import Tracker, track_both_ways


def test_two_passes_meet_at_the_key_frame_which_is_the_forward_ones():
    tracker = NumberTracker()
    assert isinstance(tracker, Tracker)
    tracks = track_both_ways(tracker, ListVideo(7), 3, BOXES)
    assert tracker.passes == [[3, 4, 5, 6], [3, 2, 1, 0]]
    assert [t.object_id for t in tracks] == [0, 1]
    assert tracks[0].masks().sum(axis=(1, 2)).tolist() == [4, 3, 2, 1, 2, 3, 4]
    assert tracks[0].scores[3] == 1.0  # not the backward pass's 1/11
    assert tracks[0].size == (WIDTH, HEIGHT)
    assert tracks[1].visible_frames == ()
    assert None not in tracks[1].scores


@pytest.mark.parametrize(("key", "passes"), [(0, [[0, 1, 2]]), (2, [[2], [2, 1, 0]])])
def test_key_frame_at_an_end(key, passes):
    tracker = NumberTracker()
    (track, _) = track_both_ways(tracker, ListVideo(3), key, BOXES)
    assert tracker.passes == passes
    assert track.visible_frames == (0, 1, 2)


def test_no_boxes_are_no_tracks():
    tracker = NumberTracker()
    assert track_both_ways(tracker, ListVideo(3), 1, np.zeros((0, 4))) == []
    assert tracker.passes == []


@pytest.mark.parametrize("key", [-1, 3])
def test_key_frame_outside_the_video_is_refused(key):
    with pytest.raises(ValueError, match=f"no frame {key} in a video of 3 frames"):
        track_both_ways(NumberTracker(), ListVideo(3), key, BOXES)
