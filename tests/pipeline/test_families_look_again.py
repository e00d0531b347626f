"""Everything that looks again at once, with tiny random models of families that are run here.

Random weights write nothing readable, so most of what they write is replaced after they wrote it:
both the readable and the other path are gone through, with the models' own work.
"""

import hashlib
from dataclasses import replace

import pytest
from fake_models import BoxTracker, write_video
from scripted_looks import Model, choices, verdict
from tiny_families import save_family

from fiftyone_revseg.engine import LocalEngine
from fiftyone_revseg.pipeline import EngineJob, RevSeg
from fiftyone_revseg.reasoning import LocalReasoner
from fiftyone_revseg.types import Status

SIDE = 64
SETTINGS = {
    **{"frames": 2, "frame_size": SIDE, "key_frame_size": SIDE, "max_new_tokens": 2, "retries": 0},
    **{"samples": 1, "verdict": True, "rounds": 1, "looks": 1, "max_gap": 0.3, "anchors": 1},
}


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen3_5"])
def reasoner(request, tmp_path_factory):
    directory = save_family(request.param, tmp_path_factory.mktemp(request.param))
    return LocalReasoner.load(directory, device="cpu", spec=SETTINGS)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_video(path, 64, 48, 10)
    return path


class Readable:
    """Puts readable replies in the place of some that the model wrote, by what it was asked."""

    name = "readable"

    def __init__(self, reasoner):
        self.reasoner, self.spec = reasoner, reasoner.spec
        self.scripted = Model([[(0, "left")], [(1, "right")]], [verdict()], again=[(1, "right")])

    def generate(self, conversations, spec):
        replies = self.reasoner.generate(conversations, spec)
        return [self._readable(*pair) for pair in zip(conversations, replies, strict=True)]

    def _readable(self, conversation, reply):
        last = conversation.messages[-1].text
        if hashlib.sha256(last.encode()).digest()[0] % 8 == 0:
            return reply
        scripted = self.scripted._reply(conversation)
        if "same video" in last:
            scripted = replace(scripted, text=choices([]), token_texts=(), token_probabilities=())
        return replace(scripted, tokens=reply.tokens)


def test_all_of_it_ends_with_a_status(reasoner, clip):
    (answer,) = RevSeg(reasoner, BoxTracker()).segment(clip, "the cat")
    assert answer.status in (Status.BAD_KEYFRAME, Status.NO_TARGET)  # they babble
    assert len(answer.trajectory.candidates) == 2
    assert {look.kind for look in answer.trajectory.looks} == {"window", "stretch"}


def test_together_as_one_by_one(reasoner, clip):
    spec = reasoner.spec
    jobs = [EngineJob(clip, ("the cat",), key=n) for n in range(2)]
    expected = RevSeg(Readable(reasoner), BoxTracker(), spec).segment(clip, jobs[0].queries)
    turns = {turn.turn for one in expected for turn in one.trajectory.turns}
    assert turns == {1, 2, 3}
    engine = LocalEngine(RevSeg(Readable(reasoner), BoxTracker(), spec), dialogues=3)
    for _, found in engine.run(jobs):
        for one, alone in zip(found, expected, strict=True):
            assert (one.status, one.reason) == (alone.status, alone.reason)
            assert [(t.turn, t.candidate, t.reply) for t in one.trajectory.turns] == [
                (t.turn, t.candidate, t.reply) for t in alone.trajectory.turns
            ]
            assert [t and t.rles for t in one.tracks] == [t and t.rles for t in alone.tracks]
