"""The operator ``segment``: what it does on every kind of collection, and what it refuses."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators import types
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor
from forgotten_models import forget_models
from PIL import Image

from fiftyone_revseg.app import held_models as models
from fiftyone_revseg.app.forms import loading
from fiftyone_revseg.app.operators import OPERATORS
from fiftyone_revseg.app.running import list_active, result_of, stop_runs
from fiftyone_revseg.app.segment import Segment
from fiftyone_revseg.dataset import list_runs, segment_view
from fiftyone_revseg.models import described
from fiftyone_revseg.pipeline import Loading

URI = "fiftyone_revseg/segment"


def execute(samples, /, selected=(), **params):
    kind = "dataset" if isinstance(samples, fo.Dataset) else "view"
    ctx = {kind: samples, "selected": list(selected), "params": params}
    if selected:
        ctx["view_target"] = "SELECTED_SAMPLES"
    return result_of(foo.execute_operator(URI, ctx))


def context(samples, /, **params):
    """The context that the App makes for an operator."""
    request = {
        "dataset_name": samples.dataset_name if hasattr(samples, "dataset_name") else samples.name,
        "view": samples.view()._serialize(),
        "params": params,
        "operator_uri": URI,
    }
    return ExecutionContext(request, executor=Executor(), operator_uri=URI)


def form(samples, /, **params):
    return Segment().resolve_input(context(samples, **params)).type.properties


def statuses(dataset, label_field="revseg"):
    dataset.reload()
    return dataset.values(f"{label_field}_status")


def test_a_dataset_and_a_view(fake_model, dataset):
    result = execute(dataset[:1], query="the cat")
    assert (result["state"], result["total"], result["counts"]) == ("done", 1, {"ok": 1})
    assert statuses(dataset) == ["ok", None, None]
    assert len(dataset.first().frames[5].revseg.detections) == 1
    result = execute(dataset, query="the ghost")
    assert (result["skipped"], result["counts"]) == (1, {"no_target": 2})
    assert statuses(dataset) == ["ok", "no_target", "no_target"]
    assert [run["state"] for run in list_runs(dataset)] == ["done", "done"]


def test_selected_samples(fake_model, dataset):
    execute(dataset, selected=dataset.values("id")[1:2], query="the cat")
    assert statuses(dataset) == [None, "ok", None]


def test_clips(fake_model, dataset):
    execute(dataset.to_clips("events"), query="the cat")
    dataset.reload()
    labelled = [k for k, f in dataset.first().frames.items() if f.revseg and f.revseg.detections]
    assert sorted(labelled) == [1, 2, 3, 4, 6, 7, 8, 9]


@pytest.fixture
def images(make_dataset, tmp_path):
    samples = []
    for scene in ("a", "b"):
        for k in range(6):
            path = tmp_path / f"{scene}{k}.png"
            Image.new("RGB", (64, 48), (40 * k, 0, 0)).save(path)
            samples.append(fo.Sample(str(path), scene=scene, frame_number=k, query="the cat"))
    return make_dataset(*samples)


def test_ordered_dynamic_groups(fake_model, images):
    groups = images.group_by("scene", order_by="frame_number")
    result = execute(groups, query="the cat")
    assert (result["total"], result["counts"]) == (2, {"ok": 2})
    assert images.count("revseg.detections") == 12
    images.reload()
    groups = images.group_by("scene", order_by="frame_number")
    assert form(groups, query="the cat")["estimate"].view.label.startswith("2 videos")


def test_selected_dynamic_groups(fake_model, images):
    groups = images.group_by("scene", order_by="frame_number")
    result = execute(groups, selected=[groups.last().id], query="the cat")
    assert (result["total"], result["counts"]) == (1, {"ok": 1})
    images.reload()
    assert [len(d.detections) if d else 0 for d in images.values("revseg")] == [0] * 6 + [1] * 6


def test_a_slice_of_groups(fake_model, make_dataset, videos, tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    group = fo.Group()
    dataset = make_dataset(
        fo.Sample(videos[0], group=group.element("camera")),
        fo.Sample(str(tmp_path / "a.png"), group=group.element("map")),
        fo.Sample(videos[1], group=group.element("rear")),
    )
    slices = form(dataset, query="the cat")["group_slice"]
    assert slices.type.values == ["camera", "rear"]
    execute(dataset, query="the cat", group_slice="rear")
    dataset.reload()
    every = dataset.select_group_slices(["camera", "rear"])
    assert dict(zip(every.values("group.name"), every.values("revseg_status"), strict=True)) == {
        "camera": None,
        "rear": "ok",
    }


def test_queries_from_a_field(fake_model, dataset):
    result = execute(dataset[:2], asked="field", prompt_field="query")
    assert result["counts"] == {"ok": 1, "no_target": 1}


def test_several_queries(fake_model, dataset):
    execute(dataset[:1], asked="several", queries=["the cat", " ", "both"])
    dataset.reload()
    answers = dataset.first().revseg_answers.classifications
    assert [answer.query for answer in answers] == ["the cat", "both", "both"]


def test_what_failed_is_counted_and_shown(fake_model, dataset):
    sample = fo.Sample("/nowhere/at/all.mp4")
    dataset.add_sample(sample)
    result = execute(dataset, query="the cat")
    assert result["counts"] == {"ok": 3, "unreadable": 1}
    ((reason, count),) = result["failures"]
    assert reason.startswith("unreadable: ")
    assert count == 1
    dataset.reload()
    assert dataset.load_saved_view(result["view"]).values("id") == [sample.id]
    ctx = context(dataset)
    ctx.request_params["results"] = result
    markdown = Segment().resolve_output(ctx).type.properties["summary"]
    assert "found: 3" in markdown.default
    assert result["view"] in markdown.default


def test_resume_redo_and_overwrite(fake_model, dataset):
    execute(dataset, query="the cat")
    assert execute(dataset, query="both")["counts"] == {}
    assert execute(dataset, query="both")["changed"] == 3
    assert execute(dataset, query="both", existing="changed")["counts"] == {"ok": 3}
    assert execute(dataset, query="both", existing="changed")["skipped"] == 3
    assert execute(dataset, query="both", existing="all")["counts"] == {"ok": 3}


def test_the_form_says_who_is_at_work(fake_model, dataset, monkeypatch):
    assert "anyway" not in form(dataset, query="the cat")
    seen = []

    def tell(progress):
        if progress.stage == "decode" and not seen:
            seen.append(form(dataset, query="the cat"))
            seen.append(form(dataset, query="the cat", label_field="other"))
            with pytest.raises(ExecutionError, match="are being segmented into 'revseg' already"):
                execute(dataset[:1], query="the cat")
            seen.append(execute(dataset[:1], query="the cat", anyway=True))

    segment_view(dataset, models.get_model(Loading()), queries="the cat", progress=tell)
    at_work, other_field, result = seen
    assert f"process {os.getpid()}" in at_work["anyway"].view.description
    assert "anyway" not in other_field
    assert result["counts"] == {"ok": 1}


def test_the_form_tells_what_it_will_cost(fake_model, dataset):
    dataset.compute_metadata()
    notice = form(dataset, query="the cat")["estimate"].view
    assert "3 videos" in notice.label
    assert f"{3 * 10} frames" in notice.label
    assert "about 6 turns" in notice.label
    assert "first run" in notice.description
    execute(dataset[:2], query="the cat")
    dataset.reload()
    notice = form(dataset, query="the cat")["estimate"].view
    assert "1 of 3 videos" in notice.label
    assert "per video" in notice.description
    notice = form(dataset, query="the cat", existing="changed")["estimate"].view
    assert notice.label.startswith("at most 3 videos")  # the model may be another one
    notice = form(dataset, query="the cat", existing="all")["estimate"].view
    assert notice.label.startswith("3 videos")
    choices = form(dataset, query="the cat")["existing"]
    assert choices.type.values == ["keep", "changed", "all"]
    assert "revseg" in form(dataset, query="the cat")["label_field"].view.values()


def test_another_query_is_meant_for_a_field_of_its_own(fake_model, dataset):
    execute(dataset, query="the cat")
    dataset.reload()
    choice = form(dataset, query="the ghost")["existing"]
    assert choice.default == "new"
    assert choice.view.description == "It was asked: the cat (3)"
    shown = {c.value: (c.label, c.description) for c in choice.view.choices}
    assert list(shown) == ["new", "keep", "changed", "all"]
    assert shown["new"][0] == "New field: revseg_the_ghost"
    assert "the 0 videos without an answer; 3 answered something else" in shown["keep"][1]
    assert "3 that answered something else" in shown["changed"][1]
    same = form(dataset, query="the cat")["existing"]
    assert (same.default, same.type.values) == ("keep", ["keep", "changed", "all"])
    # Chosen before the query was changed to one that is answered: no fault, and nothing is asked
    stale = form(dataset, query="the cat", existing="new")
    assert "0 of 3 videos" in stale["estimate"].view.label

    result = execute(dataset, query="the ghost", existing="new")
    assert (result["label_field"], result["counts"]) == ("revseg_the_ghost", {"no_target": 3})
    assert statuses(dataset) == ["ok"] * 3
    result = execute(dataset, query="the ghost", existing="new")
    assert (result["label_field"], result["skipped"]) == ("revseg_the_ghost", 3)
    # A script that says nothing resumes, as ever
    assert execute(dataset, query="the ghost")["skipped"] == 3

    dataset.add_sample_field("revseg_both_status", fo.StringField)  # a person's
    result = execute(dataset[:1], query="both", existing="new")
    assert result["label_field"] == "revseg_both_2"


def test_queries_that_changed_are_meant_to_be_redone(fake_model, dataset):
    view = dataset[:2]
    assert form(view)["asked"].default == "field"
    assert form(view, asked="field")["prompt_field"].default == "query"
    execute(view, asked="field", prompt_field="query")
    dataset.reload()
    assert form(view)["asked"].default == "one"  # all of it is answered
    assert form(dataset)["asked"].default == "field"
    assert form(view, asked="field", prompt_field="query")["existing"].default == "keep"
    view.set_values("query", ["the cat", "both"])
    found = form(view, asked="field", prompt_field="query")["existing"]
    assert (found.default, found.type.values) == ("changed", ["keep", "changed", "all"])


def test_an_untouched_form_waits_and_complains_of_nothing(dataset):
    for params, name in (({"asked": "one"}, "query"), ({"asked": "several"}, "queries")):
        found = form(dataset, **params)
        assert isinstance(found[f"{name}_missing"].view, types.HiddenView)
        assert [key for key, prop in found.items() if prop.invalid] == [f"{name}_missing"]
        assert not [key for key, prop in found.items() if prop.required]
    found = form(dataset, query="the cat")
    assert not any(prop.invalid for prop in found.values())


def test_what_few_need_is_folded_away(dataset):
    few = {"server", "quantization", "tracker", "frames"}
    assert not few & set(form(dataset))
    assert few < set(form(dataset, more_settings=True))
    assert few < set(form(dataset, frames=4))


def test_models_are_described(dataset):
    found = form(dataset, query="the cat")
    described = {c.value: c.description for c in found["model"].view.choices}
    assert "for demonstrations" in described["revseg-nano"]
    for part in ("17.5 GB", "Apache-2.0", "to download", "GPU"):
        assert part in described["revseg-qwen2.5-vl-7b"]
    notice = found["demonstration_notice"].view
    assert "a.mp4 is not known to be one" in notice.description.replace("\\", "")
    assert "demonstration_notice" not in form(dataset, query="q", model="revseg-qwen2.5-vl-7b")


@pytest.mark.parametrize(
    ("gigabytes", "is_gpu", "words"),
    [
        (80, True, "fits the GPU here (80.0 GB)"),
        (16, True, "with 8bit only"),
        (4, True, "too large for the GPU here: about 22 GB, here are 4"),
        (64, False, "no GPU here, so slow"),
        (16, False, "too large for its memory"),
    ],
)
def test_whether_a_model_fits(monkeypatch, gigabytes, is_gpu, words):
    monkeypatch.setattr(described, "memory_here", lambda: (gigabytes * 10**9, is_gpu))
    assert words in described.described_presets()["revseg-qwen2.5-vl-7b"]


def test_the_app_lists_segment_first():
    """It sorts by the first letter of the descriptions, and keeps the order else."""
    letters = [cls().config.description[0] for cls in OPERATORS]
    assert OPERATORS[0] is Segment
    assert letters[0] == min(letters)


WRONG = {
    "no query": ({}, "there is no query yet"),
    "an empty query": ({"query": "  "}, "there is no query yet"),
    "no queries": ({"asked": "several", "queries": [""]}, "there is no query yet"),
    "a missing field": ({"asked": "field", "prompt_field": "x"}, "There is no field 'x'"),
    "numbers": ({"asked": "field", "prompt_field": "number"}, "holds no queries"),
    "a bad name": ({"query": "q", "label_field": "1 x"}, "letters, digits and underscores"),
    "another's field": ({"query": "q", "label_field": "events"}, "is a field of the samples"),
    "no such model": ({"query": "q", "model": "gpt"}, "There is no model 'gpt'"),
    "no such tracker": ({"query": "q", "tracker": "gpt"}, "no tracker called 'gpt'"),
    "too many frames": ({"query": "q", "frames": 1000}, "less than 256"),
    "too many samples": ({"query": "q", "look_again": True, "samples": 1000}, "less than 100"),
    "half a round": ({"query": "q", "look_again": True, "rounds": 0.5}, "a whole number"),
    "no calibration": (
        {"query": "q", "look_again": True, "calibration": "/none.json"},
        "no calibration '/none.json'",
    ),
}


def fields(dataset):
    return [*dataset.get_field_schema(flat=True), *dataset.get_frame_field_schema(flat=True)]


@pytest.mark.parametrize("name", WRONG)
def test_wrong_forms_change_nothing(dataset, name):
    params, message = WRONG[name]
    dataset.set_values("number", [1, 2, 3])
    before = fields(dataset)
    with pytest.raises(ExecutionError, match=message):
        execute(dataset, **params)
    dataset.reload()
    assert fields(dataset) == before
    assert not list_runs(dataset)


def test_the_form_asks_how_to_look_again(fake_model, dataset):
    plain = form(dataset, query="the cat", samples=4, verdict=True)
    assert "samples" not in plain
    assert "about 6 turns" in plain["estimate"].view.label
    settings = {"samples": 4, "verdict": True, "rounds": 1, "max_gap": 2.5}
    found = form(dataset, query="the cat", look_again=True, **settings)
    assert {"samples", "verdict", "rounds", "anchors", "looks", "max_gap"} < set(found)
    assert "at most 42 turns" in found["estimate"].view.label
    spec = loading(context(dataset, look_again=True, **settings)).spec
    assert spec == settings
    assert loading(context(dataset, **settings)).spec is None
    assert "rounds_notice" not in found
    assert "rounds_notice" in form(dataset, query="the cat", look_again=True, rounds=1)


def test_looking_again_from_a_script(monkeypatch, dataset):
    asked = []

    def load(loading):
        asked.append(loading.spec)
        raise ValueError("stop here")

    monkeypatch.setattr(models, "get_model", load)
    segment = foo.get_operator(URI)
    for given in ({"samples": 4, "verdict": True}, {"frames": 8}):
        with pytest.raises(ExecutionError, match="stop here"):
            segment(dataset, "the cat", **given)
    assert asked == [{"samples": 4, "verdict": True}, {"frames": 8}]


def test_images_are_refused(images):
    with pytest.raises(ExecutionError, match="ReVSeg segments videos"):
        execute(images, query="the cat")
    with pytest.raises(ExecutionError, match="There are no videos here"):
        execute(images.limit(0).group_by("scene", order_by="frame_number"), query="the cat")
    assert "revseg" not in images.get_field_schema()


def test_missing_weights_change_nothing(dataset, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises((ExecutionError, ValueError, OSError)) as error:
        execute(dataset, query="the cat", model=str(tmp_path))
    assert str(tmp_path) in str(error.value)
    dataset.reload()
    assert "revseg_status" not in dataset.get_field_schema()
    assert not list_active(dataset)


def test_as_a_function(fake_model, dataset):
    segment = foo.get_operator(URI)
    assert segment(dataset[:1], "the cat")["counts"] == {"ok": 1}
    assert segment(dataset, ["both"], label_field="two")["counts"] == {"ok": 3}
    assert segment(dataset[:2], label_field="own")["counts"] == {"ok": 1, "no_target": 1}
    assert statuses(dataset, "own") == ["ok", "no_target", None]
    with pytest.raises(ExecutionError, match="There is no field 'x'"):
        segment(dataset, prompt_field="x")


def label(message):
    shown = message["body"]["params"]["outputs"]["type"]["properties"]
    return shown["progress"]["view"]["label"]


def messages(generator):
    return [message.to_json() for message in generator]


def test_streams_progress_and_the_result(fake_model, dataset):
    found = messages(Segment().execute(context(dataset, query="the cat")))
    *progress, reload, refresh, fields, colors, result = found
    labels = [label(message) for message in progress]
    assert labels[0] == "ReVSeg: segment the cat"
    assert labels[-1].startswith("3 of 3 videos")
    assert any("left" in text for text in labels[1:-1])
    assert "left" not in labels[-1]
    done = [message["body"]["params"]["results"]["progress"] for message in progress]
    assert done == sorted(done)
    assert done[-1] == 1
    assert reload["body"]["operator_uri"] == "reload_dataset"
    assert refresh["body"]["operator_uri"] == "fiftyone_revseg/refresh_labels"
    shown = ["frames.revseg_points", "revseg_answers", "frames.revseg"]
    assert fields["body"]["params"] == {"fields": shown}
    assert colors["body"]["operator_uri"] == "set_color_scheme"
    assert colors["body"]["params"]["color_by"] == "value"
    shown = result["body"]["params"]
    assert "found: 3" in shown["outputs"]["type"]["properties"]["summary"]["default"]
    assert shown["results"]["counts"] == {"ok": 3}


def test_an_error_in_the_middle_is_told_to_the_app(dataset, monkeypatch):
    def fail(loading):
        raise RuntimeError("no memory left")

    monkeypatch.setattr(models, "get_model", fail)
    *_, last = messages(Segment().execute(context(dataset, query="the cat")))
    assert last["error"] == "no memory left"


class Paused:
    """A tracker that waits at the third frame of its second video until it may go on."""

    def __init__(self, tracker):
        self._track, self.reached, self.go_on = tracker.track, threading.Event(), threading.Event()
        tracker.track = self.track
        self._tracker = tracker

    def track(self, frames, boxes):
        for k, found in enumerate(self._track(frames, boxes)):
            if len(self._tracker.calls) > 2 and k == 2:
                self.reached.set()
                assert self.go_on.wait(30)
            yield found


def wait_for_run(dataset, state):
    deadline = time.monotonic() + 30
    while list_active(dataset) or [run["state"] for run in list_runs(dataset)] != [state]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        dataset.reload()


def wait_for_status(dataset, status):
    deadline = time.monotonic() + 30
    while statuses(dataset)[0] != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_stops_cleanly_when_the_app_goes_away(fake_model, dataset):
    paused = Paused(fake_model)
    generator = Segment().execute(context(dataset, query="the cat"))
    next(generator)
    assert paused.reached.wait(30)
    wait_for_status(dataset, "ok")  # the first video is written meanwhile
    generator.close()  # what FiftyOne does with it when the connection is gone
    paused.go_on.set()
    wait_for_run(dataset, "interrupted")
    assert statuses(dataset) == ["ok", None, None]
    assert execute(dataset, query="the cat")["counts"] == {"ok": 2}


def test_stopped_by_the_operator(fake_model, dataset, monkeypatch):
    monkeypatch.setattr("fiftyone_revseg.app.running._ASKED", 0.0)
    paused = Paused(fake_model)
    found = []
    generator = Segment().execute(context(dataset, query="the cat"))
    thread = threading.Thread(target=lambda: found.extend(messages(generator)))
    thread.start()
    assert paused.reached.wait(30)
    deadline = time.monotonic() + 30
    while statuses(dataset)[0] is None and time.monotonic() < deadline:  # while the second goes on
        time.sleep(0.05)
    result = foo.execute_operator("fiftyone_revseg/stop", {"dataset": dataset}).result
    assert result == {"stopped": ["ReVSeg: segment the cat"]}
    paused.go_on.set()
    thread.join(30)
    result = found[-1]["body"]["params"]["results"]
    assert (result["state"], result["counts"], result["total"]) == ("stopped", {"ok": 1}, 3)
    assert statuses(dataset) == ["ok", None, None]
    with pytest.raises(ExecutionError, match="Nothing is running"):
        foo.execute_operator("fiftyone_revseg/stop", {"dataset": dataset})
    assert stop_runs(dataset) == []


def test_delegated(fake_model, dataset):
    foo.get_operator(URI)(dataset[:2], "the cat", delegate=True)
    service = DelegatedOperationService()
    (queued,) = service.list_operations(dataset_name=dataset.name)
    assert queued.label == "ReVSeg: segment the cat"
    service.execute_queued_operations(dataset_name=dataset.name)
    (done,) = service.list_operations(dataset_name=dataset.name)
    assert done.run_state == "completed"
    assert done.status.progress == 1
    assert done.status.label.startswith("2 of 2 videos")
    assert done.result.result["counts"] == {"ok": 2}
    assert "found: 2" in str(done.metadata["outputs_schema"])
    assert statuses(dataset) == ["ok", "ok", None]


def start(*arguments):
    script = Path(__file__).parents[1] / "helpers" / "slow_service.py"
    return subprocess.Popen([sys.executable, str(script), fo.config.plugins_dir, *arguments])


def wait_for_answers(dataset, count, process):
    """Waits until so many videos are done; returns the answers there are, by sample."""
    deadline = time.monotonic() + 120
    while not (dataset.has_field("revseg_status") and dataset.count("revseg_status") >= count):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
        dataset.reload()
    return answers(dataset)


def answers(dataset):
    dataset.reload()
    found = zip(dataset.values("id"), dataset.values("revseg_answers"), strict=True)
    return {key: value.classifications[0].id for key, value in found if value is not None}


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL


@pytest.fixture
def twelve(dataset, videos):
    dataset.add_samples([fo.Sample(video) for video in videos * 3])
    return dataset


@pytest.mark.slow
def test_a_killed_service_loses_nothing(twelve):
    segment, service = foo.get_operator(URI), DelegatedOperationService()
    segment(twelve, "the cat", delegate=True)
    process = start(twelve.name)
    wait_for_answers(twelve, 2, process)
    kill(process)
    saved = answers(twelve)
    assert 2 <= len(saved) < 12

    segment(twelve, "the cat", delegate=True)
    assert start(twelve.name).wait(120) == 0
    assert statuses(twelve) == ["ok"] * 12
    assert saved.items() <= answers(twelve).items(), "done again"
    last = service.list_operations(dataset_name=twelve.name)
    results = [operation.result.result for operation in last if operation.result]
    assert [result["skipped"] for result in results] == [len(saved)]


class Server:
    """The App's server, and what the App sends to it."""

    def __init__(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.process = start("--port", str(self.port))

    def post(self, path, samples, **params):
        """Returns the open answer to a request."""
        request = {
            "operator_uri": URI,
            "dataset_name": samples.name,
            "view": [],
            "params": params,
        }
        deadline = time.monotonic() + 120
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", path, json.dumps(request), headers)
                return connection, connection.getresponse()
            except ConnectionRefusedError:  # it is starting
                assert self.process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)


@pytest.fixture
def server():
    server = Server()
    yield server
    if server.process.poll() is None:
        kill(server.process)


@pytest.mark.slow
def test_through_the_apps_server(server, twelve, fake_model):
    _, response = server.post("/operators/resolve-type", twelve, target="inputs", query="q")
    found = json.loads(response.read())
    assert found["type"]["properties"]["estimate"]["view"]["label"].startswith("12 videos")

    # A browser that goes away stops the run
    connection, response = server.post("/operators/execute/generator", twelve, query="the cat")
    first = json.loads(response.readline())
    assert first["body"]["operator_uri"] == "show_output"
    assert "of 12 videos" in label(json.loads(response.readline()))
    assert list_active(twelve)
    response.close()
    connection.close()
    wait_for_run(twelve, "interrupted")
    stopped = answers(twelve)
    assert len(stopped) < 12

    # So does the end of the server, less gently
    connection, _ = server.post("/operators/execute/generator", twelve, query="the cat")
    wait_for_answers(twelve, len(stopped) + 2, server.process)
    kill(server.process)
    connection.close()  # only now
    killed = answers(twelve)
    assert len(killed) < 12
    assert stopped.items() <= killed.items(), "done again"
    result = foo.get_operator(URI)(twelve, "the cat")
    assert (result["skipped"], result["state"]) == (len(killed), "done")
    assert statuses(twelve) == ["ok"] * 12
    assert killed.items() <= answers(twelve).items(), "done again"


@pytest.mark.slow
def test_with_the_embedded_pair(make_dataset, tmp_path):
    from fiftyone_revseg.synthetic import make_dataset as make_world

    world = make_world(str(tmp_path), split="test", count=2, seed=0)
    try:
        result = foo.get_operator(URI)(world, prompt_field="query")
        assert sum(result["counts"].values()) == 2
        assert statuses(world).count("ok") >= 1
        assert models.get_model(Loading()) is models.get_model(Loading())
    finally:
        world.delete()
        forget_models()
