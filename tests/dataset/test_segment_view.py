"""``segment_view`` on a real database, with models whose answers are known."""

import logging
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
from contents import contents
from fake_models import ANSWERS, SPEC, BoxTracker, ScriptedReasoner, write_video
from fiftyone import ViewField as F
from PIL import Image

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset import count_statuses, list_runs
from fiftyone_revseg.pipeline import RevSeg

WIDTH, HEIGHT, FRAMES = 64, 48, 10


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    paths = [folder / f"{name}.mp4" for name in "abc"]
    for path in paths:
        write_video(path, WIDTH, HEIGHT, FRAMES)
    return [str(path) for path in paths]


def pipeline(spec=None, **tracker):
    return RevSeg(ScriptedReasoner(ANSWERS), BoxTracker(**tracker), spec)


def samples(videos):
    """A dataset as people have it: own fields, sparse frames, old metadata, several queries."""
    first = fo.Sample(videos[0], query=["the cat", "both"], weather="rain")
    first.frames[2] = fo.Frame(truth=fo.Detections(detections=[fo.Detection(label="x")]))
    first.frames[7] = fo.Frame(tag="seven")
    second = fo.Sample(videos[1], query=["the ghost"])
    third = fo.Sample(videos[2], query=["the blur", "the cat"])
    third["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=s) for s in ([1, 4], [6, 9])]
    )
    return [first, second, third]


def test_writes_what_apply_model_writes(make_dataset, videos):
    applied, segmented = (make_dataset(*samples(videos)) for _ in range(2))
    applied.apply_model(
        revseg.load_model(pipeline(hidden=(3,))), label_field="revseg", prompt_field="query"
    )
    summary = revseg.segment_view(segmented, pipeline(hidden=(3,)), prompt_field="query")
    assert contents(segmented) == contents(applied)
    assert contents(segmented)[0]["frames"][1]["revseg"]["detections"]  # so it is about something
    assert set(segmented.get_field_schema(flat=True)) == set(applied.get_field_schema(flat=True))
    assert set(segmented.get_frame_field_schema(flat=True)) == set(
        applied.get_frame_field_schema(flat=True)
    )
    assert summary.counts == {"ok": 1, "no_target": 1, "bad_box": 1}


@pytest.mark.slow
def test_a_rerun_over_old_masks_equals_apply_models(make_dataset, videos):
    applied, segmented = (make_dataset(*samples(videos)) for _ in range(2))
    for i, hidden in enumerate([(), (0, 1, 2, 5, 9)]):
        model = revseg.load_model(pipeline(hidden=hidden), query=["both", "the cat"][i])
        applied.apply_model(model, label_field="revseg")
        revseg.segment_view(segmented, model, overwrite=True)
    assert contents(segmented) == contents(applied)
    assert not segmented.first().frames[1].revseg.detections
    assert len(segmented.first().frames[4].revseg.detections) == 1


def test_only_the_samples_of_a_view_are_touched(make_dataset, videos):
    dataset = make_dataset(*samples(videos))
    view = dataset.select(dataset.values("id")[1:2])
    summary = revseg.segment_view(view, pipeline(), queries="the cat")
    assert (summary.total, summary.counts) == (1, {"ok": 1})
    assert dataset.values("revseg_status") == [None, "ok", None]
    assert len(dataset.first().frames) == 2


@pytest.mark.parametrize(
    "hide",
    [
        lambda dataset: dataset.match_frames(F("half") == 1),
        lambda dataset: dataset.select_fields("frames.half"),
        lambda dataset: dataset.exclude_fields("frames.half"),
        lambda dataset: dataset.match_frames(F("half") == 1).select_fields("frames.half"),
    ],
)
@pytest.mark.parametrize("door", ["apply_model", "segment_view"])
def test_a_view_that_hides_frames_or_fields_says_which_samples(
    make_dataset, videos, hide, door, caplog
):
    """As FiftyOne's own models do, the whole video is segmented and written, again and again."""
    made = []
    for view_of in (lambda dataset: dataset, hide):
        dataset = make_dataset(fo.Sample(videos[0]))
        sample = dataset.first()
        for number in range(1, 11):
            sample.frames[number]["half"] = number // 6
        sample.save()
        for hidden in ((3,), ()):  # a rerun leaves nothing of the first, on no frame
            model = revseg.load_model(pipeline(hidden=hidden), query="both")
            if door == "apply_model":
                view_of(dataset).apply_model(model, label_field="revseg", skip_failures=False)
            else:
                revseg.segment_view(view_of(dataset), model, overwrite=True)
        dataset.reload()
        made.append(contents(dataset))
    assert made[0] == made[1]
    assert [len(f["revseg"]["detections"]) for f in made[1][0]["frames"].values()] == [2] * 10
    assert not [r for r in caplog.records if r.name.startswith("fiftyone_revseg")]


@pytest.mark.slow
def test_clips_equal_apply_models_and_end_up_on_the_whole_video(make_dataset, videos):
    applied, segmented = (make_dataset(*samples(videos)) for _ in range(2))
    for queries in ("the cat", "both"):
        model = revseg.load_model(pipeline(), query=queries)
        clips = applied.to_clips("events")
        clips.apply_model(model, label_field="revseg", skip_failures=False)
        others = segmented.to_clips("events")
        revseg.segment_view(others, model, overwrite=True)
    assert contents(others, by="support") == contents(clips, by="support")
    assert contents(segmented) == contents(applied)
    sample = segmented.last()
    numbers = [k for k, f in sample.frames.items() if f.revseg is not None]
    assert sorted(numbers) == [1, 2, 3, 4, 6, 7, 8, 9]
    answers = sample.revseg_answers.classifications
    assert [list(a.support) for a in answers] == [[1, 4], [1, 4], [6, 9], [6, 9]]
    assert [list(k.support) for k in sample.revseg_keyframes.detections] == [
        [a.keyframe] * 2 for a in sorted(answers, key=lambda a: a.keyframe)
    ]
    assert "frames 1-4, both: thinking" in sample.revseg_reasoning
    assert sample.revseg_status == "ok"


def test_one_clip_replaces_only_its_own_part(make_dataset, videos):
    dataset = make_dataset(*samples(videos))
    clips = dataset.to_clips("events")
    revseg.segment_view(clips, pipeline(), queries="the cat")
    first = clips.select(clips.values("id")[:1])
    revseg.segment_view(first, pipeline(), queries="the ghost", overwrite=True)
    sample = dataset.last()
    assert [a.query for a in sample.revseg_answers.classifications] == ["the ghost", "the cat"]
    assert len(sample.revseg_keyframes.detections) == 1
    labelled = [k for k, f in sample.frames.items() if f.revseg and f.revseg.detections]
    assert sorted(labelled) == [6, 7, 8, 9]
    assert sample.revseg_status == "no_target"


def test_a_clip_of_all_frames_replaces_the_whole_videos_result(make_dataset, videos):
    dataset = make_dataset(*samples(videos))
    revseg.segment_view(dataset, pipeline(), queries="both")
    sample = dataset.last()
    sample["events"].detections[0].support = [1, FRAMES]
    sample.save()
    clips = dataset.to_clips("events")
    revseg.segment_view(clips.select(clips.values("id")[:1]), pipeline(), queries="the cat")
    sample.reload()
    assert [a.query for a in sample.revseg_answers.classifications] == ["the cat"]
    assert len(sample.revseg_trajectory["segmentations"]) == 1


def test_replaces_the_labels_of_an_older_version(make_dataset, videos):
    dataset = make_dataset(*samples(videos))
    revseg.segment_view(dataset, pipeline(), queries="both")
    before = contents(dataset)
    for sample in dataset:
        for record in sample.revseg_trajectory["segmentations"]:
            for name in ("support", "fingerprint", "settings", "written"):
                record.pop(name, None)
        for answer in sample.revseg_answers.classifications:
            del answer["support"]
        sample.save()
    assert revseg.segment_view(dataset, pipeline(), queries="both").done == 3
    assert contents(dataset) == before


def test_clips_read_queries_from_their_samples(make_dataset, videos):
    dataset = make_dataset(*samples(videos))
    clips = dataset.to_clips("events")
    assert not clips.has_field("query")
    summary = revseg.segment_view(clips, pipeline(), prompt_field="query")
    assert summary.counts == {"bad_box": 2}


def test_a_second_run_does_nothing(make_dataset, videos):
    dataset = make_dataset(*samples(videos))
    model = pipeline()
    revseg.segment_view(dataset, model, prompt_field="query")
    before, asked = contents(dataset), len(model.reasoner.batches)
    summary = revseg.segment_view(dataset, model, prompt_field="query")
    assert (summary.skipped, summary.done, summary.changed) == (3, 0, {})
    assert len(model.reasoner.batches) == asked
    assert contents(dataset) == before
    assert len(list_runs(dataset)) == 1
    clips = dataset.to_clips("events")
    assert revseg.segment_view(clips, model, queries="the cat").done == 2
    assert revseg.segment_view(clips, model, queries="the cat").skipped == 2


def test_goes_on_after_apply_model(make_dataset, videos):
    dataset = make_dataset(*samples(videos))
    model = revseg.load_model(pipeline(), prompt_field="query")
    dataset[:2].apply_model(model, label_field="revseg")
    summary = revseg.segment_view(dataset, model)
    assert (summary.skipped, summary.done) == (2, 1)


def test_a_sample_whose_frames_were_not_all_saved_is_done_again(make_dataset, videos):
    dataset = make_dataset(*samples(videos))
    revseg.segment_view(dataset, pipeline(), prompt_field="query")
    sample = dataset.last()
    before = contents(dataset)
    del sample.frames[5]
    sample.save()
    summary = revseg.segment_view(dataset, pipeline(), prompt_field="query")
    assert (summary.skipped, summary.done) == (2, 1)
    assert contents(dataset) == before


def test_other_settings_are_noticed_and_kept_until_told(make_dataset, videos):
    dataset = make_dataset(*samples(videos))
    revseg.segment_view(dataset, pipeline(), queries="the cat")
    dataset.reload()
    other = pipeline(spec=SPEC.replace(frames=3))
    summary = revseg.segment_view(dataset, other, queries="the cat")
    assert (summary.skipped, summary.changed) == (3, {"spec.frames: 4 -> 3": 3})
    assert "spec.frames: 4 -> 3 (3)" in str(summary)
    assert 'overwrite="changed"' in str(summary)
    again = revseg.segment_view(dataset, other, queries="the cat", overwrite="changed")
    assert (again.skipped, again.done) == (0, 3)
    once_more = revseg.segment_view(dataset, other, queries="the cat", overwrite="changed")
    assert (once_more.skipped, once_more.done) == (3, 0)


def test_another_query_is_noticed(make_dataset, videos):
    dataset = make_dataset(*samples(videos))
    revseg.segment_view(dataset, pipeline(), prompt_field="query")
    sample = dataset.first()
    sample["query"] = ["the cat"]
    sample.save()
    summary = revseg.segment_view(dataset, pipeline(), prompt_field="query")
    assert (summary.skipped, summary.changed) == (3, {"the query": 1})
    again = revseg.segment_view(dataset, pipeline(), prompt_field="query", overwrite="changed")
    assert (again.skipped, again.done) == (2, 1)
    assert [a.query for a in dataset.first().revseg_answers.classifications] == ["the cat"]


def test_failures_are_tried_again_and_grouped_by_reason(make_dataset, videos, tmp_path):
    paths = [str(tmp_path / f"{name}.mp4") for name in "xy"]
    dataset = make_dataset(*[fo.Sample(path) for path in [*paths, videos[0]]])
    summary = revseg.segment_view(dataset, pipeline(), queries="the cat")
    assert summary.counts == {"unreadable": 2, "ok": 1}
    assert summary.failed == 2
    assert all(reason.startswith("unreadable: ") for reason in summary.failures)
    assert {i for ids in summary.failures.values() for i in ids} == set(dataset.values("id")[:2])
    assert dataset.values("revseg_status") == ["unreadable", "unreadable", "ok"]
    assert "x.mp4" in dataset.first().revseg_answers.classifications[0].reason
    write_video(Path(paths[0]), WIDTH, HEIGHT, FRAMES)
    summary = revseg.segment_view(dataset, pipeline(), queries="the cat")
    assert (summary.skipped, summary.counts) == (1, {"unreadable": 1, "ok": 1})


def test_what_cannot_be_written_is_recorded_and_the_rest_goes_on(make_dataset, videos, monkeypatch):
    from fiftyone_revseg.dataset.writer import LabelWriter

    dataset = make_dataset(*samples(videos))
    write, failed = LabelWriter.write, []

    def fails_once(self, job, labels):
        if not failed:
            failed.append(job)
            raise ValueError("document too large")
        write(self, job, labels)

    monkeypatch.setattr(LabelWriter, "write", fails_once)
    summary = revseg.segment_view(dataset, pipeline(), queries="the cat")
    assert summary.counts == {"error": 1, "ok": 2}
    assert "document too large" in dataset.first().revseg_answers.classifications[0].reason


def test_interrupting_keeps_what_is_done_and_the_next_run_goes_on(make_dataset, videos, caplog):
    dataset, uninterrupted = (make_dataset(*samples(videos)) for _ in range(2))

    def stop_in_the_second(progress):
        if progress.done == 1 and progress.stage == "track" and progress.stage_done:
            raise KeyboardInterrupt

    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        revseg.segment_view(dataset, pipeline(), queries="both", progress=stop_in_the_second)
    assert dataset.values("revseg_status") == ["ok", None, None]
    assert "2 are left" in caplog.text
    (run,) = list_runs(dataset)
    assert (run["state"], run["counts"]) == ("interrupted", {"ok": 1})
    summary = revseg.segment_view(dataset, pipeline(), queries="both")
    assert (summary.skipped, summary.done) == (1, 2)
    revseg.segment_view(uninterrupted, pipeline(), queries="both")
    assert contents(dataset) == contents(uninterrupted)


def test_progress(make_dataset, videos):
    dataset = make_dataset(*samples(videos))
    seen = []
    revseg.segment_view(dataset, pipeline(), queries="the cat", progress=seen.append)
    assert {p.total for p in seen} == {3}
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert {"decode", "reason", "track", "write"} <= {p.stage for p in seen}
    assert seen[0].remaining is None
    assert (seen[-1].done, seen[-1].remaining, seen[-1].video) == (3, 0, "")
    assert seen[0].video == "a.mp4"


def test_the_dataset_remembers_the_run(make_dataset, videos):
    dataset = make_dataset(*samples(videos))
    summary = revseg.segment_view(dataset, pipeline(), prompt_field="query")
    (run,) = list_runs(dataset)
    assert run["run_key"] == summary.run_key
    assert run["state"] == "done"
    assert run["counts"] == {"ok": 1, "no_target": 1, "bad_box": 1}
    assert run["settings"]["spec"]["frames"] == 4
    assert run["versions"]["fiftyone"] == fo.__version__
    assert run["model"] == "scripted + box"
    assert run["timings"]["track"] > 0
    assert [n for _, n in run["failures"]] == [1]
    assert count_statuses(dataset) == {"ok": 1, "no_target": 1, "bad_box": 1}
    assert count_statuses(dataset, "other") == {"": 3}


def groups_of_images(folder):
    """Two scenes of five images each, added in the wrong order."""
    images = []
    for scene in "ab":
        for k in (3, 1, 0, 4, 2):
            path = folder / f"{scene}-{k}.png"
            Image.fromarray(np.full((HEIGHT, WIDTH, 3), 30 * k, np.uint8)).save(path)
            query = "the cat" if scene == "a" else "the ghost"
            images.append(fo.Sample(str(path), scene=scene, number=k, query=query))
    return images


def test_ordered_groups_of_images(make_dataset, tmp_path):
    dataset = make_dataset(*groups_of_images(tmp_path))
    view = dataset.group_by("scene", order_by="number")
    summary = revseg.segment_view(view, pipeline(hidden=(2,)), prompt_field="query")
    assert summary.counts == {"ok": 1, "no_target": 1}
    a = {s.number: s for s in dataset if s.scene == "a"}
    b = {s.number: s for s in dataset if s.scene == "b"}
    assert [len(a[k].revseg.detections) for k in range(5)] == [1, 1, 0, 1, 1]
    assert [len(b[k].revseg.detections) for k in range(5)] == [0] * 5
    assert a[0].revseg.detections[0].mask.shape == (24, 32)
    assert len({a[k].revseg.detections[0].instance.id for k in (0, 1, 3, 4)}) == 1
    # Sampled are images 0, 1, 3, 4, of which the second is the key frame
    assert [len(a[k].revseg_keyframes.classifications) for k in range(5)] == [0, 1, 0, 0, 0]
    assert {s.revseg_status for s in a.values()} == {"ok"}
    assert {s.revseg_status for s in b.values()} == {"no_target"}
    assert a[3].revseg_answers.classifications[0].keyframe == 2
    assert [s.revseg_trajectory is not None for s in a.values()].count(True) == 1
    assert revseg.segment_view(view, pipeline(hidden=(2,)), prompt_field="query").skipped == 2
    ids = [label.id for s in a.values() for label in s.revseg_answers.classifications]
    assert len(set(ids)) == len(ids)


def test_a_torn_group_of_images_is_done_again(make_dataset, tmp_path):
    dataset = make_dataset(*groups_of_images(tmp_path))
    view = dataset.group_by("scene", order_by="number")
    revseg.segment_view(view, pipeline(), queries="the cat")
    before = contents(dataset)
    sample = dataset.last()
    sample["revseg"] = None
    sample.save()
    summary = revseg.segment_view(view, pipeline(), queries="the cat")
    assert (summary.skipped, summary.done) == (1, 1)
    assert contents(dataset) == before


def test_groups_without_order_are_refused(make_dataset, tmp_path):
    dataset = make_dataset(*groups_of_images(tmp_path))
    with pytest.raises(ValueError, match="order_by"):
        revseg.segment_view(dataset.group_by("scene"), pipeline(), queries="the cat")


def test_group_slices(make_dataset, videos, tmp_path):
    image = str(tmp_path / "thumb.png")
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(image)
    dataset = make_dataset()
    dataset.add_group_field("group", default="left")
    group = fo.Group()
    paths = {"left": videos[0], "right": videos[1], "thumb": image}
    dataset.add_samples([fo.Sample(p, group=group.element(n)) for n, p in paths.items()])
    with pytest.raises(ValueError, match="group_slice='left'"):
        revseg.segment_view(dataset, pipeline(), queries="the cat")
    with pytest.raises(ValueError, match="no videos in the slice 'thumb'"):
        revseg.segment_view(dataset, pipeline(), queries="the cat", group_slice="thumb")
    revseg.segment_view(dataset, pipeline(), queries="the cat", group_slice="right")
    right = dataset.select_group_slices("right").first()
    assert right.revseg_status == "ok"
    assert len(right.frames[3].revseg.detections) == 1
    assert dataset.select_group_slices("left").first().revseg_status is None


def test_masks_as_files(make_dataset, videos, tmp_path):
    in_database, in_files = (make_dataset(*samples(videos)) for _ in range(2))
    revseg.segment_view(in_database, pipeline(hidden=(3,)), queries="both")
    revseg.segment_view(in_files, pipeline(hidden=(3,)), queries="both", masks_dir=tmp_path)
    (run,) = list_runs(in_files)
    first = in_files.first()
    folder = tmp_path / in_files.name / run["run_key"] / f"a-{first.id}"
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        f"{k:06d}_{i}.png" for k in range(1, 11) if k != 4 for i in (1, 2)
    )
    for sample, other in zip(in_database, in_files, strict=True):
        for number, frame in sample.frames.items():
            pairs = zip(
                frame.revseg.detections, other.frames[number].revseg.detections, strict=True
            )
            for detection, filed in pairs:
                assert filed.mask is None
                size = (WIDTH, HEIGHT)
                masks = [d.to_segmentation(frame_size=size).mask > 0 for d in (detection, filed)]
                assert np.array_equal(*masks)
    # A rerun leaves no file that no label points at
    revseg.segment_view(in_files, pipeline(), queries="the cat", masks_dir=tmp_path, overwrite=True)
    assert not folder.exists()
    paths = in_files.values("frames.revseg.detections.mask_path", unwind=True)
    assert sorted(paths) == sorted(map(str, tmp_path.rglob("*.png")))
    assert len({path for path in paths if f"a-{first.id}" in path}) == 10


def test_masks_of_videos_with_one_name_do_not_mix(make_dataset, videos, tmp_path):
    other = tmp_path / "elsewhere" / Path(videos[0]).name
    other.parent.mkdir()
    write_video(other, WIDTH, HEIGHT, FRAMES)
    dataset = make_dataset(fo.Sample(videos[0]), fo.Sample(str(other)))
    revseg.segment_view(dataset, pipeline(), queries="the cat", masks_dir=tmp_path / "masks")
    folders = sorted(p.name for p in (tmp_path / "masks").glob("*/*/*"))
    assert folders == sorted(f"a-{sample_id}" for sample_id in dataset.values("id"))


def test_confidence_and_classes(make_dataset, videos):
    applied, segmented = (make_dataset(*samples(videos)) for _ in range(2))
    options = {"confidence_thresh": 0.4, "classes": ["a dog"]}  # the tracker says 0.5
    model = revseg.load_model(pipeline(), query="both")
    applied.apply_model(model, label_field="revseg", **options)
    revseg.segment_view(segmented, model, **options)
    assert contents(segmented) == contents(applied)
    assert segmented.distinct("frames.revseg.detections.label") == ["a dog"]
    revseg.segment_view(segmented, model, confidence_thresh=0.6, overwrite=True)
    assert segmented.count("frames.revseg.detections") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to segment"),
        ({"queries": ""}, "say what to look for"),
        ({"queries": " \t"}, "say what to look for"),
        ({"queries": []}, "say what to look for"),
        ({"queries": ["the cat", ""]}, "say what to look for"),
        ({"prompt_field": "nothing"}, "Fields with text are: .*weather"),
        ({"prompt_field": "events"}, "holds no queries"),
        ({"prompt_field": "frames.tag"}, "name a field of samples"),
        ({"queries": "the cat", "label_field": "my field"}, "label_field must be"),
        ({"queries": "the cat", "overwrite": "all"}, "overwrite must be"),
        ({"queries": "the cat", "label_field": "weather"}, "another label_field|choose another"),
    ],
)
def test_wrong_arguments_are_refused_in_words_before_anything_is_written(
    make_dataset, videos, options, message
):
    dataset = make_dataset(*samples(videos))
    if options.get("label_field") == "weather":
        dataset.add_sample_field("weather_status", fo.IntField)
    before = contents(dataset)
    with pytest.raises(ValueError, match=message):
        revseg.segment_view(dataset, pipeline(), **options)
    assert contents(dataset) == before or options.get("label_field") == "weather"
    assert list_runs(dataset) == []


def test_images_are_refused(make_dataset, tmp_path):
    dataset = make_dataset(*groups_of_images(tmp_path))
    with pytest.raises(ValueError, match="group_by"):
        revseg.segment_view(dataset, pipeline(), queries="the cat")


def test_frames_prefix_is_stripped(make_dataset, videos):
    dataset = make_dataset(*samples(videos))
    revseg.segment_view(dataset, pipeline(), queries="the cat", label_field="frames.mine")
    assert dataset.values("mine_status") == ["ok"] * 3


def test_empty_collections(make_dataset, videos):
    summary = revseg.segment_view(make_dataset(), pipeline(), queries="the cat")
    assert (summary.total, summary.done) == (0, 0)
    dataset = make_dataset(*samples(videos))
    assert revseg.segment_view(dataset.limit(0), pipeline(), queries="the cat").total == 0
