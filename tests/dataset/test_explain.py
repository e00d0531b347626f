"""What is said and shown about answers, on a real database, with models whose answers are known."""

import os
import shutil
from dataclasses import replace

import fiftyone as fo
import numpy as np
import pytest
from cachetools import LRUCache
from fake_models import ANSWERS, BoxTracker, ScriptedReasoner, write_video
from PIL import Image
from second_looks import SAID, write_second_looks

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset import explain as module
from fiftyone_revseg.dataset.collection import group_of
from fiftyone_revseg.dataset.explain import (
    Explanation,
    TrackSeries,
    explain,
    has_pictures,
    in_review_order,
    label_fields,
    make_pictures,
    picture_key,
    track_series,
)
from fiftyone_revseg.dataset.looked_again import LookedAgain, masks_at
from fiftyone_revseg.pipeline import RevSeg
from fiftyone_revseg.video import VideoError

WIDTH, HEIGHT, FRAMES = 64, 48, 10


@pytest.fixture
def video(tmp_path):
    write_video(tmp_path / "a.mp4", WIDTH, HEIGHT, FRAMES)
    return str(tmp_path / "a.mp4")


@pytest.fixture
def segmented(make_dataset, video):
    """Makes a dataset of one video, with answers to some queries."""

    def make(*queries, **tracker):
        dataset = make_dataset(fo.Sample(video))
        revseg.segment_view(dataset, pipeline(**tracker), queries=list(queries))
        return dataset

    return make


def pipeline(**tracker):
    return RevSeg(ScriptedReasoner(ANSWERS), BoxTracker(**tracker))


def hidden(series):
    return [series.numbers[k] for k, area in enumerate(series.areas) if area is None]


def test_every_query_and_object_is_explained(segmented):
    sample = segmented("the cat", "both", "the ghost", "the blur").first()
    cat, same_cat, dog, ghost, blur = explain(sample)
    assert [e.query for e in (cat, same_cat, dog, ghost, blur)] == [
        "the cat",
        "both",
        "both",
        "the ghost",
        "the blur",
    ]
    assert (cat.description, cat.thought, cat.status) == ("a grey cat", "thinking", "ok")
    assert (cat.index, same_cat.index, dog.index, ghost.index) == (1, 2, 3, None)
    assert cat.sampled == (1, 4, 7, 10)
    assert (cat.key_frame, cat.chosen) == (4, 1)
    assert (dog.key_frame, dog.chosen) == (10, 3)
    assert cat.box_xywh_rel == pytest.approx((0.25, 0.5, 0.5, 0.5))
    assert dog.box_xywh_rel == pytest.approx((0, 0, 0.5, 0.5))
    assert (cat.source_size, cat.frame_count, cat.support) == ((WIDTH, HEIGHT), FRAMES, (1, FRAMES))
    assert set(cat.timings) >= {"decode", "reason", "track"}
    # No object: no description, no key frame
    assert (ghost.status, ghost.description, ghost.key_frame) == ("no_target", "", None)
    assert ghost.sampled == cat.sampled
    assert (blur.status, blur.box_xywh_rel, blur.key_frame) == ("bad_box", None, 7)
    assert blur.reason


def test_replies_are_those_about_the_object(segmented):
    _, cat, dog = explain(segmented("the cat", "both").first())
    assert [(turn["turn"], turn["object"]) for turn in dog.turns] == [(1, None), (2, 1)]
    assert [(turn["turn"], turn["object"]) for turn in cat.turns] == [(1, None), (2, 0)]


def test_an_answer_that_was_deleted_leaves_the_others_with_their_own_records(segmented):
    sample = segmented("the cat", "both").first()
    del sample.revseg_answers.classifications[:2]
    sample.save()
    (dog,) = explain(sample)
    assert (dog.description, dog.key_frame) == ("a dog", 10)
    assert dog.box_xywh_rel == pytest.approx((0, 0, 0.5, 0.5))


def test_a_label_that_was_renamed_keeps_its_record(segmented):
    sample = segmented("the cat").first()
    sample.revseg_answers.classifications[0].label = "tabby"
    (cat,) = explain(sample)
    assert (cat.description, cat.sampled) == ("tabby", (1, 4, 7, 10))


def test_an_answer_without_its_record_says_what_it_knows(segmented):
    sample = segmented("the cat").first()
    sample.revseg_trajectory = None
    (cat,) = explain(sample)
    assert (cat.description, cat.key_frame, cat.sampled) == ("a grey cat", 4, ())
    assert cat.chosen is None


def test_a_sample_without_answers_has_nothing_to_explain(make_dataset, video):
    dataset = make_dataset(fo.Sample(video))
    assert explain(dataset.first()) == []
    assert label_fields(dataset) == []


def test_label_fields_are_found(segmented, video):
    dataset = segmented("the cat")
    dataset.add_sample_field("other_trajectory", fo.DictField)  # somebody else's
    revseg.segment_view(dataset, pipeline(), queries="the ghost", label_field="second")
    assert label_fields(dataset) == ["second", "revseg"]


def test_corrections_move_the_box(segmented):
    sample = segmented("the cat", "both").first()
    record = sample.revseg_trajectory["segmentations"][0]
    record["corrections"] = [
        {"frame_number": 4, "box": [0.1, 0.1, 0.2, 0.2], "index": 1},
        {"frame_number": 6, "box": [0.5, 0.5, 0.2, 0.2], "index": 1},
    ]
    cat = explain(sample)[0]
    assert cat.box_xywh_rel == (0.1, 0.1, 0.2, 0.2)
    assert len(cat.corrections) == 2
    # Another key frame than the model's has only the boxes that a person drew
    sample.revseg_answers.classifications[0].keyframe = 6
    assert explain(sample)[0].box_xywh_rel == (0.5, 0.5, 0.2, 0.2)
    sample.revseg_answers.classifications[0].keyframe = 5
    assert explain(sample)[0].box_xywh_rel is None
    assert explain(sample)[0].chosen is None


def test_the_object_over_time(segmented):
    sample = segmented("both", hidden=(3, 4)).first()
    cat, dog = explain(sample)
    series = track_series(sample, cat)
    assert series.numbers == tuple(range(1, FRAMES + 1))
    assert hidden(series) == [4, 5]
    assert (series.visible, series.area_of) == (FRAMES - 2, "mask")
    assert series.areas[0] == pytest.approx(0.25)
    assert series.scores[0] == pytest.approx(0.5)
    assert series.boxes[0] == pytest.approx([0.25, 0.5, 0.5, 0.5])
    assert track_series(sample, dog).boxes[0] == pytest.approx([0, 0, 0.5, 0.5])
    assert (series.drift, series.suspected) == (0, [])


def test_mask_areas_are_of_masks_not_of_boxes(segmented):
    dataset = segmented("the cat")
    sample = dataset.first()
    for frame in sample.frames.values():
        detection = frame.revseg.detections[0]
        detection.mask = detection.mask & (np.arange(len(detection.mask)) % 2 == 0)[:, None]
    sample.save()
    (cat,) = explain(sample)
    assert track_series(sample, cat).areas[0] == pytest.approx(0.125)


def test_many_pixels_are_not_counted(segmented, monkeypatch):
    sample = segmented("the cat").first()
    monkeypatch.setattr(module, "MASK_PIXELS", 10)
    series = track_series(sample, explain(sample)[0])
    assert series.area_of == "box"
    assert series.areas[0] == pytest.approx(0.25)


def test_masks_in_files_are_not_opened(make_dataset, video, tmp_path):
    dataset = make_dataset(fo.Sample(video))
    revseg.segment_view(dataset, pipeline(), queries="the cat", masks_dir=tmp_path / "masks")
    sample = dataset.first()
    series = track_series(sample, explain(sample)[0])
    assert (series.area_of, series.visible) == ("box", FRAMES)


def test_a_sudden_jump_is_suspected(segmented):
    dataset = segmented("the cat")
    sample = dataset.first()
    for number in range(7, FRAMES + 1):
        detection = sample.frames[number].revseg.detections[0]
        detection.bounding_box = [0.5, 0.5, 0.1, 0.1]
    sample.save()
    series = track_series(sample, explain(sample)[0])
    assert series.suspected == [7]
    assert series.drift > 0.9


@pytest.mark.parametrize(
    ("stored", "unusable"),
    [
        ({"bounding_box": None}, 1),
        ({"bounding_box": [100, 50, 200, 300]}, 1),
        ({"bounding_box": [float("nan"), 0, 1, 1]}, 1),
        ({"mask": b"not a mask"}, 0),
    ],
)
def test_a_label_that_cannot_be_drawn_does_not_stop_the_series(segmented, stored, unusable):
    dataset = segmented("the cat")
    sample = dataset.first()
    values = {f"revseg.detections.0.{name}": value for name, value in stored.items()}
    dataset._frame_collection.update_one({"frame_number": 4}, {"$set": values})
    (explanation,) = explain(sample, "revseg")
    series = track_series(sample, explanation, "revseg")
    assert (series.unusable, hidden(series)) == (unusable, [4] * unusable)
    assert series.area_of == ("mask" if unusable else "box")
    dataset._frame_collection.delete_many({})


def test_no_object_has_no_track(segmented):
    sample = segmented("the ghost").first()
    assert track_series(sample, explain(sample)[0]) == TrackSeries()


def test_frames_without_labels_are_in_the_series(segmented):
    dataset = segmented("the cat")
    sample = dataset.first()
    sample.frames[3].revseg = None
    sample.frames[5].revseg = fo.Detections()
    sample.save()
    series = track_series(sample, explain(sample)[0])
    assert hidden(series) == [3, 5]


def test_pictures(segmented):
    sample = segmented("the cat", "the ghost").first()
    cat, ghost = explain(sample)
    key = picture_key(sample, cat)
    assert not has_pictures(key)
    found = make_pictures(cat, key)
    assert has_pictures(key)
    assert found.key_frame.shape == (HEIGHT, WIDTH, 3)
    assert len(found.thumbnails) == 4
    # The video gets brighter: frame 4 is the fourth of ten, and the box is drawn on it
    assert abs(int(found.key_frame[2, 2, 0]) - 60) < 12
    x, y = round(0.25 * WIDTH), round(0.75 * HEIGHT)
    assert abs(found.key_frame[y, x].astype(int) - found.key_frame[2, 2]).max() > 60
    other = make_pictures(ghost, picture_key(sample, ghost))
    assert other.key_frame is None
    same = [np.array_equal(*both) for both in zip(other.thumbnails, found.thumbnails, strict=True)]
    assert same == [True, False, True, True]  # where no frame is marked
    masks = masks_at(sample, cat.index, cat.sampled, "revseg")
    drawn = make_pictures(cat, key, masks=masks).thumbnails
    assert all(not np.array_equal(*both) for both in zip(drawn, found.thumbnails, strict=True))


def test_a_box_is_drawn_where_the_explanation_has_none(segmented):
    sample = segmented("the blur").first()
    (blur,) = explain(sample)
    key = picture_key(sample, blur)
    without, drawn = make_pictures(blur, key), make_pictures(blur, key, (0.1, 0.1, 0.5, 0.5))
    assert not np.array_equal(without.key_frame, drawn.key_frame)


def test_pictures_are_decoded_once_and_again_when_the_file_changes(segmented, video, monkeypatch):
    sample = segmented("the cat").first()
    (cat,) = explain(sample)
    opened = []
    open_video = module.open_video
    monkeypatch.setattr(module, "open_video", lambda path: opened.append(path) or open_video(path))
    for _ in range(2):
        make_pictures(cat, picture_key(sample, cat))
    assert len(opened) == 1
    os.utime(video, (1, 1))
    make_pictures(cat, picture_key(sample, cat))
    assert len(opened) == 2


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "_CACHE_BYTES", 250)
    cache = LRUCache(250, module._bytes)
    for name in "abc":
        cache[name] = [np.zeros(100, np.uint8)]
        cache.get("a")
    assert [name in cache for name in "abc"] == [True, False, True]
    cache["d"] = [np.zeros(1000, np.uint8)]  # the last one always stays
    assert [name in cache for name in "acd"] == [False, False, True]
    assert module._cache.getsizeof is module._bytes


def test_a_video_that_is_gone(segmented, video):
    sample = segmented("the cat").first()
    (cat,) = explain(sample)
    shutil.move(video, f"{video}.moved")
    with pytest.raises(VideoError, match=r"a\.mp4 is not there any more.*filepath"):
        picture_key(sample, cat)


@pytest.mark.parametrize(("size", "frames"), [((32, 32), FRAMES), ((WIDTH, HEIGHT), 5)])
def test_another_video_in_its_place(segmented, video, size, frames):
    sample = segmented("the cat").first()
    (cat,) = explain(sample)
    write_video(video, *size, frames)
    key = picture_key(sample, cat)
    for _ in range(2):  # and it is not opened again and again
        with pytest.raises(VideoError, match="not the video that was segmented"):
            make_pictures(cat, key)
        assert has_pictures(key)


def test_a_video_that_was_never_readable(make_dataset, tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no video")
    dataset = make_dataset(fo.Sample(str(path)))
    revseg.segment_view(dataset, pipeline(), queries="the cat")
    sample = dataset.first()
    (broken,) = explain(sample)
    assert (broken.status, broken.key_frame, broken.sampled) == ("unreadable", None, ())
    assert broken.reason
    assert make_pictures(broken, picture_key(sample, broken)).thumbnails == ()


def test_clips_show_their_part(make_dataset, video):
    sample = fo.Sample(video)
    sample["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=s) for s in ([1, 4], [6, 9])]
    )
    dataset = make_dataset(sample)
    clips = dataset.to_clips("events")
    revseg.segment_view(clips, pipeline(), queries="both")
    clip = clips.last()
    _, dog = explain(clip)
    assert (dog.support, dog.sampled) == ((6, 9), (6, 7, 8, 9))
    assert (dog.key_frame, dog.chosen) == (9, 3)
    assert track_series(clip, dog).numbers == (6, 7, 8, 9)
    found = make_pictures(dog, picture_key(clip, dog))
    assert abs(int(found.key_frame[-2, -2, 0]) - 160) < 12  # frame 9 of the file, not of the clip
    # And the sample has the answers of all clips, each with its own record
    whole = explain(dataset.first())
    assert [(e.support, e.key_frame) for e in whole] == [
        ((1, 4), 1),
        ((1, 4), 4),
        ((6, 9), 6),
        ((6, 9), 9),
    ]
    assert whole[3].sampled == (6, 7, 8, 9)
    assert track_series(dataset.first(), whole[0]).numbers == (1, 2, 3, 4)


def test_images_in_groups(make_dataset, tmp_path):
    paths = []
    for k in range(FRAMES):
        paths.append(str(tmp_path / f"{k}.png"))
        Image.new("RGB", (WIDTH, HEIGHT), (20 * k,) * 3).save(paths[-1])
    dataset = make_dataset(*[fo.Sample(p, scene="s", order=k) for k, p in enumerate(paths)])
    groups = dataset.group_by("scene", order_by="order")
    revseg.segment_view(groups, pipeline(), queries="the cat")
    for sample in (dataset.first(), dataset.last()):
        images = group_of(groups, sample)
        assert len(images) == FRAMES
        (cat,) = explain(images)
        assert (cat.key_frame, cat.sampled) == (4, (1, 4, 7, 10))
        series = track_series(images, cat)
        assert (series.numbers, series.visible) == (tuple(range(1, FRAMES + 1)), FRAMES)
        found = make_pictures(cat, picture_key(images, cat))
        assert tuple(found.key_frame[2, 2]) == (60, 60, 60)
    assert group_of(dataset, dataset.first()) is None
    with pytest.raises(VideoError, match="2 images now"):
        picture_key(images[:2], cat)


def test_nothing_to_show_needs_no_file():
    nothing = Explanation("the ghost")
    assert picture_key(fo.Sample("gone.mp4"), nothing) is None
    assert has_pictures(None)


def test_a_chain_that_did_not_look_again(segmented):
    (cat,) = explain(segmented("the cat").first())
    assert cat.looked_again == LookedAgain(sampled=cat.sampled)
    assert not cat.looked_again
    assert (cat.certainty, cat.certainty_raw, cat.agreement) == (None, None, None)


def test_a_second_look_is_explained(make_dataset, video):
    dataset = make_dataset(fo.Sample(video))
    sample = dataset.first()
    write_second_looks(sample, pipeline(), ["both", "the ghost"])
    cat, dog, ghost = explain(sample)
    assert (cat.certainty, cat.agreement) == (dog.certainty, dog.agreement) == (0.625, 0.5)
    found = cat.looked_again
    assert [c.numbers for c in found.candidates] == [{1, 2}, {1, 2}, set(), set()]
    assert (found.shown, found.wrong) == ((2, 5, 9), (5,))
    assert [v.why for v in found.verdicts] == [SAID["why"]] * 2
    assert found.key_frame(3) == 10
    assert (found.key_frame(4), found.key_frame(-1)) == (None, None)
    assert (found.number, dog.looked_again.number, ghost.looked_again.number) == (1, 2, None)
    assert len(found.repairs) == 1
    assert dog.looked_again.repairs == ()
    # All replies of all candidates, as those about an object are others in each
    assert len(cat.turns) == len(dog.turns) == 6
    assert [turn.get("candidate", 0) for turn in cat.turns] == [0, 0, 0, 1, 2, 0]


def test_the_pictures_of_a_verdict_have_the_object_outlined(make_dataset, video):
    sample = make_dataset(fo.Sample(video)).first()
    write_second_looks(sample, pipeline(hidden=[4]), ["both"])
    cat, _ = explain(sample)
    key = picture_key(sample, cat)
    assert key[1] == (1, 2, 4, 5, 7, 9, 10)
    masks = masks_at(sample, cat.index, cat.looked_again.shown, "revseg")
    assert sorted(masks) == [2, 9]  # it is hidden in the fifth
    without = make_pictures(cat, key)
    assert without.judged is None
    judged = make_pictures(cat, key, masks=masks).judged
    colour = np.array([255, 30, 170])
    drawn = (judged == colour).all(axis=-1)
    thirds = np.array_split(drawn, 3, axis=1)
    assert [bool(third.any()) for third in thirds] == [True, False, True]
    # No masks, as where they are in files: no pictures that would look as if nothing was found
    assert make_pictures(cat, key, masks={}).judged is None
    # What a person drew since is not what was judged
    corrected = replace(cat, corrections=({"index": 1},))
    assert make_pictures(corrected, key, masks=masks).judged is None


def test_the_least_certain_answer_comes_first():
    def made(*known):
        return [Explanation(str(k), certainty=c, confidence=s) for k, (c, s) in enumerate(known)]

    order = in_review_order(made((0.9, 0.1), (None, 0.9), (None, 0.8), (0.3, 1.0), (0.51, None)))
    assert [e.query for e in order] == ["3", "2", "1", "4", "0"]
    # Where no certainty is known, answers stay in the order in which they were asked
    order = in_review_order(made((None, 0.9), (None, 0.1)))
    assert [e.query for e in order] == ["0", "1"]
