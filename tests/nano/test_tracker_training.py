import csv

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from fiftyone_revseg.masks.boxes import box_around
from fiftyone_revseg.nano.tracker_clips import (
    MIN_AREA,
    _cover,
    jitter_box,
    random_clip,
)
from fiftyone_revseg.nano.tracker_report import evaluate_tracker, summarize, write_model_card
from fiftyone_revseg.nano.tracker_training import (
    TrackerTraining,
    _RawLogits,
    _resized,
    clip_losses,
    train_tracker,
)
from fiftyone_revseg.tracking import FrameMasks, Sam2Tracker, encode_masks
from fiftyone_revseg.tracking.checkpoints import EMBEDDED, build_model, read_config

FEW = TrackerTraining(
    image_steps=2,
    clip_steps=2,
    image_batch=2,
    clip_batch=1,
    clip_length=3,
    save_every=1,
    report_worlds=0,
)


@pytest.fixture(scope="module")
def pocket_yaml(tmp_path_factory):
    """Nano at 64 pixels."""
    config = read_config(EMBEDDED / "sam2-nano" / "config.yaml")
    config["image_size"] = 64
    config["image_encoder"]["trunk"] |= {"window_spec": [8, 4, 4, 2]}
    for attention in ("self_attention", "cross_attention"):
        config["memory_attention"]["layer"][attention]["feat_sizes"] = [4, 4]
    path = tmp_path_factory.mktemp("pocket") / "config.yaml"
    path.write_text(yaml.safe_dump({"model": config}))
    return path


def train(directory, settings, config):
    return train_tracker(directory, settings, config, device="cpu", progress=False)


@pytest.mark.parametrize("length", [1, 4])
def test_clips_are_what_they_say(length):
    for seed in range(10):
        clip = random_clip(np.random.default_rng(seed), length, objects=2)
        height, width = clip.frames.shape[1:3]
        assert clip.frames.shape == (length, height, width, 3)
        assert clip.frames.dtype == np.uint8
        assert clip.masks.shape == (2, length, height, width)
        assert clip.boxes_xyxy_px.shape == (2, 4)
        for mask, box in zip(clip.masks[:, 0], clip.boxes_xyxy_px, strict=True):
            assert mask.sum() >= MIN_AREA
            x0, y0, x1, y1 = box
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
            true = np.array(box_around(mask))
            overlap = np.minimum(box, true)[2:] - np.maximum(box, true)[:2]
            assert (overlap >= 0.45 * (true[2:] - true[:2])).all()


def test_clips_depend_on_the_seed_alone():
    a, b, c = (random_clip(np.random.default_rng(s), 3, 2) for s in (1, 1, 2))
    np.testing.assert_array_equal(a.frames, b.frames)
    np.testing.assert_array_equal(a.boxes_xyxy_px, b.boxes_xyxy_px)
    assert a.frames.shape != c.frames.shape or (a.frames != c.frames).any()


def test_clips_go_both_ways_and_lose_their_objects_at_times():
    clips = [random_clip(np.random.default_rng(s), 4, 1) for s in range(60)]
    areas = np.array([c.masks[0].sum(axis=(1, 2)) for c in clips])
    assert ((areas[:, 0] > 0) & (areas[:, -1] == 0)).sum() >= 3
    assert (areas > 0).all(axis=1).sum() >= 20


def test_jitter_moves_boxes_but_not_out_of_the_frame():
    box = np.array([0, 10, 40, 50], np.float32)
    moved = np.array([jitter_box(np.random.default_rng(s), box, 42, 60) for s in range(200)])
    assert moved.min() >= 0
    assert (moved[:, 2] <= 42).all()
    assert (np.abs(moved - box) <= 10.001).all()
    assert len(np.unique(moved, axis=0)) > 50


def test_a_covered_object_is_hidden_and_its_mask_says_so():
    frames = np.zeros((4, 30, 30, 3), np.uint8)
    masks = np.zeros((1, 4, 30, 30), bool)
    masks[:, :, 10:20, 10:20] = True
    _cover(np.random.default_rng(0), frames, masks)
    hidden = ~masks.any(axis=(0, 2, 3))
    assert hidden.any()
    assert not hidden[0]
    for t in range(4):
        assert (frames[t, 10:20, 10:20] > 0).all() == hidden[t]


def test_truth_is_the_share_of_each_cell():
    masks = np.zeros((1, 1, 8, 8), bool)
    masks[..., :2] = True
    assert _resized(masks, 4)[0, 0, 0].tolist() == pytest.approx([7 / 8, 1 / 8, 0, 0], abs=0.03)


def test_gradients_go_through_the_memory_to_the_key_frame(pocket_yaml):
    torch.manual_seed(0)
    model = build_model(read_config(pocket_yaml)).train()
    logits = _RawLogits(model)
    clip = random_clip(np.random.default_rng(0), 3, 2)
    masks = clip.masks.copy()
    masks[:, :2] = False  # nothing to learn but in the last frame
    masks[:, 2, 40:80, 40:80] = True
    losses = clip_losses(model, logits, [type(clip)(clip.frames, masks, clip.boxes_xyxy_px)])
    losses["focal"].backward()
    for part in (model.memory_attention, model.memory_encoder, model.image_encoder):
        norms = [p.grad.abs().sum() for p in part.parameters() if p.grad is not None]
        assert sum(norms) > 0
    # The corners of the box reach the last frame by way of the memory only.
    assert model.sam_prompt_encoder.point_embeddings[2].weight.grad.abs().sum() > 0


def test_a_hidden_object_teaches_the_score_and_not_the_mask(pocket_yaml):
    model = build_model(read_config(pocket_yaml)).train()
    logits = _RawLogits(model)
    clip = random_clip(np.random.default_rng(0), 2, 1)
    nothing = type(clip)(clip.frames, np.zeros_like(clip.masks), clip.boxes_xyxy_px)
    losses = clip_losses(model, logits, [nothing])
    assert losses["focal"] == losses["dice"] == losses["iou_error"] == 0
    assert losses["score_loss"] > 0


def test_a_run_leaves_a_tracker_and_its_curve(tmp_path, pocket_yaml):
    directory = train(tmp_path / "run", FEW, pocket_yaml)
    with (directory / "curve.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4]
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    assert (directory / "curve.png").stat().st_size > 1000
    tracker = Sam2Tracker.load(directory, device="cpu")
    frames = [(k, np.zeros((40, 60, 3), np.uint8)) for k in range(3)]
    assert len(list(tracker.track(frames, [[5, 5, 20, 20]]))) == 3


def test_a_resumed_run_is_the_run_that_was_not_interrupted(tmp_path, pocket_yaml, monkeypatch):
    from fiftyone_revseg.nano import tracker_training as training

    whole = train(tmp_path / "whole", FEW, pocket_yaml)
    advance = training._Run.advance

    def crash(self, logits):
        if self.step == 3:
            raise KeyboardInterrupt
        return advance(self, logits)

    monkeypatch.setattr(training._Run, "advance", crash)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", FEW, pocket_yaml)
    monkeypatch.undo()
    parts = train(tmp_path / "parts", FEW, pocket_yaml)
    a, b = (load_file(d / "model.safetensors") for d in (whole, parts))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    with (parts / "curve.csv").open() as f:
        assert [row["step"] for row in csv.DictReader(f)] == ["1", "2", "3", "4"]


def test_settings_share_out_their_steps():
    assert FEW.steps == 4
    default = TrackerTraining()
    assert (default.steps, default.image_steps) == (1800, 700)


def test_model_card_has_the_figures(tmp_path, pocket_yaml):
    settings = TrackerTraining(**{**FEW.__dict__, "image_steps": 1, "clip_steps": 0})
    train(tmp_path, settings, pocket_yaml)
    assert not (tmp_path / "MODEL_CARD.md").exists()
    settings = TrackerTraining(**{**settings.__dict__, "report_worlds": 1})
    results = write_model_card(tmp_path, settings, seconds=120.0, device="cpu")
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert summarize(results) in card
    assert "2 minutes on 1 thread(s) of" in card
    assert "{" not in card


def test_another_runs_directory_is_refused(tmp_path, pocket_yaml):
    train(tmp_path, FEW, pocket_yaml)
    other = TrackerTraining(**{**FEW.__dict__, "seed": 1})
    with pytest.raises(ValueError, match=r"made with other settings \(seed\)"):
        train(tmp_path, other, pocket_yaml)


class Oracle:
    """Answers with masks it is given, by frame number."""

    def __init__(self, truth: dict) -> None:
        self.truth = truth

    def track(self, frames, boxes_xyxy_px):
        for k, frame in frames:
            key = (frame.tobytes(), tuple(boxes_xyxy_px[0]))
            yield FrameMasks(k, encode_masks(self.truth[key][None]), np.ones(1))


def test_evaluation_gives_the_truth_100_and_nothing_0():
    from fiftyone_revseg.synthetic.world import make_world

    frames, masks = make_world(0, "test").render()
    truth = {}
    for m in masks:
        box = box_around(m[int(m.sum(axis=(1, 2)).argmax())])
        truth |= {(f.tobytes(), box): mask for f, mask in zip(frames, m, strict=True)}
    results = evaluate_tracker(Oracle(truth), worlds=1)
    assert len(results) == len(masks)
    assert all(r.j_and_f == r.key_j == 100 and r.present == 1 for r in results)
    assert "| all |" in summarize(results)
    empty = {key: np.zeros_like(mask) for key, mask in truth.items()}
    for r, m in zip(evaluate_tracker(Oracle(empty), worlds=1), masks, strict=True):
        assert r.j_and_f == pytest.approx(100 * (m.sum(axis=(1, 2)) == 0).mean())
