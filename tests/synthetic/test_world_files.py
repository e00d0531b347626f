"""Worlds as video files and as a FiftyOne dataset."""

import json

import numpy as np
from pycocotools import mask as coco

from fiftyone_revseg.synthetic import make_dataset, make_world, render
from fiftyone_revseg.synthetic.mevis_layout import write_mevis
from fiftyone_revseg.video import open_video


def test_render_writes_the_videos_it_describes(tmp_path):
    records = render(tmp_path, "val", count=3, seed=5, queries=2)
    assert json.loads((tmp_path / "annotations.json").read_text()) == records
    for number, record in enumerate(records, 5):
        world = make_world(number, "val")
        frames, masks = world.render()
        with open_video(tmp_path / record["video"]) as video:
            assert len(video) == record["frame_count"] == world.frame_count
            assert video.size == (world.width, world.height)
            difference = np.abs(video[3].astype(int) - frames[3])
            assert difference.mean() < 6  # compression only
        for body, visible in zip(record["objects"], masks, strict=True):
            for k, rle in enumerate(body["masks"]):
                decoded = coco.decode(rle).astype(bool) if rle else np.zeros_like(visible[k])
                np.testing.assert_array_equal(decoded, visible[k])
            assert body["areas"] == visible.sum(axis=(1, 2)).tolist()
        assert len(record["queries"]) == 2


def test_render_again_leaves_the_same_bytes(tmp_path):
    render(tmp_path / "a", count=1)
    render(tmp_path / "b", count=1)
    (a,), (b,) = (sorted((tmp_path / d).glob("*.mp4")) for d in "ab")
    assert a.read_bytes() == b.read_bytes()
    before = a.stat().st_mtime_ns
    render(tmp_path / "a", count=1)
    assert a.stat().st_mtime_ns == before
    assert not list((tmp_path / "a").glob(".*"))


def test_make_dataset_has_the_truth_in_it(tmp_path):
    dataset = make_dataset(tmp_path, count=3)
    try:
        assert dataset.media_type == "video"
        assert len(dataset) == 3
        for number, sample in enumerate(dataset):
            world = make_world(number, "test")
            _, masks = world.render()
            assert sample.metadata.total_frame_count == world.frame_count
            for k in (0, world.frame_count - 1):
                objects = sample.frames[k + 1].objects.detections
                assert len(objects) == masks[:, k].any(axis=(1, 2)).sum()
                for detection in objects:
                    i = detection.index - 1
                    assert detection.label == world.bodies[i].name
                    assert detection.mask.sum() == masks[i, k].sum()
        assert "frames.ground_truth.detections.index" in dataset.get_frame_field_schema(
            flat=True
        ) or "ground_truth.detections.index" in dataset.get_frame_field_schema(flat=True)
    finally:
        dataset.delete()


def test_what_a_killed_run_left_beside_a_whole_file_is_removed(tmp_path):
    """It is killed after the swap: what is there is kept, and so never written again."""
    write_mevis(tmp_path, "test", count=1, queries=1)
    (folder,) = (tmp_path / "test" / "JPEGImages").iterdir()
    left = folder.with_name(f".{folder.name}.partial") / "0123456789abcdef"
    left.mkdir(parents=True)
    (left / "00000.jpg").write_text("half")
    write_mevis(tmp_path, "test", count=1, queries=1)
    assert list(folder.parent.iterdir()) == [folder]
