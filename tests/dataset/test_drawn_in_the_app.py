"""What FiftyOne's App writes when a person draws, paints and clicks, and what becomes of it.

The labels are those that the App of FiftyOne 1.22 wrote; tests/app/test_gestures_in_browser.py
has it write them.
"""

import io
import zlib

import fiftyone as fo
import numpy as np
import pytest
from bson import ObjectId
from fake_models import BoxTracker, ScriptedReasoner, write_video
from fiftyone import ViewField as F

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset import correction_writer
from fiftyone_revseg.dataset.annotation import activate_annotation, deactivate_annotation
from fiftyone_revseg.dataset.correct import propagate
from fiftyone_revseg.dataset.labelled_videos import paste
from fiftyone_revseg.dataset.objects import find_object, find_place
from fiftyone_revseg.dataset.prompt_boxes import changed_prompts, earlier_prompts
from fiftyone_revseg.pipeline import RevSeg
from fiftyone_revseg.tracking.prompts import NEGATIVE, POSITIVE

WIDTH, HEIGHT, FRAMES = 64, 48, 10
CAT, DOG = [25, 50, 75, 100], [0, 0, 50, 50]  # in the 100 x 100 key frame
BOX, OTHER = [0.5, 0.25, 0.25, 0.5], [0.0, 0.0, 0.25, 0.5]  # relative


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    write_video(path, WIDTH, HEIGHT, FRAMES)
    return str(path)


@pytest.fixture
def model():
    answers = {"both": [(0, "a grey cat", CAT), (3, "a dog", DOG)]}
    return RevSeg(ScriptedReasoner(answers), BoxTracker())


@pytest.fixture
def dataset(make_dataset, path, model):
    dataset = make_dataset(fo.Sample(path))
    revseg.segment_view(dataset, model, queries="both")
    activate_annotation(dataset)
    return dataset


def cat(dataset):
    return find_object(find_place(dataset.first()), 1)


def draw(dataset, number, repeats=3, field="revseg.detections", instance=None, **label):
    """Writes a label as the App does: with a key frame, and repeats of it without the mask."""
    instance = {"_id": instance or ObjectId(), "_cls": "Instance"}
    kind = {"detections": "Detection", "polylines": "Polyline"}[field.split(".")[1]]
    sample = {"_sample_id": ObjectId(dataset.first().id)}
    for n in range(number, min(number + repeats, FRAMES) + 1):
        own = {"_cls": kind, "_id": ObjectId(), "instance": instance, "keyframe": n == number}
        if n == number:
            own |= label
        else:
            own |= {k: v for k, v in label.items() if k != "mask"}
        value = {"$push": {field: own}}
        dataset._frame_collection.update_one({**sample, "frame_number": n}, value)
    return instance["_id"]


def painted(mask):
    """A mask as the App stores it: of bytes, in the pixels of the screen."""
    out = io.BytesIO()
    np.save(out, mask.repeat(3, axis=0).repeat(3, axis=1).astype(np.uint8))
    return zlib.compress(out.getvalue())


def detections(dataset):
    """frame number -> (index, box, keyframe) of all detections."""
    return {
        d["frame_number"]: [
            (x.get("index"), x["bounding_box"], x.get("keyframe"))
            for x in d["revseg"]["detections"]
        ]
        for d in dataset._frame_collection.find().sort("frame_number")
    }


def test_only_the_frame_that_was_drawn_on_counts_and_its_repeats_go(dataset, model):
    draw(dataset, 4, label="a grey cat", bounding_box=BOX)
    model.tracker.calls.clear()
    done = propagate(dataset.first(), 1, None, model)
    assert done.prompts == {4: BOX}
    assert [k for k, _ in model.tracker.calls] == [3, 3]  # both ways
    for number, found in detections(dataset).items():
        assert [index for index, *_ in found] == [1, 2], number
        assert found[0] == (1, pytest.approx(BOX), True if number == 4 else None)
    assert changed_prompts(cat(dataset)) == {}


def test_a_box_that_was_moved_later_on_is_a_second_key_frame(dataset, model):
    instance = draw(dataset, 2, repeats=8, label="a grey cat", bounding_box=BOX)
    # The App sets the key frame, and fills in what is between
    for number in range(3, 9):
        values = {"revseg.detections.$[d].bounding_box": OTHER}
        values["revseg.detections.$[d].keyframe"] = number == 8
        dataset._frame_collection.update_one(
            {"frame_number": number}, {"$set": values}, array_filters=[{"d.instance._id": instance}]
        )
    done = propagate(dataset.first(), 1, None, model)
    assert done.prompts == {2: BOX, 8: OTHER}
    keys = {n for n, found in detections(dataset).items() if found[0][2]}
    assert keys == {2, 8}
    assert {len(found) for found in detections(dataset).values()} == {2}


def test_a_label_of_another_object_is_its_own(dataset, model):
    draw(dataset, 4, label="a dog", bounding_box=BOX)
    assert changed_prompts(cat(dataset)) == {}
    draw(dataset, 5, label="", bounding_box=OTHER)  # nobody's, so that of whom it is asked for
    assert list(changed_prompts(cat(dataset))) == [5]
    propagate(dataset.first(), 1, None, model)
    assert [index for index, *_ in detections(dataset)[4]] == [1, 2, None]
    assert propagate(dataset.first(), 2, None, model).prompts == {4: BOX}
    assert [index for index, *_ in detections(dataset)[4]] == [1, 2]


def test_points_are_the_corners_of_polylines(dataset, model):
    assert "frames.revseg_points" in dataset.active_label_schemas
    points = {"field": "revseg_points.polylines", "closed": False, "filled": False}
    on = [[[0.25, 0.25], [0.5, 0.5]], [[0.375, 0.75]]]
    draw(dataset, 6, points=on, label="on the object", **points)
    draw(dataset, 6, points=[[[0.875, 0.5]]], label="beside the object", **points)
    draw(dataset, 2, points=[[[0.5, 0.5]]], label="something else", **points)
    (number,) = changed_prompts(cat(dataset))
    assert number == 6
    done = propagate(dataset.first(), 1, None, model)
    prompt = np.array(model.tracker.calls[-1][1][0])
    assert prompt[:, 2].tolist() == [POSITIVE] * 3 + [NEGATIVE]
    assert prompt[:, :2].tolist() == [[16, 12], [32, 24], [24, 36], [56, 24]]
    # The box of a prompt without one is that of what was found there
    assert done.prompts == {6: pytest.approx([0.25, 0.25, 0.25, 0.5])}
    (entry,) = dataset.first().revseg_trajectory["segmentations"][0]["corrections"]
    assert (entry["kind"], entry["prompt"]["beside"]) == ("points", [[0.875, 0.5]])
    frames = dataset._frame_collection.find({"revseg_points": {"$exists": True}})
    left = [x for frame in frames for x in frame["revseg_points"]["polylines"]]
    assert {x["label"] for x in left} == {"something else"}


def test_points_beside_an_object_alone_are_refused(dataset, model):
    draw(
        dataset,
        6,
        field="revseg_points.polylines",
        points=[[[0.5, 0.5]]],
        label="beside the object",
    )
    with pytest.raises(ValueError, match="only points beside the object in frame 6: add one"):
        propagate(dataset.first(), 1, None, model)


def test_a_painted_mask_is_kept_to_the_pixel(dataset, model):
    mask = np.zeros((8, 16), bool)
    mask[2:, 3:] = mask[:, 12:] = True
    box = [8 / WIDTH, 16 / HEIGHT, 16 / WIDTH, 8 / HEIGHT]
    draw(dataset, 5, label="a grey cat", bounding_box=box, mask=painted(mask))
    done = propagate(dataset.first(), 1, None, model)
    assert list(done.prompts) == [5]
    frame = np.zeros((HEIGHT, WIDTH), bool)
    frame[16:24, 8:24] = mask
    for number in (1, 5, 10):
        found = dataset.first().frames[number].revseg.detections[0]
        x, y, w, h = found.bounding_box
        full = np.zeros((HEIGHT, WIDTH), bool)
        full[
            round(y * HEIGHT) : round((y + h) * HEIGHT), round(x * WIDTH) : round((x + w) * WIDTH)
        ] = found.mask
        assert (full == frame).all(), number
    (entry,) = dataset.first().revseg_trajectory["segmentations"][0]["corrections"]
    assert (entry["kind"], entry["prompt"]["mask"]["size"]) == ("mask", [HEIGHT, WIDTH])
    assert changed_prompts(cat(dataset)) == {}


def test_what_was_painted_on_one_frame_is_one_mask(dataset, model):
    """The App makes another label for who goes on painting with none selected."""
    boxes = [8 / WIDTH, 16 / HEIGHT, 16 / WIDTH, 8 / HEIGHT], [0.5, 0.5, 0.25, 0.25]
    for box in boxes:
        mask = painted(np.ones((round(box[3] * HEIGHT), round(box[2] * WIDTH)), bool))
        draw(dataset, 5, label="a grey cat", bounding_box=box, mask=mask)
    frame = np.zeros((HEIGHT, WIDTH), bool)
    frame[16:24, 8:24] = frame[24:36, 32:48] = True
    propagate(dataset.first(), 1, None, model)
    found = dataset.first().frames[5].revseg.detections
    assert [d.index for d in found] == [1, 2]
    full = np.zeros((HEIGHT, WIDTH), bool)
    paste(full, found[0])
    assert (full == frame).all()
    assert changed_prompts(cat(dataset)) == {}


def test_of_two_boxes_on_one_frame_the_last_counts_and_neither_is_left(dataset, model):
    draw(dataset, 5, label="a grey cat", bounding_box=OTHER)
    draw(dataset, 5, label="a grey cat", bounding_box=BOX)
    assert propagate(dataset.first(), 1, None, model).prompts == {5: BOX}
    assert {len(found) for found in detections(dataset).values()} == {2}
    assert changed_prompts(cat(dataset)) == {}


def test_the_brush_on_a_mask_of_ours_makes_it_a_persons(dataset, model):
    """The App stores the whole mask anew then, and sets no key frame."""
    frame = dataset._frame_collection.find_one({"frame_number": 3})
    (own,) = (d for d in frame["revseg"]["detections"] if d["index"] == 1)
    mask = fo.Detection.from_dict(dict(own)).mask
    value = {"revseg.detections.$[d].mask": painted(mask)}
    where = {"frame_number": 3}
    dataset._frame_collection.update_one(
        where, {"$set": value}, array_filters=[{"d._id": own["_id"]}]
    )
    prompts = changed_prompts(cat(dataset))
    assert [(n, p.kind) for n, p in prompts.items()] == [(3, "mask")]


def test_earlier_corrections_are_kept_until_their_mark_is_taken_away(dataset, model):
    sample = dataset.first()
    propagate(sample, 1, {2: BOX}, model)
    assert list(earlier_prompts(cat(dataset))) == [2]
    done = propagate(sample, 1, {9: OTHER}, model, keep=True)
    assert done.prompts == {2: BOX, 9: OTHER}
    sample.reload()
    kinds = [c["frame_number"] for c in sample.revseg_trajectory["segmentations"][0]["corrections"]]
    assert kinds == [2, 9]
    # As the App's K does
    sample.frames[2].revseg.detections[0]["keyframe"] = False
    sample.save()
    assert list(earlier_prompts(cat(dataset))) == [9]
    assert propagate(sample, 1, {9: BOX}, model).prompts == {9: BOX}


def test_an_interrupted_correction_from_points_goes_on_from_them(dataset, model, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    given = {3: {"on": [[0.25, 0.25], [0.5, 0.5]], "beside": [[0.9, 0.9]]}}
    with monkeypatch.context() as patch:
        patch.setattr(correction_writer.CorrectionWriter, "_done", stop)
        with pytest.raises(KeyboardInterrupt):
            propagate(dataset.first(), 1, given, model)
    before = model.tracker.calls[-1]
    propagate(dataset.first(), 1, None, model)
    assert model.tracker.calls[-1] == before
    (entry,) = dataset.first().revseg_trajectory["segmentations"][0]["corrections"]
    assert entry["prompt"] == given[3]
    assert "labels" not in entry


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"on": [[0.5]]}, "points in frame 3 are none"),
        ({"on": [[0.5], [0.5]]}, "points in frame 3 are none"),
        ({"on": [[0.5, 1.5]]}, "points in frame 3 are none"),
        ({"on": [[0.5, float("nan")]]}, "points in frame 3 are none"),
        ({"on": "here"}, "points in frame 3 are none"),
        ({"beside": [[0.5, 0.5]]}, "says nothing of where the object is"),
        ({}, "says nothing of where the object is"),
        ({"point": [0.5, 0.5]}, "'point' in frame 3 is not known"),
        ({"mask": np.zeros((HEIGHT, WIDTH))}, "mask in frame 3 is empty"),
        ({"mask": np.ones((2, 3, 4))}, "mask in frame 3 is empty"),
        ({"mask": np.ones((HEIGHT, WIDTH)), "on": [[0.5, 0.5]]}, "a mask and points in frame 3"),
        ({"mask": np.ones((5, 5))}, "a mask of"),
    ],
)
def test_wrong_prompts_change_nothing(dataset, model, given, message):
    before = list(dataset._frame_collection.find())
    with pytest.raises(ValueError, match=message):
        propagate(dataset.first(), 1, {3: given}, model)
    assert list(dataset._frame_collection.find()) == before


def test_key_frames_are_marked_for_the_timeline(dataset):
    keys = {n for n, found in detections(dataset).items() for i, _, key in found if key and i == 2}
    (answer,) = (a for a in dataset.first().revseg_answers.classifications if a["index"] == 2)
    assert keys == {answer["keyframe"]}
    view = dataset.filter_labels("frames.revseg", F("keyframe") == True)  # noqa: E712
    assert view.count("frames.revseg.detections") == 2


def test_the_annotation_mode_is_made_ready_once_and_can_be_undone(dataset):
    fields = ["frames.revseg", "frames.revseg_points"]
    assert dataset.active_label_schemas == fields
    # What a person deactivated stays so
    dataset.deactivate_label_schemas(fields)
    assert activate_annotation(dataset) == []
    assert dataset.active_label_schemas == []
    # FiftyOne checks the schemas of all fields whenever one is deleted
    dataset.add_sample_field("note", fo.StringField)
    dataset.delete_sample_field("note")
    assert deactivate_annotation(dataset) == fields
    assert deactivate_annotation(dataset) == []
    assert not dataset.has_field("frames.revseg_points")
    dataset.delete_frame_field("revseg")


@pytest.mark.parametrize("missing", [False, True])
def test_what_was_drawn_is_there_again_after_undoing(dataset, model, missing):
    def frames():
        found = dataset._frame_collection.find()
        return [{k: v for k, v in d.items() if k != "last_modified_at"} for d in found]

    if missing:
        draw(dataset, 6, label="a bird", bounding_box=BOX)
    else:
        points = {"field": "revseg_points.polylines", "closed": False, "filled": False}
        draw(dataset, 6, points=[[[0.25, 0.5]]], label="on the object", **points)
        draw(dataset, 6, points=[[[0.875, 0.5]]], label="beside the object", **points)
    before = frames()
    if missing:
        done = revseg.add_object(dataset.first(), model=model)
        assert (done.index, done.label, list(done.prompts)) == (3, "a bird", [6])
        assert not any(
            index is None for found in detections(dataset).values() for index, *_ in found
        )
    else:
        propagate(dataset.first(), 1, None, model)
    assert frames() != before
    revseg.undo(dataset.first())
    assert frames() == before


def test_a_tracker_that_knows_no_points_alone_is_not_asked_about_them(dataset, model):
    before = detections(dataset)
    model.tracker.name = "sam2-nano"
    with pytest.raises(ValueError, match="knows no points without a box"):
        propagate(dataset.first(), 1, {5: {"on": [[0.5, 0.5]]}}, model)
    assert detections(dataset) == before
    propagate(dataset.first(), 1, {5: {"box": BOX, "on": [[0.5, 0.5]]}}, model)
