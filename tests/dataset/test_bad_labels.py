"""Labels that cannot be what they should be: named with the reason, and the others go on."""

import fiftyone as fo
import numpy as np
import pytest
from bson import Binary
from fake_models import BoxTracker, write_video
from PIL import Image

import fiftyone_revseg as revseg
from fiftyone_revseg import compare_fields, export_results, make_view
from fiftyone_revseg.dataset.data_filter import filter_view
from fiftyone_revseg.dataset.training_rows import view_rows

WIDTH, HEIGHT, FRAMES = 32, 24, 3
BOX = [0.25, 0.25, 0.5, 0.5]
NAN = float("nan")
FORMATS = ("coco-tracks", "youtube-vos", "mot")


@pytest.fixture
def dataset(make_dataset, tmp_path):
    """Two videos, each with the same object in two label fields."""
    write_video(tmp_path / "bad.mp4", WIDTH, HEIGHT, FRAMES)
    (tmp_path / "good.mp4").write_bytes((tmp_path / "bad.mp4").read_bytes())
    samples = []
    for name in ("bad", "good"):
        sample = fo.Sample(str(tmp_path / f"{name}.mp4"), query="the cat")
        for number in range(1, FRAMES + 1):
            for label_field in ("ground_truth", "other"):
                mask = np.ones((12, 16), bool)
                cat = fo.Detection(label="cat", bounding_box=BOX, mask=mask, index=1)
                sample.frames[number][label_field] = fo.Detections(detections=[cat])
        samples.append(sample)
    made = make_dataset(*samples)
    yield made
    made._frame_collection.delete_many({})  # FiftyOne fails on such labels when it lets go of them


def change(dataset, **values):
    """Changes the label of the first video's second frame, past what FiftyOne would refuse."""
    update = {f"ground_truth.detections.0.{name}": value for name, value in values.items()}
    change_field(dataset, update)


def change_field(dataset, update):
    frame = {"_sample_id": dataset.first()._id, "frame_number": 2}
    assert dataset._frame_collection.update_one(frame, {"$set": update}).matched_count == 1
    dataset.reload()


def of_evaluation(dataset):
    """What an evaluation says about the bad video, whose label is the truth or the prediction."""
    bad, good = dataset.values("id")
    evaluation = revseg.evaluate_view(dataset, "ground_truth", "other", progress=False)
    one, two = evaluation.scores
    assert (one.missing, one.jf, two.missing, two.jf) == (True, 0, False, 1)

    evaluation = revseg.evaluate_view(dataset, "other", progress=False)
    (score,), (note,) = evaluation.scores, evaluation.notes  # no prediction of the other is wrong
    assert (score.sample_id, score.missing, score.jf) == (good, False, 1)
    assert note == f"left out, as its truth cannot be used: {one.reason} ({bad})"
    return one.reason


def every_door(dataset, tmp_path):
    """Goes through everything that reads labels; returns what each says about the bad video."""
    bad, good = dataset.values("id")
    said = {}
    for name in FORMATS:
        summary = export_results(dataset, tmp_path / name, name, "ground_truth", progress=False)
        assert summary.exported == 1
        said[name] = summary.skipped[bad]
    said["evaluate"] = of_evaluation(dataset)
    comparison = compare_fields(dataset, "other", "ground_truth", progress=False)
    assert comparison.agreements == {good: 1}
    said["compare"] = comparison.unusable[bad]
    (row,), (skipped,) = view_rows(dataset)
    assert (row.id, skipped.id) == ("good", bad)
    said["train"] = skipped.reason
    summary = filter_view(dataset, tracker=BoxTracker())
    assert summary.kept == [good]
    ((said["filter"], ids),) = summary.failures.items()
    assert ids == [bad]
    view = make_view(dataset, "drift suspected", "ground_truth", progress=False)
    assert dataset.values("ground_truth_drift") == [None, 0]
    assert len(view) == 0
    return said


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"bounding_box": [100, 50, 200, 300]}, "not relative to the frame"),
        ({"bounding_box": [0, 0, 1920, 1080]}, "not relative to the frame"),
        ({"bounding_box": [1e300, 0, 1, 1]}, "not relative to the frame"),
        ({"bounding_box": [NAN, 0.1, 0.2, 0.2]}, "not relative to the frame"),
        ({"bounding_box": [0.1, 0.1, float("inf"), 0.2]}, "not relative to the frame"),
        ({"bounding_box": [0.5, 0.5, -0.2, 0.2]}, "not relative to the frame"),
        ({"bounding_box": [0.1, 0.2, 0.3]}, "not relative to the frame"),
        ({"bounding_box": ["0.1", "0.1", "0.2", "0.2"]}, "not relative to the frame"),
        ({"bounding_box": None, "mask": None}, "box None is not relative to the frame"),
        ({"index": "first"}, "index 'first' is no whole number"),
        ({"index": 1.5}, "index 1.5 is no whole number"),
    ],
)
def test_a_label_that_cannot_be_drawn_is_named(dataset, tmp_path, values, why):
    change(dataset, **values)
    for door, said in every_door(dataset, tmp_path).items():
        assert why in said, door
        assert "Frame 2 of 'ground_truth'" in said, door


@pytest.mark.parametrize("stored", [{"_cls": "Detections"}, {"detections": 3}, 7])
def test_a_field_that_holds_something_else_is_named(dataset, tmp_path, stored):
    change_field(dataset, {"ground_truth": stored})
    for door, said in every_door(dataset, tmp_path).items():
        assert said == "Frame 2 of 'ground_truth' cannot be used: it holds no list of detections", (
            door
        )


def of_masks(dataset, tmp_path):
    """As :func:`every_door`, for what reads masks; the others do not need them."""
    bad, good = dataset.values("id")
    summary = export_results(dataset, tmp_path / "out", label_field="ground_truth", progress=False)
    assert summary.exported == 1
    comparison = compare_fields(dataset, "other", "ground_truth", progress=False)
    assert comparison.agreements == {good: 1}
    summary_of_filter = filter_view(dataset, tracker=BoxTracker())
    assert summary_of_filter.kept == [good]
    return [
        summary.skipped[bad],
        of_evaluation(dataset),
        comparison.unusable[bad],
        *summary_of_filter.failures,
    ]


def stored_mask(mask):
    detection = fo.Detection(label="x", bounding_box=BOX, mask=mask)
    return detection.to_mongo().to_dict()["mask"]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: stored_mask(np.zeros((0, 0), bool)), "has no pixels"),
        (lambda: stored_mask(np.ones((12, 16, 3), np.uint8)), "has the shape (12, 16, 3)"),
        (lambda: stored_mask(np.ones(12, bool)), "has the shape (12,)"),
        (lambda: Binary(b"not a mask"), "is damaged"),
        (lambda: Binary(bytes(stored_mask(np.ones((12, 16), bool)))[:-9]), "is damaged"),
    ],
)
def test_a_mask_that_is_none_is_named(dataset, tmp_path, make, why):
    change(dataset, mask=make())
    for said in of_masks(dataset, tmp_path):
        assert why in said


def save_colours(path):
    Image.fromarray(np.full((12, 16, 4), 255, np.uint8)).save(path)


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "cannot be read"),
        (lambda path: path.mkdir(), "cannot be read"),
        (save_colours, "has the shape (12, 16, 4)"),
        (lambda path: Image.new("L", (9000, 9000)).save(path), "9000 x 9000 pixels"),
    ],
)
def test_a_file_that_is_no_mask_is_named(dataset, tmp_path, write, why):
    write(tmp_path / "mask.png")
    change(dataset, mask=None, mask_path=str(tmp_path / "mask.png"))
    for said in of_masks(dataset, tmp_path):
        assert why in said
        assert "mask.png" in said


def test_masks_of_another_shape_are_scaled_to_their_box(dataset, tmp_path):
    change(dataset, mask=stored_mask(np.ones((3, 40), bool)))
    evaluation = revseg.evaluate_view(dataset, "other", progress=False)
    assert [score.jf for score in evaluation.scores] == [1, 1]


@pytest.mark.parametrize("index", [-1, 0, 256, 10**9])
def test_an_index_that_a_format_does_not_have_is_refused_by_that_format(dataset, tmp_path, index):
    change(dataset, index=index)
    bad, _ = dataset.values("id")
    for name in FORMATS:
        summary = export_results(dataset, tmp_path / name, name, "ground_truth", progress=False)
        if name == "youtube-vos":
            assert f"an index of 1 to 255, not {index}" in summary.skipped[bad]
        elif name == "mot" and index < 0:
            assert f"negative index ({index})" in summary.skipped[bad]
        else:
            assert summary.exported == 2
    lines = (tmp_path / "mot/good.txt").read_text().splitlines()
    assert lines[0] == "1,1,9,7,16,12,1,-1,-1,-1"
    if index == 10**9:
        assert (
            (tmp_path / "mot/bad.txt").read_text().splitlines()[1].startswith("2,1000000000,9,7,")
        )


def test_labels_without_an_index_are_no_tracks(dataset, tmp_path):
    change(dataset, index=None)
    summary = export_results(dataset, tmp_path / "out", label_field="ground_truth", progress=False)
    assert "have no index" in summary.skipped[dataset.first().id]


def test_two_labels_of_one_object_in_a_frame_are_one_mask(dataset, tmp_path):
    sample = dataset.first()
    left, right = [0.25, 0.25, 0.25, 0.5], [0.5, 0.25, 0.25, 0.5]
    halves = [fo.Detection(label="cat", bounding_box=box, index=1) for box in (left, right)]
    sample.frames[2].ground_truth.detections = halves
    sample.save()
    evaluation = revseg.evaluate_view(dataset, "other", progress=False)
    assert [score.jf for score in evaluation.scores] == [1, 1]
    assert compare_fields(dataset, "other", "ground_truth", progress=False).mean == 1


@pytest.mark.parametrize("confidence", [NAN, float("inf"), "high"])
def test_a_confidence_that_is_no_number_is_not_known(dataset, tmp_path, confidence):
    change(dataset, confidence=confidence)
    export_results(dataset, tmp_path / "out", label_field="ground_truth", progress=False)
    text = (tmp_path / "out/instances.json").read_text()
    assert '"score": null' in text
    assert not any(word in text for word in ("NaN", "Infinity"))


def test_boxes_may_reach_out_of_the_frame(dataset):
    sample = dataset.first()
    for frame in sample.frames.values():
        frame.ground_truth.detections[0].bounding_box = [-0.5, -0.5, 1.2, 1.2]
        frame.other.detections[0].bounding_box = [0, 0, 0.7, 0.7]
        frame.ground_truth.detections[0].mask = frame.other.detections[0].mask = None
    sample.save()
    assert compare_fields(dataset, "other", "ground_truth", progress=False).mean > 0.99
