"""The embedded pair through the real chain, on videos that it was not trained on."""

import json

import numpy as np
import pytest

import fiftyone_revseg as revseg
from fiftyone_revseg.measures import j_and_f
from fiftyone_revseg.pipeline import Segmentation
from fiftyone_revseg.synthetic import make_dataset, render
from fiftyone_revseg.tracking import decode_masks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pipeline():
    return revseg.load_pipeline("revseg-nano", device="cpu")


def test_better_than_a_guess(pipeline, tmp_path):
    scores, guesses = [], []
    for record in render(tmp_path, "test", count=4, queries=2):
        size = (record["width"], record["height"])
        masks = np.stack([decode_masks(body["masks"], size) for body in record["objects"]])
        texts = [query["text"] for query in record["queries"]]
        answers = pipeline.segment(tmp_path / record["video"], texts)
        for query, answer in zip(record["queries"], answers, strict=True):
            assert str(answer.status) in ("ok", "no_target", "lost"), answer.reason
            assert answer.trajectory.think
            again = Segmentation.from_dict(json.loads(json.dumps(answer.to_dict())))
            assert again.trajectory == answer.trajectory
            truth = np.asarray(masks[query["targets"]].any(axis=0))
            scores.append(j_and_f(answer.masks(), truth))
            guesses.append(np.mean([j_and_f(mask, truth) for mask in masks]))
    assert np.mean(scores) > np.mean(guesses)


def test_dataset_gets_masks_near_the_truth(pipeline, tmp_path):
    pytest.importorskip("fiftyone")
    dataset = make_dataset(tmp_path, split="test", count=2)
    try:
        model = revseg.load_model(pipeline)
        dataset.apply_model(model, label_field="revseg", prompt_field="query", skip_failures=False)
        for sample in dataset:
            assert sample.revseg_status in ("ok", "no_target", "lost")
            assert (
                sample.revseg_trajectory["segmentations"][0]["model"] == "revseg-nano + sam2-nano"
            )
            frames = {k: frame.revseg for k, frame in sample.frames.items()}
            assert sorted(frames) == list(range(1, sample.metadata.total_frame_count + 1))
            for answer in sample.revseg_answers.classifications:
                assert answer.query == sample.query
                if answer.status == "ok":
                    shown = frames[answer.keyframe].detections
                    assert answer.label in [detection.label for detection in shown]
    finally:
        dataset.delete()
