"""The data filter's measure: which starts, which frames count, and masks that are early or late."""

import numpy as np
import pytest
from fake_models import BoxTracker

from fiftyone_revseg.synthetic import make_world
from fiftyone_revseg.tracking import FrameMasks, Sam2Tracker, encode_masks
from fiftyone_revseg.training.data_filter import measure_video

SIZE = WIDTH, HEIGHT = 40, 30


class Frames:
    """A video in memory."""

    def __init__(self, frames):
        self._frames = frames
        self.size = frames.shape[2], frames.shape[1]

    def __len__(self):
        return len(self._frames)

    def walk(self, start, step=1):
        for k in range(start, len(self) if step > 0 else -1, step):
            yield k, self._frames[k]


class ShownTracker:
    """Finds what is shown, whatever the box."""

    def __init__(self, masks):
        self.rles = encode_masks(masks)

    def track(self, frames, boxes):
        for k, _ in frames:
            yield FrameMasks(k, [self.rles[k]] * len(boxes), np.full(len(boxes), 0.5))


def black(count):
    return Frames(np.zeros((count, HEIGHT, WIDTH, 3), np.uint8))


def squares(lefts, top=10, side=10):
    """A square whose left side is where ``lefts`` says; none where that is None."""
    masks = np.zeros((len(lefts), HEIGHT, WIDTH), bool)
    for mask, left in zip(masks, lefts, strict=True):
        if left is not None:
            mask[top : top + side, left : left + side] = True
    return masks


def truth_of(masks):
    return dict(enumerate(encode_masks(masks)))


def test_by_hand():
    # The tracker stays where it starts; the object moves by 5 of its 10 pixels, once
    tracker = BoxTracker()
    found = measure_video(black(2), [truth_of(squares([0, 5]))], tracker)
    assert found.iou == pytest.approx((1 + 1 / 3) / 2)
    assert (found.starts, found.offset) == (2, 0)
    # The second start goes on at the second frame, and back from there
    assert [start for start, _ in tracker.calls] == [0, 1, 1]
    assert tracker.calls[0][1] == [[0, 10, 10, 20]]


def test_frames_count_where_the_object_is_or_is_found():
    # On the last frame it is gone, but a mask is left: IoU 0. With that hidden, it does not count
    truth = [truth_of(squares([0, 0, None]))]
    assert measure_video(black(3), truth, BoxTracker()).iou == pytest.approx(2 / 3)
    assert measure_video(black(3), truth, BoxTracker(hidden=(2,))).iou == 1
    # Nor does a frame that nobody annotated
    del truth[0][2]
    assert measure_video(black(3), truth, BoxTracker()).iou == 1


def test_objects_count_alike_and_are_tracked_together():
    still, moving = truth_of(squares([0] * 4)), truth_of(squares([20, None, None, 5], 0))
    tracker = BoxTracker()
    found = measure_video(black(4), [still, moving], tracker)
    # From each of its two frames the second is right there, and wrong on the three others
    assert found.iou == pytest.approx((1 + 1 / 4) / 2)
    assert [len(boxes) for start, boxes in tracker.calls if start == 0] == [2]
    assert found.starts == 4


@pytest.mark.parametrize(
    ("starts", "expected"), [(None, range(2, 12)), (1, [7]), (2, [4, 9]), (50, range(2, 12))]
)
def test_starts_are_spread_over_the_frames_with_an_object(starts, expected):
    truth = truth_of(squares([None] * 2 + [0] * 10))
    tracker, told = BoxTracker(), []
    found = measure_video(black(12), [truth], tracker, starts, lambda *done: told.append(done))
    assert sorted({start for start, _ in tracker.calls}) == list(expected)
    assert found.starts == len(list(expected))
    assert told == [(n, found.starts) for n in range(found.starts + 1)]


@pytest.mark.parametrize("offset", [-3, -1, 0, 2, 3])
def test_shifted_masks_are_found(offset):
    shown = squares([2 * k for k in range(15)])
    # The masks of frame k are those of what is seen in frame k + offset
    truth = {k: rle for k, rle in truth_of(np.roll(shown, -offset, 0)).items() if 3 <= k < 12}
    found = measure_video(black(15), [truth], ShownTracker(shown))
    assert found.offset == offset
    assert found.by_offset[offset] == 1
    assert found.iou == found.by_offset[0]
    assert list(found.by_offset) == [-3, -2, -1, 0, 1, 2, 3]


def test_masks_of_an_object_that_hardly_moves_are_not_called_shifted():
    shown = squares([k // 6 for k in range(15)])
    found = measure_video(black(15), [truth_of(np.roll(shown, 1, 0))], ShownTracker(shown))
    assert found.offset == 0


def test_what_cannot_be_measured_is_said():
    truth = truth_of(squares([0, 0]))
    with pytest.raises(ValueError, match="no true mask"):
        measure_video(black(2), [truth_of(squares([None, None]))], BoxTracker())
    with pytest.raises(ValueError, match="no true mask"):
        measure_video(black(2), [], BoxTracker())
    with pytest.raises(ValueError, match="at least once"):
        measure_video(black(2), [truth], BoxTracker(), starts=0)
    with pytest.raises(ValueError, match=r"true masks are of \[30, 40\].* video of \[60, 80\]"):
        measure_video(Frames(np.zeros((2, 60, 80, 3), np.uint8)), [truth], BoxTracker())


def test_with_the_embedded_tracker():
    """A synthetic video with its masks, and with the masks of two frames later."""
    world = make_world(0, "test")
    frames, masks = world.render()
    seen = masks.any(axis=(2, 3)).all(axis=1)
    moving = int(np.argmax(seen * _speeds(masks)))
    frames, masks = frames[:16], masks[moving, :16]
    tracker = Sam2Tracker.load("sam2-nano", device="cpu")
    true = measure_video(Frames(frames), [truth_of(masks)], tracker, starts=3)
    assert true.iou > 0.6
    assert true.offset == 0
    early = {k: rle for k, rle in truth_of(np.roll(masks, -2, 0)).items() if k < 14}
    shifted = measure_video(Frames(frames), [early], tracker, starts=3)
    assert shifted.offset == 2
    assert shifted.iou < true.iou


def _speeds(masks):
    """How far the centre of each object goes from first to last frame, in pixels per side."""
    speeds = []
    for of_object in masks[:, :16]:
        visible = [np.argwhere(mask) for mask in of_object if mask.any()]
        if len(visible) < 2:
            speeds.append(0.0)
            continue
        way = np.hypot(*(visible[-1].mean(0) - visible[0].mean(0)))
        speeds.append(way / np.sqrt(len(visible[0])))
    return np.array(speeds)
