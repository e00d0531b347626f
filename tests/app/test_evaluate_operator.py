"""The operator ``evaluate``: on every kind of collection, and refused."""

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor
from scored_samples import NOTHING, box, make_sample

import fiftyone_revseg as revseg
from fiftyone_revseg.app.evaluate import Evaluate
from fiftyone_revseg.app.running import result_of
from fiftyone_revseg.dataset.expressions import Expression
from fiftyone_revseg.evaluation.backend import load_evaluation

URI = "fiftyone_revseg/evaluate"
A, B = box(2, 2, 12, 12), box(16, 6, 28, 20)
CAT, DOG = Expression("0", "the cat", (1,), "easy"), Expression("1", "the dog", (2,), "hard")


@pytest.fixture
def scored(make_dataset):
    first = make_sample("a", {1: A, 2: B}, [CAT, DOG], {"the cat": A, "the dog": NOTHING})
    first["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="e", support=[1, 2])]
    )
    return make_dataset(first, make_sample("b", {1: A}, [CAT], None))


def execute(samples, selected=(), **params):
    kind = "dataset" if isinstance(samples, fo.Dataset) else "view"
    ctx = {kind: samples, "selected": list(selected), "params": params}
    if selected:
        ctx["view_target"] = "SELECTED_SAMPLES"
    return result_of(foo.execute_operator(URI, ctx))


def form(dataset, **params):
    request = {"dataset_name": dataset.name, "view": [], "params": params, "operator_uri": URI}
    ctx = ExecutionContext(request, executor=Executor(), operator_uri=URI)
    return Evaluate().resolve_input(ctx).type.properties


def test_evaluate_a_dataset(scored):
    result = execute(scored)
    assert (result["state"], result["eval_key"]) == ("done", "revseg_eval")
    assert (result["expressions"], result["missing"]) == (3, 1)
    assert [row["name"] for row in result["table"]] == ["easy", "hard", "overall"]
    assert "| overall | 2 | 3 | 1 | 33.3 |" in result["summary"]
    assert "1 of 3 predictions are missing" in result["notes"][0]
    assert result["protocol"] in result["summary"]
    scored.reload()
    assert scored.list_evaluations() == ["revseg_eval"]
    assert scored.values("revseg_eval_jf") == [0.5, 0]


def test_views_selected_samples_and_clips(scored):
    assert execute(scored[:1], eval_key="one")["expressions"] == 2
    assert execute(scored, scored.values("id")[1:], eval_key="one")["expressions"] == 1
    scored.reload()
    assert len(scored.load_evaluation_view("one")) == 1
    result = execute(scored.to_clips("events"))
    assert (result["expressions"], result["eval_key"]) == (2, None)
    assert scored.list_evaluations() == ["one"]


def test_a_field_of_queries(scored):
    scored.set_values("asked", ["the dog", None])
    result = execute(scored, query_field="asked")
    assert result["expressions"] == 1
    assert "asked" in form(scored)["query_field"].view.values()


def test_delegated(scored):
    ctx = {"dataset": scored, "params": {"eval_key": "later"}, "request_delegation": True}
    foo.execute_operator(URI, ctx)
    DelegatedOperationService().execute_queued_operations(
        dataset_name=scored.name, limit=1, log=False
    )
    scored.reload()
    assert load_evaluation(scored, "later").pred_field == "revseg"


def test_from_a_script(scored):
    evaluate = foo.get_operator(URI)
    result = evaluate(scored, "frames.revseg", eval_key="mine")
    assert result["eval_key"] == "mine"
    assert result["table"][-1]["jf"] == pytest.approx(1 / 3)


def test_forms_say_what_is_wrong(scored, make_dataset):
    assert form(scored)["eval_key"].default == "revseg_eval"
    assert not form(scored)["eval_key"].invalid
    assert form(scored, eval_key="not a key")["eval_key"].invalid
    assert form(scored, gt_field="revseg")["refused"].invalid
    assert form(scored, pred_field="x")["pred_field"].invalid
    assert form(scored, query_field="x")["query_field"].invalid
    alone = make_dataset(make_sample("c", {1: A}))
    assert "predictions" in form(alone)["refused"].error_message
    with pytest.raises(ExecutionError):
        execute(scored, eval_key="not a key")


def test_the_output_shows_the_table(scored):
    ctx = ExecutionContext({"dataset_name": scored.name, "params": {}}, executor=Executor())
    ctx.request_params["results"] = execute(scored)
    shown = Evaluate().resolve_output(ctx).type.properties
    table = shown["table"].to_json()
    assert [column["label"] for column in table["view"]["columns"]][:4] == [
        "",
        "videos",
        "expressions",
        "missing",
    ]
    assert list(table["default"][-1].values())[:5] == ["overall", "2", "3", "1", "33.3"]
    assert "Protocol" in str(shown["words"].to_json())


def test_it_can_be_stopped(scored, monkeypatch):
    def stop(*args, progress, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("fiftyone_revseg.app.evaluate.evaluate_view", stop)
    assert execute(scored)["state"] == "stopped"
    assert scored.list_evaluations() == []
    assert revseg.evaluate_view is not stop
