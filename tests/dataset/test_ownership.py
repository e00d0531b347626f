"""Which labels are ours, sample by sample and frame by frame."""

import fiftyone as fo
import pytest
from fake_models import ANSWERS, BoxTracker, ScriptedReasoner, write_video

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset import list_runs, writer
from fiftyone_revseg.dataset.correct import propagate
from fiftyone_revseg.dataset.ownership import ForeignLabelsError
from fiftyone_revseg.pipeline import RevSeg

FRAMES = 10


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    write_video(path, 64, 48, FRAMES)
    return str(path)


@pytest.fixture
def dataset(make_dataset, path):
    sample = fo.Sample(path)
    sample["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=s) for s in ([1, 4], [6, 9])]
    )
    return make_dataset(sample, fo.Sample(path), fo.Sample(path))


def segment(samples, query="the cat", **options):
    pipeline = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    return revseg.segment_view(samples, pipeline, queries=query, **options)


def label(sample, *numbers, field="revseg", **attributes):
    """Labels frames as a person does, or another tool."""
    for number in numbers:
        found = fo.Detection(label="mine", bounding_box=[0, 0, 0.5, 0.5], **attributes)
        sample.frames[number][field] = fo.Detections(detections=[found])
    sample.save()


def documents(dataset):
    collections = dataset._sample_collection, dataset._frame_collection
    return [list(collection.find().sort("_id", 1)) for collection in collections]


def refused(dataset, samples, message, **options):
    before = documents(dataset)
    runs = len(list_runs(dataset))
    with pytest.raises(ForeignLabelsError, match=message):
        segment(samples, **options)
    assert documents(dataset) == before
    assert len(list_runs(dataset)) == runs


@pytest.mark.parametrize("attributes", [{}, {"index": 1}, {"index": 1, "query": "the cat"}])
def test_of_a_mixed_dataset_only_samples_that_are_written_count(dataset, attributes):
    segment(dataset[:2])
    label(dataset.last(), 2, 3, **attributes)
    refused(dataset, dataset, "'frames.revseg'.*Detections in 2 frames of 1 sample:")
    refused(dataset, dataset, "Detections in 2 frames of 1 sample:", overwrite=True)
    assert segment(dataset[:2], "both", overwrite="changed").done == 2
    assert segment(dataset, "both", overwrite=True, replace_foreign_labels=True).done == 3


def test_a_field_without_results_is_the_persons_in_every_view(dataset):
    label(dataset.last(), 2, field="truth", index=1)
    refused(dataset, dataset[:1], "'frames.truth'.*1 frame of 1 sample", label_field="truth")
    segment(dataset[:1], label_field="truth", replace_foreign_labels=True)
    assert dataset.last().frames[2].truth.detections[0].label == "mine"


def test_labels_on_frames_that_no_result_is_about(dataset):
    segment(dataset)
    label(dataset.last(), FRAMES + 2)
    assert segment(dataset, "both").skipped == 3  # nothing is written
    refused(dataset, dataset, "in 1 frame of 1 sample", query="both", overwrite=True)


def test_clips_count_with_their_own_frames(dataset):
    label(dataset.first(), 2)
    clips = dataset.to_clips("events")
    first, second = (clips.select(i) for i in clips.values("id"))
    refused(dataset, clips, "1 frame of 1 sample")
    label(dataset.last(), 1)  # of no result of ours so far, so the whole field is the person's
    refused(dataset, second, "2 frames of 2 samples")
    segment(dataset[1:2], replace_foreign_labels=True)
    assert segment(second).done == 1
    refused(dataset, first, "1 frame of 1 sample")
    assert dataset.first().frames[2].revseg.detections[0].label == "mine"


@pytest.mark.parametrize(
    ("suffix", "value", "told"),
    [
        ("status", "to do", "StringField"),
        ("reasoning", "because", "StringField"),
        ("answers", fo.Classifications(classifications=[fo.Classification()]), "Classifications"),
        (
            "keyframes",
            fo.TemporalDetections(detections=[fo.TemporalDetection(support=[1, 2])]),
            "TemporalDet",
        ),
        ("trajectory", {"x": [1, 2]}, "DictField"),
        ("trajectory", {"segmentations": [1]}, "DictField"),
    ],
)
def test_fields_with_the_names_of_ours(dataset, suffix, value, told):
    dataset.set_values(f"revseg_{suffix}", [value, None, None])
    refused(dataset, dataset, f"'revseg_{suffix}'.*{told}.* on 1 sample:")
    refused(dataset, dataset[1:], f"'revseg_{suffix}'.*on 1 sample:", overwrite=True)
    assert segment(dataset, replace_foreign_labels=True).done == 3


@pytest.mark.parametrize("field", ["status", "answers", "trajectory"])
def test_fields_of_ours_with_another_type_are_refused_whatever_was_asked(dataset, field):
    dataset.add_sample_field(f"revseg_{field}", fo.IntField)
    dataset.set_values(f"revseg_{field}", [1, None, 3])
    before = documents(dataset)
    for replace in (False, True):
        with pytest.raises(ValueError, match=r"something else already \(IntField in 2 samples\)"):
            segment(dataset, replace_foreign_labels=replace)
    assert documents(dataset) == before


def test_a_copy_of_a_field_of_ours_is_the_persons(dataset):
    segment(dataset)
    dataset.clone_frame_field("revseg", "mine")
    refused(dataset, dataset, "'frames.mine'.*30 frames of 3 samples", label_field="mine")


def test_what_a_first_run_that_was_killed_left_is_ours(dataset, monkeypatch):
    def kill(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writer, "commit", kill)
        with pytest.raises(KeyboardInterrupt):
            segment(dataset)
    assert dataset.count("frames.revseg.detections") == FRAMES
    assert dataset.count("revseg_trajectory") == 0
    assert segment(dataset).done == 3


def test_nobody_corrects_or_reviews_what_is_not_ours(dataset):
    label(dataset.first(), 2, index=1)
    dataset.set_values("revseg_answers", [fo.Classifications(), None, None])
    before = documents(dataset)
    with pytest.raises(ValueError, match="no whole result"):
        propagate(dataset.first(), 1, {2: [0, 0, 0.5, 0.5]}, BoxTracker())
    for review in (revseg.accept, revseg.reject):
        with pytest.raises(ValueError, match="There is no answer in label field 'revseg'"):
            review(dataset)
    assert documents(dataset) == before


def test_a_result_under_the_name_of_a_field_of_samples_is_still_known(dataset):
    segment(dataset, label_field="own")
    dataset.add_sample_field("own", fo.StringField)
    assert segment(dataset, "both", label_field="own", overwrite="changed").done == 3
