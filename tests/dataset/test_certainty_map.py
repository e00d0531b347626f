"""Maps of certainties to shares of right answers, and their files."""

import json

import fiftyone as fo
import numpy as np
import pytest
from fake_models import ANSWERS, BoxTracker, ScriptedReasoner, write_video

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset.certainty_map import CertaintyMap, default_path
from fiftyone_revseg.pipeline import RevSeg


def drawn(count, seed=0):
    """Certainties that promise too much: their square roots would be right."""
    generator = np.random.default_rng(seed)
    certainty = generator.random(count)
    return certainty, generator.random(count) < certainty**2


def test_it_says_how_often_answers_are_right(tmp_path):
    made = CertaintyMap.fit(*drawn(20_000), 0.5, "a + b")
    assert [made(c) for c in (0.2, 0.5, 0.9)] == pytest.approx([0.04, 0.25, 0.81], abs=0.05)
    grid = [made(c) for c in np.linspace(0, 1, 101)]
    assert grid == sorted(grid)
    assert 0 < grid[0] < grid[-1] < 1
    again = CertaintyMap.load(made.save(tmp_path / "map.json"))
    assert again == made
    assert again.digest == made.digest
    assert made.digest != CertaintyMap.fit(*drawn(300), 0.5).digest


def test_a_certainty_that_misleads_tells_nothing():
    certainty, right = drawn(2_000)
    made = CertaintyMap.fit(certainty, ~right, 0.5)
    assert made(0.1) == pytest.approx(made(0.9), abs=0.05)
    assert made(0.5) == pytest.approx((~right).mean(), abs=0.05)


@pytest.mark.parametrize("count", [0, 49])
def test_too_few_answers(count):
    with pytest.raises(ValueError, match=f"at least 50 answers.*here are {count}, .*label more"):
        CertaintyMap.fit(*drawn(count), 0.5)


@pytest.mark.parametrize("right", [True, False])
def test_answers_of_one_kind(right):
    with pytest.raises(ValueError, match=r"5 of them right and 5 wrong; here are 100, \d+ right"):
        CertaintyMap.fit(np.linspace(0, 1, 100), np.full(100, right), 0.5)


def test_of_other_models():
    made = CertaintyMap.fit(*drawn(100), 0.5, "a + b")
    made.check_model("a + b")
    with pytest.raises(ValueError, match=r"made of answers of a \+ b, .* are by c \+ b: calibrate"):
        made.check_model("c + b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"certainty": [0.5, 0.1]}, "'certainty' must be .* never fall"),
        ({"right": [0.5, float("nan")]}, "'right' must be"),
        ({"right": [0.1, 1.5]}, "'right' must be .* from 0 to 1"),
        ({"right": ["a", "b"]}, "'right' must be"),
        ({"right": [0.5]}, "same length"),
        ({"certainty": [], "right": []}, "same length"),
        ({"right": None}, "same length|'right'"),
        (None, "'right' is missing"),
    ],
)
def test_files_that_hold_something_else(tmp_path, change, message):
    path = CertaintyMap((0.1, 0.9), (0.3, 0.6), 100, 40, 0.5).save(tmp_path / "map.json")
    found = json.loads(path.read_text())
    if change is None:
        del found["right"]
    path.write_text(json.dumps({**found, **(change or {})}))
    with pytest.raises(ValueError, match=f"holds no calibration: .*(?:{message})"):
        CertaintyMap.load(path)


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(ValueError, match="revseg calibrate --fit makes one"):
        CertaintyMap.load(tmp_path / "none.json")
    for text in ("", "[]", "{}", "\x00", "[" * 100_000):
        (tmp_path / "map.json").write_text(text)
        with pytest.raises(ValueError, match="holds no calibration"):
            CertaintyMap.load(tmp_path / "map.json")


def test_where_they_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("REVSEG_HOME", str(tmp_path))
    path = default_path("my/videos", "revseg")
    assert path.parent == tmp_path / "calibration"
    assert path.suffix == ".json"


@pytest.mark.parametrize("door", ["segment_view", "load_model", "apply_model"])
def test_runs_that_calibrate(door, make_dataset, tmp_path):
    write_video(tmp_path / "v.mp4", 64, 48, 5)
    dataset = make_dataset(fo.Sample(str(tmp_path / "v.mp4")))
    pipeline = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    path = CertaintyMap((0.1, 0.9), (0.3, 0.6), 100, 40, 0.5, pipeline.name).save(tmp_path / "c")
    other = CertaintyMap((0.1, 0.9), (0.3, 0.6), 100, 40, 0.5, "c + d").save(tmp_path / "other")

    def go(calibration):
        if door == "segment_view":
            revseg.segment_view(dataset, pipeline, "the cat", calibration=calibration)
            return
        model = revseg.load_model(pipeline, "the cat", calibration=calibration)
        if door == "load_model":
            revseg.segment_view(dataset, model)
        else:
            dataset.apply_model(model, label_field="revseg", skip_failures=False)

    for wrong, message in ((other, "answers of c"), (tmp_path / "none", "There is no calibration")):
        with pytest.raises(ValueError, match=message):
            go(str(wrong))
    assert not dataset.exists("revseg_status") if dataset.has_field("revseg_status") else True
    go(path)
    record = dataset.first().revseg_trajectory["segmentations"][0]
    assert record["settings"]["calibration"] == CertaintyMap.load(path).digest
    # There is no verdict, so there is nothing to calibrate
    assert "certainty" not in dataset.first().revseg_answers.classifications[0].to_dict()
