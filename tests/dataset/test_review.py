"""Accepting and rejecting objects, on a real database."""

import uuid
from datetime import datetime, timedelta, timezone

import fiftyone as fo
import numpy as np
import pytest
from fake_models import BoxTracker, ScriptedReasoner, write_video
from fiftyone import ViewField as F
from PIL import Image

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset.correct import propagate
from fiftyone_revseg.dataset.explain import explain
from fiftyone_revseg.dataset.heartbeat import user_name
from fiftyone_revseg.dataset.review import accept, reject
from fiftyone_revseg.pipeline import RevSeg

WIDTH, HEIGHT, FRAMES = 64, 48, 10
ANSWERS = {
    "both": [(0, "a cat", [25, 50, 75, 100]), (3, "a dog", [0, 0, 50, 50])],
    "the cat": [(1, "a cat", [25, 50, 75, 100])],
    "the ghost": [],
}


def pipeline():
    return RevSeg(ScriptedReasoner(ANSWERS), BoxTracker(hidden=(4,)))


@pytest.fixture
def make_dataset():
    datasets = []

    def make(samples):
        dataset = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
        datasets.append(dataset)
        dataset.add_samples(samples)
        return dataset

    yield make
    for dataset in datasets:
        dataset.delete()


@pytest.fixture
def dataset(make_dataset, tmp_path):
    """Two videos with a cat and a dog each, and one that was never segmented."""
    samples = []
    for name in "abc":
        path = tmp_path / f"{name}.mp4"
        write_video(path, WIDTH, HEIGHT, FRAMES)
        samples.append(fo.Sample(str(path)))
    dataset = make_dataset(samples)
    revseg.segment_view(dataset[:2], pipeline(), queries="both")
    return dataset


def tags(dataset):
    """sample -> index -> what tags its labels have, and how many labels that are"""
    dataset.reload()
    found = []
    for sample in dataset:
        own = {}
        for frame in sample.frames.values():
            for d in frame.revseg.detections:
                own.setdefault(d.index, []).append(tuple(d.tags))
        for a in sample.revseg_answers.classifications if sample.revseg_answers else ():
            own.setdefault(a["index"], []).append(tuple(a.tags))
        found.append({index: set(texts) for index, texts in own.items()})
    return found


NONE, ACCEPTED, REJECTED = {()}, {("accepted",)}, {("rejected",)}


def test_an_object_is_either_accepted_or_rejected(dataset):
    assert accept(dataset.first(), 1) == 1
    assert tags(dataset) == [{1: ACCEPTED, 2: NONE}, {1: NONE, 2: NONE}, {}]
    assert accept(dataset.first(), 1) == 1
    assert tags(dataset)[0] == {1: ACCEPTED, 2: NONE}
    assert reject(dataset.first(), 1) == 1
    assert tags(dataset)[0] == {1: REJECTED, 2: NONE}


def test_only_tags_change(dataset):
    def documents():
        found = [*dataset._frame_collection.find(), *dataset._sample_collection.find()]
        for document in found:
            del document["last_modified_at"]
            labels = document.get("revseg") or document.get("revseg_answers") or {}
            for label in labels.get("detections") or labels.get("classifications") or ():
                for name in ("tags", "reviewer", "reviewed_at"):
                    label.pop(name, None)
        return found

    before = documents()
    accept(dataset, 2)
    assert tags(dataset)[0] == {1: NONE, 2: ACCEPTED}
    assert documents() == before


def test_a_view_and_everything_in_it(dataset):
    assert reject(dataset) == 4
    assert accept(dataset[1:2]) == 2
    assert tags(dataset) == [{1: REJECTED, 2: REJECTED}, {1: ACCEPTED, 2: ACCEPTED}, {}]
    assert accept(dataset, 2) == 2
    assert tags(dataset)[0] == {1: REJECTED, 2: ACCEPTED}
    view = dataset.match_labels(tags="rejected", fields="revseg_answers")
    assert len(view) == 1


def test_labels_stand_for_their_objects(dataset):
    first, second = dataset[:2]
    selected = [{"label_id": first.frames[k].revseg.detections[1].id} for k in (1, 2)]
    assert accept(dataset, label_ids=selected) == 1
    ids = [second.revseg_answers.classifications[0].id, second.revseg_keyframes.detections[1].id]
    assert reject(dataset, label_ids=ids) == 2
    assert tags(dataset) == [{1: NONE, 2: ACCEPTED}, {1: REJECTED, 2: REJECTED}, {}]


def test_other_tags_stay(dataset):
    sample = dataset.first()
    sample.frames[1].revseg.detections[0].tags = ["mine"]
    sample.save()
    reject(sample, 1)
    assert sample.frames[1].revseg.detections[0].tags == ["mine", "rejected"]
    propagate(sample, 1, {2: [0.5, 0.25, 0.25, 0.5]}, pipeline())
    # The masks are new, so nobody has reviewed them
    assert sample.frames[1].revseg.detections[0].tags == ["mine"]
    assert sample.revseg_answers.classifications[0].tags == []


def test_clips(make_dataset, tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, WIDTH, HEIGHT, FRAMES)
    sample = fo.Sample(str(path))
    sample["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=s) for s in ([1, 4], [6, 9])]
    )
    dataset = make_dataset([sample])
    clips = dataset.to_clips("events")
    revseg.segment_view(clips, pipeline(), queries="the cat")
    assert accept(clips[1:]) == 1
    sample = dataset.first()
    assert [a.tags for a in sample.revseg_answers.classifications] == [[], ["accepted"]]
    assert [c.revseg_answers.classifications[0].tags for c in clips] == [[], ["accepted"]]
    assert sample.frames[4].revseg.detections[0].tags == []
    assert sample.frames[6].revseg.detections[0].tags == ["accepted"]
    assert reject(sample, 1, support=[1, 4]) == 1
    assert sample.frames[4].revseg.detections[0].tags == ["rejected"]
    assert sample.frames[6].revseg.detections[0].tags == ["accepted"]


def test_groups_of_images(make_dataset, tmp_path):
    samples = []
    for k in range(4):
        path = tmp_path / f"{k}.png"
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 40 * k, np.uint8)).save(path)
        samples.append(fo.Sample(str(path), scene="a", k=k))
    dataset = make_dataset(samples)
    view = dataset.group_by("scene", order_by="k")
    revseg.segment_view(view, pipeline(), queries="both")
    assert accept(view, 2) == 1
    assert reject(next(view.iter_dynamic_groups()), 1) == 1
    for sample in dataset:
        assert [d.tags for d in sample.revseg.detections] == [["rejected"], ["accepted"]]
        assert [a.tags for a in sample.revseg_answers.classifications] == [
            ["rejected"],
            ["accepted"],
        ]


def test_who_judged_and_when(dataset):
    before = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(seconds=1)
    accept(dataset[:1], 2, by="ann")
    cat, dog = dataset.first().revseg_answers.classifications
    assert not cat.has_field("reviewer")
    assert dog["reviewer"] == "ann"
    assert before < dog["reviewed_at"] < before + timedelta(seconds=60)
    found = dataset.filter_labels("revseg_answers", F("reviewer") == "ann")
    assert found.count("revseg_answers.classifications") == 1
    explained = {one.index: one for one in explain(dataset.first())}
    assert (explained[2].reviewer, explained[2].label_id) == ("ann", dog.id)
    assert explained[1].reviewed_at is None
    # Somebody else judges once more
    reject(dataset[:1], 2)
    assert dataset.first().revseg_answers.classifications[1]["reviewer"] == user_name()
    # The masks are new, so nobody has judged them
    propagate(dataset.first(), 2, {2: [0.5, 0.25, 0.25, 0.5]}, pipeline())
    dog = dataset.first().revseg_answers.classifications[1]
    assert (dog.tags, dog["reviewer"], dog["reviewed_at"]) == ([], None, None)


def test_that_there_is_no_such_object_is_an_answer(dataset):
    revseg.segment_view(dataset[2:], pipeline(), queries=["the ghost", "the cat"])
    sample = dataset.last()
    ghost, cat = sample.revseg_answers.classifications
    assert accept(sample, query="the ghost", by="ann") == 1
    assert reject(dataset, label_ids=[cat.id]) == 1
    ghost, cat = sample.revseg_answers.classifications
    assert (ghost.tags, ghost["reviewer"], cat.tags) == (["accepted"], "ann", ["rejected"])
    assert reject(dataset, label_ids=[ghost.id]) == 1
    assert sample.revseg_answers.classifications[0].tags == ["rejected"]
    assert tags(dataset)[0] == {1: NONE, 2: NONE}
    # A person's judgment is kept, also that of an answer without an object
    accept(sample, query="the ghost")
    summary = revseg.segment_view(
        dataset[2:], pipeline(), queries=["the ghost", "the cat"], overwrite=True
    )
    assert summary.corrected == 1


def test_a_rejected_answer_may_be_replaced(dataset):
    reject(dataset, by="ann")
    summary = revseg.segment_view(dataset, pipeline(), queries="both", overwrite=True)
    assert (summary.done, summary.corrected) == (3, 0)


def test_what_failed_is_no_answer(dataset):
    answers = {"the blur": [(2, "a blur", None)]}
    revseg.segment_view(
        dataset[2:], RevSeg(ScriptedReasoner(answers), BoxTracker()), queries="the blur"
    )
    with pytest.raises(ValueError, match=r"no answer to accept \(.*\): show where the object is"):
        accept(dataset[2:])
    assert accept(dataset) == 4
    assert dataset.last().revseg_answers.classifications[0].tags == []
    assert reject(dataset[2:]) == 1
    assert dataset.last().revseg_answers.classifications[0].tags == ["rejected"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": "the ghost"}, "no answer to 'the ghost' in label field 'revseg'"),
        ({"index": 3}, "no object with index 3 in label field 'revseg'"),
        ({"label_ids": ["nothing"]}, "no object with these labels"),
        ({"label_ids": []}, "no object with these labels"),
        ({"label_field": "other"}, "no label field 'other': segment the videos first"),
        ({"label_field": "no field"}, "label_field must be a name"),
    ],
)
def test_what_is_not_there_is_refused(dataset, arguments, message):
    with pytest.raises(ValueError, match=message):
        accept(dataset, **arguments)
    assert tags(dataset)[0] == {1: NONE, 2: NONE}
