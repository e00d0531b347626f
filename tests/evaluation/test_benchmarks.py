"""Every benchmark, in miniature: what is imported is what was written."""

import gc
import sys
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest

from fiftyone_revseg.dataset.masks import union
from fiftyone_revseg.evaluation.benchmarks import import_benchmark
from fiftyone_revseg.evaluation.expressions import expressions_of
from fiftyone_revseg.video import open_video

sys.path.insert(0, str(Path(__file__).parent))
from miniatures import SIZE, SPLITS, write_miniature

ALL = [(name, split) for name, splits in SPLITS.items() for split in splits]


@pytest.fixture
def imported():
    """Imports, and deletes what was imported."""
    names = []

    def run(miniature, **options):
        names.append(options.setdefault("dataset_name", f"revseg-test-{miniature.root}"))
        options.setdefault("split", miniature.split)
        return import_benchmark(miniature.name, miniature.root, **options)

    yield run
    gc.collect()  # FiftyOne cannot copy samples of image patterns, as it does if they outlive this
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
