"""The presets in the FiftyOne Model Zoo: registered in every way, loaded and applied by name."""

import functools
import http.server
import importlib.util
import json
import shutil
import sys
import threading
import types
import uuid
import zipfile
from pathlib import Path

import fiftyone as fo
import fiftyone.core.cli as foc
import fiftyone.operators as foo
import fiftyone.operators.types as fot
import fiftyone.zoo as foz
import fiftyone.zoo.models as fozm
import huggingface_hub.constants
import pytest
from fake_models import BoxTracker, ScriptedReasoner, write_video
from fiftyone.operators.executor import ValidationContext

import fiftyone_revseg
from fiftyone_revseg.dataset import RevSegModel
from fiftyone_revseg.dataset.zoo import parse_parameters, register_zoo_source, resolve_input
from fiftyone_revseg.dataset.zoo.register import SOURCE_NAME, make_manifest
from fiftyone_revseg.models.builtin import PRESETS
from fiftyone_revseg.models.hub import DownloadError
from fiftyone_revseg.pipeline import RevSeg

SOURCE = Path(fiftyone_revseg.__file__).parent / "dataset" / "zoo"
ANSWERS = {"the cat": [(1, "a cat", [25, 50, 75, 100])], "the dog": []}


@pytest.fixture(autouse=True)
def zoo(tmp_path, monkeypatch):
    """An empty zoo and an empty cache of the hub."""
    monkeypatch.setattr(fo.config, "model_zoo_dir", str(tmp_path / "zoo"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield tmp_path / "zoo"
    sys.modules.pop(SOURCE_NAME, None)  # where FiftyOne leaves the copied module


@pytest.fixture
def loaded(monkeypatch):
    """Stands in for the pipelines that would be loaded, and notes which."""
    calls = []

    def load(loading):
        calls.append(loading)
        return RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())

    monkeypatch.setattr("fiftyone_revseg.pipeline.Loading.load", load)
    return calls


@pytest.fixture
def dataset(tmp_path):
    write_video(tmp_path / "video.mp4", 64, 48, 6)
    dataset = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
    dataset.add_sample(fo.Sample(str(tmp_path / "video.mp4"), query="the cat"))
    yield dataset
    dataset.delete()


@pytest.fixture
def archive_url(tmp_path):
    """The URL of an archive of the repository, on a server that ends with the test."""
    folder = tmp_path / "server"
    folder.mkdir()
    with zipfile.ZipFile(folder / "repository.zip", "w") as archive:
        archive.writestr("repository-main/README.md", "")
        for path in SOURCE.glob("*.*"):
            archive.write(path, f"repository-main/fiftyone_revseg/dataset/zoo/{path.name}")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/repository.zip"
        server.shutdown()


def note_of(zoo, name="revseg-nano"):
    return zoo / SOURCE_NAME / f"{name}.json"


def test_the_manifest_is_that_of_the_presets():
    manifest = json.loads((SOURCE / "manifest.json").read_text())
    assert manifest == make_manifest(), (
        "run python -c 'from fiftyone_revseg.dataset.zoo.register import write_manifest as w; w()'"
    )
    assert [model["base_name"] for model in manifest["models"]] == list(PRESETS)
    for model in manifest["models"]:
        preset = PRESETS[model["base_name"]]
        assert model["size_bytes"] == preset.size
        assert model["license"] == preset.license
        assert preset.description in model["description"]
        assert "/" not in model["base_filename"]


def test_the_sources_name_hides_no_module():
    # FiftyOne puts the copied module into sys.modules under this name
    assert not SOURCE_NAME.isidentifier()


def test_from_an_archive_at_a_url(zoo, archive_url, loaded):
    foz.register_zoo_model_source(archive_url)
    assert archive_url in foz.list_zoo_model_sources()
    assert set(foz.list_zoo_models(source=archive_url)) == set(PRESETS)
    assert set(PRESETS) <= set(foz.list_zoo_models())
    model = foz.load_zoo_model("revseg-nano", query=["the cat", "the dog"], label_field="mine")
    assert isinstance(model, RevSegModel)
    assert model.config.query == ["the cat", "the dog"]
    assert model.config.label_field == "mine"
    assert loaded[0].name == "revseg-nano"
    foz.delete_zoo_model_source(archive_url)
    assert not set(PRESETS) & set(foz.list_zoo_models())


def test_straight_from_a_url_that_was_not_registered(archive_url, loaded):
    model = foz.load_zoo_model(archive_url, model_name="revseg-nano", query="the cat")
    assert model.config.query == "the cat"


def test_registered_anew_with_overwrite(zoo, archive_url, loaded):
    foz.register_zoo_model_source(archive_url)
    (zoo / SOURCE_NAME / "manifest.json").unlink()
    foz.register_zoo_model_source(archive_url, overwrite=True)
    assert foz.load_zoo_model("revseg-nano").config.name_or_path == "revseg-nano"


def test_from_a_link_and_nothing_is_written_into_the_package(zoo, loaded):
    zoo.mkdir()
    (zoo / SOURCE_NAME).symlink_to(SOURCE, target_is_directory=True)
    before = {path: path.stat().st_mtime_ns for path in SOURCE.glob("*.*")}
    for _ in range(2):
        assert isinstance(foz.load_zoo_model("revseg-nano", query="the cat"), RevSegModel)
    assert {path: path.stat().st_mtime_ns for path in SOURCE.glob("*.*")} == before


def test_from_the_installed_package(zoo, loaded):
    assert register_zoo_source() == zoo / SOURCE_NAME
    assert set(PRESETS) <= set(foz.list_zoo_models())
    assert isinstance(foz.load_zoo_model("revseg-nano", query="the cat"), RevSegModel)
    # Once more changes nothing, and keeps the note that the model is downloaded
    register_zoo_source()
    assert foz.is_zoo_model_downloaded("revseg-nano")


def test_another_source_of_that_name_is_only_replaced_when_asked(zoo, tmp_path):
    register_zoo_source()
    (zoo / SOURCE_NAME / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="overwrite=True"):
        register_zoo_source()
    register_zoo_source(overwrite=True)
    assert set(PRESETS) <= set(foz.list_zoo_models())

    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(zoo / SOURCE_NAME, elsewhere)
    (elsewhere / "manifest.json").write_text("{}")
    shutil.rmtree(zoo / SOURCE_NAME)
    (zoo / SOURCE_NAME).symlink_to(elsewhere, target_is_directory=True)
    register_zoo_source(overwrite=True)
    assert (elsewhere / "manifest.json").read_text() == "{}"
    assert set(PRESETS) <= set(foz.list_zoo_models())


def test_licences_can_be_filtered_on():
    # FiftyOne takes a comma in a licence for a choice, so the 3B model must not name Apache-2.0
    register_zoo_source()
    names = set(foz.list_zoo_models(license="Apache-2.0"))
    assert set(PRESETS) - names == {"revseg-qwen2.5-vl-3b"}


def test_download_of_the_embedded_model_is_a_note(zoo):
    register_zoo_source()
    assert not foz.is_zoo_model_downloaded("revseg-nano")
    foz.download_zoo_model("revseg-nano")
    assert foz.find_zoo_model("revseg-nano") == str(note_of(zoo))
    assert set(foz.list_downloaded_zoo_models()) & set(PRESETS) == {"revseg-nano"}
    first = note_of(zoo).read_text()
    foz.download_zoo_model("revseg-nano", overwrite=True)
    assert note_of(zoo).read_text() == first
    assert not list(zoo.rglob("*.part*"))
    foz.delete_zoo_model("revseg-nano")
    assert not foz.is_zoo_model_downloaded("revseg-nano")
    assert all(weights.folder.is_dir() for weights in PRESETS["revseg-nano"].weights)


def test_download_from_the_hub_fetches_model_and_tracker(zoo, loaded, monkeypatch):
    fetched = []
    monkeypatch.setattr(
        "fiftyone_revseg.dataset.zoo.source.download", lambda weights: fetched.append(weights)
    )
    register_zoo_source()
    model = foz.load_zoo_model("revseg-qwen3-vl-4b", query="the cat")
    assert [weights.hub_id for weights in fetched] == [
        "Qwen/Qwen3-VL-4B-Instruct",
        "facebook/sam2.1-hiera-large",
    ]
    assert model.config.name_or_path == "revseg-qwen3-vl-4b"
    foz.load_zoo_model("revseg-qwen3-vl-4b", query="the dog")
    assert len(fetched) == 2  # FiftyOne sees that it is there


def test_download_without_a_network_leaves_nothing_half_written(zoo, loaded):
    register_zoo_source()
    with pytest.raises(DownloadError, match="not on this machine"):
        foz.load_zoo_model("revseg-qwen3-vl-8b", query="the cat")
    assert not foz.is_zoo_model_downloaded("revseg-qwen3-vl-8b")
    assert not loaded
    assert {path.name for path in (zoo / SOURCE_NAME).iterdir() if path.is_file()} == {
        "manifest.json",
        "__init__.py",
    }


def test_a_misspelled_argument_is_not_swallowed(loaded):
    register_zoo_source()
    with pytest.raises(TypeError, match="querry"):
        foz.load_zoo_model("revseg-nano", querry="the cat")


def run_copied_module(folder):
    """What FiftyOne does with the module of a source."""
    shutil.copy(SOURCE / "__init__.py", folder)
    spec = importlib.util.spec_from_file_location("copied-zoo", folder / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("installed", ["not at all", "an old one"])
def test_without_the_package_one_sentence_says_what_to_install(installed, tmp_path, monkeypatch):
    if installed == "not at all":
        for name in [name for name in sys.modules if name.split(".")[0] == "fiftyone_revseg"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "fiftyone_revseg", None)
    else:
        name = "fiftyone_revseg.dataset.zoo.source"
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    with pytest.raises(ImportError, match="pip install -U fiftyone-revseg") as caught:
        run_copied_module(tmp_path)
    assert "\n" not in str(caught.value)


def test_another_missing_package_is_not_blamed_on_this_one(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "fiftyone_revseg.dataset.zoo.source")
    monkeypatch.setitem(sys.modules, "fiftyone.operators.types", None)
    monkeypatch.delattr(foo, "types")
    with pytest.raises(ImportError) as caught:
        run_copied_module(tmp_path)
    assert "pip install" not in str(caught.value)


def test_apply_with_queries_from_a_field(dataset, loaded):
    register_zoo_source()
    dataset.add_sample_field("text", fo.StringField)
    dataset.set_values("text", ["the cat"])
    model = foz.load_zoo_model("revseg-nano", prompt_field="text")
    dataset.apply_model(model, label_field="revseg", skip_failures=False)
    sample = dataset.first()
    assert sample.revseg_status == "ok"
    assert all(len(frame.revseg.detections) == 1 for frame in sample.frames.values())


def test_apply_with_one_query(dataset, loaded):
    register_zoo_source()
    model = foz.load_zoo_model("revseg-nano", query="the dog")
    dataset.clear_sample_field("query")
    dataset.apply_model(model, label_field="revseg", skip_failures=False)
    assert dataset.first().revseg_status == "no_target"


def test_the_prompt_field_of_apply_model_wins_over_the_default(dataset, loaded):
    register_zoo_source()
    dataset.set_values("query", ["the dog"])
    dataset.add_sample_field("text", fo.StringField)
    dataset.set_values("text", ["the cat"])
    model = foz.load_zoo_model("revseg-nano")
    dataset.apply_model(model, label_field="revseg", prompt_field="text", skip_failures=False)
    assert dataset.first().revseg_answers.classifications[0].query == "the cat"


def test_fiftyone_zoo_models_apply(dataset, monkeypatch):
    # With the embedded pair: FiftyOne's command names no query, so the field "query" is asked
    register_zoo_source()
    arguments = ["fiftyone", "zoo", "models", "apply", "revseg-nano", dataset.name, "revseg"]
    monkeypatch.setattr(sys, "argv", arguments)
    foc.main()
    dataset.reload()
    sample = dataset.first()
    (answer, *_) = sample.revseg_answers.classifications
    assert answer.query == "the cat"
    assert answer.model == "revseg-nano + sam2-nano"
    assert sorted(sample.frames.keys()) == [1, 2, 3, 4, 5, 6]


def operator_context(dataset=None, form=None, **params):
    """The context in which the App's zoo operator asks for a model's form."""
    if form is not None:
        params["remote_params"] = form
    request = {"dataset_name": dataset.name if dataset else None, "params": params}
    return foo.ExecutionContext(request)


def form_of(ctx, name="revseg-nano"):
    return fozm.get_zoo_model(name).resolve_input(ctx).type.properties


def errors_of(ctx, form):
    """The complaints of FiftyOne's own check of what was typed in."""
    inputs = fot.Object()
    inputs.add_property("remote_params", resolve_input("revseg-nano", ctx))
    ctx.params["remote_params"] = form
    operator = types.SimpleNamespace(config=foo.OperatorConfig("apply_zoo_model"))
    return [error.path for error in ValidationContext(ctx, fot.Property(inputs), operator).errors]


def test_form_offers_the_fields_that_can_hold_queries(dataset):
    register_zoo_source()
    dataset.add_sample_field("questions", fo.ListField, subfield=fo.StringField)
    dataset.add_sample_field("number", fo.IntField)
    dataset.add_sample_field("scores", fo.ListField, subfield=fo.FloatField)
    dataset.add_sample_field("boxes", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    form = form_of(operator_context(dataset))
    offered = [choice.value for choice in form["prompt_field"].view.choices]
    assert offered == ["query", "questions"]
    assert form["prompt_field"].default == "query"
    assert {"tracker", "frames", "device", "dtype"} <= set(form)
    trackers = [choice.value for choice in form["tracker"].view.choices]
    assert {"sam2-nano", "sam2.1-hiera-large"} <= set(trackers)
    # What the App is sent
    assert json.dumps(fozm.get_zoo_model("revseg-nano").resolve_input(operator_context()).to_json())


def test_form_wants_a_query_or_a_field(dataset):
    ctx = operator_context(dataset)
    assert errors_of(ctx, {"prompt_field": "query"}) == []
    dataset.delete_sample_field("query")
    ctx = operator_context(dataset)
    assert errors_of(ctx, {}) == [".remote_params.query"]
    assert errors_of(ctx, {"query": "the cat"}) == []
    assert errors_of(ctx, {"query": "the cat", "frames": 0}) == [".remote_params.frames"]
    # A field that is there but was cleared
    dataset.add_sample_field("query", fo.StringField)
    ctx = operator_context(dataset, form={"prompt_field": None})
    assert errors_of(ctx, {"prompt_field": None}) == [".remote_params.query"]


def test_form_refuses_images(tmp_path):
    images = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
    try:
        images.add_sample(fo.Sample(str(tmp_path / "image.png"), query="the cat"))
        ctx = operator_context(images)
        assert ".remote_params.media_error" in errors_of(ctx, {"prompt_field": "query"})
    finally:
        images.delete()


def test_form_says_what_will_be_downloaded_and_under_which_licence(dataset):
    register_zoo_source()
    ctx = operator_context(dataset)
    form = form_of(ctx, "revseg-qwen2.5-vl-3b")
    assert "8.4 GB" in form["download_notice"].view.label
    assert "qwen-research" in form["license_warning"].view.label
    form = form_of(ctx, "revseg-nano")
    assert not {"download_notice", "license_warning"} & set(form)


def test_form_to_arguments():
    ctx = operator_context(label_field="mine")
    params = {
        "query": " the cat \n\nthe dog\n",
        "prompt_field": None,
        "tracker": "sam2-nano",
        "frames": 8,
        "device": "",
        "dtype": " float32 ",
        "download_notice": None,
    }
    parse_parameters("revseg-nano", ctx, params)
    assert params == {
        "query": ["the cat", "the dog"],
        "tracker": "sam2-nano",
        "spec": {"frames": 8},
        "dtype": "float32",
        "label_field": "mine",
    }


def test_operator_from_form_to_labels(dataset, loaded):
    # The steps of the App's zoo operator
    register_zoo_source()
    form = {"query": "the cat", "prompt_field": None, "frames": 4, "tracker": None}
    ctx = operator_context(dataset, form=form, label_field="mine")
    zoo_model = foz.get_zoo_model("revseg-nano")
    kwargs = ctx.params["remote_params"]
    zoo_model.parse_parameters(ctx, kwargs)
    model = foz.load_zoo_model("revseg-nano", **kwargs)
    assert loaded[-1].spec == {"frames": 4}
    dataset.apply_model(
        model,
        label_field="mine",
        confidence_thresh=None,
        store_logits=False,
        batch_size=None,
        num_workers=0,
        skip_failures=False,
        output_dir=None,
        rel_dir=None,
    )
    sample = dataset.first()
    assert sample.mine_status == "ok"
    assert all(len(frame.mine.detections) == 1 for frame in sample.frames.values())
