"""Tracks that broke are asked about again and mended, with a scripted model and tracker."""

import json

import numpy as np
import pytest
from fake_models import write_video
from PIL import Image
from pocket_tracker import pocket_tracker

from fiftyone_revseg.engine import LocalEngine
from fiftyone_revseg.pipeline import EngineJob, RevSeg, Segmentation
from fiftyone_revseg.reasoning import ChainSpec, Reply
from fiftyone_revseg.reasoning.looking_again import Repair
from fiftyone_revseg.tracking import FrameMasks, encode_masks
from fiftyone_revseg.types import Status

WIDTH, HEIGHT, FRAMES = 64, 48, 30
SPEC = ChainSpec(frames=4, frame_size=56, key_frame_size=100, retries=0, anchors=2)
BOX, AGAIN = [0, 0, 25, 50], [50, 50, 75, 100]  # of the 100 x 100 key frame
FIRST, SECOND = (0, 0, 16, 24), (32, 24, 48, 48)  # the same in pixels


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_video(path, WIDTH, HEIGHT, FRAMES)
    return path


class Model:
    """Finds a cat in frame 0, and answers with ``again`` where it is asked once more.

    Args:
        again: replies, one after the other; the last one again and again
        verdict: the reply to turn 3
    """

    name, spec = "scripted", SPEC

    def __init__(self, *again, verdict=""):
        self.again, self.verdict = list(again), verdict
        self.asked = []

    def generate(self, conversations, spec):
        return [self._reply(c) for c in conversations]

    def _reply(self, conversation):
        last = conversation.messages[-1].text
        if "same video" in last:
            self.asked.append(last)
            text = self.again[0] if len(self.again) == 1 else self.again.pop(0)
            if isinstance(text, Exception):
                return text
        elif "outlined" in last:
            text = self.verdict
        elif len(conversation.messages) > 2:
            text = json.dumps([{"bbox_2d": BOX, "label": "cat"}])
        else:
            choices = [{"frame_idx": 0, "object description": "a cat"}]
            text = f"<think>hm</think> <answer>{json.dumps(choices)}</answer>"
        return Reply(text, tuple(text), (0.9,) * len(text), tokens=1)


class LosingTracker:
    """Takes the box for the mask, but loses it at some frames unless it began beyond them."""

    name = "losing"

    def __init__(self, *lost):
        self.lost = lost
        self.calls = []

    def track(self, frames, prompts, known=()):
        start = None
        for k, frame in frames:
            if start is None:
                start = k
                beside = [(one.frame, one.prompts.tolist()) for one in known]
                self.calls.append([k, k, np.asarray(prompts).tolist(), beside])
                assert all(one.image.shape == frame.shape for one in known)
            self.calls[-1][1] = k
            lost = any(start < at <= k or k <= at < start for at in self.lost)
            masks = np.zeros((len(prompts), *frame.shape[:2]), bool)
            for mask, (x1, y1, x2, y2) in zip(masks, np.asarray(prompts, int), strict=True):
                mask[y1:y2, x1:x2] = not lost
            yield FrameMasks(k, encode_masks(masks), np.full(len(prompts), 0.2 if lost else 0.8))


def reply(box):
    return json.dumps([{"bbox_2d": box, "label": "cat"}])


def segment(clip, model, tracker, **spec):
    pipeline = RevSeg(model, tracker, SPEC.replace(**spec))
    (answer,) = pipeline.segment(clip, "the cat")
    stored = answer.to_dict()
    assert Segmentation.from_dict(json.loads(json.dumps(stored))).to_dict() == stored
    return answer


def boxes(answer):
    (track,) = answer.tracks
    return [
        None if rle is None else tuple(track.box_xyxy_px(k)) for k, rle in enumerate(track.rles)
    ]


def test_a_lost_object_is_found_again_and_tracked_from_there(clip):
    model, tracker = Model("[]", reply(AGAIN)), LosingTracker(12)
    answer = segment(clip, model, tracker)
    # It was not there after a second; after two, which the video does not have, at its end
    assert len(model.asked) == 2
    assert '"a cat"' in model.asked[0]
    assert "2.2 s" in model.asked[0]
    assert answer.status is Status.OK
    (repair,) = answer.trajectory.repairs
    why = "the track is lost from frame 12"
    assert repair == Repair(0, 29, tuple(map(float, SECOND)), why, 12, 29)
    assert boxes(answer) == [FIRST] * 12 + [None] + [SECOND] * 17
    forward, *again = tracker.calls
    assert forward == [0, 29, [list(map(float, FIRST))], []]
    # From the new box back to the break, with what was known before
    beside = [(0, [list(map(float, FIRST))])]
    box = [list(map(float, SECOND))]
    assert again == [[29, 29, box, beside], [29, 12, box, beside]]
    turns = [(t.turn, t.object, t.reply) for t in answer.trajectory.turns]
    assert turns[2:] == [(2, 0, "[]"), (2, 0, reply(AGAIN))]


def test_what_is_gone_stays_gone(clip):
    model, tracker = Model("[]"), LosingTracker(12)
    answer = segment(clip, model, tracker)
    assert answer.trajectory.repairs == ()
    assert boxes(answer) == [FIRST] * 12 + [None] * 18
    assert len(model.asked) == 2  # and is not asked about a second time
    assert len(tracker.calls) == 1


def test_nothing_is_asked_where_nothing_broke_or_it_is_off(clip):
    for tracker, spec in ((LosingTracker(), {}), (LosingTracker(12), {"anchors": 0})):
        model = Model("[]")
        answer = segment(clip, model, tracker, **spec)
        assert not model.asked
        assert len(tracker.calls) == 1
        assert "repairs" not in answer.trajectory.to_dict()


@pytest.mark.parametrize(
    "bad", ["I see it on the left", RuntimeError("no model"), '[{"bbox_2d": [']
)
def test_an_answer_that_cannot_be_used_changes_nothing(clip, bad):
    answer = segment(clip, Model(bad), LosingTracker(12))
    assert answer.status is Status.OK
    assert answer.trajectory.repairs == ()
    assert boxes(answer) == [FIRST] * 12 + [None] * 18


def test_a_reply_is_corrected_with_the_words_for_what_is_not_there(clip):
    answer = segment(clip, Model("nowhere"), LosingTracker(12), retries=1)
    asked = [turn.prompt for turn in answer.trajectory.turns if "could not be used" in turn.prompt]
    assert asked
    assert all("reply with an empty list: []" in prompt for prompt in asked)


OWN = {"turn2": "{image}Detect {description} in the same video"}


def test_a_checkpoint_that_cannot_say_no_is_not_asked_about_what_is_gone(clip):
    model = Model(reply(AGAIN))
    assert segment(clip, model, LosingTracker(12), prompts=OWN).trajectory.repairs == ()
    assert not model.asked[1:]  # its turn 2 alone


def test_a_checkpoint_is_asked_in_the_words_that_it_knows(clip):
    model = Model(reply(BOX), reply(AGAIN))
    answer = segment(clip, model, Flickering(), prompts=OWN)
    assert len(answer.trajectory.repairs) == 1
    assert [last.endswith("Detect a cat in the same video") for last in model.asked] == [True] * 2
    model = Model("[]", reply(AGAIN))
    both = {"turn2": "{image}Detect {description}", "turn2_again": "{image}same video?"}
    assert len(segment(clip, model, LosingTracker(12), prompts=both).trajectory.repairs) == 1


class Flickering(LosingTracker):
    """Loses the object for five frames, and finds it again by itself."""

    def track(self, frames, prompts, known=()):
        for found in super().track(frames, prompts, known):
            gone = 10 <= found.frame < 15 and not known
            yield FrameMasks(found.frame, [None] if gone else found.rles, found.scores)


def test_a_track_that_comes_back_right_is_left_as_it_is(clip):
    model, tracker = Model(reply([1, 1, 25, 50])), Flickering()
    answer = segment(clip, model, tracker)
    assert len(model.asked) == 1
    assert answer.trajectory.repairs == ()
    assert boxes(answer) == [FIRST] * 10 + [None] * 5 + [FIRST] * 15
    assert len(tracker.calls) == 1


def test_a_track_that_comes_back_elsewhere_is_replaced(clip):
    model, tracker = Model(reply(AGAIN)), Flickering()
    answer = segment(clip, model, tracker)
    (repair,) = answer.trajectory.repairs
    assert (repair.frame, repair.first, repair.last) == (17, 10, 29)
    assert boxes(answer) == [FIRST] * 10 + [SECOND] * 20


def test_a_box_from_which_the_object_was_lost_at_once_is_not_remembered(clip):
    tracker = LosingTracker(4, 16)
    answer = segment(clip, Model(reply(AGAIN), reply(BOX)), tracker)
    assert [repair.frame for repair in answer.trajectory.repairs] == [14, 26]
    *_, last = tracker.calls
    assert [frame for frame, _ in last[3]] == [0]


@pytest.mark.parametrize("anchors", [1, 2, 3])
def test_there_are_no_more_repairs_than_anchors(clip, anchors):
    model, tracker = Model(reply(AGAIN), reply(BOX)), LosingTracker(4, 20)  # two breaks
    answer = segment(clip, model, tracker, anchors=anchors)
    assert len(answer.trajectory.repairs) == len(model.asked) == min(anchors, 2)
    *_, last = tracker.calls
    assert len(last[3]) == min(anchors, 2)  # the key frame, and those before it


def test_where_the_verdict_says_that_the_outline_is_wrong_it_is_asked_again(clip):
    verdict = json.dumps({"objects": [1], "wrong_frames": [2, 3], "why": "it is on another cat"})
    model = Model(reply(AGAIN), verdict=f"<think>hm</think> <answer>{verdict}</answer>")
    answer = segment(clip, model, LosingTracker(), verdict=True, anchors=1)
    (said,) = answer.trajectory.verdicts
    (repair,) = answer.trajectory.repairs
    assert repair.why.startswith("the verdict says that the outline is wrong")
    assert (repair.first, repair.last) == (said.shown[1] + 1, 29)
    found = boxes(answer)
    assert found[: repair.first] == [FIRST] * repair.first
    assert found[repair.first :] == [SECOND] * (FRAMES - repair.first)
    assert answer.trajectory.certainty is not None


def test_samples_are_asked_in_their_own_dialogues_and_only_the_answer_is_mended(clip):
    model = Model("[]", reply(AGAIN))
    answer = segment(clip, model, LosingTracker(12), samples=2)
    assert len(answer.trajectory.repairs) == 1
    assert len(model.asked) == 2


@pytest.mark.parametrize("queries", [1, 3])
def test_the_engine_mends_as_the_pipeline_does(clip, queries):
    questions = tuple(f"cat {i}" for i in range(queries))
    make = lambda: RevSeg(Model(reply(AGAIN)), LosingTracker(12), SPEC)  # noqa: E731
    alone = make().segment(clip, questions)
    ((_, together),) = LocalEngine(make()).run([EngineJob(clip, questions)])
    for one, other in zip(alone, together, strict=True):
        assert one.trajectory.repairs == other.trajectory.repairs
        assert len(one.trajectory.repairs) == 1
        assert [t.rles for t in one.tracks] == [t.rles for t in other.tracks]


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """Two scenes of blocks, as images: frame 7 begins the second."""
    folder = tmp_path_factory.mktemp("cut")
    for k in range(14):
        blocks = np.random.default_rng(k // 7).integers(0, 255, (6, 8, 3), np.uint8)
        image = blocks.repeat(8, axis=0).repeat(8, axis=1)
        Image.fromarray(np.roll(image, k, axis=1)).save(folder / f"{k:03d}.png")
    return folder


def test_sam2_mends_many_videos_side_by_side_as_one_by_one(cut):
    def make():
        return RevSeg(Model(reply(AGAIN)), pocket_tracker(), SPEC)

    jobs = [EngineJob(cut, ("the cat",), key=n) for n in range(2)]
    (alone,) = make().segment(cut, "the cat")
    (repair,) = alone.trajectory.repairs
    assert repair.why == "there is a scene cut at frame 7"
    assert (repair.first, repair.last) == (7, 13)
    for objects, count in ((1, 1), (4, 2)):
        for _, (answer,) in LocalEngine(make(), objects=objects).run(jobs[:count]):
            assert answer.trajectory.repairs == alone.trajectory.repairs
            (mine,), (theirs,) = answer.tracks, alone.tracks
            assert mine.scores == pytest.approx(theirs.scores, abs=1e-4)
            if objects == 1:
                assert mine.rles == theirs.rles


def test_after_a_break_as_many_seconds_pass_where_turn_1_saw_a_part_of_the_video(clip):
    model, tracker = Model("[]", reply(AGAIN)), LosingTracker(12)
    segment(clip, model, tracker, max_gap=0.3)  # frames closer to each other than the video's ends
    assert '"a cat"' in model.asked[0]
    assert "2.2 s" in model.asked[0]


def test_what_cannot_be_tracked_again_leaves_the_others(clip, monkeypatch):
    def refuses(known, *_):
        if known:
            raise ValueError("given twice")

    monkeypatch.setattr("fiftyone_revseg.tracking.lockstep.check_known", refuses)
    answer = segment(clip, Model("[]", reply(AGAIN)), LosingTracker(12))
    assert answer.status is Status.OK
    assert answer.trajectory.repairs == ()
    assert boxes(answer)[:12] == [FIRST] * 12
