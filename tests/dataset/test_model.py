"""``apply_model`` on a real database and real video files, with models whose answers are known."""

import gc
import uuid
from pathlib import Path

import fiftyone as fo
import fiftyone.core.models as fom
import numpy as np
import pytest
from fake_models import ANSWERS, BoxTracker, ScriptedReasoner, write_video
from fiftyone import ViewField as F

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset import RevSegModel, RevSegModelConfig, field_names
from fiftyone_revseg.pipeline import RevSeg

WIDTH, HEIGHT, FRAMES = 64, 48, 10


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "video.mp4"
    write_video(path, WIDTH, HEIGHT, FRAMES)
    return str(path)


@pytest.fixture
def dataset():
    dataset = fo.Dataset(f"revseg-test-{uuid.uuid4().hex}")
    yield dataset
    dataset.delete()


def pipeline(**tracker):
    return RevSeg(ScriptedReasoner(ANSWERS), BoxTracker(**tracker))


def boxes_by_frame(sample, field="revseg"):
    return {k: [d.label for d in frame[field].detections] for k, frame in sample.frames.items()}


def all_fields(dataset):
    frames = {f"frames.{name}" for name in dataset.get_frame_field_schema()}
    return {*dataset.get_field_schema(), *frames}


def test_one_query_for_all_samples(dataset, video):
    dataset.add_sample(fo.Sample(video))  # no metadata
    model = revseg.load_model(pipeline(hidden=(0, 1)), query="the cat")
    dataset.apply_model(model, label_field="revseg")
    dataset.reload()
    sample = dataset.first()
    labels = boxes_by_frame(sample)
    assert labels == {1: [], 2: [], **{k: ["a grey cat"] for k in range(3, 11)}}
    detections = [sample.frames[k].revseg.detections[0] for k in range(3, 11)]
    for detection in detections:
        assert detection.bounding_box == pytest.approx([0.25, 0.5, 0.5, 0.5])
        assert detection.mask.shape == (24, 32)
        assert detection.mask.all()
        assert detection.query == "the cat"
        assert detection.confidence == pytest.approx(0.5)
        assert detection.index == 1
    assert len({detection.instance.id for detection in detections}) == 1

    (answer,) = sample.revseg_answers.classifications
    assert (answer.label, answer.query, answer.keyframe) == ("a grey cat", "the cat", 4)
    assert (answer.status, answer.reason, answer.reasoning) == ("ok", "", "thinking")
    assert answer.model == "scripted + box"
    (keyframe,) = sample.revseg_keyframes.detections
    assert list(keyframe.support) == [4, 4]
    assert (sample.revseg_reasoning, sample.revseg_status) == ("thinking", "ok")
    (record,) = sample.revseg_trajectory["segmentations"]
    assert record["trajectory"]["query"] == "the cat"


def test_exactly_the_fields_of_the_schema_are_added(dataset, video):
    dataset.add_sample(fo.Sample(video))
    model = revseg.load_model(pipeline(), query="the cat")
    before = {
        *dataset.get_field_schema(),
        *map("frames.{}".format, dataset.get_frame_field_schema()),
    }
    dataset.apply_model(model, label_field="revseg")
    after = {
        *dataset.get_field_schema(),
        *map("frames.{}".format, dataset.get_frame_field_schema()),
    }
    assert after - before == set(field_names())
    # Attributes can be filtered on, which FiftyOne allows for declared ones only
    assert dataset.distinct("revseg_answers.classifications.status") == ["ok"]
    assert dataset.distinct("frames.revseg.detections.query") == ["the cat"]
    assert not dataset.get_dynamic_field_schema("revseg_answers")
    assert not dataset.get_dynamic_frame_field_schema("revseg")
    view = dataset.filter_labels("frames.revseg", F("query") == "the cat")
    assert view.count("frames.revseg.detections") == FRAMES


def test_each_samples_own_query_or_queries(dataset, video):
    dataset.add_samples([fo.Sample(video, queries=["the cat", "both"]), fo.Sample(video)])
    dataset.add_sample(fo.Sample(video, queries=["the ghost"]))
    model = revseg.load_model(pipeline())
    dataset.apply_model(model, label_field="revseg", prompt_field="queries")
    two, none, ghost = dataset
    assert boxes_by_frame(two)[5] == ["a grey cat", "a grey cat", "a dog"]
    assert [d.index for d in two.frames[5].revseg.detections] == [1, 2, 3]
    assert [a.query for a in two.revseg_answers.classifications] == ["the cat", "both", "both"]
    assert [list(k.support) for k in two.revseg_keyframes.detections] == [[4, 4], [1, 1], [10, 10]]
    assert none.revseg_status == "error"
    assert "query" in none.revseg_answers.classifications[0].reason
    assert ghost.revseg_status == "no_target"
    assert boxes_by_frame(ghost) == {k: [] for k in range(1, 11)}


def test_string_field_and_prompt_field_from_the_config(dataset, video):
    dataset.add_samples([fo.Sample(video, text="the cat"), fo.Sample(video)])
    model = revseg.load_model(pipeline(), query="the ghost", prompt_field="text")
    dataset.apply_model(model, label_field="revseg")
    # The query is asked where the field is empty
    assert [a.classifications[0].query for a in dataset.values("revseg_answers")] == [
        "the cat",
        "the ghost",
    ]
    assert model.needs_fields == {"prompt_field": "text"}


def test_nothing_to_ask_fails_once_and_before_any_sample(dataset, video):
    dataset.add_sample(fo.Sample(video))
    with pytest.raises(ValueError, match="nothing to segment"):
        dataset.apply_model(revseg.load_model(pipeline()), label_field="revseg")


def test_rerun_leaves_no_old_masks(dataset, video):
    dataset.add_sample(fo.Sample(video))
    dataset.apply_model(revseg.load_model(pipeline(), query="both"), label_field="revseg")
    again = revseg.load_model(pipeline(hidden=range(1, 9)), query="the cat")
    dataset.apply_model(again, label_field="revseg")
    labels = boxes_by_frame(dataset.first())
    assert labels == {1: ["a grey cat"], 10: ["a grey cat"], **{k: [] for k in range(2, 10)}}
    assert len(dataset.first().revseg_answers.classifications) == 1


@pytest.mark.parametrize("saved", ["nothing", "the sample"])
@pytest.mark.parametrize("over", [False, True])
def test_killed_while_fiftyone_saves_a_sample_is_whole(dataset, video, monkeypatch, saved, over):
    """FiftyOne saves samples before their frames: answers without masks must not be seen."""
    dataset.add_sample(fo.Sample(video))
    if over:
        model = revseg.load_model(pipeline(), query="both")
        dataset.apply_model(model, label_field="revseg")

    written = []  # frames by the model, then samples and frames by FiftyOne

    def killed(operations, collection, **kwargs):
        written.append(collection.name.split(".")[0])
        if written == ["frames", "samples", "frames"][: 2 if saved == "nothing" else 3]:
            raise KeyboardInterrupt
        return bulk_write(operations, collection, **kwargs)

    import fiftyone.core.odm as foo

    bulk_write = foo.bulk_write
    monkeypatch.setattr(foo, "bulk_write", killed)
    other = revseg.load_model(pipeline(hidden=range(4, 10)), query="the cat")
    with pytest.raises(KeyboardInterrupt):
        dataset.apply_model(other, label_field="revseg")
    monkeypatch.undo()
    dataset.reload()
    sample = dataset.first()
    assert [a.query for a in sample.revseg_answers.classifications] == ["the cat"]
    seen = boxes_by_frame(sample)
    assert seen == {k: ["a grey cat"] if k < 5 else [] for k in range(1, FRAMES + 1)}
    assert revseg.segment_view(dataset, other).skipped == 1


@pytest.mark.parametrize("at", ["withdraw", "write_frames", "commit"])
def test_a_rerun_that_is_killed_while_it_writes_does_not_look_done(dataset, video, monkeypatch, at):
    from fiftyone_revseg.dataset import writer

    def killed(*args):
        raise KeyboardInterrupt

    dataset.add_sample(fo.Sample(video))
    model = revseg.load_model(pipeline(), query="both")
    dataset.apply_model(model, label_field="revseg")
    other = revseg.load_model(pipeline(), query="the cat")
    with monkeypatch.context() as patch:
        patch.setattr(writer, at, killed)
        with pytest.raises(KeyboardInterrupt):
            dataset.apply_model(other, label_field="revseg")
    dataset.reload()
    answers = dataset.first().revseg_answers
    assert (answers is not None) == (at == "withdraw")
    assert revseg.segment_view(dataset, other, overwrite="changed").done == 1
    assert boxes_by_frame(dataset.first())[1] == ["a grey cat"]


def test_other_fields_of_frames_stay(dataset, video):
    sample = fo.Sample(video)
    sample.frames[2] = fo.Frame(weather="rain", gt=fo.Detections())
    dataset.add_sample(sample)
    dataset.apply_model(revseg.load_model(pipeline(), query="the cat"), label_field="revseg")
    dataset.reload()
    frame = dataset.first().frames[2]
    assert frame.weather == "rain"
    assert len(frame.revseg.detections) == 1


def test_other_label_field(dataset, video):
    dataset.add_sample(fo.Sample(video))
    model = revseg.load_model(pipeline(), query="the cat", label_field="frames.mine")
    dataset.apply_model(model, label_field="mine")
    sample = dataset.first()
    assert sample.mine_status == "ok"
    assert boxes_by_frame(sample, "mine")[1] == ["a grey cat"]
    assert not dataset.has_field("revseg_status")


def test_failures_are_recorded_on_the_sample_and_the_next_one_goes_on(dataset, video):
    dataset.add_samples([fo.Sample(video, query="the blur"), fo.Sample(video, query="the cat")])
    model = revseg.load_model(pipeline(), prompt_field="query")
    dataset.apply_model(model, label_field="revseg", skip_failures=False)
    assert dataset.values("revseg_status") == ["bad_box", "ok"]
    blur = dataset.first()
    assert blur.revseg_answers.classifications[0].reason
    assert boxes_by_frame(blur) == {k: [] for k in range(1, 11)}


def test_exception_in_the_pipeline_is_recorded(dataset, video):
    class Broken(RevSeg):
        def segment(self, *args, **kwargs):
            raise RuntimeError("a bug")

    dataset.add_sample(fo.Sample(video))
    model = revseg.load_model(Broken(ScriptedReasoner({}), BoxTracker()), query="the cat")
    dataset.apply_model(model, label_field="revseg", skip_failures=False)
    sample = dataset.first()
    assert sample.revseg_status == "error"
    assert "a bug" in sample.revseg_answers.classifications[0].reason


def test_unreadable_video_keeps_no_old_masks_and_says_why(dataset, video, tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(Path(video).read_bytes())
    dataset.add_sample(fo.Sample(str(path)))
    model = revseg.load_model(pipeline(), query="the cat")
    dataset.apply_model(model, label_field="revseg")
    path.write_text("no longer a video")
    sample = dataset.first()
    labels = model.predict(None, sample=sample)
    assert {k: v.detections for k, v in labels.items()} == {k: [] for k in range(1, 11)}
    assert sample.revseg_status == "unreadable"
    assert "video.mp4" in sample.revseg_answers.classifications[0].reason


def test_confidence_threshold_of_apply_model(dataset, video):
    dataset.add_sample(fo.Sample(video))
    model = revseg.load_model(pipeline(), query="the cat")
    dataset.apply_model(model, label_field="revseg", confidence_thresh=0.6)  # the tracker says 0.5
    assert boxes_by_frame(dataset.first()) == {k: [] for k in range(1, 11)}
    assert model.config.confidence_thresh is None
    dataset.apply_model(model, label_field="revseg", confidence_thresh=0.4)
    assert all(boxes_by_frame(dataset.first()).values())


def test_clips_get_absolute_frame_numbers(dataset, video):
    sample = fo.Sample(video)
    sample["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=[4, 8])]
    )
    dataset.add_sample(sample)
    tracker = BoxTracker()
    model = revseg.load_model(RevSeg(ScriptedReasoner(ANSWERS), tracker), query="the cat")
    clips = dataset.to_clips("events")
    clips.apply_model(model, label_field="revseg", skip_failures=False)
    # Only the clip's five frames were looked at: the sampled ones are 0, 1, 3, 4 of it
    assert {len(calls) for calls in tracker.calls} == {2}
    frames = {
        k: len(frame.revseg.detections)
        for k, frame in dataset.first().frames.items()
        if frame.revseg is not None
    }
    assert frames == {k: 1 for k in range(4, 9)}
    answer = clips.first().revseg_answers.classifications[0]
    assert 4 <= answer.keyframe <= 8


def test_image_pattern_as_video(dataset, tmp_path):
    from PIL import Image

    for k in range(1, 6):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 30 * k, np.uint8)).save(
            tmp_path / f"{k:05d}.jpg"
        )
    dataset.add_sample(fo.Sample(str(tmp_path / "%05d.jpg"), media_type="video"))
    model = revseg.load_model(pipeline(), query="the cat")
    dataset.apply_model(model, label_field="revseg", skip_failures=False)
    assert boxes_by_frame(dataset.first()) == {k: ["a grey cat"] for k in range(1, 6)}
    # Deleting a dataset copies the samples in memory, and FiftyOne cannot copy one like this
    gc.collect()


def test_loads_from_a_model_config(monkeypatch):
    # What FiftyOne's model zoo does
    monkeypatch.setattr("fiftyone_revseg.pipeline.Loading.load", lambda loading: pipeline())
    model = fom.load_model(
        {
            "type": "fiftyone_revseg.dataset.model.RevSegModel",
            "config": {"query": ["the cat", "both"], "prompt_field": "text"},
        }
    )
    assert isinstance(model, RevSegModel)
    assert model.config.query == ["the cat", "both"]
    assert model.media_type == "video"
    assert isinstance(model, fom.SamplesMixin)
    assert not isinstance(model, (fom.TorchModelMixin, fom.SupportsGetItem))


@pytest.mark.parametrize("query", [7, ["a", None], "", ["a", " "]])
def test_query_must_be_text(query):
    with pytest.raises(ValueError, match=r"query is (no text|empty).*: say what to look for"):
        RevSegModelConfig({"query": query})


def test_needs_the_sample(video):
    with pytest.raises(ValueError, match="sample"):
        revseg.load_model(pipeline(), query="the cat").predict(None)


def test_field_of_another_type_is_refused_in_words(dataset, video):
    dataset.add_sample(fo.Sample(video, revseg_status=1))
    model = revseg.load_model(pipeline(), query="the cat")
    with pytest.raises(ValueError, match="another label_field"):
        dataset.apply_model(model, label_field="revseg", skip_failures=False)


def test_a_query_passed_as_a_keyword_is_explained(dataset, video):
    dataset.add_sample(fo.Sample(video))
    with pytest.raises(ValueError, match=r"load_model\(query=...\).*prompt_field"):
        dataset.apply_model(revseg.load_model(pipeline()), label_field="revseg", query="the cat")


def test_a_missing_field_of_queries_is_an_error_before_any_sample(dataset, video):
    dataset.add_sample(fo.Sample(video))
    model = revseg.load_model(pipeline())
    with pytest.raises(ValueError, match="'nothing' does not exist"):
        dataset.apply_model(model, label_field="revseg", prompt_field="nothing")


def test_a_field_without_text_is_recorded(dataset, video):
    dataset.add_sample(fo.Sample(video, number=3))
    model = revseg.load_model(pipeline())
    dataset.apply_model(model, label_field="revseg", prompt_field="number", skip_failures=False)
    assert dataset.first().revseg_status == "error"
    assert "query" in dataset.first().revseg_answers.classifications[0].reason


@pytest.mark.parametrize("other", ["frames.revseg", "other", "predictions", None])
def test_another_label_field_than_the_models_is_refused_before_anything_is_written(
    dataset, video, other
):
    dataset.add_sample(fo.Sample(video))
    model = revseg.load_model(pipeline(), query="the cat")
    before = all_fields(dataset)
    with pytest.raises(ValueError, match=r"label_field='revseg'.*without 'frames\.'"):
        dataset.apply_model(model, label_field=other)
    assert all_fields(dataset) == before
    assert not model.pipeline.reasoner.batches
    dataset.apply_model(model, label_field="revseg")
    assert dataset.values("revseg_status") == ["ok"]


def test_images_are_refused(dataset, tmp_path):
    from PIL import Image

    path = str(tmp_path / "image.png")
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(path)
    dataset.add_sample(fo.Sample(path))
    with pytest.raises(ValueError, match="video collections"):
        dataset.apply_model(revseg.load_model(pipeline(), query="the cat"), label_field="revseg")
