import copy
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
import torch
from helper_scripts import run_script
from mask_logits import track_logits
from pocket_tracker import BOXES, HEIGHT, WIDTH, noise, pocket_tracker

from fiftyone_revseg.tracking import decode_masks
from fiftyone_revseg.tracking.memory import Memory, encode_frames, track_frame
from fiftyone_revseg.tracking.prompts import to_prompt


def test_every_frame_is_answered_in_order_at_source_size():
    found = list(pocket_tracker().track(noise(7, start=3), BOXES))
    assert [f.frame for f in found] == list(range(3, 10))
    for f in found:
        assert len(f.rles) == 2
        assert f.scores.shape == (2,)
        assert ((f.scores >= 0) & (f.scores <= 1)).all()
        assert decode_masks(f.rles, (WIDTH, HEIGHT)).any()


def test_an_object_that_is_not_seen_has_no_mask_and_a_low_score():
    for f in pocket_tracker(object_score=-50.0).track(noise(3), BOXES):
        assert f.rles == [None, None]
        assert (f.scores < 1e-6).all()


def test_score_is_presence_times_expected_iou():
    tracker = pocket_tracker(object_score=0.7)
    expected = []

    def keep(module, inputs, output):
        _, iou, _, object_score = output
        expected.append(torch.sigmoid(object_score[:, 0]) * iou[:, 0])

    tracker.model.sam_mask_decoder.register_forward_hook(keep)
    found = [f.scores for f in tracker.track(noise(3), BOXES)]
    np.testing.assert_allclose(found, torch.stack(expected), rtol=1e-6)


@pytest.mark.parametrize("ahead", [1, 3, 16])
def test_encoding_ahead_changes_nothing(ahead):
    frames = list(noise(7))
    one = [m for _, m in track_logits(pocket_tracker(frames_ahead=1), frames, BOXES)]
    many = [m for _, m in track_logits(pocket_tracker(frames_ahead=ahead), frames, BOXES)]
    np.testing.assert_allclose(many, one, rtol=0, atol=1e-4)


def test_objects_in_one_batch_are_as_each_on_its_own():
    frames = list(noise(6))
    together = np.array([m for _, m in track_logits(pocket_tracker(), frames, BOXES)])
    for n in range(2):
        alone = np.array([m for _, m in track_logits(pocket_tracker(), frames, BOXES[n : n + 1])])
        np.testing.assert_allclose(together[:, n], alone[:, 0], rtol=0, atol=1e-4)
    assert np.abs(together[:, 0] - together[:, 1]).max() > 1e-2


def test_frames_are_read_no_further_ahead_than_said():
    read = []

    def frames():
        for k, frame in noise(20):
            read.append(k)
            yield k, frame

    tracker = pocket_tracker(frames_ahead=3)
    assert [f.frame for f in islice(tracker.track(frames(), BOXES), 4)] == [0, 1, 2, 3]
    assert len(read) == 6


def test_the_consumer_is_not_left_in_inference_mode():
    for _ in pocket_tracker().track(noise(2), BOXES):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


def test_pruned_memory_answers_as_all_memory_would():
    class Hoard(Memory):
        """Forgets nothing."""

        def add(self, output):
            key = "non_cond_frame_outputs" if self.frame else "cond_frame_outputs"
            self.outputs[key][self.frame] = output
            self.frame += 1

    model = pocket_tracker().model
    images = torch.randn(24, 3, 64, 64)
    logits = []
    with torch.inference_mode():
        for memory in (Memory(model), Hoard(model)):
            for i, features in enumerate(encode_frames(model, images)):
                prompt = to_prompt(BOXES, (WIDTH, HEIGHT), 64) if i == 0 else None
                logits.append(track_frame(model, features, memory, 2, prompt).mask_logits)
    assert all(torch.equal(a, b) for a, b in zip(logits[:24], logits[24:], strict=True))


@pytest.mark.parametrize("stride", [1, 3])
def test_what_memory_holds_stops_growing(stride):
    model = copy.copy(pocket_tracker().model)
    model.memory_temporal_stride_for_eval = stride
    memory, held = Memory(model), []
    features = encode_frames(model, torch.zeros(1, 3, 64, 64))[0]
    with torch.inference_mode():
        for i in range(20):
            prompt = to_prompt(BOXES, (WIDTH, HEIGHT), 64) if i == 0 else None
            track_frame(model, features, memory, 2, prompt)
            recent = memory.outputs["non_cond_frame_outputs"].values()
            maps = sum(o["maskmem_features"] is not None for o in recent)
            held.append((len(memory.outputs["cond_frame_outputs"]), maps, len(recent)))
    maps = (model.num_maskmem - 1) * stride
    assert held[-1] == (1, maps, max(maps, model.max_obj_ptrs_in_encoder - 1))
    assert len(set(held[10:])) == 1


def test_prompt_is_two_corners_and_maybe_the_centre():
    prompt = to_prompt(np.array([[30, 10, 60, 40]]), (60, 40), 256)
    assert prompt["point_coords"].tolist() == [[[128, 64], [256, 256]]]
    assert prompt["point_labels"].tolist() == [[2, 3]]
    prompt = to_prompt(np.array([[30, 10, 60, 40]]), (60, 40), 256, centre_point=True)
    assert prompt["point_coords"].tolist() == [[[128, 64], [256, 256], [192, 160]]]
    assert prompt["point_labels"].tolist() == [[2, 3, 1]]


def test_centre_point_reaches_the_model():
    frames = list(noise(2))
    plain = [m for _, m in track_logits(pocket_tracker(), frames, BOXES)]
    centred = [m for _, m in track_logits(pocket_tracker(centre_point=True), frames, BOXES)]
    assert np.abs(plain[0] - centred[0]).max() > 1e-3


def test_a_prompt_belongs_to_the_key_frame_alone():
    model = pocket_tracker().model
    features = encode_frames(model, torch.zeros(1, 3, 64, 64))[0]
    with pytest.raises(ValueError, match="the key frame, and no other"):
        track_frame(model, features, Memory(model), 1)


def test_no_boxes_and_no_frames():
    tracker = pocket_tracker()
    found = list(tracker.track(noise(3), np.zeros((0, 4))))
    assert [(f.frame, f.rles, f.scores.shape) for f in found] == [
        (0, [], (0,)),
        (1, [], (0,)),
        (2, [], (0,)),
    ]
    assert list(tracker.track(iter(()), BOXES)) == []


@pytest.mark.parametrize(
    "boxes",
    [
        [1, 2, 3, 4],
        [[1, 2, 3]],
        [[5, 5, 5, 9]],
        [[9, 5, 5, 9]],
        [[0, 0, np.nan, 9]],
        [[0, 0, np.inf, 9]],
    ],
)
def test_bad_boxes_are_refused(boxes):
    with pytest.raises(ValueError, match="box"):
        next(pocket_tracker().track(noise(1), boxes))


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((HEIGHT + 1, WIDTH, 3), np.uint8),
        np.zeros((HEIGHT, WIDTH), np.uint8),
        np.zeros((HEIGHT, WIDTH, 3), np.float32),
    ],
)
def test_frames_that_do_not_fit_are_refused(frame):
    frames = [next(noise(1)), (1, frame)]
    with pytest.raises(ValueError, match=r"frame 1 is .* give \(H, W, 3\) uint8 RGB frames"):
        list(pocket_tracker().track(frames, BOXES))


@pytest.mark.parametrize("options", [{"frames_ahead": 0}, {"dtype": torch.int8}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=r"at least one frame|no precision"):
        pocket_tracker(**options)


def test_bfloat16_is_close_to_full_precision():
    frames = list(noise(4))
    full = np.array([m for _, m in track_logits(pocket_tracker(), frames, BOXES)])
    half = np.array(
        [m for _, m in track_logits(pocket_tracker(dtype=torch.bfloat16), frames, BOXES)]
    )
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, full, rtol=0, atol=0.1)


PEAKS = """
import torch
torch.set_num_threads(1)
import pocket_tracker as pocket
from peak_memory import peak
tracked = pocket.pocket_tracker().track(pocket.noise(600), pocket.BOXES)
peaks = [peak() for frame in tracked if frame.rles]
print(peaks[100], peaks[599])
"""


@pytest.mark.slow
def test_peak_memory_does_not_depend_on_the_videos_length():
    early, late = map(float, run_script(PEAKS).split())
    assert late - early < 1  # MiB: what stays of a frame is less than any tensor of it


def test_importing_the_room_does_not_import_torch():
    code = "import sys, fiftyone_revseg.tracking; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
