"""Every benchmark, in miniature: what is imported is what was written."""

import gc
import json
import re
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
from fake_models import BoxTracker, ScriptedReasoner
from fiftyone.core.odm import get_db_conn
from miniatures import SIZE, SPLITS, write_miniature

from fiftyone_revseg.dataset import segment_view
from fiftyone_revseg.dataset.expressions import expressions_of
from fiftyone_revseg.dataset.labelled_videos import union
from fiftyone_revseg.evaluation import benchmarks
from fiftyone_revseg.evaluation.benchmarks import import_benchmark
from fiftyone_revseg.pipeline import RevSeg
from fiftyone_revseg.synthetic import all_queries, make_world
from fiftyone_revseg.synthetic.mevis_layout import write_mevis
from fiftyone_revseg.video import open_video

ALL = [(name, split) for name, splits in SPLITS.items() for split in splits]


@pytest.fixture
def forgotten():
    """FiftyOne cannot copy samples of image patterns, as it does with those that are in memory
    when their dataset is deleted."""
    yield
    gc.collect()


@pytest.fixture
def imported():
    """Imports, and deletes what was imported."""
    names = []

    def run(miniature, **options):
        names.append(options.setdefault("dataset_name", f"revseg-test-{miniature.root}"))
        options.setdefault("split", miniature.split)
        return import_benchmark(miniature.name, miniature.root, **options)

    yield run
    gc.collect()
    for name in set(names):
        if fo.dataset_exists(name):
            fo.delete_dataset(name)


@pytest.mark.parametrize(("name", "split"), ALL)
def test_what_is_imported_is_what_was_written(name, split, tmp_path, imported):
    miniature = write_miniature(name, tmp_path, split)
    dataset = imported(miniature)
    assert dataset.media_type == "video"
    assert dataset.persistent
    assert dataset.info["benchmark"]["name"] == name
    assert dataset.info["benchmark"]["split"] == split
    assert dataset.values("video_name") == list(miniature.videos)
    assert dataset.has_frame_field("ground_truth") == miniature.has_truth
    for sample in dataset:
        video = miniature.videos[sample.video_name]
        assert expressions_of(sample) == video.expressions
        assert sample.queries == [e.text for e in video.expressions]
        assert sample.frame_names == video.frame_names
        with open_video(sample.filepath) as opened:
            assert len(opened) == len(video.frame_names)
            assert opened.size == SIZE
        if miniature.has_truth:
            check_masks(sample, video)


def check_masks(sample, video):
    instances = {}
    assert len(sample.frames) == len(video.frame_names)
    for k in range(len(video.frame_names)):
        detections = sample.frames[k + 1].ground_truth.detections
        seen = [number for number, masks in video.masks.items() if masks[k].any()]
        assert [d.index for d in detections] == seen
        for d in detections:
            assert d.label == video.labels[d.index]
            assert instances.setdefault(d.index, d.instance.id) == d.instance.id
            np.testing.assert_array_equal(union([d], SIZE), video.masks[d.index][k])
        for name in ("void", "foreground"):
            expected = getattr(video, name)
            if expected is not None:
                label = sample.frames[k + 1][name]
                found = union(label.detections if label else [], SIZE)
                np.testing.assert_array_equal(found, expected[k])


TYPES = {
    "revos": "RevosDataset",
    "reasonvos": "ReasonVosDataset",
    "mevis": "MevisDataset",
    "ref-youtube-vos": "RefYouTubeVosDataset",
    "ref-davis17": "RefDavis17Dataset",
    "lv-vis": "LvVisDataset",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TYPES))
def test_from_dir_imports_the_same(name, tmp_path, imported):
    miniature = write_miniature(name, tmp_path)
    dataset_type = getattr(benchmarks, TYPES[name])
    assert issubclass(dataset_type, fo.types.Dataset)
    dataset = fo.Dataset.from_dir(
        dataset_dir=str(tmp_path), dataset_type=dataset_type, split=miniature.split
    )
    try:
        assert contents(dataset) == contents(imported(miniature))
    finally:
        gc.collect()
        dataset.delete()


def contents(dataset):
    """Everything but ids and dates."""
    rows = []
    for sample in dataset:
        truths = [frame.ground_truth for frame in sample.frames.values()]
        frames = [
            [(d.index, d.label, d.bounding_box, d.mask.tolist()) for d in truth.detections]
            for truth in truths
            if truth is not None
        ]
        rows.append((sample.filepath, sample.tags, expressions_of(sample), frames))
    return rows, dataset.info, list(dataset.get_frame_field_schema() or ())


def test_from_dir_takes_options_and_add_dir_adds_the_rest(tmp_path, make_dataset, forgotten):
    miniature = write_miniature("mevis", tmp_path)
    dataset, dataset_type = make_dataset(), benchmarks.MevisDataset
    options = {"dataset_dir": str(tmp_path), "dataset_type": dataset_type}
    assert len(dataset.add_dir(max_samples=1, masks=False, tags="mine", **options)) == 1
    assert dataset.first().tags == ["mine"]
    assert not dataset.has_frame_field("ground_truth")
    assert len(dataset.add_dir(split="valid_u", **options)) == 1
    assert len(dataset) == len(miniature.videos)
    for sample in dataset:  # also the masks that the first import left out
        check_masks(sample, miniature.videos[sample.video_name])


@pytest.mark.parametrize("name", ["mevis", "ref-davis17"])
def test_a_second_import_changes_nothing(name, tmp_path, imported):
    miniature = write_miniature(name, tmp_path)
    dataset = imported(miniature)
    before = dataset.values(["id", "frames.id", "frames.last_modified_at"])
    assert imported(miniature) is dataset
    assert dataset.values(["id", "frames.id", "frames.last_modified_at"]) == before


@pytest.mark.parametrize("kept", [0, 3])
def test_an_import_that_was_killed_goes_on(kept, tmp_path, imported):
    miniature = write_miniature("mevis", tmp_path)
    whole = contents(imported(miniature))
    dataset = imported(miniature)
    gc.collect()  # another process has no frames in memory
    # What is left if it is killed between the samples and the last of their frames
    lost = dataset._frame_collection.find({"frame_number": {"$gt": kept}}, {"_id": True})
    dataset._frame_collection.delete_many({"_id": {"$in": [frame["_id"] for frame in lost]}})
    dataset.reload()
    assert dataset.count("frames") == kept * len(miniature.videos)
    dataset = imported(miniature)
    dataset.reload()
    assert contents(dataset) == whole


def test_an_import_that_is_stopped_goes_on_and_keeps_predictions(tmp_path, imported):
    miniature = write_miniature("mevis", tmp_path)

    def stop(progress):
        if progress.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        imported(miniature, progress=stop)
    dataset = imported(miniature, masks=False)
    sample = dataset.first()
    sample.frames[2] = fo.Frame(mine=fo.Detections())
    sample.save()
    dataset = imported(miniature)
    dataset.reload()
    assert dataset.values("video_name") == list(miniature.videos)
    assert dataset.first().frames[2].mine == fo.Detections()
    for sample in dataset:
        check_masks(sample, miniature.videos[sample.video_name])


def test_what_a_killed_database_server_forgot_is_said_again(tmp_path, imported):
    miniature = write_miniature("mevis", tmp_path, "test")
    name = "revseg-test-forgotten"

    def forget(progress):
        get_db_conn().datasets.update_one({"name": name}, {"$set": {"info": {}}})

    imported(miniature, dataset_name=name, progress=forget)
    known = get_db_conn().datasets.find_one({"name": name})["info"]["benchmark"]
    assert (known["name"], known["split"]) == ("mevis", "test")
    imported(miniature, dataset_name=name)


def test_a_dataset_of_something_else_is_left_alone(tmp_path, imported, make_dataset):
    miniature = write_miniature("mevis", tmp_path)
    dataset = make_dataset(fo.Sample("video.mp4"))
    with pytest.raises(ValueError, match="holds something else"):
        imported(miniature, dataset_name=dataset.name)
    other = write_miniature("lv-vis", tmp_path / "lv")
    name = imported(miniature).name
    with pytest.raises(ValueError, match="holds mevis, split valid_u"):
        imported(other, dataset_name=name)


@pytest.mark.parametrize("name", ["revos", "ref-youtube-vos"])
def test_what_is_imported_can_be_segmented(name, tmp_path, imported):
    """Folders of images whose names have slashes and whose numbers have gaps."""
    dataset = imported(write_miniature(name, tmp_path))
    texts = {text for queries in dataset.values("queries") for text in queries}
    answers = {text: [(1, "a thing", [25, 50, 75, 100])] for text in texts}
    pipeline = RevSeg(ScriptedReasoner(answers), BoxTracker())
    summary = segment_view(dataset, pipeline, prompt_field="queries")
    assert summary.counts == {"ok": len(dataset)}
    for sample in dataset:
        assert len(sample.frames) == len(sample.frame_names)
        first = sample.frames.first()
        assert {d["query"] for d in first.revseg.detections} == set(sample.queries)
        assert first.ground_truth is not None


def test_videos_for_the_app(tmp_path, imported):
    miniature = write_miniature("revos", tmp_path)
    dataset = imported(miniature, videos=tmp_path / "mp4")
    for sample in dataset:
        video = miniature.videos[sample.video_name]
        assert sample.filepath == str(tmp_path / "mp4" / f"{sample.video_name}.mp4")
        with open_video(sample.filepath) as encoded:
            assert len(encoded) == len(video.frame_names)
            assert encoded.size == SIZE
            assert abs(int(encoded[2].mean()) - 80) < 3  # what the images are painted with
        check_masks(sample, video)
    assert not list((tmp_path / "mp4").rglob("*partial*"))


def test_images_without_a_pattern_need_videos(tmp_path, imported):
    miniature = write_miniature("mevis", tmp_path)
    folder = miniature.images / "0ab4afe7fb46"
    (folder / "00099.jpg").write_bytes((folder / "00000.jpg").read_bytes())  # not in the list
    dataset = imported(miniature)
    assert dataset.values("video_name") == ["1fea0cb75a25"]
    dataset = imported(miniature, videos=tmp_path / "mp4")
    assert len(dataset) == 2
    with open_video(dataset.last().filepath) as encoded:
        assert len(encoded) == len(miniature.videos["0ab4afe7fb46"].frame_names)


def test_made_up_worlds_are_imported_with_their_kinds(tmp_path, make_dataset, forgotten):
    write_mevis(tmp_path, "test", count=3, queries=2)
    assert not list(tmp_path.rglob(".*"))
    dataset = make_dataset()
    options = {"dataset_dir": str(tmp_path), "dataset_type": benchmarks.MevisDataset}
    dataset.add_dir(**options)
    write_mevis(tmp_path, "test", count=4, queries=2)  # what is there is kept
    dataset.add_dir(**options)
    assert len(dataset) == 4
    for seed, sample in enumerate(dataset):
        world = make_world(seed, "test")
        pictures, masks = world.render()
        expressions = expressions_of(sample)
        asked = {query.text: query for query in all_queries(world)}
        assert [asked[e.text].kind for e in expressions] == [e.kind for e in expressions]
        with open_video(sample.filepath) as video:
            assert len(video) == world.frame_count
            assert np.abs(video[5].astype(int) - pictures[5]).mean() < 3
        for k, frame in enumerate(sample.frames.values()):
            for expression in expressions:
                found = [d for d in frame.ground_truth.detections if d.index in expression.objects]
                targets = list(asked[expression.text].targets)
                truth = masks[targets, k].any(axis=0)
                np.testing.assert_array_equal(union(found, video.size), truth)


def test_the_page_about_importing(tmp_path, monkeypatch, forgotten):
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    page = page[: page.find("\n## ", page.index("## Import") + 1)]
    miniature = write_miniature("mevis", tmp_path / "data" / "mevis")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    try:
        for block in blocks:
            exec(block.replace("count=50", "count=2"), names)
        assert len(blocks) == 2
        assert len(fo.load_dataset("mevis-valid_u")) == len(miniature.videos)
        assert contents(fo.load_dataset("mine")) == contents(fo.load_dataset("mevis-valid_u"))
        assert names["dataset"].name == "mevis-test"
        assert len(names["dataset"]) == 2
    finally:
        names.clear()
        gc.collect()
        for name in {"mevis-valid_u", "mine", "mevis-test"} & set(fo.list_datasets()):
            fo.delete_dataset(name)


def test_videos_for_the_app_stay_in_their_folder(tmp_path, imported):
    miniature = write_miniature("mevis", tmp_path / "root")
    meta = json.loads(miniature.meta.read_text())
    first, second = meta["videos"]
    names = ["../outside", str(tmp_path / "absolute"), "100% %05d"]
    for name in names:
        meta["videos"][name] = meta["videos"][first]
    (miniature.images / names[2]).symlink_to(miniature.images / first)
    (miniature.images.parent / "outside").symlink_to(miniature.images / first)
    (tmp_path / "absolute").symlink_to(miniature.images / first)
    miniature.meta.write_text(json.dumps(meta))
    dataset = imported(miniature, videos=tmp_path / "mp4")
    assert sorted(dataset.values("video_name")) == sorted([first, second, names[2]])
    files = [path for path in tmp_path.rglob("*.mp4") if path.is_file()]
    assert {path.parent for path in files} == {tmp_path / "mp4"}
    assert sorted(map(str, files)) == sorted(dataset.values("filepath"))
    assert not [path for path in files if "%" in path.name]


def test_another_video_of_the_same_name_is_not_taken_for_the_benchmarks_own(tmp_path, imported):
    miniature = write_miniature("mevis", tmp_path / "root")
    first, second = miniature.videos
    videos = tmp_path / "mp4"
    imported(miniature, videos=videos)
    mine = (videos / f"{second}.mp4").read_bytes()
    (videos / f"{first}.mp4").write_bytes(mine)  # of another length
    dataset = imported(miniature, videos=videos, dataset_name=f"revseg-test-{tmp_path}-again")
    assert dataset.values("video_name") == [second]
    assert (videos / f"{first}.mp4").read_bytes() == mine
