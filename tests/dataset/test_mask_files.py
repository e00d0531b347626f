"""Masks as files: each belongs to one result, whoever else writes to the same folder."""

import uuid
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
from fake_models import BoxTracker, ScriptedReasoner, write_video

import fiftyone_revseg as revseg
from fiftyone_revseg.pipeline import RevSeg

WIDTH, HEIGHT, FRAMES = 64, 48, 5
BOXES = ([25, 25, 75, 75], [0, 0, 25, 50])  # percent; all differ in size


def segment(samples, box, masks_dir, **options):
    """Segments into files, the same box on all frames."""
    answers = {"the cat": [(0, "a cat", BOXES[box])]}
    pipeline = RevSeg(ScriptedReasoner(answers), BoxTracker())
    return revseg.segment_view(samples, pipeline, "the cat", masks_dir=masks_dir, **options)


def areas(dataset, label_field="revseg"):
    """The number of pixels of each mask in the files that labels refer to."""
    dataset.reload()
    return [
        int(np.count_nonzero(detection.get_mask()))
        for sample in dataset
        for frame in sample.frames.values()
        for detection in frame[label_field].detections
    ]


def paths(dataset, label_field="revseg"):
    dataset.reload()
    return sorted(dataset.values(f"frames.{label_field}.detections.mask_path", unwind=True))


AREAS = [(WIDTH // 2) * (HEIGHT // 2), (WIDTH // 4) * (HEIGHT // 2)]


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "a" / "clip.mp4"
    path.parent.mkdir()
    write_video(path, WIDTH, HEIGHT, FRAMES)
    return str(path)


@pytest.fixture
def masks(tmp_path):
    return tmp_path / "masks"


def test_two_label_fields(make_dataset, video, masks):
    dataset = make_dataset(fo.Sample(video))
    segment(dataset, 0, masks)
    segment(dataset, 1, masks, label_field="other")
    segment(dataset, 1, masks, label_field="third", overwrite=True)
    assert areas(dataset) == [AREAS[0]] * FRAMES
    assert areas(dataset, "other") == areas(dataset, "third") == [AREAS[1]] * FRAMES
    segment(dataset, 0, masks, label_field="other", overwrite=True)
    assert areas(dataset) == areas(dataset, "other") == [AREAS[0]] * FRAMES
    assert len(list(masks.rglob("*.png"))) == 3 * FRAMES


def test_two_datasets_with_equal_names_of_videos(make_dataset, video, masks):
    one, other = make_dataset(fo.Sample(video)), make_dataset(fo.Sample(video))
    segment(one, 0, masks)
    segment(other, 1, masks)
    assert areas(one) == [AREAS[0]] * FRAMES
    segment(one, 0, masks, overwrite=True)
    assert areas(other) == [AREAS[1]] * FRAMES
    assert sorted(p.name for p in masks.iterdir()) == sorted([one.name, other.name])


def test_a_dataset_that_takes_the_name_of_another_one(make_dataset, video, masks):
    one = make_dataset(fo.Sample(video))
    name = one.name
    segment(one, 0, masks)
    one.name = f"{name}-renamed"
    assert areas(one) == [AREAS[0]] * FRAMES
    other = one.clone(name)  # which has the same ids
    try:
        segment(other, 1, masks, overwrite=True)
        assert (areas(one), areas(other)) == ([AREAS[0]] * FRAMES, [AREAS[1]] * FRAMES)
        segment(one, 1, masks, overwrite=True)
        assert areas(other) == [AREAS[1]] * FRAMES
    finally:
        other.delete()


def test_a_clone_keeps_the_files_that_it_shares(make_dataset, video, masks):
    dataset = make_dataset(fo.Sample(video))
    segment(dataset, 0, masks)
    clone = dataset.clone()
    try:
        segment(dataset, 1, masks, overwrite=True)
        assert (areas(dataset), areas(clone)) == ([AREAS[1]] * FRAMES, [AREAS[0]] * FRAMES)
    finally:
        clone.delete()


def test_a_copy_of_the_field_keeps_its_files(make_dataset, video, masks):
    dataset = make_dataset(fo.Sample(video))
    segment(dataset, 0, masks)
    dataset.clone_frame_field("revseg", "kept")
    segment(dataset, 1, masks, overwrite=True)
    assert (areas(dataset), areas(dataset, "kept")) == ([AREAS[1]] * FRAMES, [AREAS[0]] * FRAMES)
    # They go with the copy
    dataset.delete_frame_field("kept")
    segment(dataset, 0, masks, overwrite=True)
    assert paths(dataset) == sorted(map(str, masks.rglob("*.png")))


def test_files_of_replaced_results_go_wherever_they_are(make_dataset, video, masks, tmp_path):
    dataset = make_dataset(fo.Sample(video))
    segment(dataset, 0, masks)
    (masks / "mine.txt").write_text("of a person")
    segment(dataset, 1, tmp_path / "elsewhere", overwrite=True)
    assert [p.name for p in masks.rglob("*")] == ["mine.txt"]
    segment(dataset, 1, None, overwrite=True)  # into the database
    assert list((tmp_path / "elsewhere").rglob("*.png")) == []
    dataset.reload()
    assert not any(dataset.values("frames.revseg.detections.mask_path", unwind=True))


def test_files_of_earlier_versions_stay_and_stay_readable(make_dataset, video, masks):
    """They were ``<video>/<frame>_<object>.png``, of whichever field or dataset came last."""
    dataset = make_dataset(fo.Sample(video))
    segment(dataset, 0, masks)
    sample = dataset.first()
    old = masks / "clip"
    old.mkdir()
    for number, frame in sample.frames.items():
        (detection,) = frame.revseg.detections
        path = old / f"{number:06d}_1.png"
        Path(detection.mask_path).rename(path)
        detection.mask_path = str(path)
    sample.save()
    content = {path: path.read_bytes() for path in old.iterdir()}
    assert areas(dataset) == [AREAS[0]] * FRAMES
    assert segment(dataset, 0, masks).skipped == 1
    segment(dataset, 1, masks, overwrite=True)
    assert areas(dataset) == [AREAS[1]] * FRAMES
    assert {path: path.read_bytes() for path in old.iterdir()} == content


@pytest.mark.parametrize(
    "name", ["...a.mp4", "a b~0123456789.mp4", f"{'ü' * 120}.mp4", "con.mp4", "a:b*c.mp4"]
)
def test_names_are_not_paths(make_dataset, video, masks, name):
    path = Path(video).rename(Path(video).with_name(name))
    dataset = make_dataset(fo.Sample(str(path)))
    dataset.name = f"../{'x' * 20}/{uuid.uuid4().hex}"
    assert segment(dataset, 0, masks).counts == {"ok": 1}
    assert areas(dataset) == [AREAS[0]] * FRAMES
    written = list(masks.rglob("*.png"))
    assert paths(dataset) == sorted(map(str, written))
    assert {len(p.relative_to(masks).parts) for p in written} == {4}
    segment(dataset, 1, masks, overwrite=True)
    assert paths(dataset) == sorted(map(str, masks.rglob("*.png")))


def test_clips_of_one_video(make_dataset, video, masks):
    sample = fo.Sample(video)
    spans = ([1, 3], [2, 5])
    labels = [fo.TemporalDetection(label="event", support=span) for span in spans]
    sample["events"] = fo.TemporalDetections(detections=labels)
    dataset = make_dataset(sample)
    clips = dataset.to_clips("events")
    segment(clips[:1], 0, masks)
    segment(clips[1:], 1, masks)
    assert areas(dataset) == [AREAS[0]] + [AREAS[1]] * 4
    assert paths(dataset) == sorted(map(str, masks.rglob("*.png")))
    segment(dataset, 0, masks, overwrite=True)
    assert areas(dataset) == [AREAS[0]] * FRAMES
    assert paths(dataset) == sorted(map(str, masks.rglob("*.png")))


def test_groups_of_images(make_dataset, masks, tmp_path):
    from PIL import Image

    samples = []
    for scene in "ab":
        for number in range(3):
            path = tmp_path / scene / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT)).save(path)
            samples.append(fo.Sample(str(path), scene=scene, number=number))
    dataset = make_dataset(*samples)
    groups = dataset.group_by("scene", order_by="number")
    segment(groups, 0, masks)
    segment(groups, 1, masks, overwrite=True)
    dataset.reload()
    found = sorted(dataset.values("revseg.detections.mask_path", unwind=True))
    assert len(found) == 6
    assert found == sorted(map(str, masks.rglob("*.png")))


def test_a_folder_that_cannot_be_written_to_is_found_out_first(make_dataset, video, tmp_path):
    dataset = make_dataset(fo.Sample(video))
    file = tmp_path / "file"
    file.write_text("of a person")
    for folder in (file, file / "masks", "/proc/masks"):
        with pytest.raises(OSError, match="Nothing can be written to"):
            segment(dataset, 0, folder)
    assert dataset.list_runs() == []
    assert not dataset.has_frame_field("revseg")
    assert file.read_text() == "of a person"
