"""The streaming tracker against sam2's own predictor, with the same random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mask_logits import track_logits
from sam2_predictor import tracker_and_predictor

from fiftyone_revseg.tracking.checkpoints import EMBEDDED, _package_config, read_config
from fiftyone_revseg.tracking.preprocess import to_model_images

NANO = EMBEDDED / "sam2-nano" / "config.yaml"
SIZE = (200, 120)  # (width, height): neither square nor the model's
FRAMES, KEY = 49, 24
BOXES = np.array([[20, 30, 90, 100], [110, 10, 180, 70]], np.float32)


def write_clip(directory: Path) -> list[np.ndarray]:
    """Two moving blobs on noise as JPEG files; returns the frames as they decode."""
    from PIL import Image

    rng = np.random.default_rng(0)
    background = rng.integers(0, 255, (SIZE[1] // 8, SIZE[0] // 8, 3), np.uint8).repeat(8, 0)
    background = background.repeat(8, 1)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    frames = []
    for k in range(FRAMES):
        frame = background.copy()
        frame[np.hypot(x - 30 - 2 * k, y - 60) < 25] = (220, 40, 30)
        frame[np.hypot(x - 150 + k, y - 40) < 20] = (30, 60, 220)
        path = directory / f"{k:05d}.jpg"
        Image.fromarray(frame).save(path, quality=95)
        frames.append(np.array(Image.open(path).convert("RGB")))
    return frames


def predictor_logits(predictor, directory: Path, frames, key: int) -> dict[int, np.ndarray]:
    """sam2's own forward pass from a key frame: frame -> (N, H, W) logits at source size."""
    state = predictor.init_state(str(directory))
    # A pixel in a thousand is rounded differently by Pillow: compare the models, not the resizing.
    state["images"] = to_model_images(frames, predictor.image_size)
    state["cached_features"].clear()
    for n, box in enumerate(BOXES):
        predictor.add_new_points_or_box(state, frame_idx=key, obj_id=n, box=box)
    return {
        k: logits[:, 0].numpy()
        for k, _, logits in predictor.propagate_in_video(state, start_frame_idx=key)
    }


def our_logits(tracker, frames) -> list[np.ndarray]:
    """Our pass, resized to the source as the predictor does."""
    from torch.nn.functional import interpolate

    found = track_logits(tracker, enumerate(frames), BOXES)
    return [
        interpolate(torch.from_numpy(logits)[:, None], SIZE[::-1], mode="bilinear")[:, 0].numpy()
        for _, logits in found
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano", "nano with candidates"])
def test_equals_sam2s_predictor_in_both_directions(name, tmp_path):
    config = read_config(NANO)
    if name != "nano":  # the switches of the official models that nano does without
        config |= {
            "multimask_output_in_sam": True,
            "multimask_output_for_tracking": True,
            "multimask_min_pt_num": 0,
            "multimask_max_pt_num": 1,
            "use_multimask_token_for_obj_ptr": True,
            "add_tpos_enc_to_obj_ptrs": True,
            "proj_tpos_enc_in_obj_ptrs": True,
            "use_signed_tpos_enc_to_obj_ptrs": True,
            "max_obj_ptrs_in_encoder": 16,
            "num_maskmem": 7,
            "binarize_mask_from_pts_for_mem_enc": True,
            "sam_mask_decoder_extra_args": {"dynamic_multimask_via_stability": True},
        }
    tracker, predictor = tracker_and_predictor(config)
    frames = write_clip(tmp_path)
    backward = tmp_path / "reversed"
    backward.mkdir()
    for k in range(FRAMES):
        (backward / f"{k:05d}.jpg").symlink_to(tmp_path / f"{FRAMES - 1 - k:05d}.jpg")

    for directory, ordered in ((tmp_path, frames), (backward, frames[::-1])):
        theirs = predictor_logits(predictor, directory, ordered, key=KEY)
        ours = our_logits(tracker, ordered[KEY:])
        assert len(ours) == len(theirs) == 25  # the key frame and 24 more
        for i, logits in enumerate(ours):
            np.testing.assert_allclose(logits, theirs[KEY + i], rtol=0, atol=1e-4)
        # Not equal because nothing happens: masks have an inside and an outside, and change.
        stack = np.stack(ours)
        assert (stack > 0).any()
        assert (stack < 0).any()
        assert np.abs(np.diff(stack, axis=0)).max() > 1e-2


def test_frames_are_prepared_as_sam2_prepares_jpegs(tmp_path):
    from sam2.utils.misc import load_video_frames

    frames = write_clip(tmp_path)
    theirs, _, _ = load_video_frames(str(tmp_path), 256, False, compute_device="cpu")
    ours = to_model_images(frames, 256)
    level = 1 / 255 / 0.224
    difference = (ours - theirs).abs()
    assert difference.max() <= 2.01 * level
    assert (difference > 0.01 * level).float().mean() < 0.002


@pytest.mark.slow
def test_official_architecture_equals_sam2s_predictor(tmp_path):
    config = read_config(_package_config("configs/sam2.1/sam2.1_hiera_t.yaml"))
    config["image_size"] = 128  # the same classes and switches at a 64th of the work
    for attention in ("self_attention", "cross_attention"):
        config["memory_attention"]["layer"][attention]["feat_sizes"] = [8, 8]
    tracker, predictor = tracker_and_predictor(config)
    frames = write_clip(tmp_path)
    theirs = predictor_logits(predictor, tmp_path, frames, key=KEY)
    for i, logits in enumerate(our_logits(tracker, frames[KEY:])):
        np.testing.assert_allclose(logits, theirs[KEY + i], rtol=0, atol=1e-4)
