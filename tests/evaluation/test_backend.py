"""Evaluations in FiftyOne: the fields, the Model Evaluation panel, renaming and deleting."""

import subprocess
import sys

import fiftyone as fo
import pytest
from fiftyone import ViewField as F
from fiftyone.operators.executor import ExecutionContext, Executor
from scored_samples import FRAMES, NOTHING, box, make_sample

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset.expressions import Expression
from fiftyone_revseg.evaluation.backend import load_evaluation, own_fields

A, B = box(2, 2, 12, 12), box(16, 6, 28, 20, [0, 1, 2])
CAT, DOG = Expression("0", "the cat", (1,), "easy"), Expression("1", "the dog", (2,), "hard")
BIRD = Expression("2", "the bird", (), "no_target")


@pytest.fixture
def dataset(make_dataset):
    """One right answer of each kind, a wrong one, one to nothing, and one that is missing."""
    first = {"the cat": [(A, 0.8)], "the dog": [(A, 0.4)], "the bird": NOTHING}
    second = {"the cat": A, "the bird": B}
    return make_dataset(
        make_sample("a", {1: A, 2: B}, [CAT, DOG, BIRD], first),
        make_sample("b", {1: A, 2: B}, [CAT, DOG, BIRD], second),
        fo.Sample("/nowhere/not-evaluated.mp4"),
    )


def evaluate(samples, eval_key="ev", **kwargs):
    return revseg.evaluate_view(samples, eval_key=eval_key, progress=False, **kwargs)


def panel_data(dataset, method="get_evaluation_data", **params):
    """What FiftyOne's own panel makes of an evaluation."""

    from plugins.panels.model_evaluation import EvaluationPanel

    params = {"panel_id": "panel", "panel_state": {}, **params}
    request = {"dataset_name": dataset.name, "view": [], "params": params}
    ctx = ExecutionContext(request, executor=Executor())
    return getattr(EvaluationPanel(), method)(ctx), ctx


def test_the_figures_are_fields(dataset):
    evaluation = evaluate(dataset[:2])
    scores = evaluation.scores
    assert dataset.values("ev_jf")[:2] == [
        pytest.approx(sum(s.jf for s in scores[i : i + 3]) / 3) for i in (0, 3)
    ]
    assert dataset.values("ev_jf")[2] is None
    on_frames = dataset.first().frames[4]
    assert (on_frames.ev_j, on_frames.ev_f, on_frames.ev_jf) == (2 / 3,) * 3  # the dog is gone
    values = dataset[:2].values("expressions.classifications.ev_jf", unwind=True)
    assert values == [s.jf for s in scores]
    labels = dataset.first()["ev_expressions"].classifications
    assert [c.label for c in labels] == ["easy", "hard", "no_target"]
    assert [c.ev for c in labels] == ["tp", "fn", "tp"]
    assert [c.jf for c in labels] == [s.jf for s in scores[:3]]
    assert dataset.first()["ev_predictions"].classifications[0].confidence == 0.8
    for path in [*own_fields(dataset, "ev"), "ev_expressions.classifications.jf"]:
        assert dataset.get_field(path) is not None, path
    assert len(dataset.filter_labels("ev_expressions", F("jf") < 0.5)) == 2
    assert len(dataset.filter_labels("expressions", F("ev_jf") == 1)) == 2
    assert dataset.app_config.sidebar_groups[-1].name == "ev"


def test_a_view_of_some_expressions(dataset):
    evaluation = evaluate(dataset[:2].filter_labels("expressions", F("kind") == "hard"))
    assert [score.query for score in evaluation.scores] == ["the dog", "the dog"]
    values = dataset[:2].values("expressions.classifications.ev_jf")
    assert values == [[None, score.jf, None] for score in evaluation.scores]


def test_the_panel_shows_it(dataset):
    evaluation = evaluate(dataset[:2])
    data, _ = panel_data(dataset, key="ev")
    overall = evaluation.table[-1]
    metrics = {m["label"]: m["value"] for m in data["custom_metrics"].values()}
    assert metrics["J&F"] == overall["jf"]
    assert metrics["Missing predictions"] == 1
    assert metrics["J&F, easy"] == 1
    assert data["metrics"]["jf"] == overall["jf"]
    assert {k: data["metrics"][k] for k in ("tp", "fp", "fn")} == {"tp": 3, "fp": 2, "fn": 3}
    per_class = data["per_class_metrics"]
    assert {k: per_class["easy"][k] for k in ("precision", "recall", "iou")} == {
        "precision": 1,
        "recall": 1,
        "iou": 1,
    }
    assert (per_class["no_target"]["precision"], per_class["no_target"]["recall"]) == (0.5, 0.5)
    assert data["confusion_matrix"]["matrix"].sum() == 8
    assert data["info"]["config"]["type"] == "detection"


def test_the_panel_caches_and_lists_it(dataset):
    from plugins.panels.model_evaluation.utils import (
        compress_and_serialize,
        decompress_and_deserialize,
    )

    evaluate(dataset[:2])
    data, _ = panel_data(dataset, key="ev")
    again = decompress_and_deserialize(compress_and_serialize(data))
    assert again["custom_metrics"] == data["custom_metrics"]
    assert again["metrics"]["jf"] == data["metrics"]["jf"]


@pytest.mark.parametrize(
    ("view_type", "options", "count"),
    [
        ("class", {"x": "hard"}, 2),
        ("matrix", {"x": "(none)", "y": "hard"}, 2),
        ("matrix", {"x": "no_target", "y": "(none)"}, 1),
        ("field", {"field": "tp"}, 2),
        ("field", {"field": "fn"}, 2),
        ("field", {"field": "fp"}, 2),
    ],
)
def test_a_click_in_the_panel_shows_the_samples(dataset, view_type, options, count):
    evaluate(dataset[:2])
    _, ctx = panel_data(
        dataset,
        "load_view",
        type=view_type,
        options={"key": "ev", **options},
    )
    (message,) = [m for m in ctx.executor.to_json()["requests"] if "set_view" in str(m)]
    stages = message["params"]["view"]
    view = fo.DatasetView._build(dataset, stages)
    assert len(view) == count


def test_subsets_have_figures_of_their_own(dataset):
    evaluate(dataset[:2])
    results = dataset.load_evaluation_results("ev")
    with results.use_subset(dataset[:1]):
        assert results.metrics()["jf"] == pytest.approx(dataset.first().ev_jf)
    with results.use_subset({"type": "attribute", "field": "label", "value": "easy"}):
        assert results.metrics()["jf"] == 1
    assert results.metrics()["jf"] < 1


def test_views_and_results_load(dataset):
    evaluation = evaluate(dataset[:2])
    assert len(dataset.load_evaluation_view("ev")) == 2
    assert "frames.revseg" in dataset.get_evaluation_info("ev").config.predictions
    evaluate(dataset[:1], "other")
    view = dataset.load_evaluation_view("ev", select_fields=True)
    assert view.has_field("ev_jf")
    assert not view.has_field("other_jf")
    again = fo.load_dataset(dataset.name)
    again.clear_cache()
    assert load_evaluation(again, "ev") == evaluation
    with pytest.raises(ValueError, match="no evaluation 'x' of ReVSeg"):
        load_evaluation(dataset, "x")


def test_renaming_takes_the_fields_along(dataset):
    evaluation = evaluate(dataset[:2])
    before = dataset.values("ev_jf")
    dataset.rename_evaluation("ev", "new")
    assert dataset.list_evaluations() == ["new"]
    for path in own_fields(dataset, "new"):
        assert dataset.get_field(path) is not None, path
    assert not any(dataset.get_field(path) for path in own_fields(dataset, "ev"))
    assert dataset.values("new_jf") == before
    assert dataset.first()["new_expressions"].classifications[0]["new"] == "tp"
    assert dataset.first()["expressions"].classifications[0]["new_jf"] == 1
    assert dataset.first().frames[1]["new_j"] is not None
    assert load_evaluation(dataset, "new") == evaluation
    data, _ = panel_data(dataset, key="new")
    assert data["metrics"]["tp"] == 3
    with dataset.load_evaluation_results("new").use_subset(dataset[:1]) as subset:
        assert len(subset.ytrue) == 4
    dataset.delete_evaluation("new")
    assert not any(dataset.get_field(path) for path in own_fields(dataset, "new"))


def test_deleting_leaves_nothing(dataset):
    fields = set(dataset.get_field_schema(flat=True)) | set(
        dataset.get_frame_field_schema(flat=True)
    )
    evaluate(dataset[:2])
    dataset.delete_evaluation("ev")
    assert fields == set(dataset.get_field_schema(flat=True)) | set(
        dataset.get_frame_field_schema(flat=True)
    )
    assert dataset.list_evaluations() == []
    assert "ev" not in [group.name for group in dataset.app_config.sidebar_groups or ()]


def test_the_same_key_again_replaces_it(dataset):
    evaluate(dataset[:2])
    again = evaluate(dataset[:1])
    assert load_evaluation(dataset, "ev") == again
    assert dataset.values("ev_jf")[1] is None
    assert len(dataset.load_evaluation_view("ev")) == 1


def test_keys_that_cannot_be_written(dataset):
    dataset.add_sample_field("mine_j", fo.FloatField)
    with pytest.raises(ValueError, match="'mine_j' already"):
        evaluate(dataset, "mine")
    with pytest.raises(ValueError, match="valid variable names"):
        evaluate(dataset, "not a key")
    dataset.first()["events"] = fo.TemporalDetections()
    dataset.evaluate_detections("frames.revseg", "frames.ground_truth", eval_key="coco")
    with pytest.raises(ValueError, match="different key"):
        evaluate(dataset, "coco")
    assert dataset.list_evaluations() == ["coco"]


def test_clips_have_no_place_for_it(make_dataset):
    sample = make_sample("a", {1: A}, [CAT], {"the cat": A})
    sample["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="e", support=[1, 2])]
    )
    clips = make_dataset(sample).to_clips("events")
    with pytest.raises(ValueError, match="without eval_key"):
        evaluate(clips)


def test_groups_of_images_have_the_figures_of_their_frames(make_dataset, tmp_path):
    from PIL import Image

    video = make_sample("a", {1: A, 2: B}, [CAT, DOG], {"the cat": A, "the dog": NOTHING})
    samples = []
    for number, frame in video.frames.items():
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (32, 24)).save(path)
        sample = fo.Sample(str(path), scene="a", number=number)
        for name in ("ground_truth", "revseg"):
            sample[name] = frame[name].copy()
        sample["expressions"] = video["expressions"].copy()
        samples.append(sample)
    dataset = make_dataset(*samples)
    evaluation = evaluate(dataset.group_by("scene", order_by="number"))
    assert [score.jf for score in evaluation.scores] == [1, 1 / FRAMES]
    assert dataset.values("ev_j") == [0.5, 0.5, 0.5, 1]
    assert panel_data(dataset, key="ev")[0]["metrics"]["tp"] == 1
    dataset.rename_evaluation("ev", "new")
    dataset.delete_evaluation("new")
    assert not any(dataset.get_field(path) for path in own_fields(dataset, "new"))


def test_a_slice_of_groups(make_dataset, tmp_path):
    from PIL import Image

    Image.new("RGB", (32, 24)).save(tmp_path / "map.png")
    group = fo.Group()
    video = make_sample("a", {1: A}, [CAT], {"the cat": A})
    video["group"] = group.element("rear")
    picture = fo.Sample(str(tmp_path / "map.png"), group=group.element("map"))
    dataset = make_dataset(video, picture)
    with pytest.raises(ValueError, match="choose the slice"):
        evaluate(dataset)
    assert evaluate(dataset, group_slice="rear").table[-1]["jf"] == 1
    rear = dataset.select_group_slices("rear")
    assert rear.values("ev_jf") == [1]
    assert rear.first().frames[1].ev_jf == 1
    dataset.rename_evaluation("ev", "new")
    assert dataset.select_group_slices("rear").values("new_jf") == [1]
    dataset.delete_evaluation("new")
    assert not any(dataset.get_field(path) for path in own_fields(dataset, "new"))


_OTHER_PROCESS = """
import sys
import fiftyone as fo
dataset = fo.load_dataset(sys.argv[1])
if sys.argv[2] == "without":
    sys.modules["fiftyone_revseg.evaluation.backend"] = None
results = dataset.load_evaluation_results("ev")
print(type(results).__name__, results.metrics()["jf"], len(results.report()))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("how", "name"), [("with", "Referring"), ("without", "Detection")])
def test_other_processes_load_it(dataset, how, name):
    evaluation = evaluate(dataset[:2])
    command = [sys.executable, "-c", _OTHER_PROCESS, dataset.name, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = done.stdout.split("\n")
    (line,) = [line for line in said if line.startswith(f"{name}Results")]
    assert float(line.split()[1]) == evaluation.table[-1]["jf"]
