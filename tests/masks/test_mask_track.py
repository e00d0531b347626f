import json

import numpy as np
import pytest

from fiftyone_revseg.tracking import MaskTrack, decode_masks, encode_masks

SIZE = (13, 7)  # (width, height)


def some_masks() -> np.ndarray:
    masks = np.zeros((3, 7, 13), bool)
    masks[0, 2:5, 3:9] = True
    masks[2] = np.random.default_rng(0).random((7, 13)) > 0.5
    return masks


def test_masks_survive_encoding_and_empty_ones_become_none():
    masks = some_masks()
    rles = encode_masks(masks)
    assert rles[1] is None
    assert rles[0]["size"] == [7, 13]
    json.dumps(rles)
    np.testing.assert_array_equal(decode_masks(rles, SIZE), masks)
    assert encode_masks(np.zeros((0, 7, 13), bool)) == []
    assert decode_masks([], SIZE).shape == (0, 7, 13)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"a mask of \[7, 13\]"):
        decode_masks(encode_masks(some_masks()), (7, 13))


def test_mask_track_answers_per_frame():
    masks = some_masks()
    track = MaskTrack(0, 3, SIZE, tuple(encode_masks(masks)), (0.9, 0.1, 0.5))
    assert track.visible_frames == (0, 2)
    np.testing.assert_array_equal(track.masks(), masks)
    np.testing.assert_array_equal(track.mask(2), masks[2])
    assert not track.mask(1).any()
    assert track.box_xyxy_px(0).tolist() == [3, 2, 9, 5]
    assert track.box_xyxy_px(1) is None


def test_mask_track_round_trips_through_json():
    track = MaskTrack(1, 3, SIZE, tuple(encode_masks(some_masks())), (0.9, None, 0.5))
    assert MaskTrack.from_dict(json.loads(json.dumps(track.to_dict()))) == track


def test_mask_track_needs_one_mask_per_frame():
    with pytest.raises(ValueError, match="1 masks and 2 scores for 2 frames"):
        MaskTrack(0, 2, SIZE, (None,), (0.1, 0.2))
