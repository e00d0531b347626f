"""Workers of Ray: the same answers, whatever happens to the workers or to who started them."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import fiftyone as fo
import pytest
import ray
import ray_models
from click.testing import CliRunner
from contents import contents
from fake_models import write_video

import fiftyone_revseg as revseg
from fiftyone_revseg.cli import main
from fiftyone_revseg.dataset import segment_view
from fiftyone_revseg.engine import EngineJob, LocalEngine
from fiftyone_revseg.engine.ray import RayEngine, _Run
from fiftyone_revseg.engine.ray_pool import Member
from fiftyone_revseg.masks.pictures import write_video as write_frames
from fiftyone_revseg.synthetic import make_world
from fiftyone_revseg.types import Status

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A video, a broken one, and what faulty models write down."""
    folder = tmp_path_factory.mktemp("ray")
    write_video(folder / "video.mp4", 64, 48, 10)
    (folder / "broken.mp4").write_bytes(b"broken")
    return folder


@pytest.fixture(scope="module")
def own_ray():
    """Ray, started once; workers find the fakes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE.parent / "helpers"))
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_worker_niceness", "0")
        options = {"include_dashboard": False, "log_to_driver": False}
        ray.init("local", num_cpus=4, object_store_memory=100 * 2**20, **options)
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def engine(own_ray, folder):
    load = partial(ray_models.load, str(folder))
    with RayEngine(load, 2, cpus_per_worker=1, attempts=2, timeout=6) as engine:
        yield engine


def job(folder, query, key=None, name="video.mp4"):
    return EngineJob(str(folder / name), (query,), key=key)


@pytest.mark.slow
def test_answers_are_those_of_the_local_engine(engine, folder):
    asked = ["the cat", "both", "the ghost", "the blur"] * 3
    jobs = [job(folder, query, key) for key, query in enumerate(asked)]
    jobs += [job(folder, "the cat", 12, "broken.mp4"), job(folder, "the cat", 13, "gone.mp4")]
    reports = []

    def note(job, stage, done, total):
        reports.append((job.key, stage))

    found = {job.key: answers for job, answers in engine.run(iter(jobs), note)}
    pipeline = ray_models.load(folder)
    expected = {job.key: answers for job, answers in LocalEngine(pipeline).run(jobs)}
    assert engine.pipeline.name == pipeline.name
    assert engine.pipeline.settings() == pipeline.settings()
    assert sorted(found) == list(range(14))
    for key, answers in expected.items():
        (mine,), (other,) = found[key], answers
        assert mine.status == other.status
        assert mine.reason == other.reason
        assert mine.tracks == other.tracks
        assert mine.trajectory.choices == other.trajectory.choices
    assert {stage for _, stage in reports} <= {"decode", "reason", "track"}


def test_what_happens_to_some_videos_is_their_own_affair(engine, folder):
    asked = ["the cat"] * 6 + ["poison"] + ["the cat"] * 6 + ["full disk"] + ["the cat"] * 2
    jobs = [job(folder, query, key) for key, query in enumerate(asked)]
    found = [(job.key, answers[0]) for job, answers in engine.run(jobs)]
    assert sorted(key for key, _ in found) == list(range(len(asked)))
    for key, answer in found:
        if asked[key] == "the cat":
            assert answer.status is Status.OK
        else:
            assert answer.status is Status.ERROR
            assert (
                "No space left" if asked[key] == "full disk" else "worker died"
            ) in answer.reason
    processes = (folder / "poison").read_text().split()
    assert len(processes) == len(set(processes)) == 2
    assert "after 2 attempts, the last one alone" in dict(found)[6].reason


@pytest.mark.slow
def test_a_worker_that_dies_once_costs_nothing_but_time(engine, folder):
    jobs = [job(folder, query, query) for query in ("the cat", "die once", "both")]
    found = [(job.key, answers[0].status) for job, answers in engine.run(jobs)]
    assert Counter(found) == Counter(
        (query, Status.OK) for query in ("the cat", "die once", "both")
    )
    assert len(set((folder / "die once").read_text().split())) == 2


@pytest.mark.slow
def test_a_hanging_video_is_given_up(engine, folder):
    jobs = [job(folder, query, key) for key, query in enumerate(["hang", "the cat", "the cat"])]
    found = {job.key: answers[0] for job, answers in engine.run(jobs)}
    assert [found[key].status for key in (1, 2)] == [Status.OK, Status.OK]
    assert found[0].status is Status.ERROR
    assert "did not get on for 6 s" in found[0].reason


@pytest.mark.slow
def test_callers_may_stop_and_jobs_may_fail_to_come(engine, folder):
    taken = itertools.count()
    endless = (job(folder, "the cat", next(taken)) for _ in itertools.count())
    answered = engine.run(endless)
    assert next(answered)[1][0].status is Status.OK
    answered.close()
    assert next(taken) < 200  # as there is room, not all

    def failing():
        yield job(folder, "the cat")
        raise KeyError("no such job")

    with pytest.raises(KeyError, match="no such job"):
        list(engine.run(failing()))
    assert len(list(engine.run([job(folder, "the cat")]))) == 1


@pytest.mark.slow
def test_what_cannot_be_loaded_is_said_at_once(own_ray):
    with (
        pytest.raises(ValueError, match="no model 'x': check its name"),
        RayEngine(ray_models.load_nothing, 1) as engine,
    ):
        _ = engine.pipeline


def test_jobs_go_out_in_portions_that_shrink_toward_the_end(folder):
    fast, slow = (Member(actor=Mock(), window=12) for _ in range(2))
    for member in (fast, slow):
        member.actor.segment.remote.side_effect = lambda number, job: number
    pool = SimpleNamespace(members=[fast, slow])
    engine = SimpleNamespace(pool=pool, ray=None, max_workers=2)
    run = _Run(engine, (job(folder, "the cat", key) for key in range(24)), None)
    portions, done = [], []
    run._look_ahead()
    while not portions or fast.tasks:
        before = len(fast.tasks)
        run._hand_out()
        if len(fast.tasks) > before:
            portions.append(len(fast.tasks) - before)
        done.append(fast.tasks.pop(next(iter(fast.tasks))).number)  # the slow one gets nothing done
    assert portions == [6, 2, 2, 2, 2, 1, 1, 1, 1]
    assert len(slow.tasks) <= 6
    assert sorted([*done, *slow.tasks]) == list(range(24))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be 1 or more"),
        ({"workers": 3, "max_workers": 2}, "max_workers must be 3 or more"),
        ({"attempts": 0}, "attempts must be 1 or more"),
        ({"timeout": 0}, "timeout must be"),
        ({"gpus_per_worker": 1.5}, "a fraction such as 0.5, or a whole number"),
        ({"cpus_per_worker": 0}, "cpus_per_worker must be 1 or more"),
    ],
)
def test_wrong_numbers_are_refused_before_ray_starts(options, message):
    with pytest.raises(ValueError, match=message):
        RayEngine("revseg-nano", **options)


def test_wrong_names_of_engines_are_refused(make_dataset, folder):
    dataset = make_dataset(fo.Sample(str(folder / "video.mp4")))
    with pytest.raises(ValueError, match="engine must be 'local' or 'ray', not 'rya'"):
        segment_view(dataset, queries="x", engine="rya")
    with pytest.raises(ValueError, match='say engine="ray", or leave out workers'):
        segment_view(dataset, queries="x", engine="local", workers=2)
    command = ["apply", dataset.name, "--query", "x", "--engine", "local", "--workers", "2"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "go with --engine ray" in result.output


def test_a_loaded_model_is_not_sent_around(own_ray, make_dataset, folder):
    dataset = make_dataset(fo.Sample(str(folder / "video.mp4")))
    pipeline = revseg.load_pipeline("revseg-nano", device="cpu")
    with pytest.raises(ValueError, match="cannot be sent to workers"):
        segment_view(dataset, pipeline, queries="the star", workers=2)


@pytest.mark.slow
def test_the_embedded_pair_writes_what_it_writes_here(own_ray, make_dataset, tmp_path):
    paths = []
    for seed in (0, 3):
        frames, _ = (world := make_world(seed, "test")).render()
        paths.append(str(tmp_path / f"world-{seed}.mp4"))
        write_frames(paths[-1], ((k / world.fps, f) for k, f in enumerate(frames[::4])), world.fps)
    queries = [["the star", "the triangle"], "the green triangle"]
    samples = [{"filepath": p, "query": q} for p, q in zip(paths, queries, strict=True)]
    samples[1]["query"] = [samples[1]["query"]]
    here, there = (make_dataset(*(fo.Sample(**s) for s in samples)) for _ in range(2))
    segment_view(here, revseg.load_model(prompt_field="query", device="cpu"))
    command = ["apply", there.name, "--query-field", "query", "--device", "cpu", "--workers", "1"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    there.reload()
    assert contents(here) == contents(there)
    assert there.count("frames.revseg.detections") > 0
    again = CliRunner().invoke(main, [*command, "--overwrite", "changed"])
    assert "2 were finished before" in again.output


DRIVER = """
import sys
from functools import partial
import fiftyone as fo
import ray_models
from fiftyone_revseg.dataset import segment_view
from fiftyone_revseg.engine.ray import RayEngine

name, folder = sys.argv[1:]
with RayEngine(partial(ray_models.load, folder, seconds=0.3), 1) as engine:
    segment_view(fo.load_dataset(name), queries="the cat", engine=engine)
"""


@pytest.mark.slow
def test_a_killed_driver_is_started_again(engine, make_dataset, folder, tmp_path):
    dataset = make_dataset(*(fo.Sample(str(folder / "video.mp4")) for _ in range(16)))
    (tmp_path / "driver.py").write_text(DRIVER)
    env = {**os.environ, "PYTHONPATH": str(HERE.parent / "helpers")}
    env.pop("RAY_ADDRESS", None)
    command = [sys.executable, str(tmp_path / "driver.py"), dataset.name, str(tmp_path)]
    driver = subprocess.Popen(command, env=env)
    collection = dataset._sample_collection
    while (done := collection.count_documents({"revseg_status": "ok"})) < 3:
        assert driver.poll() is None
        time.sleep(0.1)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    left = {int(pid) for pid in (tmp_path / "workers").read_text().split()}
    ends = time.monotonic() + 60
    while any(map(is_alive, left)) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not any(map(is_alive, left))
    dataset.reload()
    finished = dataset.values("revseg_trajectory")
    done = sum(status == "ok" for status in dataset.values("revseg_status"))
    assert 3 <= done < 16

    summary = segment_view(dataset, queries="the cat", engine=engine)
    assert (summary.skipped, summary.done) == (done, 16 - done)
    assert dataset.values("revseg_status") == ["ok"] * 16
    for before, after in zip(finished, dataset.values("revseg_trajectory"), strict=True):
        assert before is None or before == after
    assert dataset.count("frames.revseg.detections") == 160


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
