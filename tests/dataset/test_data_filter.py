"""The data filter on datasets: what is written, skipped, broken and refused."""

import fiftyone as fo
import numpy as np
import pytest
from fake_models import BoxTracker, write_video
from PIL import Image

from fiftyone_revseg.dataset.data_filter import DROPPED, filter_view

WIDTH, HEIGHT, FRAMES = 64, 48, 6
FIELDS = [f"data_filter_{name}" for name in ("iou", "keep", "offset", "reason")]


def box(left, index=1):
    """A box of 16 x 24 pixels without a mask, which counts as the whole of it."""
    return fo.Detection(label="x", bounding_box=[left / WIDTH, 0, 0.25, 0.5], index=index)


def video(folder, name, lefts):
    """A video with an object that is where ``lefts`` says."""
    path = folder / f"{name}.mp4"
    write_video(path, WIDTH, HEIGHT, FRAMES)
    sample = fo.Sample(str(path))
    for number, left in enumerate(lefts, start=1):
        detections = [] if left is None else [box(left)]
        sample.frames[number] = fo.Frame(ground_truth=fo.Detections(detections=detections))
    return sample


@pytest.fixture
def dataset(make_dataset, tmp_path):
    """The object stays; it jumps; there is none; there is no video."""
    gone = fo.Sample(str(tmp_path / "gone.mp4"))
    gone.frames[1] = fo.Frame(ground_truth=fo.Detections(detections=[box(0)]))
    return make_dataset(
        video(tmp_path, "still", [8] * FRAMES),
        video(tmp_path, "jumps", [0, 16, 32, 0, 16, 32]),
        video(tmp_path, "empty", [None] * FRAMES),
        gone,
    )


def marks(dataset):
    dataset.reload()
    return list(zip(*dataset.values([*FIELDS, "tags"]), strict=True))


def test_samples_are_marked_and_none_is_deleted(dataset):
    summary = filter_view(dataset, tracker=BoxTracker())
    still, jumps, empty, gone = marks(dataset)
    assert still == (1.0, True, 0, None, [])
    assert jumps[0] == pytest.approx(1 / 3)
    # Moved by three frames it is the same again, and no better than as it is
    assert jumps[1:] == (False, 0, None, [DROPPED])
    assert (empty[:3], empty[4]) == ((None, False, None), [DROPPED])
    assert "no true mask" in empty[3]
    assert "gone.mp4" in gone[3]
    ids = dataset.values("id")
    assert (summary.total, summary.measured, summary.skipped) == (4, 4, 0)
    assert (summary.kept, summary.dropped) == (ids[:1], ids[1:])
    assert sorted(summary.failures.values()) == [[ids[2]], [ids[3]]]
    assert "1 of 4 kept, 3 dropped" in str(summary)
    assert "no true mask" in str(summary)


def test_resumed_and_decided_anew(dataset):
    first = BoxTracker()
    with pytest.raises(KeyboardInterrupt):
        filter_view(dataset, tracker=first, progress=stop_after(1))
    assert [m[0] for m in marks(dataset)] == [1, None, None, None]
    second = BoxTracker()
    summary = filter_view(dataset, tracker=second)
    assert (summary.skipped, summary.measured) == (1, 3)
    assert len(second.calls) == 11  # once for each frame, and back, but for the first
    # Another threshold needs no tracker. What was broken is tried again
    third = BoxTracker()
    summary = filter_view(dataset, tracker=third, threshold=0.3)
    assert (summary.skipped, summary.measured, len(third.calls)) == (2, 2, 0)
    assert [m[1] for m in marks(dataset)] == [True, True, False, False]
    assert [m[4] for m in marks(dataset)] == [[], [], [DROPPED], [DROPPED]]
    filter_view(dataset, tracker=third, overwrite=True, starts=2)
    assert len(third.calls) == 8
    assert [m[1] for m in marks(dataset)] == [True, False, False, False]


def stop_after(videos):
    def progress(run):
        if run.done >= videos:
            raise KeyboardInterrupt

    return progress


def test_progress_within_a_video(dataset):
    told = []
    filter_view(dataset[:1], tracker=BoxTracker(), progress=told.append)
    assert [(p.done, p.total) for p in told if not p.stage] == [(0, 1), (1, 1)]
    tracked = [(p.stage_done, p.stage_total) for p in told if p.stage == "track"]
    assert tracked == [(k, FRAMES) for k in range(FRAMES + 1)]
    assert {p.video for p in told if p.stage} == {"still"}


def test_a_tracker_that_fails_on_one_video_does_not_stop_the_rest(dataset):
    summary = filter_view(dataset[:2], tracker=BoxTracker(fails_at=3))
    assert list(summary.failures) == ["out of memory"]
    assert [m[3] for m in marks(dataset)[:2]] == ["out of memory"] * 2
    filter_view(dataset[:1], tracker=BoxTracker())
    assert marks(dataset)[0] == (1.0, True, 0, None, [])


def test_objects_without_numbers_are_told_apart_by_their_labels(make_dataset, tmp_path):
    sample = video(tmp_path, "two", [8] * FRAMES)
    for frame in sample.frames.values():
        frame.ground_truth.detections[0].index = None
        other = fo.Detection(label="y", bounding_box=[0.5, 0.5, 0.25, 0.5])
        frame.ground_truth.detections.append(other)
    dataset = make_dataset(sample)
    tracker = BoxTracker()
    filter_view(dataset, tracker=tracker)
    assert marks(dataset)[0][0] == 1
    assert tracker.calls[0][1] == [[8, 0, 24, 24], [32, 24, 48, 48]]


def test_groups_of_images(make_dataset, tmp_path):
    images = []
    for scene, lefts in {"a": [8, 8, 8], "b": [0, 16, 32]}.items():
        for k, left in enumerate(lefts):
            path = tmp_path / f"{scene}{k}.png"
            Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(path)
            truth = fo.Detections(detections=[box(left)])
            images.append(fo.Sample(str(path), scene=scene, number=k, ground_truth=truth))
    dataset = make_dataset(*images)
    groups = dataset.group_by("scene", order_by="number")
    summary = filter_view(groups, tracker=BoxTracker())
    assert (summary.total, len(summary.kept), len(summary.dropped)) == (2, 1, 1)
    assert dataset.values("data_filter_keep") == [True] * 3 + [False] * 3
    assert dataset.count_sample_tags() == {DROPPED: 3}
    again = filter_view(groups, tracker=BoxTracker())
    assert (again.measured, again.skipped) == (0, 2)


def test_what_is_asked_wrongly_is_refused(dataset):
    with pytest.raises(ValueError, match=r"no field 'frames.truth'.*ground_truth"):
        filter_view(dataset, "truth", tracker=BoxTracker())
    with pytest.raises(ValueError, match="from 0 to 1, not 60"):
        filter_view(dataset, tracker=BoxTracker(), threshold=60)
    with pytest.raises(ValueError, match="at least once"):
        filter_view(dataset, tracker=BoxTracker(), starts=0)
    with pytest.raises(ValueError, match="no-such-tracker"):
        filter_view(dataset, tracker="no-such-tracker")
    dataset.add_sample_field("events", fo.EmbeddedDocumentField, fo.TemporalDetections)
    with pytest.raises(ValueError, match="filter the dataset"):
        filter_view(dataset.to_clips("events"), tracker=BoxTracker())
    assert not dataset.has_field("data_filter_iou")
    assert filter_view(dataset[:0], tracker=BoxTracker()).total == 0


@pytest.mark.parametrize("values", [[True, False], ["yes", "no"]])
def test_fields_of_somebody_else_are_not_replaced(dataset, values):
    dataset.set_values("data_filter_keep", values * 2)
    message = "data_filter_keep' holds something else already .* in 4 samples"
    assert len(dataset) == 4
    with pytest.raises(ValueError, match=message):
        filter_view(dataset, tracker=BoxTracker())
    assert dataset.values("data_filter_keep") == values * 2
    assert not dataset.has_field("data_filter_iou")
