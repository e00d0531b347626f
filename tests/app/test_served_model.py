"""A model on a server, chosen in the forms of the App; its key is the plugin's secret."""

from dataclasses import replace

import fiftyone as fo
import fiftyone.core.odm as odm
import fiftyone.operators as foo
import pytest
from fake_models import ANSWERS, SPEC, BoxTracker, ScriptedReasoner
from fake_server import FakeServer, answer_with
from fiftyone.operators.executor import ExecutionError
from forgotten_models import forget_models

import fiftyone_revseg as revseg
from fiftyone_revseg.app import forms
from fiftyone_revseg.app import held_models as models
from fiftyone_revseg.app.running import result_of
from fiftyone_revseg.models.builtin import PRESETS
from fiftyone_revseg.pipeline import Loading, RevSeg
from fiftyone_revseg.reasoning import LocalReasoner, Reply, ServerReasoner

URI = "fiftyone_revseg/segment"
SECRET = "sk-55-not-to-be-seen"


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv(forms.KEY_NAME, SECRET)
    forget_models()
    yield SECRET
    forget_models()


def everything():
    database = odm.get_db_conn()
    names = [n for n in database.list_collection_names() if not n.startswith("system.")]
    return "".join(str(document) for name in names for document in database[name].find())


def segment(dataset, **params):
    kind = "dataset" if isinstance(dataset, fo.Dataset) else "view"
    return foo.execute_operator(URI, {kind: dataset, "params": params})


@pytest.fixture(scope="module")
def local():
    return LocalReasoner.load(PRESETS["revseg-nano"].reasoner, device="cpu")


def test_segment_on_a_server(dataset, key, local):
    with FakeServer(answer_with(local), key=key) as server:
        params = {"server": server.url, "tracker": "sam2-nano", "device": "cpu"}
        result = result_of(segment(dataset[:1], query="the red circle", **params))
        assert (result["state"], result["total"]) == ("done", 1)
        assert server.bodies
        # The same model as before, until the key is another one
        loading = Loading(server_key=key, **params)
        assert SECRET not in repr(loading)
        model = models.get_model(loading)
        assert models.get_model(loading) is model
        with pytest.raises(ValueError, match="does not accept the key"):
            models.get_model(replace(loading, server_key="other"))
    dataset.reload()
    assert dataset.values("revseg_status")[0] in ("ok", "no_target", "bad_box", "bad_keyframe")
    record = dataset.first().revseg_trajectory["segmentations"][0]
    assert record["settings"]["server"] == server.url
    assert SECRET not in everything()
    assert SECRET not in str(models._models.keys())


def test_a_delegated_run_stores_no_key(dataset, key):
    request = {"dataset": dataset, "request_delegation": True}
    params = {"query": "the dog", "server": "http://localhost:1/v1"}
    foo.execute_operator(URI, {**request, "params": params})
    assert "http://localhost:1/v1" in everything()
    assert SECRET not in everything()


def test_a_model_that_nobody_knows(dataset, key):
    def answer(conversation, body):
        return Reply("<think>x</think><answer>[]</answer>")

    with FakeServer(answer, model="mine", key=key) as server:
        params = {"model": "mine", "server": server.url, "tracker": "sam2-nano", "device": "cpu"}
        with pytest.raises(Exception, match="box_convention"):
            segment(dataset[:1], query="the ghost", **params)
        params["box_convention"] = "pixels"
        segment(dataset[:1], query="the ghost", **params)
    dataset.reload()
    assert dataset.values("revseg_status")[0] == "no_target"


@pytest.mark.parametrize(
    ("server", "words"),
    [("nowhere", "no address of a server"), ("http://me:pw@host/v1", "leave them out")],
)
def test_addresses_that_are_refused(dataset, server, words):
    with pytest.raises(ExecutionError, match=words):
        segment(dataset, query="the dog", server=server)


def test_the_tracker_of_a_model_on_a_server(monkeypatch):
    asked = []
    monkeypatch.setattr(models, "_kept", lambda store, key, load: asked.append(key[0]))
    models.get_tracker(Loading("somebody's model", server="http://localhost:1/v1"))
    models.get_tracker(Loading(server="http://localhost:1/v1"))
    assert asked == ["sam2.1-hiera-large", "sam2-nano"]
    with pytest.raises(ValueError, match="There is no model"):
        models.get_tracker(Loading("somebody's model"))


def test_an_address_from_a_dataset_never_gets_the_key(dataset, key, monkeypatch):
    """Whoever made the dataset could have written any."""
    script = ScriptedReasoner(ANSWERS)
    tracker = BoxTracker()
    tracker.name = "sam2-nano"

    def answer(conversation, body):
        return Reply(script._reply(conversation))

    with FakeServer(answer) as server:
        reasoner = ServerReasoner.connect(server.url, "revseg-nano", SPEC)
        revseg.segment_view(dataset[:1], RevSeg(reasoner, tracker), "the cat")
        seen = []

        def get_model(loading):
            seen.append((loading.server, loading.server_key))
            return revseg.load_model(RevSeg(reasoner, tracker))

        monkeypatch.setattr(models, "get_model", get_model)
        again = foo.get_operator("fiftyone_revseg/reground")
        again(dataset[:1], 1, 2)
        assert seen == [(server.url, "")]
        again(dataset[:1], 1, 2, model="revseg-nano", server=server.url)
        assert seen[1:] == [(server.url, SECRET)]
        reasoner.close()
