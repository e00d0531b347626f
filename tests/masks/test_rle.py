"""Our run-length encoding against that of pycocotools."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from fiftyone_revseg.masks.rle import rle_areas
from fiftyone_revseg.tracking import decode_masks, encode_masks

sparse = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12), fill=st.just(False))
dense = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans())


@given(sparse | dense)
@example(np.ones((3, 4), bool))
@example(np.eye(5, dtype=bool))
def test_the_runs_are_those_of_pycocotools(mask):
    (rle,) = encode_masks(mask[None])
    if not mask.any():
        assert rle is None
        return
    expected = coco.encode(np.asfortranarray(mask, np.uint8))
    assert rle == {"size": list(mask.shape), "counts": expected["counts"].decode()}
    np.testing.assert_array_equal(decode_masks([rle], mask.shape[::-1])[0], mask)


@pytest.mark.parametrize("count", [0, 1, 255, 256, 511, 1000])
def test_any_number_of_masks_is_counted_at_once(count):
    # Masks of 0 to 6 pixels
    rles = [encode_masks(np.arange(6).reshape(1, 2, 3) < k % 7)[0] for k in range(count)]
    np.testing.assert_array_equal(rle_areas(rles), [k % 7 for k in range(count)])
