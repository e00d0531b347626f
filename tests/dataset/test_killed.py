"""Nothing is lost, and nothing is done twice, whenever a run is killed."""

import itertools
import os
import random
import shutil
import signal
import time
import uuid
from collections import Counter
from pathlib import Path

import fiftyone as fo
import pytest
from contents import contents
from fake_models import write_video
from run_segment import QUERY, Runner, make_pipeline

from fiftyone_revseg.dataset import list_runs, segment_view
from fiftyone_revseg.dataset.mask_files import MaskFiles

VIDEOS, FRAMES = 5, 200
CLIPS = ([1, 90], [111, 190])
STAGES = {"decode", "track", "write"}
KILLS, MOMENTS = 20, 5  # in all, and in each run that is killed
# A run, and another one over its results
ROUNDS = (
    ({"settings": 0}, {"settings": 1, "overwrite": "changed"}),
    (
        {"settings": 0, "clips": "events"},
        {"settings": 1, "clips": "events", "overwrite": "changed"},
    ),
)


@pytest.fixture(scope="module")
def runner():
    runner = Runner()
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Videos with clips, of which some have documents for all frames, some for a few."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "video.mp4", 64, 48, FRAMES)
    samples = []
    for i in range(VIDEOS):
        path = folder / f"{i:02d}.mp4"
        shutil.copy(folder / "video.mp4", path)
        sample = fo.Sample(str(path), weather="rain")
        sample["events"] = fo.TemporalDetections(
            detections=[fo.TemporalDetection(label="event", support=list(s)) for s in CLIPS]
        )
        for number in range(1, FRAMES + 1, 1 if i % 2 else 50):
            sample.frames[number] = fo.Frame(number_again=number)
        samples.append(sample)
    dataset = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
    dataset.add_samples(samples)
    yield dataset
    dataset.delete()


@pytest.fixture
def clone(template):
    datasets = []

    def make():
        datasets.append(template.clone(f"revseg-test-{uuid.uuid4().hex}"))
        return datasets[-1]

    yield make
    for dataset in datasets:
        dataset.delete()


def saved(dataset, settings):
    """The names of those videos and clips of which all is in the database, without FiftyOne."""
    names = set()
    for document in dataset._sample_collection.find():
        name = Path(document["filepath"]).name
        for record in (document.get("revseg_trajectory") or {}).get("segmentations", ()):
            if record["settings"]["spec"]["frames"] != 4 + settings:
                continue
            first, last = record["support"] or (1, FRAMES)
            numbers = {"$gte": first, "$lte": last}
            query = {"_sample_id": document["_id"], "frame_number": numbers}
            labelled = {**query, "revseg": {"$ne": None}}
            assert dataset._frame_collection.count_documents(labelled) == last - first + 1
            names.add(f"{name}, frames {first}-{last}" if record["support"] else name)
    return names


class Watched:
    """Runs over a dataset that are killed, of which nothing may be lost or done twice."""

    def __init__(self, runner, log, **arguments):
        self._runner = runner
        self._log = log
        self._arguments = {**arguments, "log": str(log)}
        self._lines_seen = 0
        self._saved = set()
        self.stages = Counter()  # that were killed

    def kill_after(self, dataset, seconds):
        """Returns whether there was still something to kill."""
        pid = self._runner.start(dataset=dataset.name, **self._arguments)
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        code = self._runner.wait(pid)
        assert code in (0, -signal.SIGKILL)
        stage = self._check(dataset)
        if code:
            self.stages[stage] += 1
        return code != 0

    def finish(self, dataset):
        assert self._runner.run(dataset=dataset.name, **self._arguments) == 0
        self._check(dataset)

    def _check(self, dataset):
        """Returns the stage in which the last run was at its end."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        lines = [line.split("\t") for line in lines[self._lines_seen :]]
        assert not self._saved & {name for name, _ in lines}, "done twice"
        self._lines_seen += len(lines)
        saved_now = saved(dataset, self._arguments["settings"])
        assert self._saved <= saved_now, "lost"
        self._saved = saved_now
        return lines[-1][1] if lines else "start"


@pytest.mark.slow
def test_killed_at_random_moments(runner, clone, tmp_path):
    rng = random.Random(0)
    uninterrupted = []
    for runs in ROUNDS:
        dataset = clone()
        uninterrupted.append([measure(runner, dataset, arguments) for arguments in runs])

    stages = Counter()
    # Which stages the moments fall into depends on how fast the machine is
    while stages.total() < KILLS or not (set(stages) >= STAGES or stages.total() > 6 * KILLS):
        for runs, measured in zip(ROUNDS, uninterrupted, strict=True):
            dataset = clone()
            for arguments, (seconds, expected) in zip(runs, measured, strict=True):
                watched = Watched(runner, tmp_path / uuid.uuid4().hex, **arguments)
                # Moments are uniform in the whole run, of which every process does its part
                moments = [0.0, *sorted(rng.uniform(0, seconds) for _ in range(MOMENTS))]
                for moment, next_moment in itertools.pairwise(moments):
                    if not watched.kill_after(dataset, next_moment - moment):
                        break
                watched.finish(dataset)
                stages += watched.stages
                dataset.reload()  # the fields are new to this process
                assert contents(dataset) == expected
            states = Counter(run["state"] for run in list_runs(dataset))
            assert set(states) <= {"done", "running"}
    print("killed in", dict(stages))
    assert set(stages) >= STAGES


def measure(runner, dataset, arguments):
    """The seconds that an uninterrupted run takes, and what it leaves."""
    start = time.monotonic()
    assert runner.run(dataset=dataset.name, **arguments) == 0
    seconds = time.monotonic() - start
    dataset.reload()
    return seconds, contents(dataset)


def test_files_of_two_results_are_not_taken_for_one(clone, tmp_path, monkeypatch):
    """What was replaced in files belongs to no result that looks finished."""
    dataset = clone()
    view = dataset[:1]
    segment_view(view, make_pipeline(0), QUERY, masks_dir=tmp_path)
    move_out = MaskFiles.move_out

    def killed_after(self, job, number, detections):
        move_out(self, job, number, detections)
        raise KeyboardInterrupt

    monkeypatch.setattr(MaskFiles, "move_out", killed_after)
    with pytest.raises(KeyboardInterrupt):
        segment_view(view, make_pipeline(1), QUERY, masks_dir=tmp_path, overwrite=True)
    monkeypatch.undo()
    assert segment_view(view, make_pipeline(1), QUERY, masks_dir=tmp_path).done == 1
    sample = dataset.first()
    paths = [d.mask_path for f in sample.frames.values() for d in f.revseg.detections]
    assert sorted(paths) == sorted(map(str, tmp_path.rglob("*.png")))
