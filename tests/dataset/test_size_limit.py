"""Results that are larger than a document of the database may be."""

import copy
from dataclasses import replace

import bson
import fiftyone as fo
import pytest
from bson import ObjectId
from fake_models import SPEC, BoxTracker, ScriptedReasoner, write_video

from fiftyone_revseg.dataset import make_labels, segment_view
from fiftyone_revseg.dataset.model import RevSegModel, RevSegModelConfig
from fiftyone_revseg.dataset.record import Record, reasoning_of
from fiftyone_revseg.dataset.size_limit import MOST, NoRoomError, make_fit
from fiftyone_revseg.pipeline import RevSeg, Segmentation
from fiftyone_revseg.reasoning import ChainSpec, Grounding, KeyframeChoice, Trajectory
from fiftyone_revseg.reasoning.looking_again import Candidate, Verdict
from fiftyone_revseg.reasoning.trajectory import Turn
from fiftyone_revseg.types import FrameTable, Status


def segmentation(number, thought, objects=3):
    query = f"query {number}"
    reply = f"<think>{number} {thought}</think><answer>[]</answer>"
    trajectory = Trajectory(
        query=query,
        frame_table=FrameTable((0, 2, 4), (0.0, 0.2, 0.4), 5, 0.5),
        source_size=(40, 20),
        status=Status.OK,
        think=f"{number} {thought}",
        choices=tuple(KeyframeChoice(i, f"object {i}") for i in range(objects)),
        groundings=(Grounding((1, 2, 30, 15), 0.5),) * objects,
        turns=(Turn("what?", reply, 9, 1.0), *(Turn("where?", "[1]", 3, 1.0, 2, 0),) * objects),
        spec=ChainSpec(),
    )
    return Segmentation(trajectory, (None,) * objects, Status.OK, "", {}, "v.mp4", 10.0, 0, "m")


def test_what_fits_is_left_alone():
    labels = make_labels([segmentation(i, "hm " * 100) for i in range(20)])
    before = copy.deepcopy(labels.trajectory)
    assert make_fit(labels, {}, "revseg", None) is labels
    assert labels.trajectory == before


def test_a_thought_is_stored_once_where_room_is_short(make_dataset):
    thought = "so " * 8_000
    labels = make_labels([segmentation(i, thought) for i in range(200)])
    dataset = make_dataset(fo.Sample(filepath="v.mp4", note="x" * 1_000_000))
    sample = dataset.first()
    labels = make_fit(labels, sample.to_mongo_dict(include_id=True), "revseg", None)
    for name, value in labels.sample_values("revseg").items():
        sample[name] = value
    sample.save()
    stored = dataset.first()
    stored.reload()
    records = stored["revseg_trajectory"]["segmentations"]
    assert len(records) == 200
    assert len(stored["revseg_answers"].classifications) == 600
    for i in (0, 199):
        trajectory = Trajectory.from_dict(records[i]["trajectory"])
        assert trajectory.think == f"{i} {thought}".strip()
    answer = stored["revseg_answers"].classifications[-1]
    assert answer.reasoning.startswith("199 so so")
    assert answer.reasoning.endswith("characters left out]")
    assert "query 199: 199 so so" in stored["revseg_reasoning"]


def test_replies_are_shortened_where_they_alone_are_too_much(make_dataset):
    labels = make_labels([segmentation(i, "so " * 50_000) for i in range(200)])
    labels = make_fit(labels, {}, "revseg", None)
    dataset = make_dataset(fo.Sample(filepath="v.mp4"))
    dataset._sample_collection.update_one(
        {"_id": ObjectId(dataset.first().id)}, {"$set": {"t": labels.trajectory}}
    )
    for record in labels.trajectory["segmentations"]:
        assert record["trajectory"]["choices"][2]["description"] == "object 2"
        assert "characters left out]" in record["trajectory"]["turns"][0]["reply"]
        assert Trajectory.from_dict(record["trajectory"]).think.endswith("characters left out]")


class Thinker(ScriptedReasoner):
    """Thinks at length before it answers."""

    def _reply(self, conversation):
        return super()._reply(conversation).replace("thinking", "so " * 40_000)


QUERIES = [f"the cat {i}" for i in range(30)]


@pytest.mark.parametrize("door", ["segment_view", "apply_model", "too much"])
def test_many_queries_with_long_thoughts(door, make_dataset, tmp_path):
    write_video(tmp_path / "v.mp4", 100, 100, 5)
    answers = {q: [(0, f"{q}, {k}", [25, 50, 75, 100]) for k in range(3)] for q in QUERIES}
    pipeline = RevSeg(Thinker(answers), BoxTracker(), SPEC)
    note = "x" * (15_990_000 if door == "too much" else 100_000)
    dataset = make_dataset(
        fo.Sample(filepath=str(tmp_path / "v.mp4"), note=note, q=QUERIES),
        fo.Sample(filepath=str(tmp_path / "v.mp4"), q=QUERIES[:1]),
    )
    model = RevSegModel(RevSegModelConfig({"label_field": "revseg", "prompt_field": "q"}), pipeline)
    if door == "apply_model":
        dataset.apply_model(model, label_field="revseg", skip_failures=False)
    else:
        summary = segment_view(dataset, model, prompt_field="q", label_field="revseg")
        assert summary.counts == ({"ok": 1, "error": 1} if door == "too much" else {"ok": 2})
    full, other = dataset
    assert len(other["revseg_answers"].classifications) == 3
    if door == "too much":
        assert full["revseg_answers"] is None
        assert full.note == note
        return
    assert len(full["revseg_answers"].classifications) == 90
    assert len(full.frames[1]["revseg"].detections) == 90
    for record in full["revseg_trajectory"]["segmentations"]:
        assert Trajectory.from_dict(record["trajectory"]).think == ("so " * 40_000).strip()
    # Nobody but us changed anything
    assert segment_view(dataset, model, prompt_field="q", label_field="revseg").corrected == 0


def test_no_room_is_said():
    labels = make_labels([segmentation(i, "so") for i in range(20)])
    with pytest.raises(NoRoomError, match=r"20 queries do not fit .* 16\.0 MB are taken"):
        make_fit(labels, {"other": "x" * (MOST - 1000)}, "revseg", None)
    # What is replaced takes no room, unless it is the result of other clips
    stored = {"revseg_trajectory": {"x": "x" * (MOST - 1000)}}
    assert make_fit(labels, stored, "revseg", None) is labels
    with pytest.raises(NoRoomError):
        make_fit(labels, stored, "revseg", [1, 5])


def test_records_of_before_are_read():
    record = make_labels([segmentation(0, "so")]).trajectory["segmentations"][0]
    assert Trajectory.from_dict(record["trajectory"]).think == "0 so"
    assert reasoning_of([Record(record)]) == "0 so"


def with_candidates(number, thought, chosen):
    """Of five dialogues, each with a thought of its own, the answer is that of one."""
    found = segmentation(number, thought, objects=1)
    thoughts = [f"{number}.{k} {thought}".strip() for k in range(5)]
    turns = [
        Turn("what?", f"<think>{said}</think><answer>[]</answer>", 9, 1.0, candidate=k)
        for k, said in enumerate(thoughts)
    ]
    trajectory = replace(
        found.trajectory,
        think=thoughts[chosen],
        turns=(*turns, Turn("which?", '{"objects": [1]}', 5, 1.0, turn=3)),
        candidates=tuple(Candidate(Status.OK, think=said) for said in thoughts),
        verdicts=(Verdict((1,), why=thought, probability=0.5, count=2),),
        certainty=0.5,
    )
    return replace(found, trajectory=trajectory)


def test_the_thoughts_of_candidates_are_stored_once_where_room_is_short():
    thought = "so " * 8_000
    labels = make_labels([with_candidates(i, thought, i % 5) for i in range(100)])
    before = copy.deepcopy(labels.trajectory)
    labels = make_fit(labels, {}, "revseg", None)
    assert len(bson.encode(labels.trajectory)) < MOST
    for i, record in enumerate(labels.trajectory["segmentations"]):
        trajectory = Trajectory.from_dict(record["trajectory"])
        assert trajectory.think == f"{i}.{i % 5} {thought}".strip()
        assert [turn.candidate for turn in trajectory.turns] == [0, 1, 2, 3, 4, 0]
        assert [c.think[:3] for c in trajectory.candidates] == [f"{i}.{k} "[:3] for k in range(5)]
        assert all(len(c.think) < 600 for c in trajectory.candidates)
        assert trajectory.verdicts[0].why.endswith("characters left out]")
        # The replies, which hold them all, are as they were
        assert record["trajectory"]["turns"] == before["segmentations"][i]["trajectory"]["turns"]


def test_a_thought_that_no_reply_has_is_kept():
    found = with_candidates(0, "hm", 2)
    found = replace(found, trajectory=replace(found.trajectory, think="of somebody else"))
    labels = make_labels([found, *(segmentation(i, "so " * 50_000) for i in range(200))])
    record = make_fit(labels, {}, "revseg", None).trajectory["segmentations"][0]
    assert Trajectory.from_dict(record["trajectory"]).think == "of somebody else"
