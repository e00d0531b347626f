"""``propagate``, ``reground``, ``accept`` and ``reject``, as the App and scripts call them."""

import fiftyone as fo
import fiftyone.operators as foo
import numpy as np
import pytest
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor
from PIL import Image

from fiftyone_revseg.app.propagate import Propagate
from fiftyone_revseg.app.reground import Reground
from fiftyone_revseg.app.review import Accept, Reject
from fiftyone_revseg.app.running import result_of

BOX = [0.5, 0.25, 0.25, 0.5]
OPERATORS = {"propagate": Propagate, "reground": Reground, "accept": Accept, "reject": Reject}
CORRECTING = ["propagate", "reground"]


def operator(name):
    return foo.get_operator(f"fiftyone_revseg/{name}")


@pytest.fixture
def segmented(fake_model, dataset):
    """The first video has a cat and a dog, the second one no object, the third no result."""
    operator("segment")(dataset[:1], query="both")
    operator("segment")(dataset[1:2], query="the ghost")
    dataset.reload()
    return dataset


def context(name, samples, current=None, selected=(), labels=(), **params):
    """The context that the App makes for an operator."""
    request = {
        "dataset_name": getattr(samples, "dataset_name", None) or samples.name,
        "view": samples.view()._serialize(),
        "current_sample": current,
        "selected": list(selected),
        "selected_labels": list(labels),
        "params": params,
    }
    uri = f"fiftyone_revseg/{name}"
    return ExecutionContext(request, executor=Executor(), operator_uri=uri)


def form(name, samples, **kwargs):
    return OPERATORS[name]().resolve_input(context(name, samples, **kwargs)).type.properties


def messages(properties):
    return [p.error_message for p in properties.values() if getattr(p, "invalid", False)]


def execute(name, samples, current=None, labels=(), selected=(), **params):
    """Executes as the App does."""
    kind = "dataset" if isinstance(samples, fo.Dataset) else "view"
    request = {
        kind: samples,
        "current_sample": current,
        "selected_labels": list(labels),
        "selected": list(selected),
        "params": params,
    }
    return foo.execute_operator(f"fiftyone_revseg/{name}", request)


def cats(sample):
    """The boxes of object 1, by frame."""
    sample.reload()
    found = {}
    for number, frame in sample.frames.items():
        found[number] = [list(d.bounding_box) for d in frame.revseg.detections if d.index == 1]
    return found


def label(sample, number, position=0):
    d = sample.frames[number].revseg.detections[position]
    return {
        "label_id": d.id,
        "sample_id": sample.id,
        "field": "frames.revseg",
        "frame_number": number,
    }


def tags(sample):
    sample.reload()
    return [a.tags for a in sample.revseg_answers.classifications]


def test_propagate_takes_the_box_that_was_moved(segmented):
    sample = segmented.first()
    sample.frames[3].revseg.detections[0].bounding_box = [0.5013, 0.25, 0.25, 0.5]
    sample.save()
    properties = form("propagate", segmented, current=sample.id)
    assert messages(properties) == []
    assert properties["index"].type.values == [1, 2]
    assert properties["start"].default == "changed"
    choices = {c.value: c.label for c in properties["start"].view.choices}
    assert choices["changed"] == "The boxes that were moved or drawn (frame 3)"

    result = result_of(execute("propagate", segmented, current=sample.id))
    assert (result["state"], result["index"]) == ("done", 1)
    assert list(result["prompts"]) == ["3"]
    assert "tracked from frame 3" in result["summary"]
    assert all(len(found) == 1 for found in cats(sample).values())
    assert sample.revseg_answers.classifications[0]["corrected"] is True


def test_propagate_takes_the_box_that_is_selected(segmented):
    """A box that was moved by whole pixels looks like any other, so it is selected."""
    sample = segmented.first()
    sample.frames[4].revseg.detections[1].bounding_box = [0.5, 0.0, 0.5, 0.5]
    drawn = fo.Detection(label="?", bounding_box=[0.0, 0.5, 0.5, 0.5])
    sample.frames[9].revseg.detections.append(drawn)
    sample.save()
    labels = [label(sample, 4, 1), label(sample, 9, 2)]
    properties = form("propagate", segmented, current=sample.id, labels=labels)
    assert properties["index"].default == 2
    assert properties["start"].default == "selected"
    result = result_of(execute("propagate", segmented, current=sample.id, labels=labels))
    assert (result["index"], list(result["prompts"])) == (2, ["4", "9"])
    sample.reload()
    assert [d.index for d in sample.frames[9].revseg.detections] == [1, 2]


def test_propagate_from_another_key_frame_or_a_box_that_was_typed_in(segmented):
    sample = segmented.first()
    # As the panel's button asks: with the object and its key frame
    params = {"index": 2, "label_field": "revseg", "sample_id": sample.id, "frame_number": 10}
    properties = form("propagate", segmented, **params)
    assert (properties["start"].default, messages(properties)) == ("frame", [])
    result = result_of(execute("propagate", segmented, **params))
    assert (result["index"], list(result["prompts"])) == (2, ["10"])

    typed = {"start": "box", "frame_number": 6, "left": 0.5, "top": 0.25, "width": 0.25}
    properties = form("propagate", segmented, current=sample.id, **typed)
    assert messages(properties) == [messages(properties)[0]]
    assert "box in frame 6 is none" in messages(properties)[0]
    execute("propagate", segmented, current=sample.id, **typed, height=0.5)
    assert set(map(tuple, cats(sample)[6])) == {tuple(BOX)}


@pytest.mark.parametrize("name", CORRECTING)
def test_scripts(segmented, name):
    sample = segmented.first()
    arguments = {"boxes": {2: BOX, 9: None}} if name == "propagate" else {"frame_number": 2}
    result = operator(name)(segmented[:1], index=1, **arguments)
    assert result["state"] == "done"
    assert list(result["prompts"]) == (["2", "9"] if name == "propagate" else ["2"])
    # A label stands for its object, and the sample can be named
    labelled = label(sample, 1, 1)["label_id"]
    arguments = {"boxes": {2: BOX}} if name == "propagate" else {"frame_number": 2}
    result = operator(name)(segmented, index=labelled, sample_id=sample.id, **arguments)
    assert result["index"] == 2
    sample.reload()
    record = sample.revseg_trajectory["segmentations"][0]
    kinds = [entry["kind"] for entry in record["corrections"]]
    expected = {"propagate": ["box", "key frame", "box"], "reground": ["reground"] * 2}
    assert kinds == expected[name]


@pytest.mark.parametrize("name", CORRECTING)
def test_delegated(segmented, name, monkeypatch):
    monkeypatch.setenv("FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS", "true")
    sample = segmented.first()
    arguments = {"boxes": {2: BOX}} if name == "propagate" else {"frame_number": 2}
    operator(name)(segmented[:1], index=1, delegate=True, **arguments)
    assert not sample.revseg_answers.classifications[0]["corrected"]
    DelegatedOperationService().execute_queued_operations(log=False)
    sample.reload()
    assert sample.revseg_answers.classifications[0]["corrected"]


def test_reground(segmented):
    sample = segmented.first()
    properties = form("reground", segmented, current=sample.id, index=2)
    assert (properties["frame_number"].default, messages(properties)) == (10, [])
    result = result_of(execute("reground", segmented, current=sample.id, index=2, frame_number=5))
    assert list(result["prompts"]) == ["5"]
    sample.reload()
    assert sample.revseg_answers.classifications[1]["keyframe"] == 5


def test_stopping_changes_nothing(segmented, monkeypatch):
    from fiftyone_revseg.app import chosen_object

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    before = cats(segmented.first())
    monkeypatch.setattr(chosen_object, "RunProgress", interrupted)
    result = operator("propagate")(segmented[:1], index=1, boxes={2: BOX})
    assert result == {"state": "stopped", "summary": "Stopped: nothing was changed"}
    assert cats(segmented.first()) == before


@pytest.mark.parametrize("name", CORRECTING)
def test_a_clip(fake_model, dataset, name):
    clips = dataset.to_clips("events")
    operator("segment")(clips, query="the cat")
    dataset.reload()
    clip = clips.last()
    arguments = {"boxes": {7: BOX}} if name == "propagate" else {"frame_number": 7}
    result = operator(name)(clips, sample_id=clip.id, **arguments)
    assert result["frames"] == 4
    first, second = dataset.first().revseg_answers.classifications
    assert (first["corrected"], second["corrected"]) == (False, True)
    # On the whole video, two clips have an object of that number
    sample = dataset.first()
    properties = form(name, dataset, current=sample.id, index=1)
    assert messages(properties) == [
        "Several clips have an object with this number: choose the clip"
    ]
    assert properties["clip"].type.values == ["1-4", "6-9"]
    assert messages(form(name, dataset, current=sample.id, index=1, clip="1-4")) == []
    extra = {"start": "frame"} if name == "propagate" else {}
    execute(name, dataset, current=sample.id, index=1, clip="1-4", frame_number=3, **extra)
    dataset.reload()
    assert dataset.first().revseg_answers.classifications[0]["corrected"] is True


def test_a_group_of_images(fake_model, make_dataset, tmp_path):
    samples = []
    for k in range(4):
        path = tmp_path / f"{k}.png"
        Image.fromarray(np.full((48, 64, 3), 40 * k, np.uint8)).save(path)
        samples.append(fo.Sample(str(path), scene="a", k=k))
    dataset = make_dataset(*samples)
    view = dataset.group_by("scene", order_by="k")
    operator("segment")(view, query="both")
    dataset.reload()
    image = dataset.last()  # any of them stands for its group
    assert messages(form("propagate", view, current=image.id, index=1)) == []
    operator("propagate")(view, index=1, boxes={2: BOX}, sample_id=image.id)
    dataset.reload()
    boxes = [s.revseg.detections[0].bounding_box for s in dataset]
    assert boxes == [pytest.approx(BOX)] * 4
    operator("accept")(view, index=2)
    dataset.reload()
    assert [[d.tags for d in s.revseg.detections] for s in dataset] == [[[], ["accepted"]]] * 4


@pytest.mark.parametrize(("name", "tag"), [("accept", "accepted"), ("reject", "rejected")])
def test_accept_and_reject(segmented, name, tag):
    sample = segmented.first()
    # As the panel's button asks, whatever is selected
    params = {"index": 2, "label_field": "revseg", "sample_id": sample.id, "frame_number": 10}
    result = execute(name, segmented, labels=[label(sample, 1)], **params).result
    assert result == {"count": 1, "summary": f"1 answer {tag}"}
    assert tags(sample) == [[], [tag]]
    # Labels that are selected
    other = {"accept": "reject", "reject": "accept"}[name]
    labels = [label(sample, 1, 0), label(sample, 2, 0)]
    assert "several" in form(other, segmented, current=sample.id, labels=labels)
    assert execute(other, segmented, current=sample.id, labels=labels).result["count"] == 1
    # Scripts: a whole view, one object of each video, labels
    assert operator(name)(segmented)["count"] == 3  # that there is no ghost is an answer, too
    assert tags(sample) == [[tag], [tag]]
    operator(other)(segmented, index=1)
    operator(other)(segmented, label_ids=[label(sample, 3, 1)["label_id"]])
    assert [tag in found for found in tags(sample)] == [False, False]


def test_accept_several_selected_videos(segmented):
    ids = segmented.values("id")
    assert "several" in form("accept", segmented, selected=ids[:2])
    assert execute("accept", segmented, selected=ids[:2]).result["count"] == 3


@pytest.mark.parametrize("name", ["accept", "reject"])
def test_an_answer_without_an_object_is_judged(segmented, name):
    sample = segmented.skip(1).first()
    properties = form(name, segmented, current=sample.id)
    assert messages(properties) == []
    (choice,) = properties["label_id"].view.choices
    assert choice.label == "the ghost: no such object"
    # As the panel's button asks: with the query, or with the id of the answer
    for named in ({"query": "the ghost"}, {"label_ids": [choice.value]}):
        result = execute(name, segmented, sample_id=sample.id, **named).result
        assert result["count"] == 1
    sample.reload()
    (answer,) = sample.revseg_answers.classifications
    assert answer.tags == [f"{name}ed"]
    assert answer["reviewer"]
    assert answer["reviewed_at"] is not None


@pytest.mark.parametrize("name", list(OPERATORS))
def test_wrong_forms_say_why_and_change_nothing(segmented, name):
    ids = segmented.values("id")
    before = list(segmented._sample_collection.find())
    cases = [
        ({}, "Open the video to correct, or select it"),
        ({"current": ids[2]}, "There is no whole result in label field 'revseg'"),
        ({"current": ids[0], "index": 9}, "There is no object with index 9"),
        ({"current": "0" * 24}, f"There is no sample {'0' * 24} here"),
        ({"current": ids[0], "label_field": "other"}, "There are no results in 'other'"),
    ]
    if name in CORRECTING:
        cases.append(({"current": ids[1]}, "The model found no object in this video"))
        several = {"selected": ids}
        cases.append((several, "Open the video to correct, or select it alone: 3 are selected"))
        wrong = {"current": ids[0], "frame_number": 11, "start": "frame"}
        cases.append((wrong, "There is no frame 11: give a frame number from 1 to 10"))
    for request, message in cases:
        (found,) = messages(form(name, segmented, **request))
        assert message in found
        with pytest.raises((ExecutionError, ValueError)):
            execute(name, segmented, **request)
    assert list(segmented._sample_collection.find()) == before


def test_a_dataset_without_results(fake_model, dataset):
    sample_id = dataset.first().id
    for name in OPERATORS:
        (message,) = messages(form(name, dataset, current=sample_id))
        assert message == "There are no results in this dataset yet: run ReVSeg's segment first"


def test_propagate_from_points_that_were_typed_in(segmented):
    sample = segmented.first()
    typed = {"start": "points", "frame_number": 6, "on": "0.25, 0.25; 0.5 0.5"}
    # The form names the tracker of the default model, as "box" is no name of one
    (message,) = messages(form("propagate", segmented, current=sample.id, **typed))
    assert message.startswith("sam2-nano knows no points without a box")
    before = cats(sample)
    with pytest.raises(ExecutionError, match="sam2-nano knows no points without a box"):
        execute("propagate", segmented, current=sample.id, **typed)
    assert cats(sample) == before
    typed["tracker"] = "sam2.1-hiera-tiny"
    assert messages(form("propagate", segmented, current=sample.id, **typed)) == []
    (message,) = messages(form("propagate", segmented, current=sample.id, **typed, beside="there"))
    assert "points in frame 6 are none" in message
    result = result_of(execute("propagate", segmented, current=sample.id, **typed, beside="1, 1"))
    assert list(result["prompts"]) == ["6"]
    assert set(map(tuple, cats(sample)[6])) == {(0.25, 0.25, 0.25, 0.25)}


def test_propagate_goes_on_from_what_was_corrected_before(segmented):
    sample = segmented.first()
    operator("propagate")(segmented[:1], index=1, boxes={2: BOX})
    typed = {"start": "frame", "frame_number": 9}
    properties = form("propagate", segmented, current=sample.id, **typed)
    assert properties["keep"].default is True
    assert properties["keep"].view.label.endswith("(frame 2)")
    result = result_of(execute("propagate", segmented, current=sample.id, **typed))
    assert list(result["prompts"]) == ["2", "9"]
    result = result_of(execute("propagate", segmented, current=sample.id, **typed, keep=False))
    assert list(result["prompts"]) == ["9"]


def test_propagate_is_about_the_object_that_something_was_drawn_for(segmented):
    sample = segmented.first()
    assert form("propagate", segmented, current=sample.id)["index"].default == 1
    drawn = fo.Detection(label="a dog", bounding_box=BOX)
    sample.frames[4].revseg.detections.append(drawn)
    sample.save()
    properties = form("propagate", segmented, current=sample.id)
    assert properties["index"].default == 2
    assert properties["start"].default == "changed"
