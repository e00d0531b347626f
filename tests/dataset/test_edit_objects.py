"""Adding, deleting and renaming objects, and undoing what was done, on a real database."""

import importlib

import fiftyone as fo
import numpy as np
import pytest
from fake_models import BoxTracker, ScriptedReasoner, write_video
from PIL import Image

import fiftyone_revseg as revseg
from fiftyone_revseg import (
    accept,
    add_object,
    ask_again,
    delete_object,
    propagate,
    rename_object,
    undo,
)
from fiftyone_revseg.dataset import correction_writer
from fiftyone_revseg.dataset.correct import reground
from fiftyone_revseg.dataset.explain import explain
from fiftyone_revseg.dataset.former import _keys
from fiftyone_revseg.pipeline import RevSeg

# The functions have the names of their modules
asking, editing, undoing = (
    importlib.import_module(f"fiftyone_revseg.dataset.{name}")
    for name in ("ask_again", "edit_objects", "undo")
)

WIDTH, HEIGHT, FRAMES = 64, 48, 10
CAT, DOG = [25, 50, 75, 100], [0, 0, 50, 50]  # in the 100 x 100 key frame
ANSWERS = {
    "both": [(0, "a grey cat", CAT), (3, "a dog", DOG)],
    "the cat": [(1, "a grey cat", CAT)],
    "the ghost": [],
    "the blur": [(2, "a blur", None)],
}
BOX, OTHER = [0.5, 0.25, 0.25, 0.5], [0, 0, 0.5, 0.5]  # relative
NEW = ScriptedReasoner(
    {
        "a sheet": [(1, "a white sheet", CAT), (2, "a rag", DOG)],
        "both": [(1, "a tabby", DOG)],
    }
)


class Mumbling(ScriptedReasoner):
    """Never gives a key frame."""

    def _reply(self, conversation):
        return "hm"


def pipeline(reasoner=None, **tracker):
    return RevSeg(reasoner or ScriptedReasoner(ANSWERS), BoxTracker(**tracker))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    write_video(path, WIDTH, HEIGHT, FRAMES)
    return str(path)


@pytest.fixture
def segmented(make_dataset, path):
    """Makes a dataset of one video that was asked some queries."""

    def make(*queries, **how):
        dataset = make_dataset(fo.Sample(path))
        revseg.segment_view(dataset, pipeline(**how), queries=list(queries))
        return dataset

    return make


def state(dataset):
    """The raw documents of all frames and samples, without dates and without reserved numbers."""
    frames = dataset._frame_collection
    found = [*(frames.find() if frames is not None else ()), *dataset._sample_collection.find()]
    for document in found:
        del document["last_modified_at"]
        for record in (document.get("revseg_trajectory") or {}).get("segmentations", ()):
            record.pop("indices", None)
    return found


def without_new_attributes(documents):
    """What a correction declares and sets to None counts as not there."""
    for document in documents:
        for labels in document.get("revseg_answers", {}).get("classifications", ()):
            for name in [name for name, value in labels.items() if value is None]:
                del labels[name]
    return documents


def boxes(dataset, index):
    found = {}
    for frame in dataset._frame_collection.find().sort("frame_number"):
        own = [d for d in frame["revseg"]["detections"] if d.get("index") == index]
        found[frame["frame_number"]] = [d["bounding_box"] for d in own]
    return found


def answers(sample):
    found = sample.revseg_answers.classifications
    return [(a["query"], a["index"], a.label, a["status"]) for a in found]


def kept(dataset):
    """The keys under which states before corrections are kept."""
    return _keys({"dataset_id": dataset._doc.id})


@pytest.mark.parametrize("query", ["the ghost", "the cat"])
def test_a_missing_object_takes_the_place_of_an_answer_without_one(segmented, query):
    reasoner = None if query == "the ghost" else Mumbling(ANSWERS)
    dataset = segmented(query, reasoner=reasoner)
    sample, before = dataset.first(), state(dataset)
    status = {"the ghost": "no_target", "the cat": "bad_keyframe"}[query]
    assert answers(sample) == [(query, None, status, status)]

    done = add_object(sample, query, {4: BOX}, "a thing", pipeline(hidden=(9,)), by="ann")
    assert (done.index, done.label, done.visible, done.frames) == (1, "a thing", 9, 10)
    assert answers(sample) == [(query, 1, "a thing", "ok")]
    assert sample.revseg_status == "ok"
    assert sample.revseg_answers.classifications[0]["corrected"] is True
    assert [list(k.support) for k in sample.revseg_keyframes.detections] == [[4, 4]]
    found = boxes(dataset, 1)
    assert [len(own) for own in found.values()] == [1] * 9 + [0]
    assert found[1] == [pytest.approx(BOX)]
    (record,) = sample.revseg_trajectory["segmentations"]
    (entry,) = record["corrections"]
    assert (entry["index"], entry["kind"], entry["by"]) == (1, "box", "ann")
    (one,) = explain(sample)
    assert (one.box_xywh_rel, one.key_frame, one.description) == (tuple(BOX), 4, "a thing")
    # It is an object like any other, which no run takes away
    assert revseg.segment_view(dataset, pipeline(), queries=query, overwrite=True).corrected == 1
    assert propagate(sample, 1, {2: OTHER}, pipeline()).visible == 10
    assert undo(sample).kind == "box"
    assert boxes(dataset, 1) == found

    told = undo(sample)
    assert str(told).startswith(f'undone: "box" of object 1, the answer to "{query}" by ann')
    assert without_new_attributes(state(dataset)) == without_new_attributes(before)
    assert kept(dataset) == []


def test_objects_are_added_beside_others(segmented):
    dataset = segmented("both", "the cat")
    sample, before = dataset.first(), state(dataset)
    third = boxes(dataset, 3)
    with pytest.raises(ValueError, match="several answers: say to which, query='both' or query="):
        add_object(sample, None, {4: BOX}, "a bird", pipeline())
    assert add_object(sample, "both", {4: BOX}, "a bird", pipeline()).index == 4
    assert add_object(sample, "both", {5: OTHER}, None, pipeline()).label == "both"
    assert answers(sample) == [
        ("both", 1, "a grey cat", "ok"),
        ("both", 2, "a dog", "ok"),
        ("both", 4, "a bird", "ok"),
        ("both", 5, "both", "ok"),
        ("the cat", 3, "a grey cat", "ok"),
    ]
    assert boxes(dataset, 3) == third
    # Numbers stand for the same objects as before
    propagate(sample, 3, {2: BOX}, pipeline())
    first, second = sample.revseg_trajectory["segmentations"]
    assert [e["index"] for e in first["corrections"]] == [4, 5]
    assert [e["index"] for e in second["corrections"]] == [3]
    assert [one.thought for one in explain(sample)] == ["thinking"] * 5
    # One object's correction is undone, and no other's
    undo(sample, 4)
    assert [a[1] for a in answers(sample)] == [1, 2, 5, 3]
    assert boxes(dataset, 3)[2] == [pytest.approx(BOX)]
    undo(sample)
    undo(sample)
    assert without_new_attributes(state(dataset)) == without_new_attributes(before)
    # The number of an object that is gone is not given to another one
    assert add_object(sample, "the cat", {4: BOX}, model=pipeline()).index == 6


def test_boxes_that_were_drawn_show_a_missing_object(segmented):
    dataset = segmented("the ghost")
    sample = dataset.first()
    sample.frames[3].revseg.detections.append(fo.Detection(label="the ghost", bounding_box=BOX))
    sample.save()
    before = state(dataset)
    assert add_object(sample, model=pipeline()).prompts == {3: BOX}
    assert [len(own) for own in boxes(dataset, 1).values()] == [1] * 10
    assert boxes(dataset, None)[3] == []
    undo(sample)
    assert without_new_attributes(state(dataset)) == without_new_attributes(before)
    assert boxes(dataset, None)[3] == [BOX]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": "the dog"}, "no answer to 'the dog' on this video, but to 'the ghost'"),
        ({"label": " "}, "An object needs a description"),
        ({"boxes": {11: BOX}}, "no frame 11: give a frame number from 1 to 10"),
        ({"boxes": None}, r"No box of object 1 \(the ghost\) was moved or drawn"),
        ({"boxes": {4: None}}, "has no box in frame 4"),
        ({"model": pipeline(hidden=range(FRAMES))}, "found nothing in the box in frame 4"),
    ],
)
def test_what_cannot_be_added_changes_nothing(segmented, arguments, message):
    dataset = segmented("the ghost")
    before = state(dataset)
    with pytest.raises(ValueError, match=message):
        add_object(dataset.first(), **{"boxes": {4: BOX}, "model": pipeline(), **arguments})
    assert state(dataset) == before
    assert kept(dataset) == []


def test_an_unreadable_video_has_no_place_for_an_object(make_dataset, tmp_path):
    path = tmp_path / "no.mp4"
    path.write_bytes(b"nothing")
    dataset = make_dataset(fo.Sample(str(path), media_type="video"))
    revseg.segment_view(dataset, pipeline(), queries="the cat")
    with pytest.raises(ValueError, match="no frames that an object could be in"):
        add_object(dataset.first(), boxes={1: BOX}, model=pipeline())


def test_deleting_and_undoing(segmented):
    dataset = segmented("both", hidden=(3,))
    sample, before = dataset.first(), state(dataset)
    others = boxes(dataset, 2)
    assert delete_object(sample, 1, by="ann") == "object 1 (a grey cat) is deleted"
    assert answers(sample) == [("both", 2, "a dog", "ok")]
    assert not any(boxes(dataset, 1).values())
    assert boxes(dataset, 2) == others
    assert [k["index"] for k in sample.revseg_keyframes.detections] == [2]
    assert sample.revseg_status == "ok"
    # That there is none left is an answer, which a person gave
    delete_object(sample, 2)
    assert answers(sample) == [("both", None, "no_target", "no_target")]
    assert sample.revseg_status == "no_target"
    assert sample.revseg_answers.classifications[0]["reason"] == "a person deleted the object"
    assert revseg.segment_view(dataset, pipeline(), queries="both", overwrite=True).corrected == 1
    assert undo(sample, 2).kind == "deleted"
    assert answers(sample) == [("both", 2, "a dog", "ok")]
    undo(sample)
    assert without_new_attributes(state(dataset)) == without_new_attributes(before)
    with pytest.raises(ValueError, match="Nothing was corrected on this video"):
        undo(sample)


def test_renaming_and_undoing(segmented):
    dataset = segmented("both")
    sample, before = dataset.first(), state(dataset)
    accept(sample, 1, by="ann")
    assert rename_object(sample, 1, "a tabby") == "object 1 is called a tabby, no more a grey cat"
    labels = {d.label for f in sample.frames.values() for d in f.revseg.detections}
    assert labels == {"a tabby", "a dog"}
    assert [k.label for k in sample.revseg_keyframes.detections] == ["a tabby", "a dog"]
    assert answers(sample)[0] == ("both", 1, "a tabby", "ok")
    assert [one.description for one in explain(sample)] == ["a tabby", "a dog"]
    assert sample.revseg_answers.classifications[0]["corrected"] is True
    rename_object(sample, 1, "a tabby")
    assert undo(sample, 1).kind == "renamed"
    assert answers(sample)[0] == ("both", 1, "a grey cat", "ok")
    for document in (after := state(dataset)):
        found = document.get("revseg") or document["revseg_answers"]
        for label in found.get("detections") or found["classifications"]:
            label["tags"] = []
            label.pop("reviewer", None), label.pop("reviewed_at", None)
    assert without_new_attributes(after) == without_new_attributes(before)
    with pytest.raises(ValueError, match="An object needs a description"):
        rename_object(sample, 1, "")


def test_another_description_is_asked_for_and_undone(segmented):
    dataset = segmented("both")
    sample, before = dataset.first(), state(dataset)
    model = pipeline(ScriptedReasoner({"both": [(0, "the cat's head", [50, 0, 100, 50])]}))
    reground(sample, 1, 6, model, description="the cat's head")
    assert boxes(dataset, 1)[6] == [pytest.approx([0.5, 0, 0.5, 0.5])]
    assert answers(sample)[0] == ("both", 1, "the cat's head", "ok")
    assert [k.label for k in sample.revseg_keyframes.detections] == ["the cat's head", "a dog"]
    # An object that a person added is asked about, too
    added = add_object(sample, "both", {4: BOX}, "a bird", pipeline()).index
    model = pipeline(ScriptedReasoner({"both": [(0, "a bird", DOG)]}))
    assert reground(sample, added, 2, model).prompts == {2: [0, 0, 0.5, 0.5]}
    for _ in range(3):
        undo(sample)
    assert without_new_attributes(state(dataset)) == without_new_attributes(before)


def test_asking_again_replaces_the_answer_to_one_query(segmented):
    dataset = segmented("both", "the ghost", "the cat")
    sample, before = dataset.first(), state(dataset)
    cat = boxes(dataset, 3)
    told = ask_again(sample, "the ghost", "a sheet", pipeline(NEW), by="ann")
    assert str(told).startswith(
        '"a sheet" in place of "the ghost": object 4 (a white sheet), object 5 (a rag), '
    )
    assert [a for a in answers(sample) if a[0] == "a sheet"] == [
        ("a sheet", 4, "a white sheet", "ok"),
        ("a sheet", 5, "a rag", "ok"),
    ]
    assert [a[1] for a in answers(sample)] == [1, 2, 4, 5, 3]
    assert boxes(dataset, 4)[1] == [pytest.approx([0.25, 0.5, 0.5, 0.5])]
    assert boxes(dataset, 3) == cat
    assert [k["index"] for k in sample.revseg_keyframes.detections] == [1, 2, 3, 4, 5]
    one = explain(sample)[2]
    assert (one.query, one.description, one.key_frame) == ("a sheet", "a white sheet", 4)
    assert revseg.segment_view(dataset, pipeline(), queries="both", overwrite=True).corrected == 1
    # The same query, of which less is found: numbers stay
    told = ask_again(sample, "both", model=pipeline(NEW))
    assert told.objects == {1: "a tabby"}
    assert answers(sample)[0][:3] == ("both", 1, "a tabby")
    assert not any(boxes(dataset, 2).values())
    propagate(sample, 1, {2: BOX}, pipeline())
    assert undo(sample, 1).kind == "box"
    assert boxes(dataset, 1)[2] == [pytest.approx([0, 0, 0.5, 0.5])]
    assert undo(sample, 2).indices == [1, 2]
    # What was corrected since would be lost
    propagate(sample, 5, {2: BOX}, pipeline())
    with pytest.raises(ValueError, match="Object 5 was corrected since: undo that first"):
        undo(sample, 4)
    undo(sample)
    undo(sample)
    assert without_new_attributes(state(dataset)) == without_new_attributes(before)
    assert kept(dataset) == []


def test_asking_again_may_find_nothing(segmented):
    dataset = segmented("the cat")
    sample, before = dataset.first(), state(dataset)
    told = ask_again(sample, new_query="the ghost", model=pipeline())
    assert (told.status, told.objects) == ("no_target", {})
    assert answers(sample) == [("the ghost", None, "no_target", "no_target")]
    assert not any(boxes(dataset, 1).values())
    undo(sample)
    assert without_new_attributes(state(dataset)) == without_new_attributes(before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": "the dog"}, "no answer to 'the dog' on this video"),
        ({"new_query": " "}, "query"),
        ({"query": "both", "new_query": "the cat"}, "'the cat' was asked about this video, too"),
        ({"query": "both", "model": pipeline(fails_at=5)}, "no answer: .*out of memory"),
    ],
)
def test_what_cannot_be_asked_again_changes_nothing(segmented, arguments, message):
    dataset = segmented("both", "the cat")
    before = state(dataset)
    with pytest.raises(ValueError, match=message):
        ask_again(dataset.first(), **{"query": "both", "model": pipeline(), **arguments})
    assert state(dataset) == before


def test_asking_again_that_was_interrupted(segmented, monkeypatch):
    dataset = segmented("both")
    sample, before = dataset.first(), state(dataset)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(asking, "edit_samples", stop)
            with pytest.raises(KeyboardInterrupt):
                ask_again(sample, model=pipeline(NEW))
        assert sample.revseg_status == "error"
    ask_again(sample, model=pipeline(NEW))
    assert [len(own) for own in boxes(dataset, 1).values()] == [1] * 10
    undo(sample)
    assert without_new_attributes(state(dataset)) == without_new_attributes(before)


def test_accepting_forgets_what_was_before(segmented):
    dataset = segmented("both")
    sample = dataset.first()
    propagate(sample, 1, {5: BOX, 8: OTHER}, pipeline())
    propagate(sample, 2, {5: BOX}, pipeline())
    assert len(kept(dataset)) == 2
    accept(sample, 1)
    assert len(kept(dataset)) == 1
    with pytest.raises(ValueError, match="last correction of object 1 cannot be undone"):
        undo(sample, 1)
    corrections = sample.revseg_trajectory["segmentations"][0]["corrections"]
    assert [e["frame_number"] for e in corrections] == [5, 8, 5]  # what was done is remembered
    assert undo(sample).indices == [2]
    # A correction after that voids the judgment, and undoing it brings it back
    propagate(sample, 1, {2: OTHER}, pipeline())
    assert sample.revseg_answers.classifications[0].tags == []
    undo(sample)
    assert sample.revseg_answers.classifications[0].tags == ["accepted"]
    assert boxes(dataset, 1)[5] == [pytest.approx(BOX)]


def test_what_was_kept_of_a_dataset_that_was_deleted_goes(make_dataset, path, segmented):
    other = fo.Dataset()
    other.add_sample(fo.Sample(path))
    revseg.segment_view(other, pipeline(), queries="both")
    propagate(other.first(), 1, {5: BOX}, pipeline())
    assert len(kept(other)) == 1
    other.delete()
    dataset = segmented("both")
    propagate(dataset.first(), 1, {5: BOX}, pipeline())
    assert (len(kept(other)), len(kept(dataset))) == (0, 1)


def test_a_clone_can_be_undone_by_itself(segmented):
    dataset = segmented("both")
    before = boxes(dataset, 1)
    propagate(dataset.first(), 1, {5: BOX}, pipeline())
    clone = dataset.clone()
    try:
        undo(clone.first())
        assert boxes(clone, 1) == before
        assert boxes(dataset, 1) != before
        undo(dataset.first())
        assert boxes(dataset, 1) == before
    finally:
        clone.delete()


def test_accepting_the_last_answer_forgets_deleted_objects(segmented):
    dataset = segmented("both")
    sample = dataset.first()
    delete_object(sample, 1)
    delete_object(sample, 2)
    accept(sample, query="both")
    assert kept(dataset) == []


def test_what_was_interrupted_can_be_undone_or_done_again(segmented, monkeypatch):
    dataset = segmented("both")
    sample, before = dataset.first(), state(dataset)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    def interrupt(owner, name, call, *args):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, stop)
            with pytest.raises(KeyboardInterrupt):
                call(*args)
        assert sample.revseg_status == "error"

    interrupt(
        correction_writer.CorrectionWriter, "_done", propagate, sample, 1, {5: BOX}, pipeline()
    )
    undo(sample)
    assert without_new_attributes(state(dataset)) == without_new_attributes(before)
    new = ("both", {5: BOX}, "a bird", pipeline())
    interrupt(correction_writer.CorrectionWriter, "_done", add_object, sample, *new)
    assert len(answers(sample)) == 3
    propagate(sample, 3, None, pipeline())
    assert sample.revseg_status == "ok"
    undo(sample)
    interrupt(editing, "edit_samples", delete_object, sample, 1)
    assert not any(boxes(dataset, 1).values())
    delete_object(sample, 1)
    assert answers(sample) == [("both", 2, "a dog", "ok")]
    interrupt(undoing, "edit_samples", undo, sample)
    undo(sample)
    assert without_new_attributes(state(dataset)) == without_new_attributes(before)


def test_clips(make_dataset, path):
    sample = fo.Sample(path)
    sample["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=s) for s in ([1, 5], [4, 10])]
    )
    dataset = make_dataset(sample)
    clips = dataset.to_clips("events")
    revseg.segment_view(clips, pipeline(), queries="the ghost")
    sample, before = dataset.first(), state(dataset)
    with pytest.raises(ValueError, match=r"support=\[1, 5\] or support=\[4, 10\]"):
        add_object(sample, boxes={3: BOX}, model=pipeline())
    add_object(sample, boxes={5: OTHER}, model=pipeline(), support=[4, 10])
    clip = clips.first()
    add_object(clip, boxes={2: BOX}, model=pipeline())
    assert [len(own) for own in boxes(dataset, 1).values()] == [1, 1, 1, 2, 2, 1, 1, 1, 1, 1]
    assert [a["status"] for a in clips.first().revseg_answers.classifications] == ["ok"]
    delete_object(sample, 1, support=[4, 10])
    assert [own for own in boxes(dataset, 1).values()] == [[pytest.approx(BOX)]] * 5 + [[]] * 5
    undo(clips.first())
    assert not any(boxes(dataset, 1).values())
    assert [a["status"] for a in clips.first().revseg_answers.classifications] == ["no_target"]
    undo(dataset.first())
    undo(dataset.first())
    assert without_new_attributes(state(dataset)) == without_new_attributes(before)


def test_groups_of_images(make_dataset, tmp_path):
    samples = []
    for k in range(4):
        path = tmp_path / f"{k}.png"
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 40 * k, np.uint8)).save(path)
        samples.append(fo.Sample(str(path), scene="a", k=k))
    dataset = make_dataset(*samples)
    view = dataset.group_by("scene", order_by="k")
    revseg.segment_view(view, pipeline(), queries="the ghost")
    group, before = next(view.iter_dynamic_groups()), state(dataset)
    add_object(group, boxes={2: BOX}, model=pipeline())
    for sample in dataset:
        assert [d.bounding_box for d in sample.revseg.detections] == [pytest.approx(BOX)]
        assert answers(sample) == [("the ghost", 1, "the ghost", "ok")]
        assert sample.revseg_status == "ok"
        rows = [k["index"] for k in sample.revseg_keyframes.classifications]
        assert rows == ([1] if sample.k == 1 else [])
    rename_object(group, 1, "a sheet")
    assert dataset.distinct("revseg.detections.label") == ["a sheet"]
    delete_object(group, 1)
    assert dataset.values("revseg_status") == ["no_target"] * 4
    ask_again(group, new_query="a sheet", model=pipeline(NEW))
    assert [len(d.detections) for d in dataset.values("revseg")] == [2] * 4
    assert dataset.values("revseg_status") == ["ok"] * 4
    for _ in range(4):
        undo(group)
    assert without_new_attributes(state(dataset)) == without_new_attributes(before)
