"""``revseg status`` on a real database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid

import fiftyone as fo
import numpy as np
import pytest
from click.testing import CliRunner
from fake_models import BoxTracker, ScriptedReasoner, write_video
from PIL import Image

import fiftyone_revseg as revseg
from fiftyone_revseg.cli import main
from fiftyone_revseg.dataset.heartbeat import server_now
from fiftyone_revseg.pipeline import RevSeg

ANSWERS = {
    "the cat": [(1, "a cat", [25, 25, 75, 75])],
    "the ghost": [],
    "the blur": [(2, "a blur", None)],
}


def run(*arguments, exit_code=0):
    result = CliRunner().invoke(main, ["status", *map(str, arguments)])
    assert result.exit_code == exit_code, result.output
    return result.stdout if exit_code == 0 else result.output


def pipeline():
    return RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())


@pytest.fixture
def dataset(tmp_path):
    """A good video, one asked about in vain and in error, two missing ones, one not asked about."""
    samples = []
    asked = {"a": ["the cat"], "b": ["the ghost", "the blur"], "c": ["the cat"]}
    for name, queries in asked.items():
        write_video(tmp_path / f"{name}.mp4", 64, 48, 6)
        samples.append(fo.Sample(str(tmp_path / f"{name}.mp4"), query=queries))
    samples += [fo.Sample(str(tmp_path / f"{name}.mp4"), query=["the cat"]) for name in "xy"]
    dataset = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
    dataset.add_samples(samples)
    yield dataset
    dataset.delete()


@pytest.fixture
def segmented(dataset):
    asked = dataset.match(~fo.ViewField("filepath").ends_with("c.mp4"))
    revseg.segment_view(asked, pipeline(), prompt_field="query")
    revseg.segment_view(dataset[:1], pipeline(), queries="the cat", label_field="second")
    return dataset


def test_runs_statuses_and_reasons(segmented):
    output = run(segmented.name)
    lines = [line.strip() for line in output.splitlines()]
    assert lines[0] == f"{segmented.name}: 5 samples"
    first, second = (line for line in lines if line.endswith(": done"))
    assert first.startswith("revseg_")
    assert second.startswith("second_")
    assert "scripted + box" in output
    assert any("4 of 4 done" in x and "no_target 1, ok 1, unreadable 2" in x for x in lines)
    own = lines[lines.index("revseg: samples by status") :]
    counts = dict(line.rsplit(maxsplit=1) for line in own[1:5])
    assert counts == {"unreadable": "2", "ok": "1", "no_target": "1", "not segmented": "1"}
    # The sample's status is that of its first query, and yet its second one is not forgotten
    assert any(line.startswith("bad_box: ") for line in own)
    # What is the same with two files is one reason
    missing = segmented.match(fo.ViewField("revseg_status") == "unreadable").first()
    (reason,) = (line for line in own if line.startswith("unreadable: "))
    assert reason.endswith(f"(2 samples, first {missing.id})")


def test_json(segmented):
    about = json.loads(run(segmented.name, "--json"))
    assert about["samples"] == 5
    assert [run["label_field"] for run in about["runs"]] == ["revseg", "second"]
    assert about["runs"][0]["counts"] == {"ok": 1, "no_target": 1, "unreadable": 2}
    found = about["label_fields"]["revseg"]
    assert found["statuses"] == {"unreadable": 2, "ok": 1, "no_target": 1, "": 1}
    assert [(f["status"], f["samples"]) for f in found["failures"]] == [
        ("unreadable", 2),
        ("bad_box", 1),
    ]
    assert about["label_fields"]["second"] == {
        "statuses": {"": 4, "ok": 1},
        "failures": [],
        "corrected": 0,
    }


def test_one_label_field(segmented):
    about = json.loads(run(segmented.name, "--label-field", "frames.second", "--json"))
    assert list(about["label_fields"]) == ["second"]
    assert [run["label_field"] for run in about["runs"]] == ["second"]
    unknown = run(segmented.name, "--label-field", "third", exit_code=1)
    assert "there is second, revseg" in unknown  # the newest first
    assert len(unknown.splitlines()) == 1


def test_json_is_all_that_goes_to_the_output(segmented):
    """FiftyOne logs to the standard output, for example that the database server is old."""
    command = [sys.executable, "-m", "fiftyone_revseg.cli", "status", segmented.name, "--json"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(output)["dataset"] == segmented.name


def test_a_run_that_was_killed_is_not_said_to_be_running(segmented):
    key = next(key for key in segmented.list_runs() if key.startswith("second"))
    config = segmented.get_run_info(key).config
    config.state = "running"
    segmented.update_run_config(key, config)
    assert f"{key}: killed, process {os.getpid()} on" in run(segmented.name)
    config.heartbeat = server_now().isoformat()
    segmented.update_run_config(key, config)
    assert f"{key}: running, process {os.getpid()} on" in run(segmented.name)


def test_a_dataset_to_which_nothing_was_done(dataset):
    assert run(dataset.name).splitlines() == [
        f"{dataset.name}: 5 samples",
        "Nothing has been segmented: revseg apply does",
    ]
    assert json.loads(run(dataset.name, "--json"))["label_fields"] == {}


def test_an_unknown_dataset(dataset):
    output = run("no-such-dataset", exit_code=1)
    assert "no dataset 'no-such-dataset'" in output
    assert dataset.name in output


def test_a_grouped_dataset_is_counted_in_all_slices(tmp_path):
    dataset = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
    try:
        dataset.add_group_field("group", default="left")
        group = fo.Group()
        for name in ("left", "right"):
            write_video(tmp_path / f"{name}.mp4", 64, 48, 6)
            path = str(tmp_path / f"{name}.mp4")
            dataset.add_sample(fo.Sample(path, group=group.element(name)))
        revseg.segment_view(dataset, pipeline(), queries="the cat", group_slice="right")
        found = json.loads(run(dataset.name, "--json"))
        assert found["samples"] == 2
        assert found["label_fields"]["revseg"]["statuses"] == {"": 1, "ok": 1}
    finally:
        dataset.delete()


def test_images_in_ordered_groups(tmp_path):
    dataset = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
    try:
        for k in range(3):
            path = tmp_path / f"{k}.png"
            Image.fromarray(np.full((48, 64, 3), 40 * k, np.uint8)).save(path)
            dataset.add_sample(fo.Sample(str(path), scene="a", number=k))
        view = dataset.group_by("scene", order_by="number")
        revseg.segment_view(view, pipeline(), queries="the blur")
        found = json.loads(run(dataset.name, "--json"))["label_fields"]["revseg"]
        assert found["statuses"] == {"bad_box": 3}
        assert [f["samples"] for f in found["failures"]] == [3]
    finally:
        dataset.delete()
