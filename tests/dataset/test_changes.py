"""What a person did to results is noticed, whatever it was, and nothing else is taken for it."""

import fiftyone as fo
import numpy as np
import pytest
from fake_models import ANSWERS, BoxTracker, ScriptedReasoner, write_video
from PIL import Image

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset import writer
from fiftyone_revseg.dataset.changes import count_corrected
from fiftyone_revseg.dataset.correct import propagate
from fiftyone_revseg.pipeline import RevSeg

WIDTH, HEIGHT, FRAMES = 64, 48, 10


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    write_video(path, WIDTH, HEIGHT, FRAMES)
    return str(path)


def pipeline():
    return RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())


def segment(samples, query="the cat", **options):
    return revseg.segment_view(samples, pipeline(), queries=query, **options)


def apply_model(samples, query="the cat", **options):
    samples.apply_model(revseg.load_model(pipeline(), query=query), label_field="revseg")


@pytest.fixture(params=[segment, apply_model])
def dataset(request, make_dataset, path):
    dataset = make_dataset(fo.Sample(path))
    request.param(dataset)
    return dataset


def relabelled(frame):
    frame.revseg.detections[0].label = "a tabby"


def moved_by_a_pixel(frame):
    x, y, w, h = frame.revseg.detections[0].bounding_box
    frame.revseg.detections[0].bounding_box = [x + 1 / WIDTH, y, w, h]


def painted(frame):
    mask = frame.revseg.detections[0].mask.copy()
    mask[0, 0] = False
    frame.revseg.detections[0].mask = mask


def given_an_attribute(frame):
    frame.revseg.detections[0]["occluded"] = True


def tagged(frame):
    frame.revseg.detections[0].tags.append("look again")


def deleted(frame):
    frame.revseg.detections.pop()


def added(frame):
    box = fo.Detection(label="another cat", bounding_box=[0.1, 0.1, 0.2, 0.2])
    frame.revseg.detections.append(box)


def added_as_ours(frame):
    frame.revseg.detections.append(frame.revseg.detections[0].copy())


EDITS = [
    relabelled,
    moved_by_a_pixel,
    painted,
    given_an_attribute,
    tagged,
    deleted,
    added,
    added_as_ours,
]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_in_one_frame_is_kept_unless_told_otherwise(dataset, edit):
    sample = dataset.first()
    edit(sample.frames[4])
    sample.save()
    before = list(dataset._frame_collection.find())
    for overwrite in ("changed", True):
        summary = segment(dataset, "both", overwrite=overwrite)
        assert (summary.done, summary.skipped, summary.corrected) == (0, 1, 1)
    apply_model(dataset, "both")
    assert list(dataset._frame_collection.find()) == before
    summary = segment(dataset, "both", overwrite=True, replace_corrections=True)
    assert (summary.done, summary.corrected) == (1, 0)
    assert [d.label for d in dataset.first().frames[4].revseg.detections] == ["a grey cat", "a dog"]


class Meanwhile(BoxTracker):
    """A tracker that takes so long that a person does something before it is done."""

    def __init__(self, deed):
        super().__init__()
        self._deed = deed

    def track(self, frames, boxes):
        yield from super().track(frames, boxes)
        self._deed()


def drawn_anew(dataset):
    box = fo.Detection(label="mine", bounding_box=[0.1, 0.1, 0.2, 0.2])
    sample = dataset.last()
    sample.frames[3] = fo.Frame(revseg=fo.Detections(detections=[box]))
    sample.save()


@pytest.mark.parametrize("run", [segment, apply_model])
@pytest.mark.parametrize("deed", ["edit", "accept", "correct", "draw on a video without a result"])
def test_what_a_person_does_during_a_run_is_kept(make_dataset, path, deed, run):
    """A run decides at its beginning what to redo, and may reach a video hours later."""
    dataset = make_dataset(fo.Sample(path), fo.Sample(path))
    segment(dataset[:1])
    number = int(deed.startswith("draw"))  # of the video
    found = {}

    def do():
        if found:
            return
        sample = dataset.last() if number else dataset.first()
        if deed == "edit":
            relabelled(sample.frames[4])
            sample.save()
        elif deed == "accept":
            revseg.accept(dataset[:1], 1)
        elif deed == "correct":
            propagate(sample, 1, {5: [0.5, 0.25, 0.25, 0.5]}, BoxTracker())
        else:
            drawn_anew(dataset)
        found.update(frames_of(sample))

    def frames_of(sample):
        return {f["_id"]: f for f in dataset._frame_collection.find({"_sample_id": sample._id})}

    view = dataset[number : number + 1]
    model = RevSeg(ScriptedReasoner(ANSWERS), Meanwhile(do))
    if run is segment:
        summary = revseg.segment_view(view, model, queries="both", overwrite=True)
        assert (summary.done, summary.kept, summary.total) == (0, 1, 1)
        assert "1 left as they are because a person" in str(summary)
    else:
        view.apply_model(revseg.load_model(model, query="both"), label_field="revseg")
    assert found
    dataset.reload()
    assert frames_of(dataset.last() if number else dataset.first()) == found


def test_an_edited_answer_is_kept(dataset):
    sample = dataset.first()
    sample.revseg_answers.classifications[0].label = "a tabby"
    sample.save()
    assert segment(dataset, "both", overwrite="changed").corrected == 1
    assert segment(dataset, "both", overwrite=True).corrected == 1


def test_what_no_person_did_keeps_nothing(dataset):
    """Saved again, evaluated, in other fields, and rejected, which asks for another result."""
    sample = dataset.first()
    for frame in sample.frames.values():
        frame["weather"] = "rain"
        frame["revseg"] = frame.revseg.copy()
        frame["truth"] = fo.Detections(detections=[frame.revseg.detections[0].copy()])
    sample.revseg_answers = sample.revseg_answers.copy()
    sample["seen"] = True
    sample.save()
    dataset.evaluate_detections("frames.revseg", gt_field="frames.truth", eval_key="ev")
    revseg.reject(dataset, 1)
    assert segment(dataset, "both", overwrite=True).done == 1


def test_accepted_and_corrected_are_counted(make_dataset, path):
    dataset = make_dataset(*[fo.Sample(path) for _ in range(4)])
    assert count_corrected(dataset, "revseg") == 0
    segment(dataset, "both")
    first, second, third, _ = dataset
    revseg.accept(first, 2)
    propagate(second, 1, {5: [0.5, 0.25, 0.25, 0.5]}, BoxTracker())
    revseg.reject(third, 1)
    assert count_corrected(dataset, "revseg") == 2
    summary = segment(dataset, "the cat", overwrite=True)
    assert (summary.done, summary.corrected) == (2, 2)
    assert "2 kept because a person corrected, accepted or changed their labels" in str(summary)


def untouched(frame):
    pass


def moved_by_half_a_pixel(frame):
    x, y, w, h = frame.revseg.detections[0].bounding_box
    frame.revseg.detections[0].bounding_box = [x + 0.5 / WIDTH, y, w, h]


@pytest.mark.parametrize("edit", [relabelled, moved_by_half_a_pixel, tagged, added, untouched])
def test_of_older_results_what_does_not_look_like_ours_is_noticed(dataset, edit):
    trajectory = dataset.first().revseg_trajectory
    for record in trajectory["segmentations"]:
        del record["written"]
    dataset.set_values("revseg_trajectory", [trajectory])
    dataset.reload()
    sample = dataset.first()
    edit(sample.frames[4])
    sample.save()
    assert segment(dataset, "both", overwrite=True).corrected == (edit is not untouched)


def test_clips_that_overlap_keep_nothing_from_being_redone(make_dataset, path):
    sample = fo.Sample(path)
    sample["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=s) for s in ([1, 5], [4, 10])]
    )
    dataset = make_dataset(sample)
    segment(dataset)
    for query in ("both", "the cat"):
        assert segment(dataset.to_clips("events"), query, overwrite=True).done == 2
    sample = dataset.first()
    added(sample.frames[9])
    sample.save()
    summary = segment(dataset.to_clips("events"), "both", overwrite=True)
    assert (summary.done, summary.corrected) == (0, 2)  # the other one shares two frames with it


@pytest.mark.parametrize("at", ["withdraw", "write frames", "commit"])
def test_a_run_that_was_killed_leaves_nothing_that_looks_like_a_persons(
    make_dataset, path, monkeypatch, at
):
    sample = fo.Sample(path)
    sample["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=[2, 6])]
    )
    dataset = make_dataset(sample)

    def kill(*args, **kwargs):
        raise KeyboardInterrupt

    target = {
        "withdraw": (writer, "withdraw"),
        "write frames": (writer.LabelWriter, "_write_frames"),
        "commit": (writer, "commit"),
    }[at]
    for samples in (dataset, dataset.to_clips("events")):
        for query in ("the cat", "both"):
            with monkeypatch.context() as patch:
                patch.setattr(*target, kill)
                with pytest.raises(KeyboardInterrupt):
                    segment(samples, query, overwrite=True)
            summary = segment(samples, query, overwrite=True)
            assert (summary.done, summary.corrected) == (1, 0)


def test_groups_of_images(make_dataset, tmp_path):
    samples = []
    for scene in "abcd":
        for k in range(4):
            path = tmp_path / f"{scene}{k}.png"
            Image.fromarray(np.full((HEIGHT, WIDTH, 3), 40 * k, np.uint8)).save(path)
            samples.append(fo.Sample(str(path), scene=scene, k=k))
    dataset = make_dataset(*samples)
    groups = dataset.group_by("scene", order_by="k")
    segment(groups)
    a, b = dataset[2:3].first(), dataset[5:6].first()
    a.revseg.detections.append(fo.Detection(label="drawn", bounding_box=[0.1, 0.1, 0.2, 0.2]))
    b.revseg_answers.classifications[0].label = "a tabby"
    c = dataset[8:9].first()  # the order is another one, so the record is not on the first image
    c["k"] = 9
    c.revseg.detections[0].label = "a tabby"
    for sample in (a, b, c):
        sample.save()
    summary = segment(groups, "both", overwrite=True)
    assert (summary.done, summary.corrected) == (1, 3)
