"""Rows of a view: those of its worlds, and nothing that has no truth passes for a truth."""

import fiftyone as fo
import numpy as np
import pytest

from fiftyone_revseg.dataset.expressions import Expression, expression_values
from fiftyone_revseg.dataset.training_rows import view_rows
from fiftyone_revseg.synthetic import make_dataset, write_video
from fiftyone_revseg.training.data import WorldRow


@pytest.mark.slow
def test_a_row_of_a_view_is_that_of_its_world(tmp_path):
    dataset = make_dataset(tmp_path, "val", count=7)
    try:
        rows, skipped = view_rows(dataset)
        assert (len(rows), skipped) == (7, [])
        for row, sample in zip(rows, dataset, strict=True):
            assert row.query == sample.query
            seed = int(row.id.rpartition("_")[2])
            name = row.query
            world = next((r for r in _all_rows(seed) if r.query == name and r.split == "val"), None)
            a, b = row.load(8), world.load(8)
            assert a.frame_table.indices == b.frame_table.indices
            assert a.frame_table.times == pytest.approx(b.frame_table.times, abs=1e-3)
            assert a.source_size == b.source_size
            assert a.boxes.shape == b.boxes.shape
            assert np.allclose(a.boxes, b.boxes, atol=0.01, equal_nan=True)
            differences = [
                np.abs(x.astype(int) - y).mean() for x, y in zip(a.frames, b.frames, strict=True)
            ]
            assert max(differences) < 8  # H.264, and nothing worse
    finally:
        dataset.delete()


def _all_rows(seed):
    from fiftyone_revseg.synthetic import all_queries, make_world

    return [
        WorldRow(seed, "val", q.text, q.kind, q.targets)
        for q in all_queries(make_world(seed, "val"))
    ]


def _clip(path, frames=6):
    write_video(path, np.zeros((frames, 32, 48, 3), np.uint8), 10)
    return str(path)


def _object(index, box, **attributes):
    return fo.Detection(label="thing", bounding_box=box, index=index, **attributes)


def test_expressions_choose_their_objects(make_dataset, tmp_path):
    sample = fo.Sample(filepath=_clip(tmp_path / "a.mp4"))
    for k in (1, 2, 5):
        boxes = [_object(1, [0, 0, 0.5, 0.5]), _object(2, [0.5, 0.5, 0.25, 0.5])]
        sample.frames[k] = fo.Frame(ground_truth=fo.Detections(detections=boxes))
    expressions = [
        Expression("0", "the first", (1,), "referring"),
        Expression("1", "both", (1, 2)),
        Expression("2", "a ghost", ()),
        Expression("3", "who knows", None),
        Expression("4", "one that is nowhere", (7,)),
    ]
    sample.update_fields(expression_values(expressions))
    rows, skipped = view_rows(make_dataset(sample))
    assert [row.query for row in rows] == ["the first", "both", "a ghost"]
    assert [len(row.boxes) for row in rows] == [1, 2, 0]
    assert rows[0].kind == "referring"
    assert [s.query for s in skipped] == ["who knows", "one that is nowhere"]
    scene = rows[1].load(6)
    assert scene.boxes_at(0) == [(0, 0, 24, 16), (24, 16, 36, 32)]
    assert (scene.areas[0] > 0).tolist() == [True, True, False, False, True, False]


def test_a_prompt_field_and_a_query_of_each_detection(make_dataset, tmp_path):
    sample = fo.Sample(filepath=_clip(tmp_path / "a.mp4"), ask=["the cat", "the dog"])
    detections = [
        fo.Detection(label="x", bounding_box=[0, 0, 0.5, 0.5], query="the cat"),
        fo.Detection(label="y", bounding_box=[0.5, 0, 0.5, 0.5], query="the dog"),
    ]
    sample.frames[1] = fo.Frame(ground_truth=fo.Detections(detections=detections))
    rows, skipped = view_rows(make_dataset(sample), prompt_field="ask")
    assert [(row.query, row.load(2).boxes_at(0)) for row in rows] == [
        ("the cat", [(0, 0, 24, 16)]),
        ("the dog", [(24, 0, 48, 16)]),
    ]
    assert not skipped


def test_what_has_no_labels_is_not_without_an_object(make_dataset, tmp_path):
    path = _clip(tmp_path / "a.mp4")
    empty = fo.Sample(filepath=path, query="the cat")
    empty.frames[1] = fo.Frame(ground_truth=fo.Detections())
    dataset = make_dataset(
        empty,
        fo.Sample(filepath=_clip(tmp_path / "b.mp4"), query="the cat"),
        fo.Sample(filepath=_clip(tmp_path / "c.mp4")),
        fo.Sample(filepath=str(tmp_path / "gone.mp4"), query="the cat"),
    )
    rows, skipped = view_rows(dataset)
    assert [len(row.boxes) for row in rows] == [0]
    assert not rows[0].load(4).unseen
    reasons = [s.reason for s in skipped]
    assert len(reasons) == 3
    assert "no labels" in reasons[0]
    assert "no query" in reasons[1]


def test_a_view_without_the_fields_is_refused(make_dataset, tmp_path):
    sample = fo.Sample(filepath=_clip(tmp_path / "a.mp4"), query="the cat")
    sample.frames[1] = fo.Frame(truth=fo.Detections())
    dataset = make_dataset(sample)
    with pytest.raises(ValueError, match="ask"):
        view_rows(dataset, "truth", prompt_field="ask")
    with pytest.raises(ValueError, match="ground_truth"):
        view_rows(dataset)
