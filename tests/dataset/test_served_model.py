"""Datasets that a model on a server segments, with faults on the way and a key that nobody sees."""

import json
import logging
import re
from pathlib import Path

import fiftyone as fo
import fiftyone.core.odm as foo
import pytest
from click.testing import CliRunner
from fake_models import ANSWERS, SPEC, BoxTracker, ScriptedReasoner, write_video
from fake_server import FakeServer, Fault, status

import fiftyone_revseg as revseg
from fiftyone_revseg.cli import main
from fiftyone_revseg.dataset import list_runs
from fiftyone_revseg.dataset.model import RevSegModelConfig
from fiftyone_revseg.dataset.record import differences, fingerprint, settings_of
from fiftyone_revseg.pipeline import RevSeg
from fiftyone_revseg.reasoning import Reply, ServerReasoner
from fiftyone_revseg.reasoning.server import Backoff

SECRET = "sk-77-not-to-be-seen"
SCRIPT = ScriptedReasoner(ANSWERS)


def answer(conversation, body):
    return Reply(SCRIPT._reply(conversation), prompt_tokens=100, tokens=20)


def pipeline_on(server, **options):
    options = {"spec": SPEC, "backoff": Backoff(retries=3, first=0.01, longest=0.02), **options}
    return RevSeg(ServerReasoner.connect(server.url, "revseg-nano", **options), BoxTracker())


@pytest.fixture
def samples(tmp_path):
    """Ten videos of different lengths, so that no two requests are alike."""
    made = []
    for i in range(10):
        path = tmp_path / f"clip-{i}.mp4"
        write_video(path, 64, 48, 10 + i)
        made.append(fo.Sample(str(path), query=list(ANSWERS)[i % len(ANSWERS)]))
    return made


def everything_in(dataset):
    """All documents that a dataset left in the database, as one text."""
    database = foo.get_db_conn()
    names = [n for n in database.list_collection_names() if not n.startswith("system.")]
    return "".join(str(document) for name in names for document in database[name].find())


FAULTS = [
    status(429, "busy", Retry_After=0),
    status(500, "oh no"),
    Fault("drop"),
    Fault("cut"),
    Fault("text", 200, "<html>"),
    Fault("body", 200, {"choices": []}),
    Fault("hang"),
    Fault("drip"),
]


def test_a_run_with_faults_accounts_for_every_job(make_dataset, samples, monkeypatch, caplog):
    """Every request fails at first, in one way or another, and those about a blur always do."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("REVSEG_SERVER_KEY", SECRET)
    seen = {}

    def fault(number, body):
        if '"the blur"' in str(body["messages"]):
            return status(500, f"lost {SECRET}")
        known = str(body["messages"]) in seen
        position = seen.setdefault(str(body["messages"]), len(seen))
        return None if known else FAULTS[position % len(FAULTS)]

    dataset = make_dataset(*samples)
    with FakeServer(answer, key=SECRET, fault=fault) as server:
        pipeline = pipeline_on(server, timeout=0.3)
        summary = revseg.segment_view(dataset, pipeline, prompt_field="query")
        assert (summary.total, summary.done) == (10, 10)
        assert len(seen) > len(FAULTS)
        expected = {"the cat": "ok", "both": "ok", "the ghost": "no_target", "the blur": "error"}
        statuses = [expected[query] for query in dataset.values("query")]
        assert dataset.values("revseg_status") == statuses
        assert summary.counts == {s: statuses.count(s) for s in set(statuses)}
        (reason,) = summary.failures
        assert "failed (500): lost ***" in reason

        # The address is remembered, the key is not; and what failed is done again
        (run,) = list_runs(dataset)
        assert server.url in str(everything_in(dataset))
        assert "revseg-nano" in run["model"]
        server.fault = None
        again = revseg.segment_view(dataset, pipeline, prompt_field="query")
        assert (again.skipped, again.done) == (8, 2)
        trajectory = dataset.match({"query": "both"}).first().revseg_trajectory
        (record,) = trajectory["segmentations"]
        assert record["settings"]["server"] == server.url
        assert record["settings"]["images"] == "jpeg 95"
        assert [turn["tokens"] for turn in record["trajectory"]["turns"]] == [20, 20, 20]
        assert {turn["prompt_tokens"] for turn in record["trajectory"]["turns"]} == {100}
        pipeline.reasoner.close()
    assert SECRET not in everything_in(dataset)
    assert SECRET not in json.dumps(summary.to_dict()) + caplog.text


def test_where_a_model_is_served_does_not_count_as_another_setting():
    with FakeServer(answer) as one, FakeServer(answer) as two:
        a, b = settings_of(pipeline_on(one)), settings_of(pipeline_on(two))
        c = settings_of(pipeline_on(two, image_format="png"))
    assert a["server"] != b["server"]
    assert a["model"] == "revseg-nano"
    assert fingerprint(a, "q", None) == fingerprint(b, "q", None) != fingerprint(c, "q", None)
    assert differences(a, b) == []
    assert differences(a, c) == ["images: jpeg 95 -> png"]


def test_load_model(make_dataset, samples, monkeypatch):
    monkeypatch.setenv("REVSEG_SERVER_KEY", SECRET)
    dataset = make_dataset(samples[2])
    with FakeServer(answer, model="mine", key=SECRET) as server:
        with pytest.raises(ValueError, match="box_convention"):
            revseg.load_model("mine", server=server.url, device="cpu", tracker="sam2-nano")
        model = revseg.load_model(
            "mine",
            query="the ghost",
            server=server.url + "/",
            device="cpu",
            tracker="sam2-nano",
            spec=SPEC.to_dict(),
        )
        dataset.apply_model(model, label_field="revseg")
    assert dataset.values("revseg_status") == ["no_target"]
    assert model.config.server == server.url
    assert SECRET not in str(model.config.serialize()) + everything_in(dataset)
    for url in ("nowhere", f"http://me:{SECRET}@host/v1"):
        with pytest.raises(ValueError, match="address") as caught:
            RevSegModelConfig({"server": url})
        assert SECRET not in str(caught.value)


def test_the_page(make_dataset, samples, monkeypatch):
    """Runs the code of docs/server.md, with another address."""
    page = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    loading = "fiftyone_revseg.pipeline.loading"
    monkeypatch.setattr(f"{loading}.load_tracker", lambda *a, **k: BoxTracker())
    # It is asked for before the server's model, as it may have to be fetched
    monkeypatch.setattr(f"{loading}.check_available", lambda weights: None)
    dataset, names = make_dataset(*samples[:3]), {}

    def answer(conversation, body):
        return Reply("<think>none</think><answer>[]</answer>", prompt_tokens=100, tokens=20)

    with FakeServer(answer, model="Qwen/Qwen2.5-VL-7B-Instruct") as server:
        for block in blocks:
            exec(block.replace("http://localhost:8000/v1", server.url), names)
        summary = revseg.segment_view(dataset, names["model"])
        assert summary.counts == {"no_target": 3}
        assert names["tokens_of"](dataset) == (300, 60)
        assert names["pipeline"].reasoner is names["reasoner"]
        assert names["reasoner"].spec.frames == 16
        assert names["reasoner"].backoff.retries == 6


def test_on_the_command_line(tmp_path, samples, monkeypatch):
    monkeypatch.setenv("REVSEG_SERVER_KEY", SECRET)
    out = tmp_path / "out"

    def run(*arguments):
        arguments = ["segment", samples[0].filepath, *arguments, "-o", str(out), "--device", "cpu"]
        return CliRunner().invoke(main, arguments)

    with FakeServer(answer, model="mine", key=SECRET) as server:
        options = ["the ghost", "--server", server.url, "--tracker", "sam2-nano"]
        unknown = run(*options)
        assert unknown.exit_code == 1
        assert "it serves 'mine'" in unknown.output
        assert "--spec" in run(*options, "--model", "mine").output
        missing = run(*options, "--model", "mine", "--spec", str(tmp_path))
        assert "There is no revseg.json" in missing.output
        SPEC.save(tmp_path)
        done = run(*options, "--model", "mine", "--spec", str(tmp_path), "--frames", "3")
        assert done.exit_code == 0, done.output
    about = json.loads((out / "trajectory.json").read_text())
    assert (about["status"], about["trajectory"]["model"]) == ("no_target", "mine")
    assert len(about["trajectory"]["frame_table"]["indices"]) == 3
    assert SECRET not in done.output + (out / "trajectory.json").read_text()
