"""A chain that looks again, from the run to the labels, the queue, and what is told of it."""

import fiftyone as fo
import pytest
from fake_models import BoxTracker, write_video
from scripted_looks import SPEC, Model, verdict

import fiftyone_revseg as revseg
from fiftyone_revseg.app.looked_again import in_words
from fiftyone_revseg.dataset.certainty_map import CertaintyMap
from fiftyone_revseg.dataset.explain import explain, make_pictures, picture_key
from fiftyone_revseg.dataset.looked_again import masks_at
from fiftyone_revseg.pipeline import RevSeg
from fiftyone_revseg.reasoning import Trajectory


def segment(make_dataset, tmp_path, model, calibration=None, **spec):
    write_video(tmp_path / "v.mp4", 64, 48, 10)
    dataset = make_dataset(fo.Sample(str(tmp_path / "v.mp4")))
    pipeline = RevSeg(model, BoxTracker(), SPEC.replace(**spec))
    summary = revseg.segment_view(dataset, pipeline, "the cat", calibration=calibration)
    assert sum(summary.counts.values()) == 1
    return dataset.first()


def test_from_the_run_to_the_panel(make_dataset, tmp_path):
    model = Model([[(1, "left")], [(3, "right")]], [verdict(2, why="it is on the right")])
    sample = segment(make_dataset, tmp_path, model, samples=1, verdict=True)
    (answer,) = sample.revseg_answers.classifications
    assert (answer.label, answer.certainty) == ("right", pytest.approx(0.9**3))
    assert answer.agreement == 0
    assert sample.frames[1].revseg.detections[0].certainty == answer.certainty
    (record,) = sample.revseg_trajectory["segmentations"]
    trajectory = Trajectory.from_dict(record["trajectory"])
    assert len(trajectory.candidates) == 2
    assert trajectory.certainty == answer.certainty

    (told,) = explain(sample)
    assert told.looked_again.number == 2
    words = in_words(told.looked_again)
    assert "1. left at frame 4 (object 1), agrees 0.00 with the others" in words
    assert "2. right at frame 10 (object 2)" in words
    assert "**Verdict**: object 2 of 2, probability 0.73\n\n> it is on the right" in words
    masks = masks_at(sample, told.index, told.judged, "revseg")
    assert make_pictures(told, picture_key(sample, told), masks=masks).judged is not None


def test_calibrated_on_the_way(make_dataset, tmp_path):
    model = Model([[(1, "left")]], [verdict(1)])
    name = RevSeg(model, BoxTracker()).name
    calibration = CertaintyMap((0.0, 1.0), (0.0, 0.5), 100, 40, 0.5, name)
    sample = segment(make_dataset, tmp_path, model, calibration, verdict=True)
    (answer,) = sample.revseg_answers.classifications
    assert answer.certainty_raw == pytest.approx(0.9**3)
    assert answer.certainty == pytest.approx(0.9**3 / 2)


def test_no_verdict_keeps_the_answer_and_has_no_certainty(make_dataset, tmp_path):
    model = Model([[(1, "left")]], ["I like cats"] * 2)
    sample = segment(make_dataset, tmp_path, model, verdict=True)
    (answer,) = sample.revseg_answers.classifications
    assert (answer.label, answer.status) == ("left", "ok")
    assert "certainty" not in answer.to_dict()
    (told,) = explain(sample)
    assert in_words(told.looked_again).startswith("**No verdict**")
