"""The plugin as FiftyOne sees it, and the models it keeps."""

from pathlib import Path

import fiftyone.operators as foo
import fiftyone.operators.types as types
import pytest
import yaml
from fiftyone.operators.executor import ExecutionContext
from fiftyone.plugins.context import build_plugin_contexts
from forgotten_models import forget_models

import fiftyone_revseg.app
from fiftyone_revseg.app import held_models as models
from fiftyone_revseg.app.manifest import PLUGIN_NAME, make_manifest, to_yaml
from fiftyone_revseg.app.operator import Operator
from fiftyone_revseg.pipeline import Loading

ROOT = Path(__file__).parents[2]


class Registered:
    """Takes what is registered, as a plugin's context does."""

    def __init__(self):
        self.instances = []

    def register(self, cls):
        self.instances.append(cls())


@pytest.fixture
def registered():
    plugin = Registered()
    fiftyone_revseg.app.register(plugin)
    return plugin.instances


def test_the_manifest_lists_what_is_registered(registered):
    text = (ROOT / "fiftyone.yml").read_text()
    manifest = yaml.safe_load(text)
    panels = [x.config.name for x in registered if isinstance(x, foo.Panel)]
    operators = [x.config.name for x in registered if not isinstance(x, foo.Panel)]
    assert (manifest["operators"], manifest["panels"]) == (operators, panels)
    folder = "fiftyone_revseg/app"
    assert manifest == make_manifest(f"{folder}/__init__.py", f"{folder}/plugin.js")
    assert text == to_yaml(manifest), "run `python -m fiftyone_revseg.app.manifest`"
    assert (ROOT / manifest["py_entry"]).is_file()


def test_fiftyone_registers_all_of_it(registered):
    (context,) = [c for c in build_plugin_contexts() if c.name == PLUGIN_NAME]
    assert context.errors == []
    names = [instance.config.name for instance in context.instances]
    assert names == [instance.config.name for instance in registered]


def test_every_operator_says_what_it_is(registered):
    for instance in registered:
        config = instance.config
        if getattr(config, "unlisted", False):
            continue
        assert config.label != config.name
        assert config.icon, config.name
        if not isinstance(instance, foo.Panel):
            assert config.label.startswith("ReVSeg: ")
            assert config.description, config.name
            # Not what FiftyOne takes for granted of an operator that says nothing
            assert config.risk_level is not types.RiskLevel.DANGEROUS, config.name
            assert callable(instance), config.name


def test_the_page_on_the_app_tells_of_every_one(registered):
    page = (ROOT / "docs" / "app.md").read_text()
    for instance in registered:
        assert f"`{instance.config.name}`" in page


@pytest.fixture
def loaded(monkeypatch):
    """Counts what is loaded, and loads nothing."""
    calls = []

    def load(loading):
        calls.append((loading.name, loading.spec))

    forget_models()
    monkeypatch.setattr(Loading, "load", load)
    monkeypatch.setattr(models, "load_model", lambda pipeline: object())
    yield calls
    forget_models()


def test_a_model_is_loaded_once(loaded):
    first = models.get_model(Loading())
    for context in build_plugin_contexts():  # FiftyOne runs the entry file anew
        context.register_all()
    assert models.get_model(Loading()) is first
    assert models.get_model(Loading(spec={"frames": 8})) is not first
    assert models.get_model(Loading(spec={"frames": 8})) is not first
    assert loaded == [("revseg-nano", None), ("revseg-nano", {"frames": 8})]


def test_a_tracker_is_loaded_without_its_language_model(loaded):
    tracker = models.get_tracker(Loading())
    assert tracker.name == "sam2-nano"
    assert models.get_tracker(Loading()) is tracker
    assert models.get_tracker(Loading("a/a", "sam2-nano")) is tracker
    assert loaded == []


def test_only_the_last_models_are_kept(loaded):
    first = models.get_model(Loading("a/a"))
    models.get_model(Loading("b/b"))
    assert models.get_model(Loading("a/a")) is first
    models.get_model(Loading("c/c"))
    assert models.get_model(Loading("a/a")) is first
    models.get_model(Loading("b/b"))
    assert [name for name, _ in loaded] == ["a/a", "b/b", "c/c", "b/b"]


def test_a_checkpoint_that_was_replaced_is_loaded_again(loaded, tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"1")
    models.get_model(Loading(str(tmp_path)))
    models.get_model(Loading(str(tmp_path)))
    weights.write_bytes(b"22")
    models.get_model(Loading(str(tmp_path)))
    assert len(loaded) == 2


def test_a_run_takes_its_answers_from_the_form_that_was_resolved_for_it():
    asked = []

    class Count(Operator[None]):
        name = label = description = icon = button = "count"
        risk = types.RiskLevel.LOW
        streams = False

        def ask(self, form, subject):
            asked.append(form.ctx)
            return {}

        def work(self, run):
            return {"asked": len(asked)}

    ctx, other = ExecutionContext(), ExecutionContext()
    operator = Count()
    operator.resolve_input(ctx)
    assert operator.execute(ctx) == {"asked": 1}
    assert operator.execute(other) == {"asked": 2}
    assert asked == [ctx, other]
