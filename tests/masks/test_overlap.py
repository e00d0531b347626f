"""How much tracks have in common, against masks in full."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fiftyone_revseg.masks.mask_track import MaskTrack
from fiftyone_revseg.masks.overlap import union_of, video_iou
from fiftyone_revseg.masks.rle import decode_masks, encode_masks

FRAMES, HEIGHT, WIDTH = 3, 4, 5
groups = st.integers(0, 3).flatmap(lambda n: arrays(bool, (n, FRAMES, HEIGHT, WIDTH)))


def tracks_of(masks):
    return [
        MaskTrack(n, FRAMES, (WIDTH, HEIGHT), tuple(encode_masks(track)), (1.0,) * FRAMES)
        for n, track in enumerate(masks)
    ]


@settings(deadline=None)
@given(groups, groups)
def test_iou_is_that_of_the_pixels(one, other):
    a, b = one.any(axis=0), other.any(axis=0)
    expected = (a & b).sum() / (a | b).sum() if (a | b).any() else 1.0
    assert video_iou(tracks_of(one), tracks_of(other)) == pytest.approx(expected)


@settings(deadline=None)
@given(groups)
def test_a_union_is_that_of_the_pixels(masks):
    for k in range(FRAMES):
        union = union_of([track.rles[k] for track in tracks_of(masks)])
        assert np.array_equal(decode_masks([union], (WIDTH, HEIGHT))[0], masks.any(axis=0)[k])


def test_masks_of_two_sizes_have_no_union():
    one, other = (encode_masks(np.ones((1, *size), bool))[0] for size in ((4, 6), (6, 4)))
    with pytest.raises(ValueError, match="several sizes"):
        union_of([one, other])
