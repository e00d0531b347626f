"""transformers' SAM2, EdgeTAM and SAM3's tracker behind the seam."""

import sys
import threading
from itertools import islice

import numpy as np
import pytest
import torch
import transformers
from helper_scripts import run_script
from mask_logits import track_logits
from pocket_tracker import BOXES, HEIGHT, WIDTH, noise
from rendered_worlds import Rendered, first_world, moving
from tiny_trackers import KINDS, SIDE, tiny_model

from fiftyone_revseg.measures import j_and_f
from fiftyone_revseg.tracking import (
    Sam2Tracker,
    Tracker,
    TransformersTracker,
    load_tracker,
    track_both_ways,
)
from fiftyone_revseg.tracking.checkpoints import _package_config, build_model, read_config
from fiftyone_revseg.tracking.convert import to_transformers
from fiftyone_revseg.tracking.memory import Memory
from fiftyone_revseg.tracking.preprocess import to_model_images
from fiftyone_revseg.tracking.prompts import to_prompt
from fiftyone_revseg.tracking.streaming import Stream, encode_frames


@pytest.fixture(scope="module", params=KINDS)
def tracker(request):
    return TransformersTracker(tiny_model(request.param), device="cpu")


@pytest.fixture(scope="module")
def sam2():
    return TransformersTracker(tiny_model("sam2_video"), device="cpu")


@pytest.fixture(scope="module")
def nano_pair():
    return (
        load_tracker("sam2-nano", device="cpu"),
        load_tracker("transformers:sam2-nano", device="cpu"),
    )


@pytest.mark.slow
def test_nano_has_the_masks_that_sam2_gives_it(nano_pair):
    """Real masks of two objects, from the middle both ways."""
    video = Rendered(first_world(moving, bodies=2))
    sam2s, transformers_ = (track_both_ways(t, video, 9, video.boxes(9)) for t in nano_pair)
    for ours, theirs, truth in zip(sam2s, transformers_, video.masks, strict=True):
        assert j_and_f(ours.masks(), truth) > 0.6  # not both wrong
        differ = (ours.masks() != theirs.masks()).sum()
        assert differ <= 1e-3 * truth.sum()
        np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=1e-2)


class Float32Torch:
    """torch, but what would be rounded to bfloat16 is not."""

    bfloat16 = torch.float32

    def __getattr__(self, name):
        return getattr(torch, name)


def test_nano_has_the_logits_that_sam2_gives_it(nano_pair, monkeypatch):
    """To the last digits, where memory is not rounded: rounding makes differences of these."""
    module = sys.modules[transformers.Sam2VideoModel.__module__]
    monkeypatch.setattr(module, "torch", Float32Torch())
    monkeypatch.setattr(Sam2Tracker, "new_memory", lambda self: Memory(self.model))
    video = Rendered(first_world(moving, bodies=2))
    ours, theirs = (
        np.array([m for _, m in track_logits(t, video.walk(0), video.boxes(0))]) for t in nano_pair
    )
    assert np.ptp(ours) > 10
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["sam2", "sam2.1"])
def test_official_architecture_has_the_logits_that_sam2_gives_it(version):
    config = read_config(_package_config(f"configs/{version}/{version}_hiera_t.yaml"))
    config["image_size"] = 128  # the same classes and switches at a 64th of the work
    for attention in ("self_attention", "cross_attention"):
        config["memory_attention"]["layer"][attention]["feat_sizes"] = [8, 8]
    torch.manual_seed(0)
    model = build_model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # or every mask is nearly flat
                parameter.mul_(1.5)
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(50.0)
    converted = to_transformers(config, model.state_dict())
    frames = list(noise(18))  # more than there are object pointers
    ours, theirs = (
        np.array([m for _, m in track_logits(t, frames, BOXES)])
        for t in (
            Sam2Tracker(model, device="cpu"),
            TransformersTracker(converted, device="cpu"),
        )
    )
    assert ours[1:].std(axis=0).max() > 1e-3  # what is seen makes a difference
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-3)


def test_pruned_memory_answers_as_all_memory_would(tracker):
    """Against transformers' own session, which forgets nothing."""
    model = tracker.model
    name = type(model).__name__.replace("Model", "InferenceSession")
    session = getattr(transformers, name)(dtype=torch.float32)
    prompt = to_prompt(BOXES, (WIDTH, HEIGHT), SIDE)
    for i in range(2):
        points = {key: value[i][None, None] for key, value in prompt.items()}
        session.add_point_inputs(session.obj_id_to_idx(i), 0, points)
    session.obj_with_new_inputs = [0, 1]
    frames = list(noise(24))
    plain = ((0.5,) * 3, (0.5,) * 3) if "sam3" in model.config.model_type else ()
    # As transformers does it: random weights make much of the last digits of a batch
    ours = track_logits(TransformersTracker(model, device="cpu", frames_ahead=1), frames, BOXES)
    for (k, frame), (_, logits) in zip(frames, ours, strict=True):
        image = to_model_images([frame], SIDE, "cpu", *plain)[0]
        expected = model(session, frame=image, frame_idx=k).pred_masks[:, 0]
        np.testing.assert_allclose(logits, expected.numpy(), rtol=0, atol=1e-4)
    assert len(session.processed_frames) == len(frames)


def held(session) -> int:
    """The bytes of all tensors that a session refers to, however deep."""
    storages: dict[int, int] = {}

    def look(value) -> None:
        if torch.is_tensor(value):
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, dict):
            for part in value.values():
                look(part)
        elif isinstance(value, (list, tuple)):
            for part in value:
                look(part)
        elif hasattr(value, "__dict__"):
            look(vars(value))

    look(session)
    return sum(storages.values())


def entries(value) -> int:
    """How many things a session's dicts and lists hold."""
    if isinstance(value, dict):
        return len(value) + sum(entries(part) for part in value.values())
    return sum(entries(part) for part in value) if isinstance(value, (list, tuple)) else 0


def test_what_memory_holds_stops_growing(tracker):
    model = tracker.model
    stream, bytes_held, entries_held = Stream(model), [], []
    with torch.inference_mode():
        stream.prompt(to_prompt(BOXES, (WIDTH, HEIGHT), SIDE))
        for k in range(40):
            (features,) = encode_frames(model, torch.full((1, 3, SIDE, SIDE), k / 40))
            stream.step(features)
            bytes_held.append(held(stream.session))
            entries_held.append(entries(vars(stream.session)))
    pointers = model.config.max_object_pointers_in_encoder
    assert len(set(bytes_held[pointers:])) == 1
    assert len(set(entries_held[pointers:])) == 1
    assert not stream.session.processed_frames
    for outputs in stream.session.output_dict_per_obj.values():
        recent = outputs["non_cond_frame_outputs"].values()
        assert list(outputs["cond_frame_outputs"]) == [0]
        assert len(recent) == pointers - 1
        assert sum("maskmem_features" in o for o in recent) == model.config.num_maskmem - 1
        assert not any("high_res_masks" in o or "pred_masks" in o for o in recent)


def test_every_frame_is_answered_in_order_at_source_size(tracker):
    assert isinstance(tracker, Tracker)
    found = list(tracker.track(noise(7, start=3), BOXES))
    assert [f.frame for f in found] == list(range(3, 10))
    for f in found:
        assert [rle["size"] for rle in f.rles] == [[HEIGHT, WIDTH]] * 2
        assert ((f.scores > 0) & (f.scores <= 1)).all()
    assert len({str(f.rles) for f in found}) == 7


def test_an_object_that_is_not_seen_has_no_mask_and_a_low_score():
    tracker = TransformersTracker(tiny_model("sam2_video", score=-50.0), device="cpu")
    for f in tracker.track(noise(3), BOXES):
        assert f.rles == [None, None]
        assert (f.scores < 1e-6).all()


def test_objects_together_are_as_each_on_its_own(tracker):
    frames = list(noise(6))
    together = np.array([m for _, m in track_logits(tracker, frames, BOXES)])
    for n in range(2):
        alone = np.array([m for _, m in track_logits(tracker, frames, BOXES[n : n + 1])])
        np.testing.assert_allclose(together[:, n], alone[:, 0], rtol=0, atol=1e-2)
    assert np.abs(together[:, 0] - together[:, 1]).max() > 1


@pytest.mark.parametrize("ahead", [1, 3])
def test_encoding_ahead_changes_nothing(sam2, ahead):
    frames = list(noise(7))
    usual = [m for _, m in track_logits(sam2, frames, BOXES)]
    other = TransformersTracker(sam2.model, device="cpu", frames_ahead=ahead)
    found = [m for _, m in track_logits(other, frames, BOXES)]
    np.testing.assert_allclose(found, usual, rtol=0, atol=1e-4)


def test_frames_are_read_no_further_ahead_than_said(sam2):
    read = []

    def frames():
        for k, frame in noise(20):
            read.append(k)
            yield k, frame

    assert [f.frame for f in islice(sam2.track(frames(), BOXES), 5)] == [0, 1, 2, 3, 4]
    assert len(read) == 8


def test_threads_that_share_a_model_keep_their_scores_apart(sam2):
    frames = list(noise(8))
    boxes = [BOXES[:1], BOXES[1:], BOXES]
    alone = [[f.scores for f in sam2.track(frames, b)] for b in boxes]
    found = [None] * 3

    def work(i):
        tracker = TransformersTracker(sam2.model, device="cpu")
        found[i] = [f.scores for f in tracker.track(frames, boxes[i])]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(alone, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-5)


def test_no_boxes_and_no_frames(sam2):
    found = list(sam2.track(noise(3), np.zeros((0, 4))))
    assert [(f.frame, f.rles) for f in found] == [(0, []), (1, []), (2, [])]
    assert list(sam2.track(iter(()), BOXES)) == []


@pytest.mark.parametrize("kind", ["sam2_video", "edgetam_video"])
def test_bfloat16_is_close_to_full_precision(kind):
    model, frames = tiny_model(kind), list(noise(4))
    # One candidate: where two are nearly as good, rounding decides between them
    model.mask_decoder.dynamic_multimask_via_stability = False
    model.config.multimask_output_in_sam = False
    full, half = (
        np.array(
            [m for _, m in track_logits(TransformersTracker(model, "", "cpu", d), frames, BOXES)]
        )
        for d in ("float32", "bfloat16")
    )
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, full, rtol=0, atol=0.05 * np.ptp(full))


PEAKS = """
import torch
torch.set_num_threads(1)
from fiftyone_revseg.tracking import TransformersTracker
from peak_memory import peak
from pocket_tracker import BOXES, noise
from tiny_trackers import tiny_model
tracker = TransformersTracker(tiny_model("sam2_video"), device="cpu")
peaks = [peak() for _ in tracker.track(noise(300), BOXES[:1])]
print(peaks[100], peaks[299])
"""


@pytest.mark.slow
def test_peak_memory_does_not_depend_on_the_videos_length():
    early, late = map(float, run_script(PEAKS).split())
    assert late - early < 1  # MiB: what stays of a frame is less than any tensor of it


def follows_the_key_frame(model) -> None:
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(50.0)
    tracker = TransformersTracker(model, device="cpu", dtype="float32")
    frames = [
        (k, np.random.default_rng(k).integers(0, 255, (120, 160, 3), np.uint8)) for k in range(2)
    ]
    logits = [m for _, m in track_logits(tracker, frames, np.array([[20, 20, 90, 100]]))]
    assert [m.shape for m in logits] == [(1, 256, 256)] * 2
    assert np.isfinite(logits).all()
    assert np.abs(logits[0] - logits[1]).max() > 0


@pytest.mark.slow
def test_sam2_tiny_at_its_published_size():
    torch.manual_seed(0)
    follows_the_key_frame(transformers.Sam2VideoModel(transformers.Sam2VideoConfig()))


@pytest.mark.slow
def test_edgetam_at_its_published_size():
    pytest.importorskip("timm")
    torch.manual_seed(0)
    encoder = transformers.TimmWrapperConfig(
        architecture="repvit_m1",
        model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
    )
    vision = transformers.EdgeTamVisionConfig(backbone_config=encoder)
    model = transformers.EdgeTamVideoModel(transformers.EdgeTamVideoConfig(vision_config=vision))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(13.9e6, rel=0.01)
    follows_the_key_frame(model)
