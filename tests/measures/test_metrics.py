"""J and F against hand-computed cases and against a slow, direct implementation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fiftyone_revseg.masks.rle import encode_masks
from fiftyone_revseg.measures import contour_accuracy, j_and_f, region_similarity
from fiftyone_revseg.measures.bit_masks import Part, boundary_bits, dilate_bits, mask_bits


def square(size, top, left, side):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def whole(height, width):
    """All of a frame, as integers have it."""
    return Part.around(np.array([[0, 0, width, height]]), (width, height), radius=5)


def boundary(mask):
    height, width = mask.shape
    part = whole(height, width)
    bits = boundary_bits(mask_bits(encode_masks(mask[None])[0], part), part)
    return [[bits >> x * part.stride + y & 1 for x in range(width)] for y in range(height)]


def test_j_by_hand():
    pred = square((10, 10), 2, 2, 4)  # 16 pixels
    gt = square((10, 10), 2, 4, 4)  # 16 pixels, 8 of them shared
    assert region_similarity(pred[None], gt[None])[0] == 8 / 24


def test_identical_masks_score_one():
    masks = np.stack([square((30, 40), k, 2 * k, 10) for k in range(5)])
    assert (region_similarity(masks, masks) == 1).all()
    assert (contour_accuracy(masks, masks) == 1).all()
    assert j_and_f(masks, masks) == 1


def test_absent_object_scores_one_only_where_nothing_is_predicted():
    empty, full = np.zeros((20, 20), bool), square((20, 20), 5, 5, 6)
    pred, gt = np.stack([empty, full, empty]), np.stack([empty, empty, full])
    assert region_similarity(pred, gt).tolist() == [1, 0, 0]
    assert contour_accuracy(pred, gt).tolist() == [1, 0, 0]
    assert j_and_f(pred, gt) == pytest.approx(1 / 3)


def test_boundary_by_hand():
    # seg2bmap looks right, down and down right: a square's boundary starts one pixel before it
    # and ends on its last row and column
    edges = boundary(square((6, 6), 2, 2, 2))
    expected = ["......", ".###..", ".#.#..", ".###..", "......", "......"]
    assert ["".join(".#"[v] for v in row) for row in edges] == expected


def test_mask_that_fills_the_frame_has_no_boundary():
    assert not np.any(boundary(np.ones((8, 9), bool)))


def test_tolerance_is_a_disk_that_grows_with_the_diagonal():
    def line(size, x):  # a mask left of x: its boundary is the column x - 1
        mask = np.zeros(size, bool)
        mask[:, :x] = True
        return mask[None]

    # 300 x 400 has a diagonal of 500: radius 4
    size = (300, 400)
    assert contour_accuracy(line(size, 100), line(size, 104))[0] == 1
    assert contour_accuracy(line(size, 100), line(size, 105))[0] == 0
    # one pixel more in the diagonal: radius 5
    size = (301, 400)
    assert contour_accuracy(line(size, 100), line(size, 105))[0] == 1
    assert contour_accuracy(line(size, 100), line(size, 106))[0] == 0


def test_disk_is_round():
    # radius 5 in 300 x 401: (3, 4) is within, (4, 4) is not
    part = whole(300, 401)
    near = dilate_bits(1 << 50 * part.stride + 50, part, 5)
    assert near >> 54 * part.stride + 53 & 1
    assert not near >> 54 * part.stride + 54 & 1


def test_j_and_f_is_the_mean_of_both_means():
    rng = np.random.default_rng(0)
    pred, gt = rng.random((2, 4, 25, 31)) < 0.5
    expected = (region_similarity(pred, gt).mean() + contour_accuracy(pred, gt).mean()) / 2
    assert j_and_f(pred, gt) == pytest.approx(expected)


@pytest.mark.parametrize("shapes", [((2, 4, 4), (3, 4, 4)), ((4, 4), (4, 4))])
def test_shapes_must_agree(shapes):
    with pytest.raises(ValueError, match="same shape"):
        region_similarity(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_no_frames():
    none = np.zeros((0, 4, 4), bool)
    assert contour_accuracy(none, none).shape == (0,)
    with pytest.raises(ValueError, match="at least one frame"):
        j_and_f(none, none)


def direct_boundary(mask):
    """seg2bmap, pixel by pixel."""
    height, width = mask.shape
    out = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            right = mask[y, x + 1] if x + 1 < width else mask[y, x]
            below = mask[y + 1, x] if y + 1 < height else mask[y, x]
            inner = x + 1 < width and y + 1 < height
            diagonal = mask[y + 1, x + 1] if inner else mask[y, x]
            out[y, x] = len({mask[y, x], right, below, diagonal}) > 1
    return out


def direct_f(pred, gt):
    """F from its definition, with all distances between all boundary pixels."""
    radius = math.ceil(0.008 * math.hypot(*pred.shape))
    p, g = np.argwhere(direct_boundary(pred)), np.argwhere(direct_boundary(gt))
    if len(p) == 0 or len(g) == 0:
        return float(len(p) == len(g))
    squared = ((p[:, None] - g[None]) ** 2).sum(-1)
    precision = (squared.min(1) <= radius**2).mean()
    recall = (squared.min(0) <= radius**2).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def direct_j(pred, gt):
    p, g = set(map(tuple, np.argwhere(pred))), set(map(tuple, np.argwhere(gt)))
    return len(p & g) / len(p | g) if p | g else 1.0


@st.composite
def mask_pairs(draw):
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 14)), draw(st.integers(1, 14)))
    return draw(arrays(bool, shape)), draw(arrays(bool, shape))


@settings(max_examples=200, deadline=None)
@given(mask_pairs())
def test_equals_the_direct_implementation(pair):
    pred, gt = pair
    j, f = region_similarity(pred, gt), contour_accuracy(pred, gt)
    for k in range(len(pred)):
        assert j[k] == pytest.approx(direct_j(pred[k], gt[k]), abs=1e-9)
        assert f[k] == pytest.approx(direct_f(pred[k], gt[k]), abs=1e-9)


@pytest.mark.parametrize("size", [(90, 120), (180, 260)])
def test_equals_the_direct_implementation_at_larger_radii(size):
    rng = np.random.default_rng(2)
    y, x = np.mgrid[: size[0], : size[1]]
    for _ in range(3):
        cy, cx, r = rng.uniform(0.2, 0.8) * size[0], rng.uniform(0.2, 0.8) * size[1], 25
        pred = (y - cy) ** 2 + (x - cx) ** 2 < r**2
        gt = (y - cy - 2) ** 2 + (x - cx - rng.integers(1, 6)) ** 2 < (r + 2) ** 2
        ours = contour_accuracy(pred[None], gt[None])[0]
        assert 0 < ours < 1
        assert ours == pytest.approx(direct_f(pred, gt), abs=1e-9)
