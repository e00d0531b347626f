"""Copies in the place of videos that the App plays wrongly: labels stay, it can be undone."""

import os
import shutil
import uuid
from fractions import Fraction
from pathlib import Path

import fiftyone as fo
import pytest
from click.testing import CliRunner
from fake_models import ANSWERS, BoxTracker, ScriptedReasoner
from timed_videos import encode

import fiftyone_revseg as revseg
from fiftyone_revseg.cli import main
from fiftyone_revseg.dataset import playable
from fiftyone_revseg.dataset.playable import (
    default_directory,
    make_playable,
    restore_originals,
)
from fiftyone_revseg.dataset.playback import measure_playback
from fiftyone_revseg.dataset.playback_fields import mark_playback
from fiftyone_revseg.pipeline import RevSeg

JITTER = [0, 20, 40, 60, 80, 100, 120, 300, 500, 700]
STEADY = [40 * k for k in range(10)]
OURS = ("filepath", "metadata", "original_filepath", "original_metadata")


@pytest.fixture
def dataset(make_dataset, tmp_path):
    """A video that plays right, two that vary, one that browsers do not know, one not there."""
    paths = [
        encode(tmp_path / "videos" / "right.mp4", STEADY),
        encode(tmp_path / "videos" / "jitter.mp4", JITTER, sound=1),
        encode(tmp_path / "videos" / "more" / "jitter.mp4", JITTER),
        encode(tmp_path / "videos" / "old.avi", list(range(10)), time_base=Fraction(1, 25)),
        str(tmp_path / "videos" / "gone.mp4"),
    ]
    dataset = make_dataset(*(fo.Sample(path, query="the cat") for path in paths))
    dataset.compute_metadata(skip_failures=True)
    return dataset


@pytest.fixture
def copies(tmp_path):
    return tmp_path / "copies"


def labels(dataset):
    """All that is in the database, byte by byte, but what the copies are about."""
    samples = list(dataset._sample_collection.find())
    frames = list(dataset._frame_collection.find())
    return [{k: v for k, v in sample.items() if not _is_ours(k)} for sample in samples], frames


def _is_ours(name):
    return name in OURS or name.startswith("playback_") or name == "last_modified_at"


def test_samples_keep_everything_but_their_file(dataset, copies):
    model = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    revseg.segment_view(dataset, model, prompt_field="query")
    before, paths = labels(dataset), dataset.values("filepath")
    files = {path: Path(path).read_bytes() for path in paths[:4]}

    summary = make_playable(dataset, copies)

    ids = dataset.values("id")
    assert list(summary.changed) == ids[1:4]
    assert (summary.total, summary.unchanged) == (5, 1)
    ((reason, failed),) = summary.failures.items()
    assert "there is no file" in reason
    assert failed == ids[4:]
    assert summary.sound_left_out == ["jitter.mp4"]
    now = dataset.values("filepath")
    # The name stays, as exports are named by it, though two videos have the same one
    assert now == [
        paths[0],
        str(copies / ids[1] / "jitter.mp4"),
        str(copies / ids[2] / "jitter.mp4"),
        str(copies / ids[3] / "old.mp4"),
        paths[4],
    ]
    assert dataset.values("original_filepath") == [None, *paths[1:4], None]
    assert labels(dataset) == before
    assert {path: Path(path).read_bytes() for path in files} == files
    for sample in dataset[:4]:
        assert sample.metadata.total_frame_count == 10
        assert measure_playback(sample.filepath, sample.metadata).problem == ""
    assert list(mark_playback(dataset).problems) == []

    # Results are still ours: nothing is segmented again
    again = revseg.segment_view(dataset[:4], model, prompt_field="query")
    assert (again.skipped, sum(again.counts.values())) == (4, 0)
    # And nothing is copied again
    assert make_playable(dataset, copies).changed == {}

    undone = restore_originals(dataset)
    assert list(undone.changed) == ids[1:4]
    assert dataset.values("filepath") == paths
    assert dataset.values("original_filepath") == [None] * 5
    assert labels(dataset) == before


def test_metadata_of_the_users_comes_back(dataset, copies):
    sample = dataset[dataset.values("id")[1]]
    sample.metadata.frame_rate = 12.5
    sample.metadata["camera"] = "left"
    sample.save()
    make_playable(dataset, copies)
    assert sample.metadata.frame_rate == pytest.approx(9 / 0.7, rel=0.01)
    restore_originals(dataset)
    assert (sample.metadata.frame_rate, sample.metadata["camera"]) == (12.5, "left")


def test_what_interrupts_it_loses_nothing(dataset, copies, monkeypatch):
    def interrupt(progress):
        if progress.done == 2 and progress.stage_done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_playable(dataset, copies, progress=interrupt)
    dataset.reload()
    assert [p is not None for p in dataset.values("original_filepath")] == [0, 1, 0, 0, 0]
    assert [p.name for p in copies.rglob("*.mp4")] == ["jitter.mp4"]

    # Killed between the copy and the database: the copy is looked at, and taken
    write = playable._write
    monkeypatch.setattr(playable, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make_playable(dataset, copies)
    monkeypatch.setattr(playable, "_write", write)
    written = {p: p.stat().st_mtime_ns for p in copies.rglob("*.mp4")}
    assert len(written) == 2
    assert list(make_playable(dataset, copies).changed) == dataset.values("id")[2:4]
    assert {p: p.stat().st_mtime_ns for p in written} == written


def test_a_file_that_is_something_else_is_not_touched(dataset, copies):
    sample_id = dataset.values("id")[1]
    theirs = copies / sample_id / "jitter.mp4"
    theirs.parent.mkdir(parents=True)
    shutil.copy(dataset.values("filepath")[0], theirs)
    before = theirs.read_bytes()
    summary = make_playable(dataset[1:2], copies)
    (reason,) = summary.failures
    assert "something else than a copy" in reason
    assert theirs.read_bytes() == before
    assert dataset.values("original_filepath")[1] is None


def test_a_copy_that_was_deleted_is_made_again(dataset, copies):
    make_playable(dataset[1:2], copies)
    dataset.reload()
    path = dataset.values("filepath")[1]
    os.remove(path)
    assert make_playable(dataset[1:2], copies).changed == {dataset.values("id")[1]: path}
    assert os.path.exists(path)
    assert dataset.values("original_filepath")[1].endswith("videos/jitter.mp4")


def test_an_original_that_is_gone_cannot_come_back(dataset, copies):
    make_playable(dataset[1:3], copies)
    dataset.reload()
    original = dataset.values("original_filepath")[1]
    os.remove(original)
    summary = restore_originals(dataset[1:3])
    assert list(summary.changed) == dataset.values("id")[2:3]
    assert f"the original {original} is not there" in next(iter(summary.failures))


def test_a_file_in_two_samples_has_one_copy(make_dataset, tmp_path, copies):
    path = encode(tmp_path / "jitter.mp4", JITTER)
    dataset = make_dataset(fo.Sample(path), fo.Sample(path))
    make_playable(dataset, copies)
    dataset.reload()
    assert len(set(dataset.values("filepath"))) == 1
    assert len(list(copies.rglob("*.mp4"))) == 1


def test_clips_and_slices(make_dataset, tmp_path, copies):
    path = encode(tmp_path / "jitter.mp4", JITTER)
    sample = fo.Sample(path)
    sample["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=s) for s in ([1, 4], [6, 9])]
    )
    dataset = make_dataset(sample)
    assert list(make_playable(dataset.to_clips("events"), copies).changed) == [sample.id]
    assert dataset.to_clips("events").values("support") == [[1, 4], [6, 9]]

    groups = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
    try:
        group = fo.Group()
        image = tmp_path / "a.png"
        from PIL import Image

        Image.new("RGB", (8, 8)).save(image)
        groups.add_group_field("group", default="left")
        groups.add_samples(
            [
                fo.Sample(path, group=group.element("left")),
                fo.Sample(str(image), group=group.element("still")),
            ]
        )
        assert len(make_playable(groups, copies).changed) == 1
    finally:
        groups.delete()


def test_a_full_disk(dataset, copies, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(playable, "write_playable", full)
    summary = make_playable(dataset, copies)
    reason = "the copy cannot be written: No space left on device"
    assert summary.failures[reason] == dataset.values("id")[1:4]
    assert not list(copies.rglob("*"))


def test_the_command(dataset, copies, monkeypatch, tmp_path):
    monkeypatch.setattr(fo.config, "default_dataset_dir", str(tmp_path / "fiftyone"))
    assert default_directory(dataset).is_relative_to(tmp_path / "fiftyone")

    def run(*arguments):
        return CliRunner().invoke(main, ["playable", dataset.name, *arguments])

    result = run()
    assert result.exit_code == 1, result.output
    assert "3 of 5 videos changed" in result.output
    assert "1 of 5 could not be changed" in result.output
    dataset.reload()
    assert Path(dataset.values("filepath")[1]).is_relative_to(default_directory(dataset))

    result = run("--undo")
    assert "3 of 5 videos changed" in result.output
    dataset.reload()
    dataset.save_view("first", dataset[:2])
    result = run("--view", "first", "--output-dir", str(copies))
    assert result.exit_code == 0, result.output
    assert run("--undo", "--all").exit_code == 2
