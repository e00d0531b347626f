"""Videos of any length, with any number of objects and queries, through every door.

What a library or a format cannot count any more shows beyond 255, 256, 1,000 or 10,000: of clips
of ten frames, none of that is seen. The masks are boxes, so that all figures are known.
"""

import json

import fiftyone as fo
import numpy as np
import pytest
from fake_models import BoxTracker, ScriptedReasoner, write_video
from PIL import Image
from pycocotools import mask as coco

import fiftyone_revseg as revseg
from fiftyone_revseg import compare_fields, export_results, make_view
from fiftyone_revseg.dataset.correct import propagate
from fiftyone_revseg.dataset.data_filter import filter_view
from fiftyone_revseg.dataset.explain import explain, track_series
from fiftyone_revseg.dataset.training_rows import view_rows
from fiftyone_revseg.pipeline import RevSeg

WIDTH, HEIGHT = 40, 40
SLOW = pytest.mark.slow
#: frames, queries, objects of each
CASES = [
    (1, 1, 1),
    (2, 1, 20),
    pytest.param((256, 1, 1), marks=SLOW),
    pytest.param((3, 200, 1), marks=SLOW),
    (255, 1, 1),
    pytest.param((257, 1, 3), marks=SLOW),
    pytest.param((1_001, 1, 1), marks=SLOW),
    pytest.param((10_000, 1, 1), marks=SLOW),
]


def corner(number):
    """The (left, top) pixel of an object's box; boxes of 20 objects do not touch."""
    return 2 + 8 * (number % 5), 2 + 8 * (number % 20 // 5)


def answers(queries, objects):
    """query -> its objects, with boxes of 4 x 4 pixels as the model gives them."""
    found = {}
    for q in range(queries):
        found[f"the thing {q}."] = []
        for n in range(objects):
            left, top = corner(q + n)
            box = [100 * v / WIDTH for v in (left, top, left + 4, top + 4)]
            found[f"the thing {q}."].append((0, f"thing {n}, of {q}", box))
    return found


@pytest.fixture(params=CASES, ids=lambda case: "x".join(map(str, case)))
def case(request):
    return request.param


@pytest.fixture
def dataset(make_dataset, tmp_path, case):
    """A video that was segmented, with the same labels as its truth."""
    frames, queries, objects = case
    write_video(tmp_path / "video.mp4", WIDTH, HEIGHT, frames)
    made = make_dataset(fo.Sample(str(tmp_path / "video.mp4")))
    asked = answers(queries, objects)
    made.add_sample_field("queries", fo.ListField, subfield=fo.StringField)
    made.set_values("queries", [list(asked)])
    pipeline = RevSeg(ScriptedReasoner(asked), BoxTracker())
    summary = revseg.segment_view(made, pipeline, prompt_field="queries", progress=False)
    assert (summary.total, summary.counts) == (1, {"ok": 1})
    detections = {"embedded_doc_type": fo.Detections}
    made.add_frame_field("ground_truth", fo.EmbeddedDocumentField, **detections)
    made._frame_collection.update_many({}, [{"$set": {"ground_truth": "$revseg"}}])
    made.reload()
    return made


def test_every_door(dataset, case, tmp_path):
    frames, queries, objects = case
    labels = queries * objects
    check_written(dataset, frames, labels)
    check_evaluation(dataset, frames, queries)
    comparison = compare_fields(dataset, "revseg", "ground_truth", progress=False)
    assert list(comparison.agreements.values()) == [1]
    check_exports(dataset, frames, labels, tmp_path)
    check_panel(dataset, frames, labels)
    check_training_data(dataset, frames, queries, objects)
    summary = filter_view(dataset, tracker=BoxTracker(), starts=1, progress=False)
    assert (len(summary.kept), summary.failures) == (1, {})
    assert dataset.values("data_filter_iou") == [1]
    assert len(make_view(dataset, "drift suspected", progress=False)) == 0
    check_correction(dataset, frames, labels)


def check_written(dataset, frames, labels):
    first, last = (dataset.first().frames[number].revseg.detections for number in (1, frames))
    for found in (first, last):
        assert [d.index for d in found] == list(range(1, labels + 1))
        assert all(d.mask.all() and d.mask.shape == (4, 4) for d in found)
    assert dataset._frame_collection.count_documents({}) == frames
    assert len(dataset.first().revseg_answers.classifications) == labels


def check_evaluation(dataset, frames, queries):
    evaluation = revseg.evaluate_view(dataset, eval_key="figures", progress=False)
    assert len(evaluation.scores) == queries
    for score in evaluation.scores:
        assert (score.frames, score.jf, score.missing) == (frames, 1, False)
    assert dataset.values("figures_jf") == [1]


def check_exports(dataset, frames, labels, tmp_path):
    for name in ("coco-tracks", "youtube-vos", "mot", "jsonl"):
        summary = export_results(dataset, tmp_path / name, name, progress=False)
        assert (summary.exported, summary.skipped) == (1, {})
    tracks = json.loads((tmp_path / "coco-tracks/instances.json").read_text())["annotations"]
    assert len(tracks) == labels
    for track in tracks:
        assert track["areas"] == [16] * frames
    last = tracks[-1]["segmentations"][-1]
    left, top = corner(labels - 1)
    np.testing.assert_array_equal(coco.toBbox(last), [left, top, 4, 4])
    pictures = sorted((tmp_path / "youtube-vos/Annotations/video").iterdir())
    assert [p.name for p in pictures] == [f"{k:05d}.png" for k in range(frames)]
    assert np.unique(np.asarray(Image.open(pictures[-1]))).tolist() == [
        0,
        *range(1, min(labels, 20) + 1),
    ]
    assert len((tmp_path / "mot/video.txt").read_text().splitlines()) == frames * labels


def check_panel(dataset, frames, labels):
    sample = dataset.first()
    explanations = explain(sample)
    assert len(explanations) == labels
    series = track_series(sample, explanations[-1])
    assert series.numbers == tuple(range(1, frames + 1))
    assert series.areas == (pytest.approx(0.01),) * frames


def check_training_data(dataset, frames, queries, objects):
    rows, skipped = view_rows(dataset, prompt_field="queries")
    assert (len(rows), skipped) == (queries, [])
    for row in rows:
        assert row.boxes.shape == (objects, frames, 4)
        assert not np.isnan(row.boxes).any()
    assert rows[-1].load(4).boxes.shape == (objects, min(frames, 4), 4)


def check_correction(dataset, frames, labels):
    box = [0, 0, 0.1, 0.1]
    done = propagate(dataset.first(), labels, {frames: box}, BoxTracker())
    assert (done.frames, done.visible) == (frames, frames)
    for number in (1, frames):
        found = dataset.first().frames[number].revseg.detections
        assert [d.bounding_box for d in found if d.index == labels] == [box]
        assert len(found) == labels


def test_labels_are_written_in_stretches_as_they_are_in_one(make_dataset, tmp_path, monkeypatch):
    from fiftyone_revseg.dataset import writer

    write_video(tmp_path / "video.mp4", WIDTH, HEIGHT, 30)
    stored, stretches = [], []
    real = writer.write_frames
    monkeypatch.setattr(
        writer, "write_frames", lambda *args: stretches.append(len(args[2])) or real(*args)
    )
    for held in (writer._HELD_BYTES, 1, 3 * (writer._FRAME_BYTES + 2 * writer._LABEL_BYTES)):
        monkeypatch.setattr(writer, "_HELD_BYTES", held)
        made = make_dataset(fo.Sample(str(tmp_path / "video.mp4")))
        pipeline = RevSeg(ScriptedReasoner(answers(1, 2)), BoxTracker(hidden={4, 5}))
        revseg.segment_view(made, pipeline, "the thing 0.", progress=False)
        labels = [
            [(d.index, d.bounding_box, d.mask.tolist()) for d in frame.revseg.detections]
            for _, frame in sorted(made.first().frames.items())
        ]
        stored.append(labels)
    assert stored[0] == stored[1] == stored[2]
    assert len(stored[0]) == 30
    assert stretches[0] == 30
    assert stretches[1:31] == [1] * 30
    assert 1 < max(stretches[31:]) < 10
