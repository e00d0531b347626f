"""The operator ``calibrate``: what it measures, writes and refuses."""

from types import SimpleNamespace

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor
from scored_samples import box, make_sample

from fiftyone_revseg.app.calibrate import Calibrate
from fiftyone_revseg.app.running import result_of
from fiftyone_revseg.dataset import declare_fields
from fiftyone_revseg.dataset.certainty_map import CertaintyMap, default_path

URI = "fiftyone_revseg/calibrate"
SQUARE, ASIDE = box(4, 4, 16, 16), box(16, 4, 28, 16)


@pytest.fixture
def labelled(make_dataset, tmp_path, monkeypatch):
    """60 videos with an answer each; every third is wrong, and most of those are doubtful."""
    monkeypatch.setenv("REVSEG_HOME", str(tmp_path))
    samples = []
    for k in range(60):
        wrong = k % 3 == 0
        sample = make_sample(
            f"v{k}", {1: SQUARE}, None, {"it": ASIDE if wrong else SQUARE}, query="it"
        )
        (answer,) = sample["revseg_answers"].classifications
        answer["certainty"] = (0.2 if wrong != (k % 10 == 0) else 0.8) + k / 1000
        samples.append(sample)
    dataset = make_dataset(*samples)
    declare_fields(dataset)
    return dataset


def execute(samples, **params):
    kind = "dataset" if isinstance(samples, fo.Dataset) else "view"
    return result_of(foo.execute_operator(URI, {kind: samples, "params": params}))


def form(dataset, **params):
    request = {"dataset_name": dataset.name, "view": [], "params": params, "operator_uri": URI}
    ctx = ExecutionContext(request, executor=Executor(), operator_uri=URI)
    return Calibrate().resolve_input(ctx).type.properties


def test_measures_and_writes_nothing(labelled, tmp_path):
    result = execute(labelled)
    assert (result["state"], result["answers"], result["wrong"]) == ("done", 60, 20)
    assert result["signals"][0]["auroc"]["value"] > 0.75
    assert result["summary"].startswith("60 answers on 60 videos have a certainty")
    assert result["picture"].startswith("data:image/png;base64,")
    assert result["path"] is None
    assert list(tmp_path.iterdir()) == []
    assert execute(labelled[:30], share=1.0)["share"] == 1


def test_makes_a_calibration(labelled, tmp_path):
    calibrate = foo.get_operator(URI)
    result = calibrate(labelled, fit=True)
    assert result["path"] == str(default_path(labelled.name, "revseg"))
    made = CertaintyMap.load(result["path"])
    assert made(0.2) < 0.5 < made(0.8)
    result = calibrate(labelled, path=tmp_path / "map.json", label_field="frames.revseg")
    assert CertaintyMap.load(tmp_path / "map.json").right == made.right
    assert "map.json" in Calibrate().words(result)["saved"]
    shown = Calibrate().resolve_output(SimpleNamespace(results=result)).type.properties
    assert list(shown) == ["words", "saved", "picture"]


def test_the_form(labelled):
    found = form(labelled)
    assert found["gt_field"].default == "ground_truth"
    assert "path" not in found
    path = form(labelled, fit=True)["path"]
    assert path.default == str(default_path(labelled.name, "revseg"))
    wrong = form(labelled, fit=True, path="/proc/none/map.json")["path"]
    assert wrong.invalid
    assert form(labelled, threshold=0)["threshold"].invalid


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"label_field": "other"}, "There are no results in 'other'"),
        ({"gt_field": "other"}, "no 'other' to choose from"),
        ({"threshold": 2}, "The threshold must be a number above 0"),
        ({"share": 0}, "The share must be"),
    ],
)
def test_wrong_arguments(labelled, params, message):
    with pytest.raises(ExecutionError, match=message):
        execute(labelled, **params)


def test_too_few_answers(labelled):
    with pytest.raises(ExecutionError, match="There are 10 answers with a certainty"):
        execute(labelled[:10])
