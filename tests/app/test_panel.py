"""The reasoning panel: its events, as the App sends them, on datasets that were segmented."""

import json
import os

import fiftyone as fo
import fiftyone.operators.types as types
import pytest
from fake_models import BoxTracker, ScriptedReasoner, write_video
from fiftyone.operators.executor import ExecutionContext, Executor
from PIL import Image
from second_looks import SAID, write_second_looks

import fiftyone_revseg as revseg
from fiftyone_revseg.app.curve import plot_traces
from fiftyone_revseg.app.panel import STATE, ReasoningPanel
from fiftyone_revseg.dataset.explain import TrackSeries
from fiftyone_revseg.dataset.views import make_view
from fiftyone_revseg.pipeline import RevSeg
from fiftyone_revseg.text.escape import markdown

ANSWERS = {
    "the cat": [(1, "a grey cat", [25, 50, 75, 100])],
    "both": [(0, "a grey cat", [25, 50, 75, 100]), (3, "a dog", [0, 0, 50, 50])],
    "the ghost": [],
    "*bold* ![x](http://a.b/c.png)": [(0, "a <b>dog</b>", [0, 0, 50, 50])],
}


def check_types(prop):
    """The App crashes on types and views that are not FiftyOne's own."""
    for part in filter(None, (prop["type"], prop.get("view"))):
        assert part["name"] in vars(types)
    for child in prop["type"].get("properties", {}).values():
        check_types(child)


class App:
    """Does what the App does with a panel: sends events, keeps its state, shows its output."""

    def __init__(self, samples, current=None, selected=(), **request):
        self.dataset = samples._dataset if hasattr(samples, "_dataset") else samples
        self.request = {
            "dataset_name": samples.dataset_name if hasattr(samples, "dataset_name") else None,
            "view": samples.view()._serialize(),
            "current_sample": current,
            "selected": list(selected),
            **request,
        }
        if self.request["dataset_name"] is None:
            self.request["dataset_name"] = samples.name
        self.panel = ReasoningPanel()
        self.panel.plugin_name = "fiftyone_revseg"
        self.state, self.data, self.layout, self.asked = {}, {}, {}, []

    def send(self, method, **params):
        """Sends one event; those that the panel asks for are in ``asked``, not sent."""
        params = {
            **params,
            "panel_id": "panel",
            "panel_state": dict(self.state),
            "__method__": method,
        }
        executor = Executor()
        request = {**self.request, "params": params}
        self.panel.execute(ExecutionContext(request, executor=executor, operator_uri="x"))
        self.asked = []
        for call in executor.to_json()["requests"]:
            name, values = call["operator_uri"].split("/")[-1], call["params"]
            json.dumps(values, allow_nan=False)  # what the server would send
            if name == "patch_panel_state":
                self.state.update(values["state"])
            elif name == "reduce_panel_state":
                self.state = {name: self.state.get(name) for name in STATE}
            elif name == "set_panel_data":
                self.data = values["data"]
            elif name == "patch_panel_data":
                self.data.update(values["data"])
            elif name == "show_panel_output":
                check_types(values["output"])
                self.layout = values["output"]["type"]["properties"]
            else:
                self.asked.append((name, values))
        return self

    def follow(self):
        """Sends the event that the panel asked for."""
        ((name, values),) = self.asked
        assert (name, values["skip_prompt"]) == ("prompt_user_for_operation", True)
        uri, method = values["operator_uri"].split("#")
        assert uri == "fiftyone_revseg/reasoning"
        return self.send(method, **values["params"])

    def click(self, name, **more):
        """Clicks a button, wherever it is."""
        view = self.find(name)["view"]
        assert not view.get("disabled")
        return self.send(view["operator"].split("#")[1], **(view["params"] or {}), **more)

    def find(self, name, properties=None):
        properties = self.layout if properties is None else properties
        for own, part in properties.items():
            if own == name:
                return part
            inner = self.find(name, part["type"].get("properties") or {})
            if inner:
                return inner
        return None

    def picture(self, name):
        found = [v for key, v in self.data.items() if key.startswith(f"{name}_")]
        return found[0] if found else None

    @property
    def plot(self):
        return self.picture("plot")

    @property
    def where(self):
        return self.data["bar"]["where"]

    @property
    def nothing(self):
        return self.layout["nothing"]["view"]["label"]


@pytest.fixture
def segmented(make_dataset, tmp_path):
    """Makes a dataset of two videos, of which the first was segmented."""

    def make(*queries, **options):
        paths = [tmp_path / "one.mp4", tmp_path / "two.mp4"]
        for path in paths:
            write_video(path, 64, 48, 10)
        dataset = make_dataset(*[fo.Sample(str(path)) for path in paths])
        pipeline = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
        revseg.segment_view(dataset[:1], pipeline, queries=list(queries), **options)
        dataset.reload()
        return dataset

    return make


def test_the_words_come_first_then_the_pictures(segmented):
    dataset = segmented("the cat")
    app = App(dataset, current=dataset.first().id).send("on_load")
    assert app.data["query"] == "###### the cat"
    assert app.data["description"] == "**a grey cat**"
    assert app.data["thought"] == "> thinking"
    assert app.layout["status"]["view"]["label"] == "ok"
    assert app.data["series"].startswith("Visible in 10 of 10 frames, mask area 25.00 to 25.00 %")
    assert "track" in app.data["timings"]
    assert app.picture("note") == "Reading the video ..."
    assert app.picture("key_frame") is None

    before = dict(app.layout)
    app.follow()
    assert app.layout == before  # pictures come without drawing all again
    assert app.picture("note").startswith("Key frame: 4. The model saw 4 frames.")
    assert app.picture("key_frame").startswith("data:image/jpeg;base64,")
    for picture in app.picture("strip").values():
        assert picture.startswith("data:image/jpeg;base64,")
    for name in ("key_frame", "strip"):
        shown = [key for key in app.layout if key.startswith(f"{name}_")]
        assert shown == [key for key in app.data if key.startswith(f"{name}_")]
    assert app.asked == []

    app.send("refresh")  # now they are known
    assert app.picture("strip")
    assert app.asked == []


def test_it_follows_the_sample(segmented):
    dataset = segmented("the cat")
    first, second = dataset.values("id")
    app = App(dataset, current=first).send("on_load")
    app.request["current_sample"] = second
    app.send("on_change_current_sample")
    assert "has not been segmented into 'revseg'" in app.nothing
    assert app.data == {}
    # In the grid, the one that was selected last
    app.request.update(current_sample=None, selected=[second, first])
    app.send("on_change_selected")
    assert app.data["query"] == "###### the cat"
    app.request["selected"] = []
    app.send("on_change_selected")
    assert app.nothing.startswith("Open a video, or select one")


def test_pictures_of_a_sample_that_was_left_are_dropped(segmented):
    dataset = segmented("the cat")
    first, second = dataset.values("id")
    app = App(dataset, current=first).send("on_load")
    asked = app.asked
    app.request["current_sample"] = second
    app.send("on_change_current_sample")
    app.asked, shown = asked, dict(app.layout)
    app.follow()
    assert (app.data, app.layout) == ({}, shown)


def test_answers_are_paged(segmented):
    dataset = segmented("the cat", "both", "the ghost")
    app = App(dataset, current=dataset.first().id).send("on_load")
    assert app.data["query"] == "###### the cat"
    assert "answer 1 of 4" in app.where
    assert app.find("back")["view"]["disabled"]
    app.click("next").click("next")
    assert app.data["description"] == "**a dog**"
    assert app.find("go")["view"]["params"]["frame_number"] == 10
    app.click("next")
    assert app.data["query"].endswith("###### the ghost")
    assert app.layout["status"]["view"]["label"] == "no\\_target"
    assert app.find("propagate") is None
    assert app.find("go") is None
    assert app.plot is None
    app.click("back")
    assert app.data["description"] == "**a dog**"
    # Another sample starts from its first answer; fewer answers than before are no error
    app.state["at"] = {"sample_id": dataset.last().id, "number": 2}
    app.send("on_change_current_sample")
    assert "answer 1 of 4" in app.where
    app.state["at"] = {"sample_id": dataset.first().id, "number": 99}
    app.send("refresh")
    assert "answer 4 of 4" in app.where


def test_a_selected_label_turns_to_its_object(segmented):
    dataset = segmented("both")
    sample = dataset.first()
    app = App(dataset, current=sample.id).send("on_load")
    dog = sample.frames[3].revseg.detections[1]
    label = {"label_id": dog.id, "sample_id": sample.id, "field": "frames.revseg"}
    app.request["selected_labels"] = [{**label, "frame_number": 3}]
    app.send("on_change_selected_labels")
    assert app.data["description"] == "**a dog**"
    for other in ({"field": "frames.truth"}, {"label_id": "0" * 24}, {"label_id": None}):
        app.request["selected_labels"] = [{**label, **other}]
        app.send("on_change_selected_labels")
        assert app.data["description"] == "**a dog**"


def test_the_label_field_can_be_chosen(segmented):
    dataset = segmented("the cat")
    app = App(dataset, current=dataset.first().id).send("on_load")
    assert "label_field" not in app.layout
    pipeline = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    revseg.segment_view(dataset[:1], pipeline, queries="the ghost", label_field="second")
    app.send("refresh")  # as the operators do, it takes the most recent one
    part = app.layout["label_field"]
    assert (part["type"]["values"], part["default"]) == (["second", "revseg"], "second")
    assert app.data["query"] == "###### the ghost"
    app.send(part["on_change"].split("#")[1], path="label_field", value="revseg")
    assert app.data["query"] == "###### the cat"
    app.send("on_change_current_sample")
    assert app.data["query"] == "###### the cat"
    app.state["label_field"] = "gone"
    app.send("refresh")
    assert app.data["query"] == "###### the ghost"


def test_the_player_goes_to_frames(segmented):
    dataset = segmented("the cat")
    sample_id = dataset.first().id
    app = App(dataset, current=sample_id).send("on_load").click("go")
    # FiftyOne's own operator moves groups of images only, ours videos only
    for name in ("set_frame_number", "show_frame"):
        assert (name, {"frame_number": 4}) in app.asked
    app.send("on_plot", x=7, y=0.5)
    for name in ("set_frame_number", "show_frame"):
        assert (name, {"frame_number": 7}) in app.asked
    # In the grid, there is no player
    app = App(dataset, selected=[sample_id]).send("on_load")
    assert app.find("go")["view"]["label"] == "Open the video"
    app.click("go")
    assert [values["id"] for name, values in app.asked if name == "open_sample"] == [sample_id]
    app.send("on_plot", x=7)
    assert "set_frame_number" not in dict(app.asked)


@pytest.mark.parametrize("name", ["propagate", "reground"])
def test_buttons_run_operators_and_then_show_what_they_did(segmented, name):
    dataset = segmented("both")
    sample_id = dataset.first().id
    app = App(dataset, current=sample_id).send("on_load").click("next").click(name)
    (asked,) = [v for _, v in app.asked if v["operator_uri"] == f"fiftyone_revseg/{name}"]
    assert asked["params"] == {
        "index": 2,
        "label_field": "revseg",
        "sample_id": sample_id,
        "support": [1, 10],
        "frame_number": 10,
    }
    assert not asked["skip_prompt"]
    assert asked["on_success"] == "fiftyone_revseg/reasoning#refresh"


@pytest.mark.parametrize(
    ("name", "tag", "severity"),
    [("accept", "accepted", "Success"), ("reject", "rejected", "Error")],
)
def test_a_judgment_is_seen_at_once(segmented, name, tag, severity):
    dataset = segmented("the cat")
    app = App(dataset, current=dataset.first().id, user_id="ada").send("on_load").click(name)
    (answer,) = dataset.reload() or dataset.first().revseg_answers.classifications
    assert answer.tags == [tag]
    status = app.layout["status"]["view"]
    assert status["name"] == severity  # no green tick on what was rejected
    assert status["label"].startswith(f"{tag} by ")
    assert status["label"].endswith(", ok")
    assert "1 of 1 reviewed" in app.where


def test_review_goes_through_the_view(segmented):
    dataset = segmented("both", "the ghost")
    pipeline = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    revseg.segment_view(dataset, pipeline, queries=["both", "the ghost"])
    first, second = dataset.values("id")
    app = App(dataset.sort_by("id", reverse=True), current=second).send("on_load")
    assert app.where.endswith("answer 1 of 3 · 0 of 6 reviewed")
    app.click("accept").click("reject")
    assert app.data["query"] == "###### the ghost"
    app.click("accept")  # that there is none is an answer, too
    assert ("show_sample", {"id": first, "steps": 1}) in app.asked
    app.request["current_sample"] = first
    app.send("on_change_current_sample")
    assert app.where.endswith("answer 1 of 3 · 3 of 6 reviewed")

    app.click("back")  # to the last answer of the sample before
    assert ("show_sample", {"id": second, "steps": -1}) in app.asked
    app.request["current_sample"] = second
    app.send("on_change_current_sample")
    assert app.data["query"] == "###### the ghost"
    assert app.find("accept")["view"]["label"] == "Accepted (A)"


def test_what_is_judged_may_leave_the_view(segmented):
    dataset = segmented("the cat")
    pipeline = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    revseg.segment_view(dataset, pipeline, queries="the cat")
    first, second = dataset.values("id")
    app = App(make_view(dataset, "not yet reviewed"), current=first).send("on_load")
    app.click("next").click("accept")
    assert ("show_sample", {"id": second, "steps": 1}) in app.asked
    app.send("on_change_current_sample")  # who stays there can still go on
    assert app.where.endswith("1 of 2 reviewed")
    app.click("next")
    assert ("show_sample", {"id": second, "steps": 0}) in app.asked


def test_an_answer_that_was_replaced_is_not_judged(segmented):
    dataset = segmented("the cat")
    app = App(dataset, current=dataset.first().id).send("on_load")
    pipeline = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    revseg.segment_view(dataset[:1], pipeline, queries="the ghost", overwrite=True)
    app.click("accept")
    assert app.data["query"] == "###### the ghost"
    assert app.find("accept")["view"]["label"] == "Accept (A)"
    assert not dataset.first().revseg_answers.classifications[0].tags


def test_what_failed_can_only_be_rejected(segmented, tmp_path):
    dataset = segmented("the cat")
    (tmp_path / "two.mp4").write_bytes(b"no video")
    revseg.segment_view(dataset, RevSeg(ScriptedReasoner(ANSWERS), BoxTracker()), queries="the cat")
    app = App(dataset, current=dataset.last().id).send("on_load")
    assert app.find("accept")["view"]["disabled"]
    assert set(app.find("keys")["view"]["keys"]) == {"d", "s", "w"}
    app.click("reject")
    assert dataset.last().revseg_answers.classifications[0].tags == ["rejected"]


def test_nothing_is_left_of_the_sample_before(segmented):
    """The App lays a panel's data over its state, lists number by number."""
    dataset = segmented("the cat")
    pipeline = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    revseg.segment_view(dataset, pipeline, queries="the cat")
    first, second = dataset.values("id")
    app = App(dataset, current=first).send("on_load").follow()
    before = set(app.data)
    app.state.update(app.data)  # as the App does at times
    app.request["current_sample"] = second
    app.send("on_change_current_sample")
    assert not before & {key for key in app.data if key.startswith(("plot", "strip", "key_frame"))}
    assert not before & set(app.state)
    assert app.find("keys")["view"]["current_sample"] == second


def test_masks_on_thumbnails_can_be_hidden(segmented):
    dataset = segmented("the cat")
    app = App(dataset, current=dataset.first().id).send("on_load").follow()
    with_masks = app.picture("strip")
    assert list(with_masks) == ["at_1", "at_4", "at_7", "at_10"]
    without = app.click("masks").picture("strip")
    assert all(without[name] != picture for name, picture in with_masks.items())
    assert app.click("masks").picture("strip") == with_masks
    app.click("at_7")
    assert ("show_frame", {"frame_number": 7}) in app.asked


def test_replies_are_folded_away(segmented):
    dataset = segmented("the cat")
    app = App(dataset, current=dataset.first().id).send("on_load")
    assert app.find("replies")["view"]["label"] == "Show attempts and raw replies (2)"
    assert "reply_0" not in app.data
    app.click("replies")
    assert "**Turn 1, attempt 1**" in app.data["reply_0"]
    assert "```text\n<think>thinking</think>" in app.data["reply_0"]
    assert "**Turn 2, attempt 1**" in app.data["reply_1"]
    assert "reply_0" not in app.click("replies").data


def test_what_models_write_is_shown_as_it_is(segmented):
    dataset = segmented("*bold* ![x](http://a.b/c.png)")
    sample = dataset.first()
    sample.revseg_trajectory["segmentations"][0]["trajectory"]["turns"][0]["reply"] = "a ```` b"
    sample.save()
    app = App(dataset, current=sample.id).send("on_load").click("replies")
    assert app.data["query"] == "###### \\*bold\\* !\\[x\\](http:\u2060//a.b/c.png)"
    assert app.data["description"] == r"**a \<b\>dog\</b\>**"
    assert "`````text\na ```` b\n`````" in app.data["reply_0"]


def test_a_second_look_is_told(segmented):
    dataset = segmented("the cat")
    assert "looked_again" not in App(dataset, current=dataset.first().id).send("on_load").layout
    sample = dataset.last()
    write_second_looks(sample, RevSeg(ScriptedReasoner(ANSWERS), BoxTracker()), ["both"])
    app = App(dataset, current=sample.id).send("on_load")
    assert app.layout["status"]["view"]["label"] == "ok, certainty 0.62, agreement 0.50"
    words = app.data["looked_again"]
    assert f"1. frames 1 to 4, {markdown(SAID['why'])} at frame 4" in words
    assert f"2. frames 7 to 10, no usable reply: {markdown(SAID['why'])}" in words
    closer = "**Closer look**: frames 1 to 10, of which frames 4 to 7 were to be seen closer"
    assert closer in words
    own = "a grey cat at frame 1 (object 1); a dog at frame 10 (object 2), agrees 0.75"
    assert f"1. {own} with the others\n2. {own}" in words
    assert "3. no such object, agrees 0.25 with the others" in words
    assert f"4. bad\\_box: {markdown(SAID['why'])}" in words
    assert "**Verdict 1**: none of the objects that were found, probability 0.50" in words
    said = "objects 1, 2 of 3, probability 0.62; the outline is not right in frame 5"
    assert f"**Verdict 2**: {said}\n\n> {markdown(SAID['why'])}" in words
    assert "**Repaired** in frames 6 to 10, from a box in frame 7: the track jumps" in words
    app.follow()
    assert app.picture("judged").startswith("data:image/jpeg;base64,")
    assert app.click("replies").data["reply_3"].startswith("**Candidate 2, turn 1, attempt 1**")
    assert app.data["reply_5"].startswith("**Turn 3, attempt 1**")
    assert "**Repaired**" not in app.click("next").data["looked_again"]  # that was the other object


def test_a_verdict_that_could_not_be_used(segmented):
    sample = segmented("the cat").first()
    pipeline = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    nothing = {
        "certainty": None,
        "agreement": None,
        "candidates": (),
        "verdicts": (),
        "repairs": (),
        "looks": (),
    }
    write_second_looks(sample, pipeline, ["the cat"], **nothing)
    app = App(sample.dataset, current=sample.id).send("on_load")
    assert app.layout["status"]["view"]["label"] == "ok"
    assert app.data["looked_again"].startswith("**No verdict** that could be used")


def test_the_least_certain_answer_is_the_first_page(segmented):
    dataset = segmented("the cat", "both")
    sample = dataset.first()
    for answer, certainty in zip(
        sample.revseg_answers.classifications, (0.9, 0.2, None), strict=True
    ):
        answer["certainty"] = certainty
    sample.save()
    app = App(dataset, current=sample.id).send("on_load")
    pages = [app.data["query"].split("###### ")[1] + app.data["description"]]
    for _ in range(2):
        app.click("next")
        pages.append(app.data["query"].split("###### ")[1] + app.data["description"])
    assert pages == ["both**a grey cat**", "both**a dog**", "the cat**a grey cat**"]


def test_a_suspected_drift_is_seen(segmented):
    dataset = segmented("the cat")
    sample = dataset.first()
    for number in range(7, 11):
        sample.frames[number].revseg.detections[0].bounding_box = [0.5, 0.5, 0.1, 0.1]
    sample.save()
    app = App(dataset, current=sample.id).send("on_load")
    assert "**drift suspected at frame 7**" in app.data["series"]
    area, score, drift, key = app.plot
    assert (drift["x"], drift["y"]) == ([7], [1.0])
    assert (len(area["y"]), len(score["y"]), key["x"]) == (10, 10, [4, 4])


def test_traces_of_nothing():
    assert [trace["x"] for trace in plot_traces(TrackSeries())] == [[], [], [], []]


def test_states_without_anything_to_show(segmented, make_dataset, tmp_path):
    dataset = segmented("the cat")
    assert "not in the dataset any more" in App(dataset, current="0" * 24).send("on_load").nothing
    assert "not in the dataset any more" in App(dataset, current="nonsense").send("on_load").nothing
    write_video(tmp_path / "new.mp4", 64, 48, 5)
    empty = make_dataset(fo.Sample(str(tmp_path / "new.mp4")))
    app = App(empty, current=empty.first().id).send("on_load")
    assert "Nothing has been segmented in this dataset yet" in app.nothing
    app.request.update(dataset_name=None, view=None)
    assert "Open a dataset" in app.send("on_change_dataset").nothing


def test_a_video_that_moved(segmented, tmp_path):
    dataset = segmented("the cat")
    os.rename(tmp_path / "one.mp4", tmp_path / "elsewhere.mp4")
    app = App(dataset, current=dataset.first().id).send("on_load")
    assert app.data["query"] == "###### the cat"
    assert "is not there any more" in app.picture("note")
    assert app.picture("strip") is None
    assert app.asked == []  # nothing to wait for


def test_a_video_that_was_replaced(segmented, tmp_path):
    dataset = segmented("the cat")
    write_video(tmp_path / "one.mp4", 32, 32, 10)
    app = App(dataset, current=dataset.first().id).send("on_load").follow()
    assert "not the video that was segmented" in app.picture("note")
    app.send("refresh")
    assert "not the video that was segmented" in app.picture("note")
    assert app.asked == []  # and it is not tried again


def test_a_video_that_is_unreadable(segmented, tmp_path):
    dataset = segmented("the cat")
    (tmp_path / "two.mp4").write_bytes(b"no video")
    revseg.segment_view(dataset, RevSeg(ScriptedReasoner(ANSWERS), BoxTracker()), queries="the cat")
    app = App(dataset, current=dataset.last().id).send("on_load")
    status = app.layout["status"]["view"]
    assert (status["label"], status["name"]) == ("unreadable", "Warning")
    assert markdown("two.mp4") in status["description"]
    assert app.picture("strip") is None
    assert app.asked == []


def test_clips(make_dataset, tmp_path):
    write_video(tmp_path / "one.mp4", 64, 48, 10)
    sample = fo.Sample(str(tmp_path / "one.mp4"))
    sample["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=s) for s in ([1, 4], [6, 9])]
    )
    dataset = make_dataset(sample)
    clips = dataset.to_clips("events")
    revseg.segment_view(clips, RevSeg(ScriptedReasoner(ANSWERS), BoxTracker()), queries="both")
    app = App(clips, current=clips.last().id).send("on_load").follow()
    assert app.plot[0]["x"] == [6, 7, 8, 9]
    assert app.find("go")["view"]["params"]["frame_number"] == 6
    assert app.picture("strip")
    detection = dataset.first().frames[7].revseg.detections[1]
    app.request["selected_labels"] = [
        {"label_id": detection.id, "sample_id": clips.last().id, "field": "frames.revseg"}
    ]
    app.send("on_change_selected_labels")
    assert app.data["description"] == "**a dog**"


def test_images_in_groups(make_dataset, tmp_path):
    paths = []
    for k in range(10):
        paths.append(str(tmp_path / f"{k}.png"))
        Image.new("RGB", (64, 48), (20 * k,) * 3).save(paths[-1])
    dataset = make_dataset(*[fo.Sample(p, scene="s", order=k) for k, p in enumerate(paths)])
    groups = dataset.group_by("scene", order_by="order")
    revseg.segment_view(groups, RevSeg(ScriptedReasoner(ANSWERS), BoxTracker()), queries="the cat")
    app = App(groups, current=dataset.last().id).send("on_load").follow()
    assert app.plot[0]["x"] == list(range(1, 11))
    assert app.picture("key_frame")


def test_the_embedded_model(make_dataset, tmp_path):
    from fiftyone_revseg.synthetic import render

    (found,) = render(tmp_path, count=1)
    dataset = make_dataset(fo.Sample(str(tmp_path / found["video"])))
    query = found["queries"][0]
    revseg.segment_view(dataset, "revseg-nano", queries=query["text"])
    app = App(dataset, current=dataset.first().id).send("on_load").follow()
    assert app.data["query"] == f"###### {markdown(query['text'])}"
    assert len(app.data["thought"]) > 10
    assert app.layout["status"]["view"]["label"].startswith("ok, confidence 0.")
    assert app.picture("key_frame")
    assert app.picture("strip")
    assert any(score for score in app.plot[1]["y"])
