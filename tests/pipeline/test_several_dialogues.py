"""What can go wrong between several dialogues about one query."""

import json

import numpy as np
import pytest
from fake_models import BoxTracker, write_video
from fake_server import FakeServer, status
from scripted_looks import SPEC, Model, choices, verdict

from fiftyone_revseg.pipeline import RevSeg, Segmentation
from fiftyone_revseg.reasoning import Reply, ServerReasoner
from fiftyone_revseg.types import Status

WIDTH, HEIGHT = 64, 48


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_video(path, WIDTH, HEIGHT, 10)
    return path


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "long.mp4"
    write_video(path, WIDTH, HEIGHT, 40)
    return path


def segment(clip, model, tracker=None, query="the cat", **spec):
    pipeline = RevSeg(model, tracker or BoxTracker(), SPEC.replace(**spec))
    (answer,) = pipeline.segment(clip, query)
    stored = json.loads(json.dumps(answer.to_dict()))
    assert Segmentation.from_dict(stored).to_dict() == answer.to_dict()
    return answer


def columns(answer):
    return np.flatnonzero(answer.masks()[0].any(axis=0)).tolist()


class Stumbling(Model):
    """Its first reply in the greedy dialogue is no answer."""

    def _reply(self, conversation):
        stumbles = conversation.seed == 0 and len(conversation.messages) == 1
        return Reply("hm") if stumbles else super()._reply(conversation)


def test_the_greedy_dialogue_is_held_as_it_would_be_alone(clip):
    samples = [[(1, "left")], [(1, "left")]]

    class Retried(Stumbling):
        def _reply(self, conversation):
            said = [m.text for m in conversation.messages if m.role == "assistant"]
            if said == ["hm"]:
                return Reply(choices(samples[0]))
            return super()._reply(conversation)

    alone = segment(clip, Retried(samples), retries=1)
    among = segment(clip, Retried(samples), retries=1, samples=1)
    own = [t for t in among.trajectory.turns if not t.candidate]
    assert [(t.turn, t.prompt, t.reply) for t in own] == [
        (t.turn, t.prompt, t.reply) for t in alone.trajectory.turns
    ]


def test_dialogues_that_fail_neither_agree_nor_disagree(clip):
    answer = segment(clip, Model([[(1, "left")], "?", [(1, "left")], "?"]), samples=3)
    assert answer.trajectory.agreement == 1.0
    agreements = [c.agreement for c in answer.trajectory.candidates]
    assert agreements == [1.0, None, 1.0, None]
    answer = segment(clip, Model([[(1, "left")], "?"]), samples=1)
    assert answer.trajectory.agreement is None
    answer = segment(clip, Model([[], "?"]), samples=1)
    assert (answer.status, answer.trajectory.agreement) == (Status.NO_TARGET, None)


class FailsRight(BoxTracker):
    """Cannot follow what is on the right."""

    def track(self, frames, boxes):
        if np.asarray(boxes)[0][0] > WIDTH / 2:
            raise RuntimeError("out of memory")
        yield from super().track(frames, boxes)


@pytest.mark.parametrize("said", [verdict(1), "?"])
def test_a_tracker_that_fails_for_one_candidate_leaves_the_others(clip, said):
    model = Model([[(1, "left")], [(3, "right")]], [said])
    answer = segment(clip, model, FailsRight(), samples=1, verdict=True)
    assert (answer.status, answer.reason) == (Status.OK, "")
    assert columns(answer) == list(range(26))
    assert answer.trajectory.agreement is None


def test_the_greedy_one_may_fail_where_another_is_chosen(clip):
    model = Model([[(3, "right")], [(1, "left")]], [verdict(1)])
    answer = segment(clip, model, FailsRight(), samples=1, verdict=True)
    assert (answer.status, answer.reason) == (Status.OK, "")
    assert columns(answer) == list(range(26))


def test_why_an_object_has_no_box_is_told_by_its_own_dialogue(clip):
    model = Model(
        [[(1, "left"), (2, "blurred")], [(3, "right"), (2, "left"), (0, "blurred")]],
        [verdict(1, 2)],
    )
    answer = segment(clip, model, samples=1, verdict=True)
    assert [c.description for c in answer.trajectory.choices] == ["right", "left", "blurred"]
    assert [str(answer.object_status(i)) for i in range(3)] == ["ok", "ok", "bad_box"]
    assert "object 3" in answer.object_reason(2)


def test_an_empty_query_is_never_asked(long):
    model = Model([[(1, "left")]])
    for spec in ({"looks": 2}, {"max_gap": 0.1}, {"looks": 1, "max_gap": 0.1, "verdict": True}):
        answer = segment(long, model, query=" ", **spec)
        assert answer.status is Status.ERROR
    assert model.asked == []


class InWindows(Model):
    """Finds something in the brighter half of the video, and tells what turn 3 is asked."""

    def _reply(self, conversation):
        last = conversation.messages[-1]
        if len(conversation.messages) == 1 and "outlined" not in last.text:
            pictures = [p.pixels for p in last.content if hasattr(p, "pixels")]
            found = [i for i, picture in enumerate(pictures) if picture.mean() > 150]
            return Reply(choices([(found[0], "left")] if found else []))
        return super()._reply(conversation)


def test_the_verdict_is_told_the_seconds_of_the_whole_video(long):
    model = InWindows([], [verdict(1)])
    spec = {"max_gap": 0.1, "verdict": True}
    templates = {"object": "[{first_time}-{last_time}]"}
    answer = segment(long, model, BoxTracker(hidden=range(20)), **spec, prompts=templates)
    assert answer.trajectory.verdicts
    (words,) = [last for turn, _, _, last in model.asked if turn == 3]
    assert "[2.0-3.9]" in words
    assert answer.trajectory.frame_table.frame_count == 40


def test_any_gap_that_can_be_set_can_be_asked_for(long):
    answer = segment(long, InWindows([]), max_gap=1e-300)
    assert (answer.status, len(answer.trajectory.looks)) == (Status.OK, 10)


@pytest.mark.parametrize("refused", [None, "seed", "temperature", "logprobs"])
def test_a_server_answers_as_a_model_here(clip, refused):
    model = Model([[(1, "left")], [(3, "right")]], [verdict(1)])
    spec = {"samples": 1, "verdict": True}

    def answers(conversation, body):
        return model._reply(conversation.sampled(body.get("temperature"), body.get("seed", 0)))

    def fault(number, body):
        return status(400, "unsupported parameter") if refused in body else None

    with FakeServer(answers, model="scripted", fault=fault) as server:
        reasoner = ServerReasoner.connect(server.url, "scripted", SPEC, image_format="png")
        there = segment(clip, reasoner, **spec)
        reasoner.close()
    here = segment(clip, Model(model.samples, [verdict(1)]), **spec)
    assert (there.status, there.reason) == (Status.OK, "")
    assert columns(there) == columns(here)
    numbers = [sorted(c.numbers) for c in there.trajectory.candidates]
    # Without seeds, this one says the same again
    assert numbers == ([[1], [1]] if refused in ("seed", "temperature") else [[1], [2]])
    certainty = there.trajectory.certainty
    if refused == "logprobs":
        assert certainty is None
    else:
        assert certainty == pytest.approx(here.trajectory.certainty)
