"""A miniature of each benchmark: imported, predicted perfectly or not at all, and scored."""

import gc

import fiftyone as fo
import numpy as np
import pytest
from miniatures import write_miniature
from scored_samples import detection

import fiftyone_revseg as revseg
from fiftyone_revseg.evaluation import j_and_f, report_cases
from fiftyone_revseg.evaluation.benchmarks import import_benchmark

ALL = ("revos", "reasonvos", "mevis", "ref-youtube-vos", "ref-davis17", "lv-vis")


@pytest.fixture
def imported(tmp_path):
    names = []

    def run(name, split=None):
        miniature = write_miniature(name, tmp_path / name, split)
        names.append(f"revseg-test-{miniature.root}")
        options = {"split": miniature.split, "dataset_name": names[-1]}
        return import_benchmark(name, miniature.root, **options), miniature

    yield run
    gc.collect()  # FiftyOne cannot copy samples of image patterns, as it does if they outlive this
    for name in names:
        if fo.dataset_exists(name):
            fo.delete_dataset(name)


def predict(dataset, miniature, masks_of, confidence=None):
    """Writes a prediction for every expression, or for those for which there are masks."""
    for sample in dataset:
        video = miniature.videos[sample.video_name]
        found = {e.text: masks_of(sample.video_name, e) for e in video.expressions}
        for k in range(len(video.frame_names)):
            sample.frames[k + 1]["revseg"] = fo.Detections(
                detections=[
                    detection(m[k], label="it", query=q, confidence=confidence and confidence(q))
                    for q, m in found.items()
                    if m is not None and m[k].any()
                ]
            )
        sample["revseg_answers"] = fo.Classifications(
            classifications=[
                fo.Classification(label="it", query=q, status="ok", reason="", model="m")
                for q, m in found.items()
                if m is not None
            ]
        )
        sample.save()


def evaluate(dataset):
    return revseg.evaluate_view(dataset, progress=False)


@pytest.mark.parametrize("name", ALL)
def test_perfect_empty_and_missing(name, imported):
    dataset, miniature = imported(name, {"ref-youtube-vos": "train"}.get(name))
    predict(dataset, miniature, miniature.union)
    evaluation = evaluate(dataset)
    assert evaluation.benchmark == name
    assert len(evaluation.scores) == sum(len(v.expressions) for v in miniature.videos.values())
    assert {score.video for score in evaluation.scores} == set(miniature.videos)
    for row in evaluation.table:
        expected = None if (name, row["name"]) == ("revos", "no_target") else 1
        assert (row["j"], row["f"], row["jf"]) == (expected,) * 3
        assert row["robustness"] == 1
    assert evaluation.notes == ()

    predict(dataset, miniature, lambda video, e: np.zeros_like(miniature.union(video, e)))
    evaluation = evaluate(dataset)
    expressions = {
        (name, e.id): e for name, video in miniature.videos.items() for e in video.expressions
    }
    for score in evaluation.scores:
        truth = miniature.union(score.video, expressions[score.video, score.expression_id])
        assert score.jf == (~truth.any(axis=(1, 2))).mean()
        assert score.robustness == 1

    predict(dataset, miniature, lambda *_: None)
    evaluation = evaluate(dataset)
    assert {row["jf"] for row in evaluation.table} <= {0, None}
    assert evaluation.notes[0].startswith(f"{len(evaluation.scores)} of {len(evaluation.scores)}")


def test_splits_that_only_a_server_can_score(imported):
    dataset, miniature = imported("mevis", "valid")
    dataset.add_frame_field(
        "ground_truth", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections
    )
    predict(dataset, miniature, lambda *_: None)
    with pytest.raises(ValueError, match="6 expressions have no known truth"):
        evaluate(dataset)


def test_revos_counts_all_objects_as_foreground(imported):
    dataset, miniature = imported("revos")

    def guess(video, expression):
        return miniature.videos[video].masks[1]

    predict(dataset, miniature, guess)
    for score in evaluate(dataset).scores:
        if score.no_target:
            video = miniature.videos[score.video]
            wrong, all_objects = (m.sum(axis=(1, 2)) for m in (video.masks[1], video.foreground))
            assert score.robustness == pytest.approx((1 - wrong / all_objects).mean())
            assert score.kind == "no_target"


def test_davis_by_hand(imported):
    dataset, miniature = imported("ref-davis17")

    def guess(video, expression):
        masks = miniature.videos[video].masks
        if expression.annotator != "0" or video == "blackswan":
            return miniature.union(video, expression)
        # Annotator 0: the dog is found with the woman, and the woman is found as well
        return masks[1] | masks[2] if expression.objects == (1,) else masks[2]

    confidence = {"a woman in blue": 0.9, "a brown dog": 0.6}
    predict(dataset, miniature, guess, lambda query: confidence.get(query, 0.5))
    evaluation = evaluate(dataset)
    rows = {row["name"]: row for row in evaluation.table}
    assert rows["per annotator"]["jf"] == 1  # the woman's pixels go to the more confident
    score = next(s for s in evaluation.scores if s.query == "a brown dog")
    video = miniature.videos["dog-agility"]
    dog, woman, void = video.masks[1], video.masks[2], video.void
    assert score.jf == pytest.approx(j_and_f((dog | woman) & ~void, dog & ~void))
    count = len(evaluation.scores)
    assert rows["every expression"]["jf"] == pytest.approx((count - 1 + score.jf) / count)

    # The other way around the woman is lost, and on the frame without her right
    confidence = {"a woman in blue": 0.6, "a brown dog": 0.9}
    predict(dataset, miniature, guess, lambda query: confidence.get(query, 0.5))
    rows = {row["name"]: row for row in evaluate(dataset).table}
    of_dog = j_and_f((dog | woman) & ~void, dog & ~void)
    of_woman = (~woman.any(axis=(1, 2))).mean()
    assert rows["annotator 0"]["jf"] == pytest.approx((of_dog + of_woman + 1) / 3)
    assert rows["per annotator"]["jf"] == pytest.approx((rows["annotator 0"]["jf"] + 3) / 4)

    # What is less sure than the background is not there
    predict(dataset, miniature, miniature.union, lambda query: 0.05)
    rows = {row["name"]: row for row in evaluate(dataset).table}
    assert rows["per annotator"]["jf"] == pytest.approx((0 + of_woman + 0) / 3)
    assert rows["every expression"]["jf"] == 1


def test_void_pixels_do_not_count(imported, monkeypatch):
    dataset, miniature = imported("ref-davis17")

    def guess(video, expression):
        void = miniature.videos[video].void
        truth = miniature.union(video, expression)
        return truth if void is None else truth | void

    predict(dataset, miniature, guess)
    assert evaluate(dataset).table[-1]["jf"] == 1

    # Nor in the pictures of a report
    shown = []
    monkeypatch.setattr(
        report_cases, "_picture", lambda _, pred, truth, *__: shown.append(pred == truth)
    )
    evaluation = evaluate(dataset)
    list(report_cases.make_cases(evaluation, dataset, evaluation.scores))
    assert shown == [True] * len(evaluation.scores)
