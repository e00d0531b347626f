"""A second conditioning frame: against sam2's predictor and transformers' sessions."""

import numpy as np
import pytest
import torch
import transformers
from mask_logits import track_logits
from number_tracker import ListVideo, NumberTracker
from passes import ONE, TWO, Noise, aged_tracker, follow
from pocket_tracker import BOXES, HEIGHT, WIDTH, noise, pocket_config, pocket_tracker
from sam2_predictor import tracker_and_predictor
from tiny_trackers import KINDS, SIDE, tiny_model

from fiftyone_revseg.models.batch_size import BatchSize
from fiftyone_revseg.tracking import TransformersTracker, track_both_ways
from fiftyone_revseg.tracking.both_ways import walk_both_ways
from fiftyone_revseg.tracking.known import Anchor, KnownFrame, join_anchors
from fiftyone_revseg.tracking.lockstep import Lockstep, Pursuit
from fiftyone_revseg.tracking.memory import track_frame
from fiftyone_revseg.tracking.preprocess import to_model_images
from fiftyone_revseg.tracking.prompts import to_prompt
from fiftyone_revseg.tracking.side_by_side import form_of, track_side_by_side

FRAMES, KEY = list(noise(26)), 12
OTHER = np.array([[10, 8, 40, 30], [20, 5, 50, 35]], np.float32)  # the same objects elsewhere
AGED = {
    "add_tpos_enc_to_obj_ptrs": True,
    "proj_tpos_enc_in_obj_ptrs": True,
    "use_signed_tpos_enc_to_obj_ptrs": True,
}


def known_at(places):
    return [KnownFrame(k, FRAMES[k][1], OTHER + i) for i, k in enumerate(places)]


NANO = pocket_config()
# Before the walk, on its way, at both ends, more than the model looks at
CASES = [
    (NANO, (2,), False),
    (NANO, (11,), True),
    (NANO | AGED, (20,), False),
    (NANO | AGED, (0, 25), True),
    (NANO | AGED | {"max_cond_frames_in_attn": 2}, (5, 9, 18), False),
    (NANO | AGED | {"max_cond_frames_in_attn": 2}, (5, 9, 18), True),
]


@pytest.mark.parametrize(("config", "places", "reverse"), CASES)
def test_equals_sam2s_predictor(config, places, reverse, tmp_path):
    from PIL import Image

    tracker, predictor = tracker_and_predictor(config)
    for k, frame in FRAMES:
        Image.fromarray(frame).save(tmp_path / f"{k:05d}.jpg")
    state = predictor.init_state(str(tmp_path))
    state["images"] = to_model_images([f for _, f in FRAMES], predictor.image_size)
    state["cached_features"].clear()
    for k, boxes in ((KEY, BOXES), *((one.frame, one.prompts) for one in known_at(places))):
        for n, box in enumerate(boxes):
            predictor.add_new_points_or_box(state, frame_idx=k, obj_id=n, box=box)
    theirs = {
        k: logits[:, 0].numpy()
        for k, _, logits in predictor.propagate_in_video(
            state, start_frame_idx=KEY, reverse=reverse
        )
    }
    walk = FRAMES[KEY::-1] if reverse else FRAMES[KEY:]
    ours = dict(track_logits(tracker, walk, BOXES, known_at(places)))
    assert ours.keys() == theirs.keys()
    for k, logits in ours.items():
        sized = torch.nn.functional.interpolate(
            torch.from_numpy(logits)[:, None], (HEIGHT, WIDTH), mode="bilinear"
        )[:, 0].numpy()
        np.testing.assert_allclose(sized, theirs[k], rtol=0, atol=1e-4)
    # Not equal because what is known does nothing
    alone = dict(track_logits(tracker, walk[:3], BOXES))
    after = walk[2][0]
    assert np.abs(alone[after] - ours[after]).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("places", "reverse"), [((2,), False), ((20,), False), ((5, 18), True)])
def test_equals_transformers_own_session(kind, places, reverse):
    model = tiny_model(kind)
    name = type(model).__name__.replace("Model", "InferenceSession")
    session = getattr(transformers, name)(dtype=torch.float32)
    plain = ((0.5,) * 3, (0.5,) * 3) if "sam3" in kind else ()
    images = {k: to_model_images([frame], SIDE, "cpu", *plain)[0] for k, frame in FRAMES}
    theirs = {}
    for k, boxes in ((KEY, BOXES), *((one.frame, one.prompts) for one in known_at(places))):
        prompt = to_prompt(boxes, (WIDTH, HEIGHT), SIDE)
        for i in range(2):
            points = {key: value[i][None, None] for key, value in prompt.items()}
            session.add_point_inputs(session.obj_id_to_idx(i), k, points)
        session.obj_with_new_inputs = [0, 1]
        theirs[k] = model(session, frame=images[k], frame_idx=k).pred_masks[:, 0].numpy()
    walk = FRAMES[KEY::-1] if reverse else FRAMES[KEY:]
    for k, _ in walk:
        if k not in theirs:
            out = model(session, frame=images[k], frame_idx=k, reverse=reverse)
            theirs[k] = out.pred_masks[:, 0].numpy()
    # As transformers does it: random weights make much of the last digits of a batch
    tracker = TransformersTracker(model, device="cpu", frames_ahead=1)
    for k, logits in track_logits(tracker, walk, BOXES, known_at(places)):
        np.testing.assert_allclose(logits, theirs[k], rtol=0, atol=1e-4)


@pytest.mark.parametrize("make", [pocket_tracker, aged_tracker])
@pytest.mark.parametrize("objects", [1, 3, 16])
def test_side_by_side_equals_the_tracker_alone(make, objects):
    tracker = make()
    short, long = Noise(9), Noise(23, seed=1)
    pursuits = [
        Pursuit(long, 4, TWO, known=[(9, OTHER)]),
        Pursuit(long, 15, ONE, known=[(9, OTHER[:1])], within=(10, 18)),
        Pursuit(short, 0, ONE),
        Pursuit(short, 8, ONE, known=[(1, OTHER[1:]), (3, OTHER[:1])], within=(3, 8)),
        Pursuit(Noise(12, seed=2), 5, ONE, known=[(4, OTHER[:1]), (6, OTHER[:1])]),
        Pursuit(Noise(12, seed=3), 5, ONE, within=(5, 5)),
    ]
    found, ended = follow(Lockstep(tracker, BatchSize("tracking", objects)), pursuits)
    assert set(ended.values()) == {None}
    for pursuit, masks in zip(pursuits, found, strict=True):
        first, last = pursuit.within or (0, len(pursuit.video) - 1)
        assert sorted(masks) == list(range(first, last + 1))
        tracks = track_both_ways(
            tracker,
            pursuit.video,
            pursuit.key_frame,
            pursuit.prompts,
            pursuit.known,
            pursuit.within,
        )
        for n, track in enumerate(tracks):
            for k, one in masks.items():
                assert one.rles[n] == track.rles[k]
                assert one.scores[n] == pytest.approx(
                    track.scores[k], abs=1e-6 if objects == 1 else 1e-5
                )
            assert {k for k, score in enumerate(track.scores) if score is not None} == set(masks)


def test_as_many_conditioning_frames_go_together(monkeypatch):
    tracker, counts = pocket_tracker(), []
    step = tracker.step_together

    def counted(features, memories, prompts, sizes):
        counts.append(len(memories))
        return step(features, memories, prompts, sizes)

    monkeypatch.setattr(tracker, "step_together", counted)
    pursuits = [
        Pursuit(Noise(20, seed=i), 10, ONE, known=[(2 + i, OTHER[:1])], within=(10, 19))
        for i in range(4)
    ]
    follow(Lockstep(tracker, BatchSize("tracking", 8)), pursuits)
    assert sum(counts) == 4 * 11  # the known frame, and the ten
    assert len(counts) < 2 * 11  # as of two at a time, whatever a decoder is late with


def test_where_a_walk_comes_to_a_known_frame_its_own_prompts_answer():
    tracker = pocket_tracker()
    known = known_at((5, 18))
    answers = dict(track_logits(tracker, FRAMES, BOXES, known))
    for one in known:
        (alone,) = track_logits(tracker, [FRAMES[one.frame]], one.prompts)
        np.testing.assert_array_equal(answers[one.frame], alone[1])


def test_what_memory_holds_stops_growing():
    tracker = pocket_tracker()
    memory, sizes = tracker.new_memory(), []
    with torch.inference_mode():
        for k in range(40):
            (features,) = tracker.encode([FRAMES[k % 26][1]])
            prompt = tracker._prompt(ONE, (HEIGHT, WIDTH)) if k == 0 else None
            if k == 1:
                anchors = []
                for distance in (-3, 20):
                    other = tracker.new_memory()
                    out = track_frame(
                        tracker.model, features, other, 1, tracker._prompt(ONE, (HEIGHT, WIDTH))
                    )
                    anchors.append(Anchor(distance, other, out))
                join_anchors(memory, anchors, 0, 1)
            if k == 20:
                memory.skip()
            else:
                track_frame(tracker.model, features, memory, 1, prompt)
            recent = memory.outputs["non_cond_frame_outputs"]
            maps = sum(output["maskmem_features"] is not None for output in recent.values())
            sizes.append((len(recent), maps))
    model = tracker.model
    assert max(sizes) == (model.max_obj_ptrs_in_encoder - 1, model.num_maskmem - 1)
    assert sizes[-1] == max(sizes)
    assert list(memory.outputs["cond_frame_outputs"]) == [0, 3, 23]


def test_memories_with_a_gap_are_not_put_together_with_those_without():
    tracker = pocket_tracker()
    with torch.inference_mode():
        (features,) = tracker.encode([FRAMES[0][1]])
        memories = []
        for distance in (3, 30):
            prompt = tracker._prompt(ONE, (HEIGHT, WIDTH))
            other, memory = tracker.new_memory(), tracker.new_memory()
            for m in (other, memory):
                track_side_by_side(tracker.model, [features], [m], [1], prompt)
            memory.join(other, distance)
            memories.append(memory)
        same = []
        for k in range(1, 14):
            same.append(form_of(tracker.model, memories[0]) == form_of(tracker.model, memories[1]))
            for distance, memory in zip((3, 30), memories, strict=True):
                if k == distance:
                    memory.skip()
                else:
                    track_side_by_side(tracker.model, [features], [memory], [1])
    assert same[:3] == [True] * 3
    assert not any(same[3:])  # one has its second conditioning frame behind it, the other ahead


def test_walks_stay_within():
    tracker = NumberTracker()
    (track, _) = track_both_ways(tracker, ListVideo(9), 4, BOXES / 8, within=(2, 5))
    assert tracker.passes == [[4, 5], [4, 3, 2]]
    assert [score is not None for score in track.scores] == [2 <= k <= 5 for k in range(9)]
    tracker = NumberTracker()
    track_both_ways(tracker, ListVideo(9), 4, BOXES / 8, within=(4, 8))
    assert tracker.passes == [[4, 5, 6, 7, 8]]


def test_a_known_frame_that_does_not_decode_ends_its_pursuit_only():
    pursuits = [
        Pursuit(Noise(9, breaks_at=8), 2, ONE, known=[(8, OTHER[:1])], within=(0, 4)),
        Pursuit(Noise(9, seed=1), 2, ONE, known=[(8, OTHER[:1])]),
    ]
    found, ended = follow(Lockstep(pocket_tracker(), BatchSize("tracking", 4)), pursuits)
    assert isinstance(ended[0], OSError)
    assert not found[0]
    assert ended[1] is None
    assert len(found[1]) == 9


WRONG = [
    ({"known": [(3, BOXES)]}, "frame 3 is given twice"),
    ({"known": [(1, BOXES), (1, BOXES)]}, "frame 1 is given twice"),
    ({"known": [(1, BOXES[:1])]}, "prompts of 1 objects, the key frame of 2"),
    ({"known": [(1, BOXES[:, ::-1])]}, "a box is empty or not finite"),
    ({"known": [(7, BOXES)]}, "no frame 7 in a video of 7 frames"),
    ({"known": [(-1, BOXES)]}, "no frame -1 in a video of 7 frames"),
    ({"within": (4, 6)}, "no stretch around the key frame 3"),
    ({"within": (0, 7)}, "no stretch around the key frame 3"),
    ({"within": (-1, 4)}, "no stretch around the key frame 3"),
]


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_what_makes_no_sense_is_refused_before_tracking(given, message):
    tracker = NumberTracker()
    with pytest.raises(ValueError, match=message):
        list(walk_both_ways(tracker, ListVideo(7), 3, BOXES, **given))
    assert tracker.passes == []
    with pytest.raises(ValueError, match=message):
        Pursuit(ListVideo(7), 3, BOXES, **given)


def test_a_tracker_itself_refuses_what_makes_no_sense():
    with pytest.raises(ValueError, match="frame 12 is given twice"):
        list(pocket_tracker().track(FRAMES[12:], BOXES, known_at((12,))))
    known = [KnownFrame(5, np.zeros((9, 9, 3), np.uint8), BOXES)]
    with pytest.raises(ValueError, match="frame 5 is uint8 of"):
        list(pocket_tracker().track(FRAMES[12:], BOXES, known))
