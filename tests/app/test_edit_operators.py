"""``add``, ``delete``, ``rename``, ``undo`` and ``ask_again``, as the App and scripts call them."""

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor

import fiftyone_revseg as revseg
from fiftyone_revseg.app import held_models
from fiftyone_revseg.app.add import Add
from fiftyone_revseg.app.ask_again import AskAgain
from fiftyone_revseg.app.edit import Delete, Rename, Undo
from fiftyone_revseg.app.running import result_of

BOX = [0.5, 0.25, 0.25, 0.5]
OPERATORS = {"add": Add, "delete": Delete, "rename": Rename, "undo": Undo, "ask_again": AskAgain}


def operator(name):
    return foo.get_operator(f"fiftyone_revseg/{name}")


@pytest.fixture
def segmented(fake_model, dataset):
    """The first video has a cat and a dog, the second one no object, the third no result."""
    operator("segment")(dataset[:1], query="both")
    operator("segment")(dataset[1:2], query="the ghost")
    dataset.reload()
    return dataset


def form(name, dataset, current=None, **params):
    request = {"dataset_name": dataset.name, "current_sample": current, "params": params}
    uri = f"fiftyone_revseg/{name}"
    context = ExecutionContext(request, executor=Executor(), operator_uri=uri)
    return OPERATORS[name]().resolve_input(context).type.properties


def execute(name, dataset, current, **params):
    """Executes as the App does."""
    request = {"dataset": dataset, "current_sample": current, "params": params}
    return foo.execute_operator(f"fiftyone_revseg/{name}", request)


def messages(properties):
    return [p.error_message for p in properties.values() if getattr(p, "invalid", False)]


def answers(sample):
    sample.reload()
    return [(a.label, a["index"], a["status"]) for a in sample.revseg_answers.classifications]


def test_a_missing_object_that_was_drawn(segmented):
    sample = segmented.skip(1).first()
    drawn = fo.Detection(label="a sheet", bounding_box=BOX)
    sample.frames[3].revseg.detections.append(drawn)
    sample.save()
    # As the panel's button asks
    named = {"query": "the ghost", "support": [1, 10], "label_field": "revseg"}
    named["sample_id"] = sample.id
    properties = form("add", segmented, **named)
    assert messages(properties) == []
    assert (properties["asked"].default, properties["description"].default) == (
        "the ghost",
        "a sheet",
    )
    choices = {c.value: c.label for c in properties["start"].view.choices}
    assert set(choices) == {"changed", "box", "points"}
    assert choices["changed"].endswith("(frame 3)")
    result = result_of(execute("add", segmented, None, **named))
    assert (result["state"], result["index"], result["visible"]) == ("done", 1, 10)
    assert answers(sample) == [("a sheet", 1, "ok")]


def test_a_missing_object_that_is_typed_in(segmented):
    sample = segmented.first()
    properties = form("add", segmented, current=sample.id)
    assert properties["start"].default == "box"
    assert len(messages(properties)) == 1  # there is no box yet
    typed = dict(zip(("left", "top", "width", "height"), BOX, strict=True))
    typed |= {"frame_number": 4, "description": "a bird"}
    assert messages(form("add", segmented, current=sample.id, **typed)) == []
    assert result_of(execute("add", segmented, sample.id, **typed))["index"] == 3
    assert answers(sample)[2] == ("a bird", 3, "ok")
    # Scripts
    result = operator("add")(segmented[:1], boxes={2: BOX}, description="a bee")
    assert (result["index"], result["label"]) == (4, "a bee")
    result = operator("add")(segmented, "the ghost", {2: BOX}, sample_id=segmented.values("id")[1])
    assert (result["index"], result["label"]) == (1, "the ghost")


def test_delete_and_undo(segmented):
    sample = segmented.first()
    before = answers(sample)
    # As the panel's buttons ask
    named = {"index": 2, "label_field": "revseg", "sample_id": sample.id, "frame_number": 10}
    properties = form("delete", segmented, **named)
    assert messages(properties) == []
    assert "It can be undone" in properties["undo_notice"].view.label
    result = execute("delete", segmented, None, **named).result
    assert result == {"summary": "object 2 (a dog) is deleted"}
    assert answers(sample) == before[:1]

    properties = form("undo", segmented, **named)
    assert 'Undo "deleted" of object 2' in properties["what"].view.label.replace("\\", "")
    result = execute("undo", segmented, None, **named).result
    assert result["summary"].startswith('undone: "deleted" of object 2, the answer to "both"')
    assert answers(sample) == before
    assert messages(form("undo", segmented, current=sample.id)) == [
        "Nothing was corrected on this video, so there is nothing to undo"
    ]


def test_rename(segmented):
    sample = segmented.first()
    properties = form("rename", segmented, current=sample.id, index=2)
    assert (properties["description"].default, messages(properties)) == ("a dog", [])
    assert messages(form("rename", segmented, current=sample.id, description=" \x00")) == []
    execute("rename", segmented, sample.id, index=2, description=" a fox ")
    assert answers(sample)[1] == ("a fox", 2, "ok")


def test_another_description_is_grounded(segmented):
    sample = segmented.first()
    done = execute("reground", segmented, sample.id, index=1, frame_number=4, description="a dog")
    assert result_of(done)["prompts"] == {"4": [0, 0, 0.5, 0.5]}
    assert answers(sample)[0] == ("a dog", 1, "ok")


def test_ask_again(segmented):
    sample = segmented.skip(1).first()
    (answer,) = sample.revseg_answers.classifications
    # As the panel's button asks, about an answer without an object
    named = {"label_id": answer.id, "label_field": "revseg", "sample_id": sample.id}
    properties = form("ask_again", segmented, **named)
    assert (properties["asked"].default, properties["new_query"].default) == ("the ghost",) * 2
    assert messages(properties) == []
    assert messages(form("ask_again", segmented, new_query="\u200b", **named)) == [
        "The query is empty: say what to look for"
    ]
    result = result_of(execute("ask_again", segmented, None, new_query="the cat", **named))
    assert result["state"] == "done"
    assert result["objects"] == {"1": "a grey cat"}
    assert result["summary"].startswith(
        '"the cat" in place of "the ghost": object 1 (a grey cat), '
    )
    assert answers(sample) == [("a grey cat", 1, "ok")]
    # In a video that was asked several things, an object names its query
    queries = ["the ghost", "both"]
    revseg.segment_view(segmented[2:], held_models.get_model(None), queries=queries)
    sample = segmented.last()
    properties = form("ask_again", segmented, current=sample.id, index=2)
    assert properties["asked"].default == "both"
    assert [c.value for c in properties["asked"].view.choices] == queries


def test_scripts(segmented):
    sample = segmented.first()
    operator("rename")(segmented[:1], "a fox", index=2)
    operator("delete")(segmented, index=1, sample_id=sample.id)
    assert answers(sample) == [("a fox", 2, "ok")]
    operator("undo")(segmented[:1])
    assert operator("undo")(segmented[:1])["summary"].startswith('undone: "renamed" of object 2')
    assert [label for label, *_ in answers(sample)] == ["a grey cat", "a dog"]
    result = operator("ask_again")(segmented[:1], new_query="the cat")
    assert result["objects"] == {"1": "a grey cat"}


@pytest.mark.parametrize("name", list(OPERATORS))
def test_wrong_forms_say_why_and_change_nothing(segmented, name):
    ids = segmented.values("id")
    before = list(segmented._sample_collection.find())
    cases = [
        ({}, "Open the video to correct, or select it"),
        ({"current": ids[2]}, "There is no whole result in label field 'revseg'"),
        ({"current": ids[0], "label_field": "other"}, "There are no results in 'other'"),
    ]
    if name in ("delete", "rename"):
        cases.append(({"current": ids[1]}, "The model found no object in this video"))
        cases.append(({"current": ids[0], "index": 9}, "There is no object with index 9"))
    if name == "undo":
        cases.append(({"current": ids[0]}, "Nothing was corrected on this video"))
    if name == "add":
        wrong = {"current": ids[0], "start": "box", "frame_number": 11}
        cases.append((wrong, "There is no frame 11: give a frame number from 1 to 10"))
    if name == "ask_again":
        cases.append(({"current": ids[0], "asked": "x"}, "There is no 'x' to choose from: both"))
    for request, message in cases:
        (found,) = messages(form(name, segmented, **request))
        assert message in found
        with pytest.raises((ExecutionError, ValueError)):
            execute(name, segmented, request.pop("current", None), **request)
    assert list(segmented._sample_collection.find()) == before
