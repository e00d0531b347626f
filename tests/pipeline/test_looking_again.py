"""Candidates, verdicts and rounds, with a scripted model and a tracker that copies its box."""

import json

import numpy as np
import pytest
from fake_models import BoxTracker, write_video
from scripted_looks import SPEC, Model, choices, verdict

from fiftyone_revseg.engine import LocalEngine
from fiftyone_revseg.pipeline import EngineJob, RevSeg, Segmentation
from fiftyone_revseg.reasoning import Reply
from fiftyone_revseg.types import Status

WIDTH, HEIGHT, FRAMES = 64, 48, 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_video(path, WIDTH, HEIGHT, FRAMES)
    return path


def segment(clip, model, tracker=None, **spec):
    pipeline = RevSeg(model, tracker or BoxTracker(), SPEC.replace(**spec))
    (answer,) = pipeline.segment(clip, "the cat")
    assert Segmentation.from_dict(json.loads(json.dumps(answer.to_dict()))).to_dict() == (
        answer.to_dict()
    )
    return answer


def columns(answer):
    """The columns of pixels that the answer covers in the first frame."""
    return np.flatnonzero(answer.masks()[0].any(axis=0)).tolist()


def test_equal_objects_are_tracked_once_and_candidates_agree(clip):
    model = Model([[(1, "left")], [(2, "near")], [(1, "left")], [(3, "right")], []])
    tracker = BoxTracker()
    answer = segment(clip, model, tracker, samples=4)
    assert answer.status is Status.OK
    assert columns(answer) == list(range(26))  # greedy, as nothing was judged
    assert answer.trajectory.certainty is None
    numbers = [sorted(c.numbers) for c in answer.trajectory.candidates]
    assert numbers == [[1], [1], [1], [2], []]
    # The first from frame 3, both ways; "near" is where it is already; the other from frame 9
    assert sorted({k for k, _ in tracker.calls}) == [3, 9]
    assert model.count(1) == 5
    assert model.count(2) == 3  # the same choice is asked about once
    assert answer.trajectory.agreement == pytest.approx(0.5)
    assert [c.agreement for c in answer.trajectory.candidates] == [0.5, 0.5, 0.5, 0.0, 0.0]
    assert [c.status for c in answer.trajectory.candidates][-1] is Status.NO_TARGET
    assert {turn.candidate for turn in answer.trajectory.turns} == {0, 1, 2, 3, 4}


def test_samples_are_sampled_and_boxes_are_not(clip):
    model = Model([[(1, "left")], [(3, "right")]])
    segment(clip, model, samples=1, sample_temperature=0.7)
    asked = [(turn, temperature, seed) for turn, temperature, seed, _ in model.asked]
    assert sorted(asked, key=str) == [(1, 0.7, 1), (1, None, 0), (2, 0.0, 0), (2, None, 0)]


def test_the_verdict_chooses_among_all_objects(clip):
    model = Model([[(1, "left")], [(3, "right")]], [verdict(2, why="it is on the right")])
    answer = segment(clip, model, samples=1, verdict=True)
    assert columns(answer) == list(range(38, 64))
    assert answer.trajectory.key_frames == (9,)
    (said,) = answer.trajectory.verdicts
    assert (said.objects, said.count, said.why) == ((2,), 2, "it is on the right")
    assert set(said.shown) <= set(range(FRAMES))
    assert answer.trajectory.certainty == said.probability == pytest.approx(0.9**3)
    assert answer.trajectory.agreement == 0.0
    assert answer.timings["turn3"] >= 0
    assert answer.trajectory.turns[-1].turn == 3


def test_the_verdict_may_put_objects_of_several_candidates_together(clip):
    model = Model([[(1, "left")], [(3, "right")]], [verdict(1, 2)])
    answer = segment(clip, model, samples=1, verdict=True)
    assert [choice.description for choice in answer.trajectory.choices] == ["left", "right"]
    assert columns(answer) == [*range(26), *range(38, 64)]
    assert [track.object_id for track in answer.tracks] == [0, 1]


def test_a_verdict_of_none_is_an_answer_if_a_candidate_said_so(clip):
    model = Model([[(1, "left")], []], [verdict()])
    answer = segment(clip, model, samples=1, verdict=True)
    assert (answer.status, answer.tracks) == (Status.NO_TARGET, ())
    assert answer.trajectory.certainty == pytest.approx(0.9**2)


def test_a_verdict_of_none_else_leaves_the_best_with_little_certainty(clip):
    answer = segment(clip, Model([[(1, "left")]], [verdict()]), verdict=True)
    assert answer.status is Status.OK
    assert columns(answer) == list(range(26))
    assert answer.trajectory.certainty == pytest.approx(1 - 0.9**2)


def test_a_verdict_of_none_leads_back_to_turn_1(clip):
    model = Model([[(1, "left")]], [verdict(why="too dark"), verdict(2)], again=[(3, "right")])
    answer = segment(clip, model, verdict=True, rounds=2)
    assert columns(answer) == list(range(38, 64))
    (words,) = [last for turn, _, _, last in model.asked if turn == "again"]
    assert "left" in words
    assert "too dark" in words
    assert [v.objects for v in answer.trajectory.verdicts] == [(), (2,)]
    assert [turn.turn for turn in answer.trajectory.turns] == [1, 2, 3, 1, 2, 3]
    assert [sorted(c.numbers) for c in answer.trajectory.candidates] == [[1], [2]]


@pytest.mark.parametrize(
    ("again", "rounds", "asked", "status"),
    [
        ([(2, "near")], 3, 1, Status.OK),  # the same object once more: there is nothing to judge
        ([], 3, 1, Status.NO_TARGET),
        ("gibberish", 3, 1, Status.OK),
        ([(3, "no box")], 3, 1, Status.OK),
        ([(3, "right")], 1, 2, Status.OK),
    ],
)
def test_rounds_end(clip, again, rounds, asked, status):
    model = Model([[(1, "left")]], [verdict()], again=again)
    answer = segment(clip, model, verdict=True, rounds=rounds)
    assert model.count(3) == asked
    assert answer.status is status
    assert answer.trajectory.certainty == pytest.approx(
        0.9**2 if status is Status.NO_TARGET else 1 - 0.9**2
    )


@pytest.mark.parametrize(
    "said",
    [
        "no idea",
        "",
        verdict(3),
        verdict(0),
        '{"objects": [1',
        verdict(1, wrong_frames=[0, 1, 2, 3]),
        '<answer>{"objects": [1]} {"objects": [2]}</answer>',
    ],
)
def test_a_broken_verdict_leaves_the_answer_as_it_is(clip, said):
    model = Model([[(1, "left")], [(3, "right")]], [said])
    answer = segment(clip, model, samples=1, verdict=True)
    assert (answer.status, answer.reason) == (Status.OK, "")
    assert columns(answer) == list(range(26))
    assert answer.trajectory.certainty is None
    assert answer.trajectory.verdicts == ()
    assert answer.trajectory.turns[-1].turn == 3
    assert answer.trajectory.turns[-1].error


def test_nothing_is_judged_where_nothing_is_seen(clip):
    model = Model([[(1, "left")]], ["never asked"])
    answer = segment(clip, model, BoxTracker(hidden=range(FRAMES)), verdict=True)
    assert answer.status is Status.LOST
    assert model.count(3) == 0
    model = Model([[]], ["never asked"])
    assert segment(clip, model, verdict=True).status is Status.NO_TARGET
    assert model.count(3) == 0


def test_a_tracker_that_fails_for_one_candidate_leaves_the_others(clip):
    model = Model([[(1, "left")], [(3, "right")]], [verdict(1)])
    answer = segment(clip, model, BoxTracker(fails_at=8), samples=1, verdict=True)
    assert answer.status is Status.ERROR
    assert "tracking stopped" in answer.reason


class Failing(Model):
    def _reply(self, conversation):
        if "outlined" in conversation.messages[-1].text:
            raise RuntimeError("the server is gone")
        return super()._reply(conversation)


def test_a_model_that_fails_in_turn_3_leaves_the_answer(clip):
    answer = segment(clip, Failing([[(1, "left")]]), verdict=True)
    assert answer.status is Status.OK
    assert answer.trajectory.certainty is None


def test_the_engine_answers_as_one_by_one(clip, tmp_path):
    other = tmp_path / "other.mp4"
    write_video(other, WIDTH, HEIGHT, FRAMES)
    spec = SPEC.replace(samples=2, verdict=True, rounds=1)

    def pipeline():
        samples = [[(1, "left")], [(2, "near")], [(3, "right")]]
        return RevSeg(Model(samples, [verdict()], again=[(0, "right")]), BoxTracker(), spec)

    jobs = [EngineJob(path, ("the cat", "the dog"), key=path) for path in (clip, other, clip)]
    answers = list(LocalEngine(pipeline()).run(jobs))
    assert len(answers) == 3
    for job, found in answers:
        expected = pipeline().segment(job.video, job.queries)
        for one, alone in zip(found, expected, strict=True):
            assert one.trajectory.to_dict() == alone.trajectory.to_dict()
            assert [t.to_dict() for t in one.tracks] == [t.to_dict() for t in alone.tracks]


class Watching(Model):
    """Finds something in pictures of a certain brightness only; the video gets brighter."""

    def _reply(self, conversation):
        answered = any(m.role == "assistant" for m in conversation.messages)
        if answered:
            return super()._reply(conversation)
        pictures = [p.pixels for p in conversation.messages[-1].content if hasattr(p, "pixels")]
        self.asked.append((1, None, 0, conversation.messages[-1].text))
        found = [i for i, picture in enumerate(pictures) if 90 < picture.mean() < 110]
        text = choices([(found[0], "left")] if found else [])
        if len(pictures) == 4 and self.again:
            text = self.again.pop(0)
        return Reply(text, tuple(text), (0.9,) * len(text), tokens=1)


def test_a_brief_event_is_found_in_windows(tmp_path):
    clip = tmp_path / "long.mp4"
    write_video(clip, WIDTH, HEIGHT, 40)  # of 4 seconds, and 5 grey levels a frame
    assert segment(clip, Watching([]), max_gap=0).status is Status.NO_TARGET
    answer = segment(clip, Watching([]), max_gap=0.1)
    assert answer.status is Status.OK
    assert 18 < answer.trajectory.key_frames[0] < 22
    assert [look.kind for look in answer.trajectory.looks] == ["window"] * 10
    assert sum(bool(look.choices) for look in answer.trajectory.looks) in (1, 2)
    assert len(answer.trajectory.frame_table) == 4
    assert len(answer.trajectory.turns) == 10 + 2


def test_the_model_may_ask_for_a_closer_look(tmp_path):
    clip = tmp_path / "long.mp4"
    write_video(clip, WIDTH, HEIGHT, 40)
    model = Watching([], again=['<answer>{"start": 1, "end": 2}</answer>'])
    answer = segment(clip, model, looks=2)
    assert answer.status is Status.OK
    (first, second) = answer.trajectory.looks
    assert (first.frames, first.stretch) == ((0, 13, 26, 39), (1, 2))
    assert (second.frames, second.stretch) == ((13, 17, 22, 26), None)
    assert answer.trajectory.frame_table.indices == (13, 17, 22, 26)


class Gone(Watching):
    def _reply(self, conversation):
        if "3.0" in conversation.messages[-1].text:
            raise RuntimeError("the server is gone")
        return Reply(choices([]))


def test_nothing_is_said_to_be_absent_where_a_part_was_not_looked_at(tmp_path):
    clip = tmp_path / "long.mp4"
    write_video(clip, WIDTH, HEIGHT, 40)
    answer = segment(clip, Gone([]), max_gap=0.1)
    assert answer.status is Status.BAD_KEYFRAME
    assert "parts of the video have no usable reply" in answer.reason
    assert "the server is gone" in answer.reason
