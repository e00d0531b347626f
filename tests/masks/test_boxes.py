import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_revseg.masks.boxes import box_around, box_iou

edges = st.tuples(*[st.floats(0, 100)] * 4)
boxes = edges.map(lambda e: (min(e[0], e[2]), min(e[1], e[3]), max(e[0], e[2]), max(e[1], e[3])))


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1),
        ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3),
        ((0, 0, 1, 1), (1, 1, 2, 2), 0),
        ((0, 0, 1, 1), (3, 3, 4, 4), 0),
        ((1, 1, 1, 1), (1, 1, 1, 1), 0),
    ],
)
def test_box_iou_by_hand(a, b, iou):
    assert box_iou(a, b) == pytest.approx(iou)


def test_the_box_around_a_mask_has_exclusive_ends():
    mask = np.zeros((5, 6), bool)
    assert box_around(mask) is None
    mask[1:3, 2:6] = True
    assert box_around(mask) == (2, 1, 6, 3)


@given(boxes, boxes)
def test_iou_is_symmetric_and_one_only_with_itself(a, b):
    assert box_iou(a, b) == box_iou(b, a)
    assert 0 <= box_iou(a, b) <= 1 + 1e-9
    if (a[2] - a[0]) * (a[3] - a[1]) > 1e-3:
        assert box_iou(a, a) == pytest.approx(1)
