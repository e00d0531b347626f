"""Scores from run-length encoded masks, against the definition written down once more."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fiftyone_revseg.measures import region_similarity
from fiftyone_revseg.measures.bit_masks import Part, boundary_bits, dilate_bits, mask_bits
from fiftyone_revseg.measures.score_workers import Workers
from fiftyone_revseg.measures.scoring import Pair, score_many, score_rles, union_rles
from fiftyone_revseg.tracking import decode_masks, encode_masks

# An independent implementation: one frame, full masks, a dilation that tries all of the disk


def defined_j(pred, gt):
    union = (pred | gt).sum()
    return (pred & gt).sum() / union if union else 1.0


def defined_f(pred, gt):
    height, width = pred.shape
    radius = math.ceil(0.008 * math.sqrt(height**2 + width**2))
    pred, gt = defined_boundary(pred), defined_boundary(gt)
    if not pred.any() or not gt.any():
        return 1.0 if pred.any() == gt.any() else 0.0
    precision = (pred & defined_dilation(gt, radius)).sum() / pred.sum()
    recall = (gt & defined_dilation(pred, radius)).sum() / gt.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def defined_boundary(mask):
    height, width = mask.shape
    edges = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            beside = {(min(y + dy, height - 1), min(x + dx, width - 1)) for dy, dx in NEIGHBOURS}
            if y == height - 1 or x == width - 1:  # the neighbour across is not there
                beside.discard((y, x))
            edges[y, x] = any(mask[place] != mask[y, x] for place in beside)
    return edges


NEIGHBOURS = ((0, 1), (1, 0), (1, 1))


def defined_dilation(edges, radius):
    height, width = edges.shape
    near = np.zeros_like(edges)
    for y, x in np.argwhere(edges):
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                inside = 0 <= y + dy < height and 0 <= x + dx < width
                if inside and dy * dy + dx * dx <= radius * radius:
                    near[y + dy, x + dx] = True
    return near


@st.composite
def masks(draw, height, width):
    """(H, W) bool of the kinds that occur, and of those that break things."""
    kind = draw(st.sampled_from(["noise", "blob", "box", "pixel", "empty", "full", "hole"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), bool)
    if kind == "noise":
        mask = rng.random((height, width)) < rng.choice([0.05, 0.5, 0.95])
    elif kind == "blob":  # may reach out of the frame, and be in two parts
        for _ in range(rng.integers(1, 3)):
            cy, cx = rng.uniform(-3, height + 3), rng.uniform(-3, width + 3)
            angle = np.arctan2(y - cy, x - cx)
            edge = rng.uniform(0.5, max(height, width) / 2 + 0.5) * (1 + 0.3 * np.sin(5 * angle))
            mask |= np.hypot(y - cy, x - cx) < edge
    elif kind == "box":
        (top, bottom), (left, right) = np.sort(rng.integers(0, [[height + 1], [width + 1]], (2, 2)))
        mask[top:bottom, left:right] = True
    elif kind == "pixel":
        mask[
            rng.choice([0, rng.integers(height), -1]), rng.choice([0, rng.integers(width), -1])
        ] = 1
    elif kind in ("full", "hole"):
        mask[:] = True
        if kind == "hole":
            mask[rng.integers(height), rng.integers(width)] = False
    return mask


@st.composite
def clips(draw, heights=(1, 24), widths=(1, 24)):
    height, width = draw(st.integers(*heights)), draw(st.integers(*widths))
    pair = st.tuples(masks(height, width), masks(height, width))
    drawn = draw(st.lists(pair, min_size=1, max_size=3))
    return tuple(np.stack(side) for side in zip(*drawn, strict=True))


def score(pred, gt):
    return score_rles(encode_masks(pred), encode_masks(gt), gt.shape[:0:-1])


@settings(max_examples=150, deadline=None)
@given(clips())
@example((np.ones((1, 1, 1), bool), np.zeros((1, 1, 1), bool)))
@example((np.ones((1, 5, 7), bool), np.zeros((1, 5, 7), bool)))
def test_equals_the_definition(clip):
    pred, gt = clip
    found = score(pred, gt)
    for k in range(len(gt)):
        assert found.j[k] == pytest.approx(defined_j(pred[k], gt[k]), abs=1e-9)
        assert found.f[k] == pytest.approx(defined_f(pred[k], gt[k]), abs=1e-9)
    # Of whole masks, to the last bit
    assert found.j.tolist() == region_similarity(pred, gt).tolist()
    assert found.intersection.tolist() == (pred & gt).sum((1, 2)).tolist()
    assert found.pred_area.tolist() == pred.sum((1, 2)).tolist()
    assert found.gt_area.tolist() == gt.sum((1, 2)).tolist()
    assert found.accuracy == pytest.approx((pred == gt).mean((1, 2)), abs=1e-9)


@settings(max_examples=4, deadline=None)
@given(clips((100, 180), (130, 320)))
def test_equals_the_definition_at_larger_radii(clip):
    pred, gt = clip
    found = score(pred[:1], gt[:1])
    assert found.j[0] == pytest.approx(defined_j(pred[0], gt[0]), abs=1e-9)
    assert found.f[0] == pytest.approx(defined_f(pred[0], gt[0]), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_prediction_of_another_size_is_scaled_to_the_truth(data):
    height, width, rows, columns = (data.draw(st.integers(1, 24)) for _ in range(4))
    gt, pred = data.draw(masks(height, width)), data.draw(masks(rows, columns))
    y, x = np.arange(height) * rows // height, np.arange(width) * columns // width
    scaled = pred[y][:, x]
    found = score(pred[None], gt[None])
    assert found.j[0] == pytest.approx(defined_j(scaled, gt), abs=1e-9)
    assert found.f[0] == pytest.approx(defined_f(scaled, gt), abs=1e-9)
    assert found.pred_area[0] == scaled.sum()


@settings(max_examples=100, deadline=None)
@given(clips())
def test_f_of_masks_as_integers_has_the_boundaries_of_the_frame(clip):
    mask, other = clip[0][0], clip[1][0]
    if not mask.any():
        return
    height, width = mask.shape
    boxes = np.array([[0, 0, width, height]] * 2)
    part = Part.around(boxes, (width, height), radius=3)

    def image(bits):
        columns = [bits >> x * part.stride & ((1 << height) - 1) for x in range(width)]
        return np.array([[c >> y & 1 for c in columns] for y in range(height)], bool)

    bits = mask_bits(encode_masks(mask[None])[0], part)
    assert np.array_equal(image(bits), mask)
    assert np.array_equal(image(boundary_bits(bits, part)), defined_boundary(mask))
    assert np.array_equal(image(dilate_bits(bits, part, 3)), defined_dilation(mask, 3))
    union = union_rles([rle for rle in encode_masks(np.stack([mask, other])) if rle])
    assert np.array_equal(decode_masks([union], (width, height))[0], mask | other)


def test_by_hand():
    # Squares of 4 x 4, two columns apart, in a frame whose radius is 1
    pred, gt = np.zeros((2, 1, 20, 20), bool)
    pred[0, 5:9, 5:9] = True
    gt[0, 5:9, 7:11] = True
    found = score(pred, gt)
    assert found.j[0] == 8 / 24
    assert (found.intersection[0], found.pred_area[0], found.gt_area[0]) == (8, 16, 16)
    assert found.accuracy[0] == 1 - 16 / 400
    # A boundary starts one pixel before its mask: rings of 5 x 5, 16 pixels, at x from 4 to 8 and
    # from 6 to 10. Of the left one, these are near the right one: x = 5 to 8 of the top row and of
    # the bottom row, and of the column x = 8 the pixels next to those rows. The same from the right
    assert found.f[0] == 10 / 16


def test_far_apart_and_half_found():
    pred, gt = np.zeros((2, 3, 30, 30), bool)
    pred[0, :3, :3], gt[0, 20:, 20:] = True, True  # nothing in common
    pred[1, 5:9, 5:9] = True  # a mask on a frame without the object
    gt[2, 5:9, 5:9] = True  # no mask on a frame with it
    found = score(pred, gt)
    assert found.j.tolist() == found.f.tolist() == [0, 0, 0]


def test_empty_rles_and_none_are_the_same():
    empty = {"size": [4, 6], "counts": "h0"}
    assert decode_masks([empty], (6, 4)).sum() == 0
    found = score_rles([empty, None], [None, empty], (6, 4))
    assert found.j.tolist() == found.f.tolist() == found.accuracy.tolist() == [1, 1]
    assert union_rles([empty]) is union_rles([empty, empty]) is union_rles([]) is None


def test_what_does_not_fit_is_named():
    rle = encode_masks(np.ones((1, 3, 5), bool))[0]
    with pytest.raises(ValueError, match="1 predicted masks for 2 frames"):
        score_rles([rle], [rle, rle], (5, 3))
    with pytest.raises(ValueError, match=r"frame 1 is of \[3, 5\]"):
        score_rles([None, None], [None, rle], (3, 5))
    # pycocotools alone would go on forever
    wrong, right = {**rle, "size": [4, 6]}, encode_masks(np.eye(4, 6, dtype=bool)[None])
    with pytest.raises(ValueError, match=r"runs of a mask of \[4, 6\]"):
        score_rles([wrong], right, (6, 4))
    with pytest.raises(ValueError, match=r"runs of a mask of \[4, 6\]"):
        union_rles([wrong, *right])
    with pytest.raises(ValueError, match="different sizes"):
        union_rles([rle, {**rle, "size": [5, 3]}])


def expressions(count, frames=40):
    rng = np.random.default_rng(3)
    for k in range(count):
        pred, gt = rng.random((2, frames, 8, 9)) < 0.4
        yield Pair(("video", k), encode_masks(pred), encode_masks(gt), (9, 8))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pair_that_does_not_fit_does_not_stop_the_others(workers):
    (rle,) = encode_masks(np.ones((1, 3, 5), bool))
    wrong = Pair("wrong", [None], [rle], (3, 5))
    pairs = [*expressions(30), wrong, *expressions(30)]
    found = list(score_many(pairs, workers))
    assert [key for key, _ in found] == [pair.key for pair in pairs]
    errors = {key: str(got) for key, got in found if isinstance(got, Exception)}
    assert errors == {
        "wrong": "the true mask of frame 0 is of [3, 5] (h, w), but its video of [5, 3]"
    }


def test_many_in_worker_processes():
    alone = list(score_many(expressions(80), workers=1))
    assert [key for key, _ in alone] == [("video", k) for k in range(80)]
    for (key, expected), (other, found) in zip(
        alone, score_many(expressions(80), workers=2), strict=True
    ):
        assert key == other
        assert found.j.tolist() == expected.j.tolist()
        assert found.f.tolist() == expected.f.tolist()


@pytest.mark.parametrize("workers", [1, 2])
def test_takes_only_what_it_needs_ahead(workers):
    taken = []

    def counted():
        for pair in expressions(10_000):
            taken.append(pair.key)
            yield pair

    scores = score_many(counted(), workers)
    for _ in range(20):
        next(scores)
    assert len(taken) <= 80
    scores.close()


def test_worker_that_is_gone_costs_time_only():
    with Workers(abs, 1) as workers:
        assert workers.submit(-3).result() == 3
        workers._processes[0].kill()
        assert workers.submit(-4).result() == 4


def test_error_in_a_worker_arrives():
    with Workers(score_rles, 1) as workers, pytest.raises(ValueError, match="1 predicted masks"):
        workers.submit([None], [], (1, 1)).result()


def test_workers_do_not_run_the_script_again(tmp_path):
    # A script without the customary "if __name__ ..."
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\n"
        "from fiftyone_revseg.measures.scoring import Pair, score_many\n"
        "pairs = (Pair(k, [None] * 100, [None] * 100, (4, 4)) for k in range(40))\n"
        "print(len(list(score_many(pairs, workers=2))))\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=env)
    assert (done.stdout, done.returncode) == ("once\n40\n", 0), done.stderr
