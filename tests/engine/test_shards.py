"""Parts of the work that never overlap and leave nothing out."""

from collections import Counter

import fiftyone as fo
import pytest
from click.testing import CliRunner
from fake_models import ANSWERS, BoxTracker, ScriptedReasoner, write_video
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_revseg.cli import main
from fiftyone_revseg.dataset import segment_view
from fiftyone_revseg.engine.shards import Shard
from fiftyone_revseg.pipeline import RevSeg


@given(st.sets(st.text()), st.integers(1, 9))
def test_every_name_is_in_exactly_one_shard(names, count):
    shards = [Shard(number, count) for number in range(1, count + 1)]
    held = Counter(name for shard in shards for name in names if shard.holds(name))
    assert held == Counter(names)


def test_shards_of_many_names_are_of_about_the_same_size():
    names = [f"{i:024x}" for i in range(8000)]
    sizes = [sum(map(Shard(number, 8).holds, names)) for number in range(1, 9)]
    assert min(sizes) > 900
    assert max(sizes) < 1100


def test_shards_are_the_same_in_every_version():
    names = [f"{i:024x}" for i in range(12)]
    assert [i for i, name in enumerate(names) if Shard(1, 3).holds(name)] == [0, 2, 11]


@pytest.mark.parametrize("text", ["", "1", "1/", "a/2", "1/2/3", "-1/2", "1.5/2", "٣/4"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ValueError, match="is no shard: write"):
        Shard.parse(text)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "0/0"])
def test_shards_that_there_are_not_are_refused(text):
    with pytest.raises(ValueError, match="shards count from 1"):
        Shard.parse(text)


def test_texts_of_shards():
    assert Shard.parse(" 2 / 8 ") == Shard(2, 8)
    assert str(Shard(2, 8)) == "2/8"


@pytest.fixture
def dataset(make_dataset, tmp_path):
    write_video(tmp_path / "video.mp4", 64, 48, 10)
    return make_dataset(*(fo.Sample(str(tmp_path / "video.mp4")) for _ in range(12)))


def test_shards_do_all_samples_once_while_the_view_changes(dataset):
    pipeline = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    shards = (Shard(number, 1000) for number in range(1, 1001))
    nobodys = next(shard for shard in shards if not any(map(shard.holds, dataset.values("id"))))
    assert not segment_view(dataset, pipeline, "the cat", shard=str(nobodys)).done
    dataset.add_sample_field("revseg_status", fo.StringField)
    done = []
    for number in (1, 2, 3):
        # What the other shards have done drops out of the view that this one sees
        left = dataset.match(fo.ViewField("revseg_status") == None)  # noqa: E711
        done.append(segment_view(left, pipeline, "the cat", shard=f"{number}/3").done)
    assert sum(done) == 12
    assert max(done) < 12  # of three shards, one may be empty: ids are drawn by chance
    assert dataset.values("revseg_status") == ["ok"] * 12
    again = segment_view(dataset, pipeline, "the cat", shard=Shard(1, 3))
    assert (again.total, again.done, again.skipped) == (done[0], 0, done[0])


def test_clips_of_one_video_go_together(dataset):
    for sample in dataset:
        supports = [[1, 4], [5, 8]]
        events = [fo.TemporalDetection(label="event", support=support) for support in supports]
        sample["events"] = fo.TemporalDetections(detections=events)
        sample.save()
    pipeline = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    segment_view(dataset.to_clips("events"), pipeline, "the cat", shard="1/2")
    done = [len((d or {}).get("segmentations", ())) for d in dataset.values("revseg_trajectory")]
    assert set(done) == {0, 2}


def test_the_command_does_one_shard(dataset, monkeypatch):
    pipeline = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    monkeypatch.setattr("fiftyone_revseg.pipeline.Loading.load", lambda loading: pipeline)
    held = sum(map(Shard(2, 3).holds, dataset.values("id")))
    command = ["apply", dataset.name, "--query", "the cat", "--shard"]
    result = CliRunner().invoke(main, [*command, "2/3"])
    assert result.exit_code == 0, result.output
    assert f"{held} of {held} segmented" in result.output
    dataset.reload()
    assert dataset.count_values("revseg_status").get("ok", 0) == held
    for shard in ("0/3", "x"):
        result = CliRunner().invoke(main, [*command, shard])
        assert result.exit_code == 2
        assert "--shard" in result.output
