"""``revseg apply``: what it refuses with stand-ins, what it does with the embedded pair."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import uuid

import fiftyone as fo
import numpy as np
import pytest
from click.testing import CliRunner
from contents import contents
from fake_models import BoxTracker, ScriptedReasoner
from fake_server import FakeServer
from PIL import Image

import fiftyone_revseg as revseg
from fiftyone_revseg.cli import main
from fiftyone_revseg.cli.bars import say
from fiftyone_revseg.cli.datasets import list_names
from fiftyone_revseg.dataset import RunProgress, list_runs
from fiftyone_revseg.masks.pictures import write_video
from fiftyone_revseg.pipeline import RevSeg
from fiftyone_revseg.synthetic import make_world

ANSWERS = {
    "the star": [(1, "a star", [25, 25, 75, 75])],
    "the ghost": [],
    "the blur": [(2, "a blur", None)],
}


def run(*arguments):
    return CliRunner().invoke(main, ["apply", *map(str, arguments)])


def last_line(result):
    return result.output.splitlines()[-1]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Every third frame of two worlds: a few frames are enough here."""
    folder = tmp_path_factory.mktemp("videos")
    paths = []
    for seed in (0, 3):
        frames, _ = (world := make_world(seed, "test")).render()
        path = folder / f"world-{seed}.mp4"
        write_video(path, ((k / world.fps, f) for k, f in enumerate(frames[::3])), world.fps)
        paths.append(str(path))
    return paths


@pytest.fixture
def make_dataset():
    datasets = []

    def make(*samples):
        datasets.append(fo.Dataset(f"revseg-test-{uuid.uuid4().hex}"))
        datasets[-1].add_samples(list(samples))
        return datasets[-1]

    yield make
    for dataset in datasets:
        dataset.delete()


@pytest.fixture
def dataset(make_dataset, videos):
    return make_dataset(
        fo.Sample(videos[0], query="the star", number=1),
        fo.Sample(videos[1], query=None, number=2),
    )


@pytest.fixture
def scripted(monkeypatch):
    """Replaces the models; returns what the command would have loaded."""
    asked = {}

    def load(loading):
        asked.update(vars(loading))
        return RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())

    monkeypatch.setattr("fiftyone_revseg.pipeline.Loading.load", load)
    return asked


@pytest.mark.slow
def test_writes_what_segment_view_and_apply_model_write(make_dataset, videos):
    samples = [{"filepath": path, "query": ["the star", "the triangle"]} for path in videos]
    by_command, by_view, by_model = (
        make_dataset(*(fo.Sample(**s) for s in samples)) for _ in "abc"
    )
    result = run(by_command.name, "--query-field", "query", "--frames", 6, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "2 of 2 segmented" in result.output
    by_command.reload()

    model = revseg.load_model(prompt_field="query", device="cpu", spec={"frames": 6})
    revseg.segment_view(by_view, model)
    by_model.apply_model(model, label_field="revseg", skip_failures=False)
    assert contents(by_command) == contents(by_view) == contents(by_model)
    assert by_command.count("frames.revseg.detections") > 0

    again = run(by_command.name, "--query-field", "query", "--frames", 6, "--device", "cpu")
    assert again.exit_code == 0
    assert "2 were finished before" in again.output
    other = run(by_command.name, "--query-field", "query", "--device", "cpu")
    assert "--overwrite changed redoes" in other.output
    assert "spec.frames: 6 -> 8 (2)" in other.output


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(make_dataset, videos):
    copies = [*videos] * 4  # enough that some are left when the first is done
    interrupted, whole = (make_dataset(*(fo.Sample(path) for path in copies)) for _ in range(2))
    command = [sys.executable, "-m", "fiftyone_revseg.cli", "apply", interrupted.name]
    command += ["--query", "the star", "--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("1 of 8 done"):
            process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130, said
    assert "same command goes on" in said[-1]
    assert "Traceback" not in "".join(said)
    interrupted.reload()
    assert interrupted.values("revseg_status").count(None) in range(1, 8)
    assert [r["state"] for r in list_runs(interrupted)] == ["interrupted"]

    assert run(interrupted.name, "--query", "the star", "--device", "cpu").exit_code == 0
    revseg.segment_view(whole, revseg.load_model(query="the star", device="cpu"))
    interrupted.reload()
    assert contents(interrupted) == contents(whole)


def test_options_reach_the_model(dataset, scripted):
    options = [
        "--model",
        "m",
        "--tracker",
        "t",
        "--frames",
        5,
        "--box-convention",
        "relative-1000-y-first",
        "--thinking",
        "off",
        *("--samples", 0, "--verdict", "--rounds", 2, "--anchors", 1, "--max-gap", 2.5),
        "--device",
        "cpu",
        "--dtype",
        "fp32",
        "--server",
        "http://localhost:1/v1",
        "--server-concurrency",
        3,
        "--server-timeout",
        40,
        "--image-format",
        "png",
        "--quantization",
        "4bit",
        "--device-map",
        "auto",
    ]
    result = run(dataset.name, "--query", "the star", *options)
    assert result.exit_code == 0, result.output
    assert scripted == {
        "name": "m",
        "tracker": "t",
        "spec": {
            **{"frames": 5, "box_convention": "relative-1000-y-first", "thinking": False},
            **{"samples": 0, "verdict": True, "rounds": 2, "anchors": 1, "max_gap": 2.5},
        },
        "server": "http://localhost:1/v1",
        "server_key": None,
        "server_concurrency": 3,
        "server_timeout": 40.0,
        "image_format": "png",
        "device": "cpu",
        "dtype": "fp32",
        "quantization": "4bit",
        "device_map": "auto",
    }


def test_a_dry_run_says_what_would_be_asked(dataset, scripted):
    assert run(dataset.name, "--query", "the star", "--limit", 1).exit_code == 0
    asked = ["--query", "the star", "--dry-run", "--prices", 2, 10]
    before = contents(dataset)
    scripted.clear()
    result = run(dataset.name, *asked)
    assert result.exit_code == 0, result.output
    first, second = result.output.splitlines()
    # Eight frames in either turn, and the key frame, of the video that is left
    assert first.startswith("1 query: about 2 requests with 17 pictures")
    assert second.startswith("At these prices: about 0.0")
    assert (
        "17 pictures; about 17,000 tokens"
        in run(dataset.name, *asked[:3], "--tokens-per-picture", 1000).output
    )
    assert "2 queries" in run(dataset.name, *asked[:3], "--overwrite", "all").output
    again = run(dataset.name, *asked[:3], "--samples", 4, "--verdict").output
    assert again.startswith("1 query: at most 11 requests with 85 pictures")
    assert run(dataset.name, *asked[:2], "--prices", 2, 10).exit_code == 2
    dataset.reload()
    assert contents(dataset) == before
    assert not scripted  # nothing was loaded
    windows = [*asked[:3], "--overwrite", "all", "--max-gap", 0.05]
    assert "about 4 requests" in run(dataset.name, *windows).output  # nothing is known of them
    dataset.compute_metadata()
    seconds = dataset.values("metadata.duration")
    count = sum(math.ceil(one / 0.05 / 8) for one in seconds)
    assert count > 2
    assert f"at most {4 + count} requests" in run(dataset.name, *windows).output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--server-concurrency", 3], "--server-concurrency: for a model on a server"),
        (["--server-timeout", 3], "--server-timeout: for a model on a server"),
        (["--server-timeout", "nan"], "'nan' is not a finite number"),
        (["--prices", "nan", 1], "'nan' is not a finite number"),
        (["--prices", 1, "inf"], "'inf' is not a finite number"),
        (["--dtype", "int3"], "int3"),
    ],
)
def test_a_dry_run_accepts_no_more_than_the_run(dataset, options, words):
    for more in ([], ["--dry-run"]):
        result = run(dataset.name, "--query", "the star", *options, *more)
        assert result.exit_code != 0
        assert isinstance(result.exception, SystemExit)
        if more or "--prices" not in options:
            assert words in result.output


def test_a_dry_run_asks_a_server_for_its_models_only(dataset, monkeypatch):
    monkeypatch.setenv("REVSEG_SERVER_KEY", "sk-3f9a-not-to-be-seen")
    with FakeServer(None, model="models/gemini-9", key="sk-3f9a-not-to-be-seen") as server:
        options = ["--server", server.url, "--model", "gemini-9", "--dry-run"]
        result = run(dataset.name, "--query", "the star", *options)
        assert not server.bodies
    assert result.exit_code == 0, result.output
    assert "2 queries: about 4 requests with 66 pictures" in result.output
    assert "not-to-be-seen" not in result.output


def test_several_queries_and_the_field_first(dataset, scripted):
    result = run(
        dataset.name, "--query-field", "query", "--query", "the ghost", "--query", "the star"
    )
    assert result.exit_code == 0, result.output
    dataset.reload()
    asked = dataset.values("revseg_answers.classifications.query")
    assert asked == [["the star"], ["the ghost", "the star"]]
    assert dataset.persistent is False


def test_label_field_limit_and_confidence(dataset, scripted):
    options = ["--label-field", "mine", "--limit", 1, "--confidence", 0.9]
    result = run(dataset.name, "--query", "the star", *options)
    assert result.exit_code == 0, result.output
    dataset.reload()
    assert dataset.values("mine_status") == ["ok", None]
    assert dataset.count("frames.mine") > 0
    assert dataset.count("frames.mine.detections") == 0  # the tracker says 0.5
    assert not dataset.has_field("revseg_status")


def test_a_saved_view(dataset, scripted):
    dataset.save_view("second", dataset.skip(1))
    assert run(dataset.name, "--view", "second", "--query", "the star").exit_code == 0
    dataset.reload()
    assert dataset.values("revseg_status") == [None, "ok"]


def test_a_saved_view_of_clips(dataset, scripted):
    sample = dataset.first()
    events = [fo.TemporalDetection(label="event", support=s) for s in ([1, 4], [5, 9])]
    sample["events"] = fo.TemporalDetections(detections=events)
    sample.save()
    dataset.save_view("clips", dataset.to_clips("events"))
    result = run(dataset.name, "--view", "clips", "--query", "the star", "--limit", 1)
    assert result.exit_code == 0, result.output
    again = run(dataset.name, "--view", "clips", "--query", "the star")
    assert "1 of 2 segmented" in again.output
    dataset.reload()
    answers = dataset.first().revseg_answers.classifications
    assert [list(answer.support) for answer in answers] == [[1, 4], [5, 9]]
    assert dataset.values("revseg_status") == ["ok", None]


def test_overwrite(dataset, scripted):
    assert run(dataset.name, "--query", "the star").exit_code == 0
    kept = run(dataset.name, "--query", "the ghost")
    assert "the query (2)" in kept.output
    changed = run(dataset.name, "--query", "the ghost", "--overwrite", "changed")
    assert "no_target 2" in changed.output
    changed = run(dataset.name, "--query", "the ghost", "--overwrite", "changed")
    assert "0 of 2 segmented" in changed.output
    assert (
        "2 of 2 segmented" in run(dataset.name, "--query", "the ghost", "--overwrite", "all").output
    )


def test_what_was_not_answered_is_counted_and_the_exit_code_is_1(
    make_dataset, videos, tmp_path, scripted
):
    dataset = make_dataset(
        fo.Sample(videos[0], query="the blur"),
        fo.Sample(videos[1], query="the ghost"),
        fo.Sample(str(tmp_path / "gone.mp4"), query="the star"),
    )
    result = run(dataset.name, "--query-field", "query")
    assert result.exit_code == 1
    assert last_line(result) == (
        "Error: 2 of 3 were not answered: bad_box 1, unreadable 1"
        f" (revseg status {dataset.name} says why)"
    )
    assert "3 of 3 done" in result.stderr
    # A box that could not be read is an answer that stays; a missing file may be back
    again = run(dataset.name, "--query-field", "query")
    assert again.exit_code == 1
    assert "1 of 1 were not answered: unreadable 1" in last_line(again)


def test_masks_as_files(dataset, scripted, tmp_path):
    result = run(dataset.name, "--query", "the star", "--masks-dir", tmp_path / "masks")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "masks").rglob("*.png"))) == dataset.count("frames")


def test_images_in_order_are_videos(make_dataset, tmp_path, scripted):
    images = []
    for k in (2, 0, 1):
        path = tmp_path / f"{k}.png"
        Image.fromarray(np.full((48, 64, 3), 40 * k, np.uint8)).save(path)
        images.append(fo.Sample(str(path), scene="a", number=k))
    dataset = make_dataset(*images)
    refused = run(dataset.name, "--query", "the star")
    assert refused.exit_code == 1
    assert "--group-by FIELD --order-by FIELD" in last_line(refused)
    order = ["--group-by", "scene", "--order-by", "number"]
    result = run(dataset.name, "--query", "the star", *order)
    assert result.exit_code == 0, result.output
    dataset.reload()
    assert [len(x.detections) for x in dataset.values("revseg")] == [1, 1, 1]
    unknown = run(dataset.name, "--query", "the star", "--group-by", "scenes", "--order-by", "x")
    assert "no field 'scenes'" in last_line(unknown)
    assert "there is scene, " in last_line(unknown)


def test_a_slice_of_a_grouped_dataset(make_dataset, videos, scripted):
    dataset = make_dataset()
    dataset.add_group_field("group", default="left")
    group = fo.Group()
    slices = zip(("left", "right"), videos, strict=True)
    dataset.add_samples([fo.Sample(path, group=group.element(name)) for name, path in slices])
    refused = run(dataset.name, "--query", "the star")
    assert refused.exit_code == 1
    assert "--group-slice NAME (there is left, right)" in last_line(refused)
    unknown = run(dataset.name, "--query", "the star", "--group-slice", "top")
    assert "'top'" in last_line(unknown)
    assert "left, right" in last_line(unknown)
    assert run(dataset.name, "--query", "the star", "--group-slice", "right").exit_code == 0
    dataset.reload()
    assert dataset.select_group_slices("right").values("revseg_status") == ["ok"]
    assert dataset.select_group_slices("left").values("revseg_status") == [None]


def test_an_empty_view_is_no_error(dataset, scripted):
    dataset.save_view("empty", dataset.limit(0))
    result = run(dataset.name, "--view", "empty", "--query", "the star")
    assert (result.exit_code, scripted) == (0, {})
    assert "no videos" in result.output


@pytest.mark.parametrize(
    ("options", "exit_code", "message"),
    [
        ([], 2, "--query TEXT or --query-field FIELD"),
        (["--query", " "], 2, "--query is empty"),
        (["--query", "x", "--group-by", "number"], 2, "go together"),
        (["--query", "x", "--view", "mine"], 1, "no saved view 'mine': there is other"),
        (["--query-field", "queries"], 1, "no field 'queries'.*query"),
        (["--query-field", "number"], 1, "holds no queries"),
        (["--query", "x", "--label-field", "a b"], 1, "label_field must be"),
        (["--query", "x", "--model", "no-such-model"], 1, "no model 'no-such-model'.*revseg-nano"),
        (["--query", "x", "--tracker", "no-such-tracker"], 1, "no-such-tracker"),
        (["--query", "x", "--device", "abacus"], 1, "no device 'abacus'"),
        (["--query", "x", "--dtype", "int3"], 1, "no precision 'int3'"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(dataset, options, exit_code, message):
    dataset.save_view("other", dataset.limit(1))
    before = contents(dataset)
    result = run(dataset.name, *options)
    assert result.exit_code == exit_code, result.output
    assert re.search(message, last_line(result))
    if exit_code == 1:
        # What the demonstration model knows is said before anything is loaded
        said = [s for s in result.output.splitlines() if "is for demonstrations" not in s]
        assert len(said) == 1
    dataset.reload()
    assert contents(dataset) == before
    assert list_runs(dataset) == []


def test_an_unknown_dataset_names_those_there_are(dataset):
    result = run(dataset.name[:-1], "--query", "the star")
    assert result.exit_code == 1
    assert dataset.name in result.output
    assert "persistent" in result.output
    assert len(result.output.splitlines()) == 1


def test_of_many_names_the_most_alike_are_listed():
    names = [f"videos-{k}" for k in range(30)] + ["other"]
    listed = list_names("videos-29x", names)
    assert listed.startswith("there is videos-29, ")
    assert "other" not in listed
    assert "(and 19 more)" in listed
    assert list_names("x", []) == "there are none"


def test_lines_for_logs():
    assert say(RunProgress(done=2, total=10, seconds=20)) == "2 of 10 done, 10.0 s each, 01:20 left"
    assert say(RunProgress(done=10, total=10, seconds=20)) == "10 of 10 done"
