"""The operator ``filter``: from scripts, the App, delegated, stopped, and refused."""

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor

from fiftyone_revseg.app import running
from fiftyone_revseg.app.filter import Filter

URI = "fiftyone_revseg/filter"


@pytest.fixture
def annotated(fake_model, dataset):
    """Three videos: an object that stays, one that jumps, and no annotation."""
    for sample, lefts in zip(dataset[:2], ([0.1], [0, 0.25, 0.5]), strict=True):
        for number in range(1, 11):
            box = [lefts[number % len(lefts)], 0, 0.25, 0.5]
            truth = fo.Detections(detections=[fo.Detection(label="x", bounding_box=box, index=1)])
            sample.frames[number] = fo.Frame(ground_truth=truth)
        sample.save()
    return dataset


def app_context(dataset, **params):
    request = {"dataset_name": dataset.name, "view": [], "params": params, "operator_uri": URI}
    return ExecutionContext(request, executor=Executor(), operator_uri=URI)


def shown_by(dataset, **params):
    messages = list(Filter().execute(app_context(dataset, **params)))
    assert messages[-1].body is not None, messages[-1].error
    return messages[-1].body.params["results"]


def keeps(dataset):
    dataset.reload()
    return dataset.values("data_filter_keep")


def test_from_a_script(annotated, fake_model):
    result = foo.get_operator(URI)(annotated, starts=2)
    assert (result["state"], result["kept"], result["dropped"]) == ("done", 1, 2)
    assert keeps(annotated) == [True, False, False]
    assert "no true mask" in result["failures"][0][0]
    calls = len(fake_model.calls)
    assert calls == 8
    again = foo.get_operator(URI)(annotated[:2], "frames.ground_truth", threshold=0.1)
    assert (again["measured"], again["skipped"], again["kept"]) == (0, 2, 2)
    assert len(fake_model.calls) == calls


def test_in_the_app(annotated):
    result = shown_by(annotated, starts=1, threshold=0.2)
    assert (result["kept"], result["dropped"]) == (2, 1)
    assert "2 of 3 kept" in result["summary"]


def test_delegated(annotated):
    foo.get_operator(URI)(annotated, starts=1, delegate=True)
    assert not annotated.has_field("data_filter_keep")
    service = DelegatedOperationService()
    service.execute_queued_operations(dataset_name=annotated.name)
    (operation,) = service.list_operations(dataset_name=annotated.name)
    assert operation.run_state == "completed"
    assert keeps(annotated) == [True, False, False]


def test_stopped(annotated, fake_model, monkeypatch):
    monkeypatch.setattr(running, "_ASKED", 0)
    track = fake_model.track

    def stopping(frames, boxes):
        running.stop_runs(annotated)
        return track(frames, boxes)

    monkeypatch.setattr(fake_model, "track", stopping)
    result = shown_by(annotated)
    assert result["state"] == "stopped"
    assert keeps(annotated) == [None] * 3


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"gt_field": "none"}, "no 'none' to choose from: ground_truth"),
        ({"threshold": 5.0}, "from 0 to 1, not 5"),
        ({"starts": 0}, "at least once"),
        ({"tracker": "no-such-tracker"}, "no-such-tracker"),
    ],
)
def test_what_is_wrong_is_said_in_the_form(annotated, params, message):
    form = Filter().resolve_input(app_context(annotated, **params)).type.properties
    said = " ".join(p.error_message for p in form.values() if p.invalid and p.error_message)
    assert message in said
    with pytest.raises(ExecutionError, match=message):
        foo.execute_operator(URI, {"dataset": annotated, "params": params})
    assert not annotated.has_field("data_filter_keep")


def test_a_dataset_without_true_masks(fake_model, dataset):
    form = Filter().resolve_input(app_context(dataset)).type.properties
    assert "import them first" in form["refused"].error_message
