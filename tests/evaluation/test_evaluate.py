"""Whole evaluations: what is scored, against what, and what counts as zero."""

import fiftyone as fo
import numpy as np
import pytest
from scored_samples import FRAMES, NOTHING, box, make_sample

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset.expressions import Expression
from fiftyone_revseg.evaluation import j_and_f
from fiftyone_revseg.evaluation.results import Evaluation

A, B = box(2, 2, 12, 12), box(16, 6, 28, 20, [0, 1, 2])
CAT, DOG = Expression("0", "the cat", (1,), "easy"), Expression("1", "the dog", (2,), "hard")
BOTH, NONE = Expression("2", "all", (1, 2), "easy"), Expression("3", "the bird", (), "no_target")
ALL = [CAT, DOG, BOTH, NONE]
GONE = "the video itself cannot be read, so its size and length are those of FiftyOne's metadata"
PERFECT = {"the cat": A, "the dog": B, "all": A | B, "the bird": NOTHING}


def by_query(evaluation):
    return {score.query: score for score in evaluation.scores}


def test_a_perfect_prediction_is_100(make_dataset):
    dataset = make_dataset(
        make_sample("a", {1: A, 2: B}, ALL, PERFECT),
        make_sample("b", {1: B}, [CAT], {"the cat": B}),
    )
    evaluation = revseg.evaluate_view(dataset, progress=False)
    assert [row["name"] for row in evaluation.table] == ["easy", "hard", "no_target", "overall"]
    for row in evaluation.table:
        assert (row["j"], row["f"], row["jf"], row["accuracy"]) == (1, 1, 1, 1)
        assert (row["missing"], row["false_presence"] or 0) == (0, 0)
    assert evaluation.table[-1]["expressions"] == 5
    assert evaluation.table[-1]["jf_low"] == evaluation.table[-1]["jf_high"] == 1
    assert evaluation.model == "a model"
    assert evaluation.notes == (f"{GONE} (2 samples, first {dataset.first().id})",)
    assert "all annotated frames count" in evaluation.protocol
    assert [score.found for score in evaluation.scores] == [1, 1, 1, None, 1]


def test_several_objects_are_one_mask(make_dataset):
    predicted = {**PERFECT, "all": [(A, 0.5), (B, None)]}
    evaluation = revseg.evaluate_view(
        make_dataset(make_sample("a", {1: A, 2: B}, ALL, predicted)), progress=False
    )
    assert by_query(evaluation)["all"].jf == 1


def test_an_empty_prediction_is_right_where_nothing_is(make_dataset):
    sample = make_sample("a", {1: A, 2: B}, ALL, dict.fromkeys(PERFECT, NOTHING))
    scores = by_query(revseg.evaluate_view(make_dataset(sample), progress=False))
    assert [scores[query].jf for query in PERFECT] == [0, 1 / FRAMES, 0, 1]  # the dog goes
    assert not any(score.missing for score in scores.values())
    assert scores["the dog"].found == 0
    assert scores["the dog"].false_presence == 0
    assert scores["the bird"].no_target
    assert scores["the bird"].robustness == 1


def test_figures_are_those_of_the_definition(make_dataset):
    guess = box(4, 2, 16, 14, [0, 2, 3])
    predicted = {**dict.fromkeys(PERFECT, guess)}
    scores = by_query(
        revseg.evaluate_view(
            make_dataset(make_sample("a", {1: A, 2: B}, ALL, predicted)), progress=False
        )
    )
    for query, truth in PERFECT.items():
        assert scores[query].jf == pytest.approx(j_and_f(guess, truth), abs=1e-12)
        assert scores[query].accuracy == pytest.approx((guess == truth).mean())
        wrong, foreground = (guess & ~truth).sum((1, 2)), (A | B).sum((1, 2))
        robustness = np.maximum(1 - wrong / foreground, 0).mean()
        assert scores[query].robustness == pytest.approx(robustness)
    assert scores["the dog"].false_presence == 1
    assert scores["the cat"].found == 3 / 4


def test_missing_predictions_are_zero_and_counted(make_dataset):
    dataset = make_dataset(
        make_sample("never", {1: A, 2: B}, ALL),
        make_sample("not all", {1: A, 2: B}, ALL, {"the cat": A}),
        make_sample("broken", {1: A}, [CAT], {"the cat": A}, answers={"the cat": "unreadable"}),
        make_sample(
            "no box", {1: A}, [NONE], {"the bird": NOTHING}, answers={"the bird": "bad_box"}
        ),
    )
    evaluation = revseg.evaluate_view(dataset, progress=False)
    figures = [score.jf for score in evaluation.scores]
    assert figures == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert [s.missing for s in evaluation.scores] == [jf == 0 for jf in figures]
    assert evaluation.table[-1]["missing"] == 8
    assert evaluation.table[-1]["jf"] == pytest.approx(0.2)
    note, gone = evaluation.notes
    assert gone.startswith(GONE)
    assert note.startswith("8 of 10 predictions are missing and count as zero")
    assert "no labels in 'revseg' (4)" in note
    assert "never asked (3)" in note


def test_broken_videos_do_not_stop_the_rest(make_dataset):
    gone = fo.Sample("/nowhere/gone.mp4")
    gone["expressions"] = make_sample(expressions=[CAT, NONE])["expressions"].copy()
    lost = make_sample("lost", {1: A}, [CAT], {"the cat": A})
    found = lost.frames[2]["revseg"].detections[0]
    found.mask, found.mask_path = None, "/nowhere/mask.png"
    dataset = make_dataset(gone, lost, make_sample("whole", {1: A}, [CAT], {"the cat": A}))
    evaluation = revseg.evaluate_view(dataset, progress=False)
    assert [(s.missing, s.jf, s.frames) for s in evaluation.scores] == [
        (True, 0, 0),
        (True, 0, 0),
        (True, 0, 0),
        (False, 1, FRAMES),
    ]
    assert "/nowhere/mask.png" in evaluation.scores[2].reason
    assert evaluation.scores[1].no_target


def test_expressions_without_truth_are_left_out_and_counted(make_dataset):
    unknown = Expression("9", "the fish", None)
    sample = make_sample("a", {1: A}, [CAT, unknown], {"the cat": A, "the fish": A})
    dataset = make_dataset(sample)
    evaluation = revseg.evaluate_view(dataset, progress=False)
    assert len(evaluation.scores) == 1
    untrue = "1 expressions have no known truth, and were left out"
    assert evaluation.notes == (untrue, f"{GONE} ({dataset.first().id})")


def test_queries_of_a_field_and_of_the_predictions(make_dataset):
    def score(asked_now=None, **values):
        sample = make_sample("a", {1: A, 2: B}, None, {"x": A | B, "y": NOTHING}, **values)
        return by_query(
            revseg.evaluate_view(make_dataset(sample), queries=asked_now, progress=False)
        )

    assert {q: s.jf for q, s in score().items()} == {"x": 1, "y": 0}
    assert list(score(query="x")) == ["x"]
    assert list(score(queries=["y", "x"])) == ["y", "x"]
    assert list(score("asked", asked=["x", "y"])) == ["x", "y"]
    assert score(["z"])["z"].missing
    assert score(query="x", kind="several")["x"].kind == "several"


def test_given_queries_choose_among_the_expressions(make_dataset):
    dataset = make_dataset(make_sample("a", {1: A, 2: B}, ALL, PERFECT))
    evaluation = revseg.evaluate_view(dataset, queries=["the dog"], progress=False)
    assert [(s.query, s.expression_id, s.jf) for s in evaluation.scores] == [("the dog", "1", 1)]


def test_truth_with_queries_of_its_own(make_dataset):
    sample = make_sample("a", {1: A, 2: B}, None, {"x": A, "y": B})
    for frame in sample.frames.values():
        for detection in frame.ground_truth.detections:
            detection["query"] = {1: "x", 2: "y"}[detection.index]
    evaluation = revseg.evaluate_view(make_dataset(sample), progress=False)
    assert [score.jf for score in evaluation.scores] == [1, 1]


def test_predictions_that_do_not_say_what_they_answer(make_dataset):
    one = make_sample("one", {1: A}, [CAT], {None: A}, answers=False)
    several = make_sample("several", {1: A, 2: B}, ALL, {None: A}, answers=False)
    evaluation = revseg.evaluate_view(make_dataset(one, several), progress=False)
    assert [score.missing for score in evaluation.scores] == [False, True, True, True, True]
    assert "which of several queries" in evaluation.notes[0]
    plain = make_sample("plain", {1: A, 2: B}, None, {None: A | B}, answers=False)
    (score,) = revseg.evaluate_view(make_dataset(plain), progress=False).scores
    assert (score.query, score.jf) == ("", 1)


def test_clips_are_scored_on_their_frames(make_dataset):
    early = box(2, 2, 12, 12, [0, 1])
    sample = make_sample("a", {1: A}, [CAT], {"the cat": early})
    sample["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="e", support=s) for s in ([1, 2], [3, 4])]
    )
    clips = make_dataset(sample).to_clips("events")
    evaluation = revseg.evaluate_view(clips, progress=False)
    assert [(s.frames, s.jf, s.missing) for s in evaluation.scores] == [
        (2, 1, False),
        (2, 0, False),
    ]
    assert len({s.video for s in evaluation.scores}) == 2


def test_groups_of_images(make_dataset):
    video = make_sample("a", {1: A, 2: B}, [CAT, DOG], {"the cat": A, "the dog": NOTHING})
    samples = []
    for number, frame in video.frames.items():
        metadata = fo.ImageMetadata(width=32, height=24)
        sample = fo.Sample(f"/nowhere/{number}.jpg", metadata=metadata, scene="a", number=number)
        for name in ("ground_truth", "revseg"):
            sample[name] = frame[name].copy()
        sample["expressions"] = video["expressions"].copy()
        samples.append(sample)
    dataset = make_dataset(*samples)
    groups = dataset.group_by("scene", order_by="number")
    evaluation = revseg.evaluate_view(groups, progress=False)
    assert [(s.jf, s.frames) for s in evaluation.scores] == [(1, FRAMES), (1 / FRAMES, FRAMES)]
    assert evaluation.notes == (f"{GONE} ({dataset.first().id})",)

    dataset.set_values("metadata", [None] * FRAMES)
    evaluation = revseg.evaluate_view(groups, progress=False)
    # No image can be opened, so not even the size is known
    assert [s.missing for s in evaluation.scores] == [True, True]


def test_masks_of_another_size_are_scaled(make_dataset):
    sample = make_sample("a", {1: A}, [CAT], {"the cat": A})
    for frame in sample.frames.values():
        for detection in frame.revseg.detections:
            detection.mask = np.ones((3, 3), bool)
    assert revseg.evaluate_view(make_dataset(sample), progress=False).scores[0].jf == 1


def test_several_workers_give_the_same(make_dataset, monkeypatch):
    from fiftyone_revseg.measures import scoring

    monkeypatch.setattr(scoring, "_FRAMES_WORTH_WORKERS", 1)
    dataset = make_dataset(make_sample("a", {1: A, 2: B}, ALL, {**PERFECT, "the dog": A}))
    one = revseg.evaluate_view(dataset, progress=False, workers=1)
    two = revseg.evaluate_view(dataset, progress=False, workers=2)
    assert one.scores == two.scores
    assert one.table == two.table


def test_nothing_to_compare(make_dataset):
    with pytest.raises(ValueError, match="no videos"):
        revseg.evaluate_view(make_dataset())
    dataset = make_dataset(make_sample("a", None, None, {"x": A}))
    with pytest.raises(ValueError, match=r"no field 'frames\.ground_truth'"):
        revseg.evaluate_view(dataset)
    dataset.add_frame_field(
        "ground_truth", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections
    )
    with pytest.raises(ValueError, match="1 videos have no labels in 'ground_truth'"):
        revseg.evaluate_view(dataset, progress=False)
    with pytest.raises(ValueError, match="name two label fields"):
        revseg.evaluate_view(dataset, "ground_truth")
    with pytest.raises(ValueError, match="no field 'asked'"):
        revseg.evaluate_view(dataset, queries="asked")


def test_key_frames(make_dataset):
    growing = np.stack([box(2, 2, 4 + 4 * k, 10)[0] for k in range(FRAMES)])
    sample = make_sample("a", {1: growing, 2: B}, [CAT, DOG], {"the cat": growing, "the dog": B})
    records = [
        record("the cat", [2]),
        record("the dog", [0, 3]),
    ]
    sample["revseg_trajectory"] = {"segmentations": records}
    scores = revseg.evaluate_view(make_dataset(sample), progress=False).scores
    assert [score.key_frame for score in scores] == [3, 1]
    assert scores[0].key_frame_quality == pytest.approx(2 / 3)
    assert scores[1].key_frame_quality == pytest.approx((1 + 0) / 2)  # absent in the last frame


def record(query, chosen):
    return {
        "first_frame": 0,
        "status": "ok",
        "trajectory": {
            "query": query,
            "source_size": [32, 24],
            "frame_table": {"indices": list(range(FRAMES)), "times": [], "frame_count": FRAMES},
            "choices": [{"frame": k, "description": "it"} for k in chosen],
        },
    }


def test_an_evaluation_survives_a_file(make_dataset, tmp_path):
    dataset = make_dataset(make_sample("a", {1: A, 2: B}, ALL, {"the cat": A}))
    evaluation = revseg.evaluate_view(dataset, progress=False)
    assert Evaluation.load(evaluation.save(tmp_path / "e.json")) == evaluation


def test_progress_can_stop_it(make_dataset):
    dataset = make_dataset(*(make_sample(n, {1: A}, [CAT], {"the cat": A}) for n in "ab"))
    seen = []

    def report(progress):
        seen.append(progress.done)
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        revseg.evaluate_view(dataset, eval_key="ev", progress=report)
    assert seen == [0, 1]
    assert dataset.list_evaluations() == []
    assert not dataset.has_field("ev_jf")
