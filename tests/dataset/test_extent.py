"""The size and length of videos: their own, whatever FiftyOne's metadata says."""

import json
import subprocess

import fiftyone as fo
import numpy as np
import pytest
from bson import ObjectId
from fake_models import write_video
from PIL import Image
from pycocotools import mask as coco

import fiftyone_revseg as revseg
from fiftyone_revseg import compare_fields, export_results
from fiftyone_revseg.dataset.labelled_videos import LabelledVideo, iter_videos
from fiftyone_revseg.dataset.training_rows import view_rows
from fiftyone_revseg.evaluation import j_and_f

# Stored lying, 64 x 48 pixels, and shown upright: (H, W) of the picture as people see it
TRUTH = np.zeros((64, 48), bool)
TRUTH[10:50, 20:32] = True
TRUTH[10:20, 20:24] = False
FRAMES = 6


@pytest.fixture
def phone(make_dataset, tmp_path):
    """A clip of a phone that was held upright, with two label fields of other tools."""
    write_video(tmp_path / "lying.mp4", 64, 48, FRAMES)
    turn = ["-c", "copy", "-metadata:s:v:0", "rotate=90", tmp_path / "phone.mp4"]
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "lying.mp4", *turn], check=True)
    sample = fo.Sample(str(tmp_path / "phone.mp4"), query="the cat")
    for number in range(1, FRAMES + 1):
        for name in ("ground_truth", "other"):
            cat = fo.Detection.from_mask(TRUTH, label="cat", index=1)
            sample.frames[number][name] = fo.Detections(detections=[cat])
    dataset = make_dataset(sample)
    # What ffprobe says of the stream: FiftyOne takes no notice of the rotation
    set_metadata(dataset, 64, 48, FRAMES)
    return dataset


def set_metadata(dataset, width, height, count):
    metadata = fo.VideoMetadata(frame_width=width, frame_height=height, total_frame_count=count)
    dataset.set_values("metadata", [metadata] * len(dataset))


def read_tracks(folder):
    (video,) = (content := json.loads((folder / "instances.json").read_text()))["videos"]
    return video, content["annotations"]


def test_labels_on_an_upright_clip_are_exported_upright(phone, tmp_path):
    for name in ("coco-tracks", "youtube-vos", "mot"):
        summary = export_results(phone, tmp_path / name, name, "ground_truth")
        assert (summary.exported, summary.notes) == (1, [])
    video, (track,) = read_tracks(tmp_path / "coco-tracks")
    assert (video["width"], video["height"], video["length"]) == (48, 64, FRAMES)
    np.testing.assert_array_equal(coco.decode(track["segmentations"][0]), TRUTH)
    assert track["bboxes"][0] == [20, 10, 12, 40]
    png = np.asarray(Image.open(tmp_path / "youtube-vos/Annotations/phone/00000.png"))
    np.testing.assert_array_equal(png, TRUTH)
    row = (tmp_path / "mot/phone.txt").read_text().splitlines()[0]
    assert row == "1,1,21,11,12,40,1,-1,-1,-1"


def test_labels_on_an_upright_clip_are_measured_upright(phone):
    smaller = TRUTH & (np.arange(64) >= 30)[:, None]
    for frame in (sample := phone.first()).frames.values():
        frame["other"].detections = [fo.Detection.from_mask(smaller, label="cat", index=1)]
    sample.save()
    expected = j_and_f(smaller[None], TRUTH[None])
    (score,) = revseg.evaluate_view(phone, "other", progress=False).scores
    assert score.jf == pytest.approx(expected)
    assert compare_fields(phone, "other", "ground_truth").mean == pytest.approx(expected)


@pytest.mark.parametrize("count", [FRAMES - 2, FRAMES + 100, 2**40])
def test_a_video_has_the_frames_that_it_has(phone, tmp_path, count):
    set_metadata(phone, 64, 48, count)
    export_results(phone, tmp_path / "out", label_field="ground_truth")
    video, (track,) = read_tracks(tmp_path / "out")
    assert video["length"] == len(track["segmentations"]) == FRAMES
    (score,) = revseg.evaluate_view(phone, "other", progress=False).scores
    assert (score.frames, score.jf) == (FRAMES, 1)
    assert compare_fields(phone, "other", "ground_truth").mean == 1
    ((row,), skipped) = view_rows(phone)
    assert (row.boxes.shape, skipped) == ((1, FRAMES, 4), [])


def test_labels_beyond_the_end_are_left_out_and_told(phone, tmp_path):
    sample = phone.first()
    for number in (FRAMES + 1, FRAMES + 70):
        sample.frames[number] = fo.Frame(
            ground_truth=sample.frames[1].ground_truth.copy(), other=sample.frames[1].other.copy()
        )
    sample.save()
    told = f"labels on frames that the video does not have were left out ({sample.id})"
    for name in ("coco-tracks", "youtube-vos", "mot"):
        assert export_results(phone, tmp_path / name, name, "ground_truth").notes == [told]
    video, (track,) = read_tracks(tmp_path / "coco-tracks")
    assert video["length"] == len(track["segmentations"]) == FRAMES
    assert len(list((tmp_path / "youtube-vos/Annotations/phone").iterdir())) == FRAMES
    assert len((tmp_path / "mot/phone.txt").read_text().splitlines()) == FRAMES
    assert revseg.evaluate_view(phone, "other", progress=False).notes == (told,)
    assert told in str(compare_fields(phone, "other", "ground_truth"))
    ((row,), _) = view_rows(phone)
    assert row.boxes.shape == (1, FRAMES, 4)


def test_metadata_counts_where_the_video_is_gone_and_that_is_told(phone, tmp_path):
    (tmp_path / "phone.mp4").unlink()
    summary = export_results(phone, tmp_path / "out", label_field="ground_truth")
    (note,) = summary.notes
    assert note.startswith("the video itself cannot be read, so its size and length are those of ")
    assert read_tracks(tmp_path / "out")[0]["width"] == 64

    # One frame more has a label than the metadata knows of: it is not lost
    set_metadata(phone, 64, 48, FRAMES - 1)
    (video,) = iter_videos(phone, ["ground_truth"])
    assert (video.size, video.numbers) == ((64, 48), range(1, FRAMES + 1))


@pytest.mark.parametrize(
    ("size", "count", "why"),
    [
        ((64, 48), 2**40, "1099511627776 frames"),
        ((2**20, 2**20), FRAMES, "1048576 x 1048576 pixels"),
        ((0, 48), FRAMES, "there is no file"),
        ((64, -48), FRAMES, "there is no file"),
        (None, 0, "there is no file"),
    ],
)
def test_absurd_metadata_of_a_video_that_is_gone_is_refused(phone, tmp_path, size, count, why):
    (tmp_path / "phone.mp4").unlink()
    if size is None:
        phone.set_values("metadata", [None])
    else:
        set_metadata(phone, *size, count)
    (video,) = iter_videos(phone, ["ground_truth"])
    assert video.unusable
    assert why in video.unusable


def test_a_label_on_frame_a_billion_of_a_video_that_is_gone_is_refused(phone, tmp_path):
    (tmp_path / "phone.mp4").unlink()
    (frame,) = phone._frame_collection.find({"frame_number": 1})
    far = phone._frame_collection.insert_one({**frame, "_id": ObjectId(), "frame_number": 10**9})
    (video,) = iter_videos(phone, ["ground_truth"])
    # FiftyOne takes minutes to delete a dataset with such a frame
    phone._frame_collection.delete_one({"_id": far.inserted_id})
    assert "1000000000 frames, more than any video" in video.unusable


def test_clips_must_lie_within_their_video(phone, tmp_path):
    phone.add_sample_field("shots", fo.ListField, subfield=fo.FrameSupportField)
    phone.set_values("shots", [[[2, 4], [5, 9]]])
    clips = phone.to_clips("shots")
    inside, outside = iter_videos(clips, ["ground_truth"])
    assert isinstance(inside, LabelledVideo)
    assert (inside.size, inside.numbers) == ((48, 64), range(2, 5))
    assert outside.unusable == "The clip is of frames 5 to 9, and its video has 6"


def test_each_file_is_opened_once(phone, monkeypatch):
    from fiftyone_revseg.dataset import extent

    opened = []
    real = extent.video_extent
    monkeypatch.setattr(extent, "video_extent", lambda path: opened.append(path) or real(path))
    phone.add_sample_field("shots", fo.ListField, subfield=fo.FrameSupportField)
    phone.set_values("shots", [[[1, 2], [2, 4], [3, 6]]])
    assert len(list(iter_videos(phone.to_clips("shots"), ["ground_truth"]))) == 3
    assert len(opened) == 1
