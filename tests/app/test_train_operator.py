"""The operator ``train``: from scripts, the App, delegated, stopped, and refused.

The trainer itself is tested elsewhere, and here is one that copies the embedded model.
"""

import shutil
from pathlib import Path
from types import SimpleNamespace

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor

from fiftyone_revseg.app import running
from fiftyone_revseg.app.train import Train
from fiftyone_revseg.dataset import training
from fiftyone_revseg.dataset.training_runs import list_training_runs
from fiftyone_revseg.models.builtin import CHECKPOINTS
from fiftyone_revseg.models.presets import home, resolve, user_presets

URI = "fiftyone_revseg/train"


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("REVSEG_HOME", str(tmp_path / "home"))


@pytest.fixture
def annotated(dataset):
    """Three videos with queries: labelled, dropped by the data filter, and not labelled."""
    for sample in dataset[:2]:
        for number in range(1, 11):
            box = [0.1, 0.1, 0.25, 0.5]
            truth = fo.Detections(detections=[fo.Detection(label="x", bounding_box=box, index=1)])
            sample.frames[number] = fo.Frame(ground_truth=truth)
        sample.save()
    dataset.set_values("query", ["the cat", "the ghost", "the dog"])
    dataset.set_values("data_filter_keep", [True, False, None])
    return dataset


@pytest.fixture
def trainer(monkeypatch):
    """A trainer that tells of its steps as the real one does; returns what it was called with."""
    calls = []

    def train_grpo(rows, out, config, callbacks=()):
        calls.append((rows, out, config))
        (out / "rollouts").mkdir(parents=True, exist_ok=True)
        (out / "run.json").write_text("{}")
        state = SimpleNamespace(global_step=0, max_steps=config.steps, is_world_process_zero=True)
        control = SimpleNamespace(should_save=False, should_training_stop=False)
        lines = ["step,total"]
        for callback in callbacks:
            callback.on_train_begin(None, state, control)
        while state.global_step < config.steps and not control.should_training_stop:
            state.global_step += 1
            lines.append(f"{state.global_step},{state.global_step / 10}")
            for callback in callbacks:
                callback.on_log(None, state, control, logs={"chain/total": 0.5})
                callback.on_step_end(None, state, control)
        assert control.should_save is control.should_training_stop
        (out / "curves.csv").write_text("\n".join(lines) + "\n")
        return Path(
            shutil.copytree(CHECKPOINTS / "revseg-nano", out / "checkpoint", dirs_exist_ok=True)
        )

    monkeypatch.setattr(training, "train_grpo", train_grpo)
    return calls


def app_context(dataset, **params):
    request = {"dataset_name": dataset.name, "view": [], "params": params, "operator_uri": URI}
    return ExecutionContext(request, executor=Executor(), operator_uri=URI)


def messages_of(dataset, **params):
    messages = list(Train().execute(app_context(dataset, **params)))
    assert messages[-1].body is not None, messages[-1].error
    return messages


def test_from_a_script(annotated, trainer):
    result = foo.get_operator(URI)(
        annotated, "mine", steps=4, prompts=1, rollouts=4, lora_rank=2, delegate=False
    )
    assert (result["state"], result["rows"]) == ("done", 1)
    assert sum(result["skipped"].values()) == 2
    assert any("data filter" in reason for reason in result["skipped"])
    ((rows, folder, config),) = trainer
    assert [row.query for row in rows] == ["the cat"]
    assert folder == home() / "checkpoints" / "mine"
    assert (config.steps, config.rollouts, config.lora_rank) == (4, 4, 2)
    assert config.learning_rate == 5e-5
    preset = resolve("mine")
    assert preset.reasoner == result["checkpoint"] == str(folder / "checkpoint")
    assert preset.tracker == "sam2-nano"
    (run,) = list_training_runs(annotated)
    assert (run["state"], run["name"], run["checkpoint"]) == ("done", "mine", preset.reasoner)
    assert run["settings"]["lora_rank"] == 2
    assert run["settings"]["gt_field"] == "ground_truth"
    assert run["curves"] == {"total": [0.1, 0.4]}
    assert (run["rows"], run["skipped"]) == (1, 2)


def test_in_the_app(annotated, trainer, tmp_path):
    params = {"name": "mine", "prompts": 1, "steps": 3, "folder": str(tmp_path / "here")}
    messages = messages_of(annotated, **params)
    result = messages[-1].body.params["results"]
    assert "can be chosen as a model now" in result["summary"]
    assert "| total | 0.10 | 0.30 |" in result["summary"]
    labels = [str(message.body.params) for message in messages]
    assert any("3 of 3 steps" in label and "mean reward 0.50" in label for label in labels)
    assert resolve("mine").reasoner == str(tmp_path / "here" / "checkpoint")


def test_delegated_by_default(annotated, trainer):
    assert Train().config.default_choice_to_delegated
    foo.get_operator(URI)(annotated, "mine", steps=2, prompts=1)
    assert not trainer
    service = DelegatedOperationService()
    service.execute_queued_operations(dataset_name=annotated.name)
    (operation,) = service.list_operations(dataset_name=annotated.name)
    assert operation.run_state == "completed", operation.result
    assert "mine" in user_presets()


def test_stopped(annotated, trainer, monkeypatch):
    monkeypatch.setattr(running, "_ASKED", 0)
    train = training.train_grpo

    def stopping(*arguments, **options):
        running.stop_runs(annotated)
        return train(*arguments, **options)

    monkeypatch.setattr(training, "train_grpo", stopping)
    result = messages_of(annotated, name="mine", prompts=1)[-1].body.params["results"]
    assert result["state"] == "stopped"
    assert "with the same form to go on" in result["summary"]
    assert not user_presets()
    assert [run["state"] for run in list_training_runs(annotated)] == ["interrupted"]
    form = Train().resolve_input(app_context(annotated, name="mine", prompts=1)).type.properties
    assert "resumes" in form


def test_what_fails_is_remembered(annotated, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no such luck")

    monkeypatch.setattr(training, "train_grpo", fail)
    with pytest.raises(Exception, match="no such luck"):
        foo.get_operator(URI)(annotated, "mine", prompts=1, delegate=False)
    assert [run["state"] for run in list_training_runs(annotated)] == ["failed"]
    assert not user_presets()


def test_nothing_to_learn_from(annotated, trainer):
    with pytest.raises(Exception, match="There is nothing to learn from in 'ground_truth'"):
        foo.get_operator(URI)(annotated[1:], "mine", delegate=False)
    assert not trainer
    assert not list_training_runs(annotated)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"gt_field": "none"}, "no 'none' to choose from: ground_truth"),
        ({"query_field": "none"}, "no field 'none' with text"),
        ({"model": "no-such-model"}, "There is no model 'no-such-model'"),
        ({"name": "revseg-nano"}, "is a model of this package"),
        ({"name": "a/b"}, "cannot be the name"),
        ({"folder": str(CHECKPOINTS)}, "is not empty, and holds no run"),
        ({"folder": __file__}, "is a file"),
        ({"rollouts": 1}, "rollouts"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
    ],
)
def test_what_is_wrong_is_said_in_the_form(annotated, trainer, params, message):
    params = {"name": "mine", **params}
    form = Train().resolve_input(app_context(annotated, **params)).type.properties
    said = " ".join(p.error_message for p in form.values() if p.invalid and p.error_message)
    assert message in said
    with pytest.raises(ExecutionError, match=message):
        foo.execute_operator(URI, {"dataset": annotated, "params": params})
    assert not trainer


def test_the_form_says_what_it_costs(annotated, trainer):
    def form(**params):
        return Train().resolve_input(app_context(annotated, **params)).type.properties

    cost = form(steps=7)["cost"].view
    assert "7 steps of 64 answers" in cost.label
    assert "Schedule it" in cost.description
    foo.get_operator(URI)(annotated, "mine", steps=2, prompts=1, delegate=False)
    assert "as the last run here took" in form(name="other")["cost"].view.label
    other = form(name="mine", folder="~/somewhere-else")
    assert "already: choose another one" in other["name"].error_message


def test_a_dataset_without_detections(dataset):
    form = Train().resolve_input(app_context(dataset)).type.properties
    assert "label or import first" in form["refused"].error_message
