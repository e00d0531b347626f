"""Corrections by a person, on a real database."""

import uuid
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
from fake_models import BoxTracker, ScriptedReasoner, write_video
from fiftyone import ViewField as F
from PIL import Image

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset import correction_writer
from fiftyone_revseg.dataset.correct import propagate, reground
from fiftyone_revseg.dataset.objects import find_object, find_place, list_objects
from fiftyone_revseg.dataset.prompt_boxes import changed_prompts
from fiftyone_revseg.measures.metrics import j_and_f
from fiftyone_revseg.pipeline import RevSeg, load_pipeline
from fiftyone_revseg.synthetic import make_dataset as make_synthetic

WIDTH, HEIGHT, FRAMES = 64, 48, 10
CAT, DOG = [25, 50, 75, 100], [0, 0, 50, 50]  # in the 100 x 100 key frame
ANSWERS = {
    "both": [(0, "a grey cat", CAT), (3, "a dog", DOG)],
    "the cat": [(1, "a grey cat", CAT)],
    "the ghost": [],
    "the blur": [(2, "a blur", None)],
}
BOX = [0.5, 0.25, 0.25, 0.5]  # relative
BOX_AREA = WIDTH // 4 * HEIGHT // 2


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    write_video(path, WIDTH, HEIGHT, FRAMES)
    return str(path)


def pipeline(answers=ANSWERS, **tracker):
    return RevSeg(ScriptedReasoner(answers), BoxTracker(**tracker))


@pytest.fixture
def dataset(make_dataset, path):
    """One video with a cat and a dog; the cat is hidden in frames 3 and 4 (0-based)."""
    dataset = make_dataset(fo.Sample(path))
    revseg.segment_view(dataset, pipeline(hidden=(3, 4)), queries="both")
    return dataset


def documents(dataset):
    """The raw documents of all frames and samples, without the dates of changes."""
    found = [*dataset._frame_collection.find(), *dataset._sample_collection.find()]
    return [{k: v for k, v in d.items() if k != "last_modified_at"} for d in found]


def detections(dataset, index=None):
    """frame number -> raw detections of one object, or of all."""
    found = {}
    for frame in dataset._frame_collection.find().sort("frame_number"):
        own = [d for d in frame["revseg"]["detections"] if index is None or d.get("index") == index]
        found[frame["frame_number"]] = own
    return found


def boxes(dataset, index):
    return {
        n: [d["bounding_box"] for d in found] for n, found in detections(dataset, index).items()
    }


def answer(sample, index):
    return next(a for a in sample.revseg_answers.classifications if a["index"] == index)


def test_a_box_replaces_one_objects_masks_and_nothing_else(dataset):
    before, sample = documents(dataset), dataset.first()
    others = detections(dataset, 2)
    own = detections(dataset, 1)
    done = propagate(sample, 1, {5: BOX}, pipeline(hidden=(9,)), by="ann")

    after = detections(dataset, 1)
    assert {n for n, found in after.items() if found} == set(range(1, 10))
    assert all(found == [pytest.approx(BOX)] for found in boxes(dataset, 1).values() if found)
    mask = sample.frames[5].revseg.detections[-1].mask
    assert mask.shape == (HEIGHT // 2, WIDTH // 4)
    assert mask.all()
    assert (done.index, done.prompts, done.frames, done.visible) == (1, {5: BOX}, 10, 9)
    assert "a grey cat" in str(done)
    assert "9 of 10 frames" in str(done)

    # The elements are the same ones where there were any, and all of one object
    for number, found in own.items():
        if found and after[number]:
            assert after[number][0]["_id"] == found[0]["_id"]
    instances = {d["instance"]["_id"] for found in after.values() for d in found}
    assert instances == {own[1][0]["instance"]["_id"]}

    # All else is byte for byte what it was
    assert detections(dataset, 2) == others
    changed = {"revseg_answers", "revseg_keyframes", "revseg_trajectory", "revseg"}
    for old, new in zip(before, documents(dataset), strict=True):
        assert old.keys() == new.keys()
        assert {k for k in old if old[k] != new[k]} <= changed


def test_what_is_noted_about_a_correction(dataset):
    sample = dataset.first()
    propagate(sample, 1, {5: BOX, 8: None}, pipeline(), by="ann")
    cat, dog = answer(sample, 1), answer(sample, 2)
    assert (cat["corrected"], cat["keyframe"], cat["status"]) == (True, 5, "ok")
    assert cat.confidence is None  # the model's was about its own box
    assert dog["corrected"] is False
    assert dog["keyframe"] == 10
    supports = {k["index"]: list(k.support) for k in sample.revseg_keyframes.detections}
    assert supports == {1: [5, 5], 2: [10, 10]}
    (record,) = sample.revseg_trajectory["segmentations"]
    first, second = record["corrections"]
    assert first.pop("when").startswith("20")
    assert first.pop("by") == "ann"
    assert first.pop("former") == second["former"]  # what was before, for undoing
    assert first == {"index": 1, "frame_number": 5, "box": BOX, "kind": "box"}
    assert (second["kind"], second["frame_number"]) == ("key frame", 8)
    assert sample.revseg_status == "ok"
    filtered = dataset.filter_labels("revseg_answers", F("corrected") == True)  # noqa: E712
    assert filtered.count("revseg_answers.classifications") == 1

    propagate(sample, 1, {2: BOX}, pipeline())
    (record,) = sample.revseg_trajectory["segmentations"]
    assert [c["frame_number"] for c in record["corrections"]] == [5, 8, 2]
    assert record["corrections"][-1]["by"]


def test_a_certainty_was_about_the_masks_before(dataset):
    known = {"certainty": 0.9, "certainty_raw": 0.8, "agreement": 0.7}
    sample = dataset.first()
    labels = [d for frame in sample.frames.values() for d in frame.revseg.detections]
    for label in (*labels, *sample.revseg_answers.classifications):
        for name, value in known.items():
            label[name] = value
    sample.save()
    propagate(sample, 1, {5: BOX}, pipeline())
    cat, dog = answer(sample, 1), answer(sample, 2)
    assert [cat[name] for name in known] == [None] * 3
    assert [dog[name] for name in known] == [0.9, 0.8, 0.7]
    for index, value in ((1, None), (2, 0.9)):
        found = [d.get("certainty") for own in detections(dataset, index).values() for d in own]
        assert set(found) == {value}


def test_each_box_governs_its_frames(dataset):
    other = [0, 0, 0.5, 0.5]
    propagate(dataset.first(), 1, {2: BOX, 9: other}, pipeline())
    found = boxes(dataset, 1)
    assert [found[n][0] == pytest.approx(BOX) for n in range(1, 11)] == [True] * 5 + [False] * 5
    assert found[10] == [pytest.approx(other)]


def test_boxes_that_were_moved_or_drawn_are_found(dataset):
    sample = dataset.first()
    stored = find_object(find_place(sample), 1)
    assert changed_prompts(stored) == {}
    with pytest.raises(ValueError, match=r"No box of object 1 .* was moved or drawn"):
        propagate(sample, 1, None, pipeline())

    sample.frames[2].revseg.detections[0].bounding_box = [0.3337, 0.25, 0.5, 0.5]  # moved
    sample.frames[6].revseg.detections[0].bounding_box = [0.5, 0.5, 0.25, 0.25]  # made smaller
    drawn = fo.Detection(label="a grey cat", bounding_box=BOX)
    sample.frames[4].revseg.detections.append(drawn)  # where it was hidden
    noise = fo.Detection(label="something else", bounding_box=BOX)
    sample.frames[8].revseg.detections.append(noise)
    sample.save()
    assert list(changed_prompts(stored)) == [2, 4, 6]
    done = propagate(sample, 1, None, pipeline())
    assert list(done.prompts) == [2, 4, 6]
    found = boxes(dataset, 1)
    assert all(len(own) == 1 for own in found.values())
    assert found[4] == [pytest.approx(BOX)]
    # What was drawn became the object's own; what belongs to none is left alone
    assert [d["index"] for d in detections(dataset)[4]] == [1]
    assert [d.get("index") for d in detections(dataset)[8]] == [1, 2, None]
    assert changed_prompts(stored) == {}


def test_an_object_is_found_by_any_of_its_labels(dataset):
    sample = dataset.first()
    place = find_place(sample)
    assert [(o.index, o.label) for o in list_objects(place)] == [(1, "a grey cat"), (2, "a dog")]
    for label in (
        sample.frames[7].revseg.detections[1],
        sample.revseg_answers.classifications[1],
        sample.revseg_keyframes.detections[1],
    ):
        assert find_object(place, label.id).index == 2


def test_a_lost_object_is_found_again(make_dataset, path):
    dataset = make_dataset(fo.Sample(path))
    revseg.segment_view(dataset, pipeline(), queries="the blur")
    sample = dataset.first()
    assert sample.revseg_status == "bad_box"
    propagate(sample, 1, {3: BOX}, pipeline())
    assert sample.revseg_status == "ok"
    assert (answer(sample, 1)["status"], answer(sample, 1)["reason"]) == ("ok", "")
    assert [len(found) for found in detections(dataset, 1).values()] == [1] * 10
    assert len({d["instance"]["_id"] for [d] in detections(dataset, 1).values()}) == 1


def test_reground_asks_about_the_frame_and_tracks_from_it(dataset):
    model = pipeline({"both": [(0, "a grey cat", [50, 0, 100, 50]), (3, "a dog", DOG)]})
    others, sample = detections(dataset, 2), dataset.first()
    done = reground(sample, 1, 6, model, by="ann")
    assert done.prompts == {6: [0.5, 0, 0.5, 0.5]}
    assert all(found == [pytest.approx([0.5, 0, 0.5, 0.5])] for found in boxes(dataset, 1).values())
    assert detections(dataset, 2) == others
    assert answer(sample, 1)["keyframe"] == 6
    (record,) = sample.revseg_trajectory["segmentations"]
    (entry,) = record["corrections"]
    assert (entry["kind"], entry["frame_number"], entry["model"]) == ("reground", 6, model.name)
    (turn,) = entry["turns"]
    assert '"a grey cat"' in turn["prompt"]
    assert turn["turn"] == 2


def test_reground_without_a_box_changes_nothing(dataset):
    before = documents(dataset)
    model = pipeline({"both": [(0, "a grey cat", None), (3, "a dog", DOG)]})
    with pytest.raises(ValueError, match=r"no box for object 1 \(a grey cat\) in frame 6"):
        reground(dataset.first(), 1, 6, model)
    assert documents(dataset) == before


@pytest.mark.parametrize(
    ("index", "given", "message"),
    [
        (3, {1: BOX}, r"no object with index 3 .* objects: 1 \(a grey cat\), 2 \(a dog\)"),
        ("no label", {1: BOX}, "no object with label no label"),
        (1, {0: BOX}, "no frame 0: give a frame number from 1 to 10"),
        (1, {11: BOX}, "no frame 11"),
        (1, {True: BOX}, "no frame True"),
        (1, {}, "no box to track from"),
        (1, {4: None}, "no box in frame 4"),
        (1, {1: [0, 0, 0, 1]}, "box in frame 1 is none"),
        (1, {1: [2, 2, 1, 1]}, "box in frame 1 is none"),
        (1, {1: [0, 0, float("nan"), 1]}, "box in frame 1 is none"),
        (1, {1: "box"}, "box in frame 1 is none"),
        (1, {1: [0, 0, 1]}, "box in frame 1 is none"),
    ],
)
def test_wrong_corrections_change_nothing(dataset, index, given, message):
    before = documents(dataset)
    with pytest.raises(ValueError, match=message):
        propagate(dataset.first(), index, given, pipeline())
    assert documents(dataset) == before


@pytest.mark.parametrize("tracker", [{"hidden": range(FRAMES)}, {"fails_at": 7}])
def test_a_tracker_that_finds_nothing_or_fails_changes_nothing(dataset, tracker):
    before = documents(dataset)
    with pytest.raises((ValueError, RuntimeError), match=r"found nothing|out of memory"):
        propagate(dataset.first(), 1, {5: BOX}, pipeline(**tracker))
    assert documents(dataset) == before


def test_samples_without_a_result_are_refused(make_dataset, path):
    dataset = make_dataset(fo.Sample(path))
    with pytest.raises(ValueError, match="no label field 'revseg': segment the video first"):
        propagate(dataset.first(), 1, {1: BOX}, pipeline())
    revseg.segment_view(dataset, pipeline(), queries="the ghost")
    with pytest.raises(ValueError, match=r"no object with index 1 .* its objects: none"):
        propagate(dataset.first(), 1, {1: BOX}, pipeline())
    with pytest.raises(ValueError, match="is in no dataset"):
        propagate(fo.Sample(path), 1, {1: BOX}, pipeline())


def test_an_interrupted_correction_goes_on_from_its_boxes(dataset, monkeypatch):
    sample, others = dataset.first(), detections(dataset, 2)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # The frames are written, the sample is not
        patch.setattr(correction_writer.CorrectionWriter, "_done", stop)
        with pytest.raises(KeyboardInterrupt):
            propagate(sample, 1, {5: BOX}, pipeline())
    assert sample.revseg_status == answer(sample, 1)["status"] == "error"
    assert "propagate the object again" in answer(sample, 1)["reason"]
    # A run over the dataset does not take the person's box away
    assert revseg.segment_view(dataset, pipeline(), queries="both").corrected == 1

    assert propagate(sample, 1, None, pipeline()).prompts == {5: BOX}
    assert sample.revseg_status == answer(sample, 1)["status"] == "ok"
    (record,) = sample.revseg_trajectory["segmentations"]
    assert [c.get("pending") for c in record["corrections"]] == [None]
    assert detections(dataset, 2) == others


def test_corrected_samples_are_kept_unless_told_otherwise(make_dataset, path):
    dataset = make_dataset(fo.Sample(path), fo.Sample(path))
    revseg.segment_view(dataset, pipeline(), queries="the cat")
    propagate(dataset.first(), 1, {5: BOX}, pipeline())
    other = pipeline({"the cat": [(2, "a tabby", DOG)]})
    other.spec = other.spec.replace(max_new_tokens=99)

    summary = revseg.segment_view(dataset, other, queries="the cat", overwrite="changed")
    assert (summary.done, summary.skipped, summary.corrected) == (1, 1, 1)
    assert "1 kept because a person corrected, accepted or changed their labels" in str(summary)
    assert "replace_corrections=True redoes" in str(summary)
    labels = [s.revseg_answers.classifications[0].label for s in dataset]
    assert labels == ["a grey cat", "a tabby"]
    frame = dataset.first().frames[1]
    assert frame.revseg.detections[0].bounding_box == pytest.approx(BOX)

    summary = revseg.segment_view(dataset, other, queries="the cat")
    assert (summary.done, summary.skipped, summary.corrected) == (0, 2, 0)
    summary = revseg.segment_view(dataset, other, queries="the cat", overwrite=True)
    assert (summary.done, summary.skipped, summary.corrected) == (1, 1, 1)
    summary = revseg.segment_view(
        dataset, other, queries="the cat", overwrite=True, replace_corrections=True
    )
    assert (summary.done, summary.corrected) == (2, 0)
    assert answer(dataset.first(), 1)["corrected"] is False


def test_a_clips_run_keeps_what_was_corrected_on_the_whole_video(dataset):
    sample = dataset.first()
    propagate(sample, 1, {5: BOX}, pipeline())
    sample["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=[2, 6])]
    )
    sample.save()
    before = detections(dataset)
    summary = revseg.segment_view(dataset.to_clips("events"), pipeline(), queries="the cat")
    assert (summary.done, summary.corrected) == (0, 1)
    assert detections(dataset) == before


def test_clips_are_told_apart_also_where_they_overlap(make_dataset, path):
    sample = fo.Sample(path)
    sample["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=s) for s in ([1, 5], [4, 10])]
    )
    dataset = make_dataset(sample)
    clips = dataset.to_clips("events")
    revseg.segment_view(clips, pipeline(), queries="the cat")
    sample = dataset.first()
    with pytest.raises(ValueError, match=r"support=\[1, 5\] or \[4, 10\]"):
        propagate(sample, 1, {3: BOX}, pipeline())
    before = detections(dataset)
    propagate(sample, 1, {2: BOX}, pipeline(), support=[1, 5])
    after = detections(dataset)
    # Frames 4 and 5 belong to both clips: the first one's detections are added
    assert [len(after[n]) for n in range(1, 11)] == [1, 1, 1, 2, 2, 1, 1, 1, 1, 1]
    for number in range(4, 11):
        assert after[number][0] == before[number][0]
    first, second = sample.revseg_answers.classifications
    assert (first["corrected"], second["corrected"]) == (True, False)
    assert find_object(find_place(sample), str(after[4][1]["_id"])).support == [1, 5]
    assert find_object(find_place(sample), str(after[4][0]["_id"])).support == [4, 10]

    # A clip itself, which has sample-level fields of its own
    clip = clips.last()
    propagate(clip, 1, {6: BOX}, pipeline())
    assert boxes(dataset, 1)[10] == [pytest.approx(BOX)]
    assert [detections(dataset)[n] for n in (1, 2, 3)] == [after[n] for n in (1, 2, 3)]
    assert clips.last().revseg_answers.classifications[0]["corrected"] is True
    assert answer(clips.last(), 1)["keyframe"] == 6


def test_groups_of_images(make_dataset, tmp_path):
    samples = []
    for scene in "ab":
        for k in reversed(range(5)):
            path = tmp_path / f"{scene}{k}.png"
            Image.fromarray(np.full((HEIGHT, WIDTH, 3), 40 * k, np.uint8)).save(path)
            samples.append(fo.Sample(str(path), scene=scene, k=k))
    dataset = make_dataset(*samples)
    view = dataset.group_by("scene", order_by="k")
    revseg.segment_view(view, pipeline(), queries="both")
    group = next(view.iter_dynamic_groups())
    scene = group.first().scene
    others = {s.id: s.revseg.detections[1].to_dict() for s in dataset.match(F("scene") == scene)}
    rest = [d for d in dataset._sample_collection.find() if d["scene"] != scene]

    with pytest.raises(ValueError, match="media type 'image' is no video"):
        propagate(group.first(), 1, {3: BOX}, pipeline())
    with pytest.raises(ValueError, match="one video at a time"):
        propagate(view, 1, {3: BOX}, pipeline())
    propagate(group, 1, {3: BOX}, pipeline())
    for sample in group:
        cat, dog = sample.revseg.detections
        assert cat.bounding_box == pytest.approx(BOX)
        assert dog.to_dict() == others[sample.id]
        assert answer(sample, 1)["keyframe"] == 3
        assert answer(sample, 1)["corrected"]
        indices = [k["index"] for k in sample.revseg_keyframes.classifications]
        assert indices == {2: [1], 4: [2]}.get(sample.k, [])
        assert sample.revseg_status == "ok"
    assert [d for d in dataset._sample_collection.find() if d["scene"] != scene] == rest
    summary = revseg.segment_view(view, pipeline(), queries="the cat", overwrite="changed")
    assert (summary.done, summary.corrected) == (1, 1)


def test_masks_in_files_become_masks_in_the_database(make_dataset, path, tmp_path):
    dataset = make_dataset(fo.Sample(path))
    revseg.segment_view(dataset, pipeline(), queries="both", masks_dir=tmp_path / "masks")
    sample = dataset.first()
    propagate(sample, 1, {5: BOX}, pipeline())
    cat, dog = sample.frames[5].revseg.detections
    assert cat.mask_path is None
    assert cat.mask.sum() == BOX_AREA
    assert dog.mask is None
    assert Path(dog.mask_path).is_file()


def test_progress_counts_every_frame(dataset):
    calls = []
    propagate(dataset.first(), 1, {5: BOX}, pipeline(), progress=lambda *what: calls.append(what))
    assert calls == [("track", n, 11) for n in range(1, 12)]


@pytest.mark.slow
def test_a_corrected_box_raises_j_and_f_with_the_real_tracker(tmp_path):
    """The box of the key frame is spoiled, tracked, moved back, and tracked again."""
    dataset = make_synthetic(tmp_path, count=1, seed=7, name=f"revseg-test-{uuid.uuid4().hex}")
    try:
        sample = dataset.first()
        truth = _masks(sample, "ground_truth")
        k = int(truth.sum(axis=(1, 2)).argmax())
        right = next(iter(sample.frames[k + 1].ground_truth.detections)).bounding_box
        width, height = truth.shape[2], truth.shape[1]
        wrong = [(v * 100 + 45) % 60 for v in right[:2]]
        spoiled = [*wrong, wrong[0] + 12, wrong[1] + 12]
        table = [round(i * (len(truth) - 1) / 3) for i in range(4)]
        frame = int(np.abs(np.array(table) - k).argmin())
        answers = {"q": [(frame, "target", spoiled), (0, "other", [0, 0, 30, 30])]}
        tracker = load_pipeline("revseg-nano").tracker
        revseg.segment_view(dataset, RevSeg(ScriptedReasoner(answers), tracker), queries="q")
        sample.reload()
        before, others = j_and_f(_masks(sample, "revseg", 1), truth), detections(dataset, 2)
        assert any(others.values())

        propagate(sample, 1, {k + 1: right}, tracker)
        after = j_and_f(_masks(sample, "revseg", 1), truth)
        print(f"J&F {before:.3f} -> {after:.3f}, {width} x {height}, {len(truth)} frames")
        assert after > before + 0.3
        assert detections(dataset, 2) == others
    finally:
        dataset.delete()


def _masks(sample, name, index=None):
    """All masks of a field, or of one object of it, (T, H, W)."""
    sample.dataset.compute_metadata()
    sample.reload()
    meta = sample.metadata
    masks = np.zeros((meta.total_frame_count, meta.frame_height, meta.frame_width), bool)
    for number, frame in sample.frames.items():
        for d in frame[name].detections if frame[name] else ():
            if index is None or d.index == index:
                whole = d.to_segmentation(frame_size=(meta.frame_width, meta.frame_height))
                masks[number - 1] |= whole.mask > 0
    return masks
