"""What operators and the panel say of videos that the App plays wrongly, and what they refuse."""

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, Executor
from timed_videos import encode

import fiftyone_revseg as revseg
from fiftyone_revseg.app.forms import Form
from fiftyone_revseg.app.playable import Playable
from fiftyone_revseg.app.propagate import Propagate
from fiftyone_revseg.app.reground import Reground
from fiftyone_revseg.app.segment import Segment
from fiftyone_revseg.app.targets import playback_notice
from fiftyone_revseg.dataset.correct import propagate
from fiftyone_revseg.dataset.playback_fields import mark_playback

# Ten frames, the last ones slow: when the App says frame 5, it shows frame 7
SLOWER = [0, 33, 66, 99, 132, 165, 198, 300, 400, 500]
FIVE, SHOWN = 5, 7
DRAWN = [0.4, 0.4, 0.25, 0.25]
OPERATORS = {
    "segment": Segment,
    "propagate": Propagate,
    "reground": Reground,
    "playable": Playable,
}


@pytest.fixture
def sample(fake_model, make_dataset, tmp_path):
    """A video that the App plays wrongly, in which object 1 was found."""
    path = encode(tmp_path / "slower.mp4", SLOWER)
    dataset = make_dataset(fo.Sample(path, query="the cat"))
    dataset.compute_metadata()
    foo.get_operator("fiftyone_revseg/segment")(dataset, query="the cat")
    dataset.reload()
    return dataset.first()


def draw(sample, number=FIVE):
    """What the App stores when a person draws a box while it says that number."""
    frame = sample.frames[number]
    frame.revseg.detections.append(fo.Detection(label="a grey cat", bounding_box=DRAWN))
    sample.save()


def context(name, sample, **params):
    request = {
        "dataset_name": sample.dataset.name,
        "view": sample.dataset.view()._serialize(),
        "current_sample": sample.id,
        "selected": [],
        "selected_labels": params.pop("labels", []),
        "params": params,
    }
    return ExecutionContext(request, executor=Executor(), operator_uri=f"fiftyone_revseg/{name}")


def form(name, sample, **params):
    return OPERATORS[name]().resolve_input(context(name, sample, **params)).type.properties


def words(prop):
    view = prop.view
    return f"{view.label} {view.description}"


def boxes_of(sample, number):
    sample.reload()
    return [d.bounding_box for d in sample.frames[number].revseg.detections]


def test_the_app_shows_another_picture(sample):
    from fiftyone_revseg.dataset.playback import playback_of

    # Sought at 4.01 / 18.75 = 0.214 s; the seventh is shown from 0.198 s on
    assert playback_of(sample).picture_of(FIVE) == SHOWN


def test_a_box_that_was_drawn_is_refused_in_words(sample):
    draw(sample)
    before = [boxes_of(sample, n) for n in range(1, 11)]
    tracker = sample  # nothing is loaded before it is refused
    with pytest.raises(ValueError, match=f"says frame {FIVE}, it shows the picture of") as raised:
        propagate(tracker, 1)
    assert f"seen={{{FIVE}: {SHOWN}}}" in str(raised.value)
    assert "revseg playable" in str(raised.value)
    assert [boxes_of(sample, n) for n in range(1, 11)] == before


def test_a_box_goes_to_the_frame_that_was_seen(sample, fake_model):
    draw(sample)
    done = propagate(sample, 1, model=fake_model, seen={FIVE: SHOWN})
    assert done.prompts == {SHOWN: pytest.approx(DRAWN)}
    # One box in every frame: that which was drawn is no longer in the other one
    assert all(len(boxes_of(sample, n)) == 1 for n in range(1, 11))
    assert sample.revseg_answers.classifications[0].keyframe == SHOWN
    assert fake_model.calls[-1][0] == SHOWN - 1 or fake_model.calls[-2][0] == SHOWN - 1


def test_numbers_from_a_script_are_exact(sample, fake_model):
    done = propagate(sample, 1, {FIVE: DRAWN}, model=fake_model)
    assert list(done.prompts) == [FIVE]
    # A script that wrote a box says so
    draw(sample)
    assert list(propagate(sample, 1, model=fake_model, seen={FIVE: FIVE}).prompts) == [FIVE]


def test_two_boxes_cannot_be_in_one_frame(sample, fake_model):
    draw(sample, FIVE)
    draw(sample, 6)
    with pytest.raises(ValueError, match="two boxes for frame 8"):
        propagate(sample, 1, model=fake_model, seen={FIVE: 8, 6: 8})
    with pytest.raises(ValueError, match="no frame 11"):
        propagate(sample, 1, model=fake_model, seen={FIVE: 8, 6: 11})


def test_the_form_asks_which_picture_was_seen(sample):
    draw(sample)
    properties = form("propagate", sample)
    assert "up to" in words(properties["playback"])
    asked = properties[f"seen_in_{FIVE}"]
    assert asked.default == SHOWN
    assert properties[f"picture_{FIVE}_{SHOWN}"].default.startswith("data:image/jpeg")
    # The App sends defaults; without them, as from a script, it is not executed
    assert properties["wrong_boxes"].invalid
    sent = form("propagate", sample, **{f"seen_in_{FIVE}": SHOWN})
    assert "wrong_boxes" not in sent
    wrong = form("propagate", sample, **{f"seen_in_{FIVE}": 99})
    assert "no frame 99" in wrong[f"seen_in_{FIVE}"].error_message


def test_the_operator_tracks_from_the_picture_that_was_seen(sample):
    draw(sample)
    run = foo.get_operator("fiftyone_revseg/propagate")
    with pytest.raises(foo.executor.ExecutionError, match="shows the picture of"):
        run(sample.dataset, 1)
    result = run(sample.dataset, 1, seen={FIVE: SHOWN})
    assert list(result["prompts"]) == [str(SHOWN)]


def test_a_selected_box_is_asked_about_too(sample):
    draw(sample)
    detection = sample.frames[FIVE].revseg.detections[-1]
    selected = [
        {
            "label_id": detection.id,
            "sample_id": sample.id,
            "field": "frames.revseg",
            "frame_number": FIVE,
        }
    ]
    properties = form("propagate", sample, index=1, labels=selected)
    assert properties["start"].default == "selected"
    assert properties["wrong_boxes"].invalid
    seen = {f"seen_in_{FIVE}": SHOWN}
    sent = form("propagate", sample, index=1, labels=selected, **seen)
    assert "wrong_boxes" not in sent
    # What was asked about a box has no meaning for a frame that was typed
    typed = {"start": "frame", "frame_number": FIVE, f"seen_in_{FIVE}": 99}
    assert not any(
        getattr(p, "invalid", False) for p in form("propagate", sample, **typed).values()
    )


def test_the_other_forms_say_it(sample):
    said = words(form("reground", sample, frame_number=FIVE)["playback"])
    assert f"When the App says frame {FIVE}, you see frame {SHOWN}." in said
    said = words(form("segment", sample, query="x", label_field="other")["playback"])
    assert "plays 1 video among the first wrongly" in said
    mark_playback(sample.dataset)
    sample.dataset.reload()
    shown = Form(context("segment", sample))
    playback_notice(shown, sample.dataset)
    assert "plays 1 video here wrongly" in words(shown.inputs.properties["playback"])


def test_nothing_is_said_of_videos_that_play_right(fake_model, dataset):
    foo.get_operator("fiftyone_revseg/segment")(dataset[:1], query="the cat")
    dataset.reload()
    first = dataset.first()
    for name, params in (
        ("propagate", {}),
        ("reground", {}),
        ("segment", {"query": "x", "label_field": "other"}),
    ):
        assert "playback" not in form(name, first, **params)
    frame = first.frames[3]
    frame.revseg.detections.append(fo.Detection(label="a grey cat", bounding_box=DRAWN))
    first.save()
    assert list(propagate(first, 1, model=fake_model).prompts) == [3]


def test_the_operator_makes_copies_and_takes_them_back(sample, tmp_path):
    draw(sample)
    run = foo.get_operator("fiftyone_revseg/playable")
    original = sample.filepath
    result = run(sample.dataset, directory=tmp_path / "copies")
    sample.reload()
    assert result["changed"] == {sample.id: sample.filepath}
    assert sample.original_filepath == original
    assert "playback" not in form("propagate", sample)
    assert "1 of 1 videos changed" in result["summary"]
    assert run(sample.dataset, undo=True)["changed"] == {sample.id: original}


def test_the_form_of_copies(sample):
    properties = form("playable", sample)
    assert "directory" in properties
    assert "directory" not in form("playable", sample, way="undo")


def test_model_is_not_needed_to_refuse(sample):
    draw(sample)
    with pytest.raises(ValueError, match="shows the picture"):
        propagate(sample, 1, model=revseg.load_model)  # which is no model
