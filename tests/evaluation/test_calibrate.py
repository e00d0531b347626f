"""Certainties of made-up answers, on arrays and in a dataset with true masks."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from scored_samples import box, make_sample

import fiftyone_revseg as revseg
from fiftyone_revseg.cli import main
from fiftyone_revseg.dataset.certainty_map import CertaintyMap, default_path
from fiftyone_revseg.evaluation.calibrate import calibrate
from fiftyone_revseg.evaluation.calibration import calibration_error
from fiftyone_revseg.evaluation.calibration_plot import draw
from fiftyone_revseg.evaluation.results import Evaluation, ExpressionScore


def score(k, jf, **known):
    about = {"kind": "", "annotator": "", "no_target": False, "frames": 4, "accuracy": 1.0}
    return ExpressionScore("id", f"video {k // 4}", str(k), "q", j=jf, f=jf, **about, **known)


def evaluation(scores):
    return Evaluation("d", "", "", "revseg", "truth", "a + b", "", tuple(scores))


def answers(count=400, seed=0, **more):
    """Answers whose certainty promises too much, and whose box says nothing."""
    generator = np.random.default_rng(seed)
    found = []
    for k in range(count):
        certainty = float(generator.random())
        jf = float(generator.uniform(0.5, 1) if generator.random() < certainty**2 else 0.1)
        confidence = None if k % 10 == 0 else float(generator.random())
        known = {"certainty": certainty, "box_confidence": confidence, **more}
        found.append(score(k, jf, **known))
    return found


def test_what_is_measured():
    found = calibrate(evaluation(answers()))
    sure, box_confidence = found.signals
    assert (found.answers, found.videos, found.left_out) == (400, 100, 0)
    assert found.wrong == sum(s.jf < 0.5 for s in answers())
    assert 0.75 < sure.auroc.low < sure.auroc.value < sure.auroc.high < 0.95
    assert box_confidence.known == 360
    assert box_confidence.auroc.low < 0.5 < box_confidence.auroc.high
    assert sure.error.value > 0.1
    # A map of other videos' answers makes them as true as the one that they were drawn by
    drawn_by = calibration_error(found.right, np.array(found.certainty) ** 2)
    assert found.mapped.error.value < drawn_by + 0.02
    assert found.mapped.error.high < sure.error.low
    assert found.mapped.auroc.value == pytest.approx(sure.auroc.value, abs=0.02)
    assert sure.times.value == pytest.approx(sure.gain.value / found.random)
    assert sure.times.low > 1.2
    assert box_confidence.times.low < 1 < box_confidence.times.high
    made = found.fit()
    assert made(0.9) == pytest.approx(0.81, abs=0.1)
    assert (made.answers, made.wrong, made.model) == (400, found.wrong, "a + b")
    assert "certainty, mapped" in str(found)
    table = [line for line in found.to_markdown().splitlines() if line.startswith("|")]
    assert len(table) == 7
    assert {line.count("|") for line in table} == {7}
    assert found.random < sure.gain.value <= found.best
    json.dumps(found.to_dict(), allow_nan=False)


def test_answers_without_a_certainty_are_left_out_and_counted():
    scores = [*answers(40), score(90, 0.0), score(91, 0.0, missing=True)]
    found = calibrate(evaluation(scores))
    assert (found.answers, found.left_out) == (40, 1)
    assert found.mapped is None  # too few for a map
    assert "1 answers have no certainty" in str(found)
    with pytest.raises(ValueError, match=r"at least 50 answers.*here are 40"):
        found.fit()


def test_a_map_is_made_of_what_the_model_said():
    known = answers(200)
    calibrated = [
        ExpressionScore(**{**vars(s), "certainty": s.certainty**2, "certainty_raw": s.certainty})
        for s in known
    ]
    found = calibrate(evaluation(calibrated))
    assert [signal.name for signal in found.signals[:2]] == ["certainty", "the model's own"]
    assert found.signals[0].error.value < found.signals[1].error.value
    assert found.fit().certainty == calibrate(evaluation(known)).fit().certainty


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (answers(19), {}, "There are 19 answers with a certainty in 'revseg', and at least 20"),
        ([score(k, 1.0) for k in range(30)], {}, "are 0 answers .*, and 30 without, .*--verdict"),
        ([score(k, 1.0, certainty=0.5) for k in range(30)], {}, "All 30 answers are right"),
        ([score(k, 0.0, certainty=0.5) for k in range(30)], {}, "All 30 answers are wrong"),
        ([*answers(30), score(99, 1, certainty=math.nan)], {}, "certainty of 1 answers .* nan"),
        ([*answers(30), score(99, 1, certainty=1.5)], {}, "no number from 0 to 1, such as 1.5"),
        (answers(30, agreement=-1.0), {}, "agreement of 30 answers"),
        (answers(30), {"threshold": 0}, "threshold must be a number above 0"),
        (answers(30), {"threshold": 50}, "at most 1, not 50"),
        (answers(30), {"share": math.nan}, "share must be"),
        (answers(30), {"share": "all"}, "share must be .* 'all'"),
        ([], {}, "There are 0 answers"),
    ],
)
def test_what_nothing_can_be_measured_on_is_refused(scores, options, message):
    with pytest.raises(ValueError, match=message):
        calibrate(evaluation(scores), **options)


@pytest.mark.parametrize("count", [40, 100])
def test_the_picture(count):
    assert draw(calibrate(evaluation(answers(count)))).startswith(b"\x89PNG")


SQUARE, ASIDE = box(4, 4, 16, 16), box(16, 4, 28, 16)


@pytest.fixture
def labelled(make_dataset):
    """60 videos with an answer each; every third is wrong, and most of those are doubtful."""
    samples = []
    for k in range(60):
        wrong = k % 3 == 0
        predicted = ASIDE if wrong else SQUARE
        sample = make_sample(f"v{k}", {1: SQUARE}, None, {"it": [(predicted, 0.9)]}, query="it")
        (answer,) = sample["revseg_answers"].classifications
        doubtful = wrong != (k % 10 == 0)
        answer.confidence, answer["index"] = 0.9 - k / 1000, 1
        answer["certainty"] = (0.2 if doubtful else 0.8) + k / 1000
        answer["agreement"] = 0.5
        samples.append(sample)
    return make_dataset(*samples)


def test_a_dataset(labelled, tmp_path, monkeypatch):
    monkeypatch.setenv("REVSEG_HOME", str(tmp_path))
    found = calibrate(revseg.evaluate_view(labelled, workers=0))
    assert (found.answers, found.wrong, found.model) == (60, 20, "a model")
    assert [s.name for s in found.signals] == ["certainty", "agreement", "confidence of the box"]
    assert found.signals[1].auroc.value == 0.5
    assert found.signals[0].auroc.value > 0.75

    picture, out = tmp_path / "picture.png", tmp_path / "map.json"
    command = ["calibrate", labelled.name, "--workers", "0"]
    result = CliRunner().invoke(main, [*command, "--picture", str(picture)])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(
        "60 answers on 60 videos have a certainty, 20 of them are wrong"
    )
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert not default_path(labelled.name, "revseg").exists()
    result = CliRunner().invoke(main, [*command, "--fit", "--json"])
    assert json.loads(result.stdout)["wrong"] == 20
    made = CertaintyMap.load(default_path(labelled.name, "revseg"))
    assert made == found.fit().__class__(**{**vars(found.fit()), "created": made.created})
    assert CliRunner().invoke(main, [*command, "--fit", "-o", str(out)]).exit_code == 0
    assert CertaintyMap.load(out).right == made.right


def test_corrected_answers_are_not_the_models(labelled):
    for sample in labelled.limit(45):
        sample.revseg_answers.classifications[0]["corrected"] = True
        sample.save()
    with pytest.raises(ValueError, match=r"There are 15 answers .*, and 45 without"):
        calibrate(revseg.evaluate_view(labelled, workers=0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "map.json"], "-o goes with --fit"),
        (["--threshold", "nan"], "not a finite number"),
        (["--threshold", "0"], "0"),
        (["--label-field", "other"], "no field"),
        (["--truth", "other"], "no field"),
        (["--fit", "-o", "/proc/none/map.json"], "/proc/none"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(labelled, arguments, message):
    result = CliRunner().invoke(main, ["calibrate", labelled.name, "--workers", "0", *arguments])
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert "Traceback" not in result.output
