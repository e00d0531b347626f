"""Our run-length encoding against that of pycocotools."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

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
