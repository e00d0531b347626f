"""A second run of the same is noticed while the first one lives."""

import os
import re
import signal
import uuid
from datetime import datetime, timedelta, timezone

import fiftyone as fo
import pytest
from fake_models import write_video
from fiftyone.core.odm import get_db_conn
from run_segment import QUERY, Runner, make_pipeline

from fiftyone_revseg.dataset import heartbeat, list_runs, load_model, segment_view
from fiftyone_revseg.dataset.at_work import WORK, pack, twice
from fiftyone_revseg.dataset.collection import VideoRef

VIDEOS = 4


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    write_video(path, 64, 48, 8)
    return str(path)


@pytest.fixture
def dataset(path):
    dataset = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
    samples = [fo.Sample(path) for _ in range(VIDEOS)]
    for sample in samples:
        spans = ([1, 3], [5, 8])
        labels = [fo.TemporalDetection(label="event", support=span) for span in spans]
        sample["events"] = fo.TemporalDetections(detections=labels)
    dataset.add_samples(samples)
    yield dataset
    dataset.delete()


def during_a_run(samples, what, **options):
    """Does something while a run over samples is at its first video."""
    answers = []

    def tell(progress):
        if progress.stage == "decode" and not answers:
            answers.append(what())

    summary = segment_view(samples, make_pipeline(), QUERY, progress=tell, **options)
    assert summary.done == summary.total
    return answers[0]


def refused(samples, **options):
    """What a second run says that is refused; "" if it is not."""
    count = len(list_runs(samples._dataset))
    try:
        segment_view(samples, make_pipeline(), QUERY, **options)
    except ValueError as error:
        assert len(list_runs(samples._dataset)) == count
        return str(error)
    return ""


def test_the_same_again_is_refused_and_says_who_is_at_work(dataset):
    said = during_a_run(dataset, lambda: refused(dataset))
    (run,) = list_runs(dataset)
    assert said.startswith(f"{VIDEOS} of {VIDEOS} are being segmented into 'revseg' already")
    for part in (run["run_key"], f"process {os.getpid()}", run["host"]):
        assert part in said
    assert re.search(r"last sign of life [0-9] s ago", said)  # a busy machine takes its time
    assert "anyway=True" in said
    assert (run["state"], run["alive"]) == ("done", False)
    assert WORK not in get_db_conn().runs.find_one({"key": run["run_key"]})["config"]
    # It has ended
    assert refused(dataset, overwrite=True) == ""


def test_apply_model_notices_a_run(dataset):
    def applied(**options):
        model = load_model(make_pipeline(), query=QUERY, **options)
        try:
            dataset[:1].apply_model(model, label_field="revseg", skip_failures=False)
        except ValueError as error:
            return str(error)
        return ""

    said = during_a_run(dataset, applied)
    assert said.startswith("1 of 1 are being segmented into 'revseg' already, by")
    assert during_a_run(dataset, lambda: applied(anyway=True), overwrite=True) == ""
    assert applied() == ""  # it has ended


def test_a_part_of_the_same_is_refused(dataset):
    said = during_a_run(dataset[1:], lambda: refused(dataset[:2]))
    assert said.startswith("1 of 2 are being segmented")


def test_anyway(dataset):
    assert during_a_run(dataset, lambda: refused(dataset, anyway=True)) == ""
    assert sum(run["counts"].get("ok", 0) for run in list_runs(dataset)) == 2 * VIDEOS


def test_another_label_field_goes_on(dataset):
    assert during_a_run(dataset, lambda: refused(dataset, label_field="other")) == ""


def test_another_shard_goes_on_and_the_same_one_does_not(dataset):
    path = dataset.first().filepath
    dataset.add_samples([fo.Sample(path) for _ in range(20)])  # so that no shard is empty
    assert during_a_run(dataset, lambda: refused(dataset, shard="2/2"), shard="1/2") == ""
    options = {"shard": "1/2", "label_field": "other"}
    assert "are being segmented" in during_a_run(
        dataset, lambda: refused(dataset, **options), **options
    )


def test_other_samples_and_other_clips_go_on(dataset):
    assert during_a_run(dataset[:2], lambda: refused(dataset[2:])) == ""
    clips = dataset.to_clips("events")
    early, late = clips.match({"support.0": 1}), clips.match({"support.0": 5})
    options = {"label_field": "clipped"}
    assert during_a_run(early, lambda: refused(late, **options), **options) == ""
    options = {"label_field": "again"}
    assert "2 of 4 are being" in during_a_run(
        dataset[:1], lambda: refused(clips[:4], **options), **options
    )


def test_other_datasets_go_on(dataset):
    clone = dataset.clone()
    try:
        assert during_a_run(dataset, lambda: refused(clone)) == ""
        # A clone made during a run remembers that, which is not its own
        assert during_a_run(dataset, lambda: clone_and_run(dataset), overwrite=True) == ""
    finally:
        clone.delete()


def clone_and_run(dataset):
    clone = dataset.clone()
    try:
        return refused(clone)
    finally:
        clone.delete()


@pytest.mark.slow
def test_a_killed_run_does_not_block(dataset, tmp_path):
    path = dataset.first().filepath
    dataset.add_samples([fo.Sample(path) for _ in range(100)])  # so that it is at work for a while
    runner = Runner()
    try:
        log = tmp_path / "log"
        pid = runner.start(dataset=dataset.name, log=str(log))
        while not log.exists() or not log.read_text():
            pass
        os.kill(pid, signal.SIGSTOP)  # so that it stays where it is
        dataset.reload()
        assert f"process {pid}" in refused(dataset)
        os.kill(pid, signal.SIGKILL)
        runner.wait(pid)
    finally:
        runner.close()
    assert refused(dataset) == ""
    states = [(run["state"], run["alive"]) for run in list_runs(dataset)]
    assert states == [("running", False), ("done", False)]


def test_of_whom_nothing_was_heard_for_long_does_not_block(dataset):
    def silenced():
        past = datetime.now(timezone.utc) - timedelta(seconds=heartbeat.SILENCE + 5)
        beat = {"config.heartbeat": past.isoformat(), "config.machine": "elsewhere"}
        get_db_conn().runs.update_one({"_dataset_id": dataset._doc.id}, {"$set": beat})
        return refused(dataset)

    assert during_a_run(dataset, silenced) == ""


def test_a_machine_elsewhere_blocks_while_it_is_heard_of(dataset):
    def elsewhere():
        there = {"config.machine": "elsewhere", "config.pid": 2**22 + 1}
        get_db_conn().runs.update_one({"_dataset_id": dataset._doc.id}, {"$set": there})
        return refused(dataset)

    assert "being segmented" in during_a_run(dataset, elsewhere)


def test_clocks_of_machines_need_not_agree(dataset, monkeypatch):
    class Late(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=1)

    monkeypatch.setattr(heartbeat, "datetime", Late)
    said = during_a_run(dataset, lambda: refused(dataset))
    assert re.search(r"last sign of life [0-9] s ago", said)


def test_signs_of_life_go_on_while_a_run_does(dataset, monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT", 0.01)

    def beats():
        runs, this = get_db_conn().runs, {"_dataset_id": dataset._doc.id}
        first = runs.find_one(this)["config"]["heartbeat"]
        return any(runs.find_one(this)["config"]["heartbeat"] > first for _ in range(1000))

    assert during_a_run(dataset, beats)


def test_a_process_of_another_time_with_the_same_number_is_another_one(dataset):
    config = {"state": "running", **heartbeat.who()}
    now = heartbeat.server_now()
    config["heartbeat"] = now.isoformat()
    assert heartbeat.is_alive(config, now)
    assert not heartbeat.is_alive({**config, "process_started": 1.0}, now)
    assert not heartbeat.is_alive({**config, "state": "done"}, now)
    assert not heartbeat.is_alive({"state": "running"}, now)  # of an earlier version


def test_work_is_packed_small():
    ids = [f"{0x66F0A1B2C3D4E5F600000000 + 3 * n:024x}" for n in range(9000)]
    jobs = [VideoRef(None, i, "a.mp4") for i in ids]
    packed = pack(jobs)
    assert len(packed) < 8 * len(jobs)
    assert twice({WORK: packed}, jobs) == len(jobs)
    assert twice({WORK: packed}, [VideoRef(None, "66f0a1b2c3d4e5f600000001", "a.mp4")]) == 0
    assert twice({}, jobs) == 0
