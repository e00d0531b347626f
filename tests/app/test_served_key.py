"""A server that repeats its key in everything: it is in no database, file, log or message."""

import fiftyone as fo
import fiftyone.core.odm as foo
import fiftyone.operators as operators
import pytest
from click.testing import CliRunner
from fake_models import SPEC, BoxTracker, write_video
from fake_server import FakeServer, status
from forgotten_models import forget_models

import fiftyone_revseg as revseg
from fiftyone_revseg.app.running import result_of
from fiftyone_revseg.cli import main
from fiftyone_revseg.pipeline import RevSeg
from fiftyone_revseg.reasoning import Reply, ServerReasoner

KEY = "sk-88/not+to&be-seen=="
BOX = f'[{{"bbox_2d": [10, 10, 60, 60], "label": "{KEY}"}}]'


def answer(conversation, body):
    """Finds an object, or fails, and always repeats the key; with its tokens, too."""
    asked = conversation.messages[0].text + conversation.messages[-1].text
    if conversation.messages[-1].role == "user" and len(conversation.messages) > 1:
        return Reply(BOX, token_texts=tuple(BOX), token_probabilities=(0.9,) * len(BOX))
    if "nonsense" in asked:
        return Reply(f"my key is {KEY}")
    said = f"the key is {KEY}, or {KEY[:12]}"
    choice = f'[{{"frame_idx": 1, "object description": "a {KEY} dog"}}]'
    return Reply(f"<think>{said}</think><answer>{choice}</answer>")


def fault(number, body):
    return status(400, f"no: {KEY}") if "broken" in str(body) else None


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("REVSEG_SERVER_KEY", KEY)
    forget_models()
    with FakeServer(answer, model="mine", root=KEY, key=KEY, fault=fault, says=KEY) as server:
        yield server
    forget_models()


@pytest.fixture
def check(tmp_path, log):
    """Looks for the key, and parts of it, in all that is left."""

    def check(*said):
        database = foo.get_db_conn()
        names = [n for n in database.list_collection_names() if not n.startswith("system.")]
        stored = [str(document) for name in names for document in database[name].find()]
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        texts = [*stored, *log, *map(str, said), *map(str, files)]
        texts += [path.read_bytes().decode("latin-1") for path in files]
        parts = [KEY[i : i + 8] for i in range(len(KEY) - 7)]
        assert not [text for text in texts if any(part in text for part in parts)]
        assert any("HTTP Request" in line for line in log)
        return "".join(stored)

    return check


@pytest.fixture
def sample(tmp_path):
    write_video(tmp_path / "clip.mp4", 64, 48, 10)
    return fo.Sample(str(tmp_path / "clip.mp4"))


QUERIES = ["the dog", "nonsense", "broken"]
STATUSES = {"ok", "bad_keyframe", "error"}


def test_segment_view_and_apply_model(make_dataset, sample, server, check):
    dataset = make_dataset(sample)
    options = {
        "server": server.url,
        "tracker": "sam2-nano",
        "device": "cpu",
        "spec": SPEC.to_dict(),
    }
    reasoner = ServerReasoner.connect(server.url, "mine", spec=SPEC)
    pipeline = RevSeg(reasoner, BoxTracker())
    summary = revseg.segment_view(dataset, pipeline, QUERIES)
    model = revseg.load_model("mine", query="the dog", label_field="second", **options)
    dataset.apply_model(model, label_field="second")
    found = {c.status for c in dataset.first().revseg_answers.classifications}
    assert found == STATUSES
    stored = check(summary, repr(summary), repr(pipeline), repr(model), model.config.serialize())
    assert "a *** dog" in stored
    assert "the key is ***" in stored
    (answered,) = dataset.first().second_answers.classifications
    assert answered.label == "a *** dog"


def test_the_command(sample, tmp_path, server, check):
    SPEC.save(tmp_path)
    command = ["segment", sample.filepath, *QUERIES, "--server", server.url, "--model", "mine"]
    options = ["--spec", str(tmp_path), "--tracker", "sam2-nano", "--device", "cpu"]
    result = CliRunner().invoke(main, [*command, *options, "-o", str(tmp_path / "out")])
    assert "the key is ***" in result.output
    assert "a *** dog" in result.output
    other = CliRunner().invoke(main, [*command[:-1], "other", *options])
    assert "has no model 'other': it serves 'mine'" in other.output
    check(result.output, result.exception, other.output, other.exception)
    written = "".join(p.read_text() for p in (tmp_path / "out").rglob("*.json"))
    assert "a *** dog" in written


def test_the_operator(make_dataset, sample, server, check):
    dataset = make_dataset(sample)
    params = {"model": "mine", "server": server.url, "tracker": "sam2-nano", "device": "cpu"}
    params |= {"box_convention": "pixels", "asked": "several", "queries": QUERIES}
    request = {"dataset": dataset, "params": params}
    result = operators.execute_operator("fiftyone_revseg/segment", request)
    assert result_of(result)["state"] == "done"
    check(result_of(result))
    request["params"] = {**params, "model": "other"}
    with pytest.raises(Exception, match="it serves 'mine'") as caught:
        operators.execute_operator("fiftyone_revseg/segment", request)
    check(caught.value, repr(caught.value))
