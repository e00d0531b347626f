"""What the App shows first of a dataset that was segmented."""

import fiftyone as fo
import pytest
from fake_models import BoxTracker, ScriptedReasoner, write_video
from PIL import Image

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset.first_look import TRUTH_COLOR
from fiftyone_revseg.pipeline import RevSeg

ANSWERS = {"the cat": [(1, "a grey cat", [25, 50, 75, 100])], "the ghost": []}


@pytest.fixture
def dataset(make_dataset, tmp_path):
    write_video(tmp_path / "one.mp4", 64, 48, 10)
    sample = fo.Sample(str(tmp_path / "one.mp4"), query="the cat")
    truth = fo.Detection(label="cat", bounding_box=[0.1, 0.1, 0.2, 0.2])
    sample.frames[1] = fo.Frame(ground_truth=fo.Detections(detections=[truth]))
    return make_dataset(sample)


def segment(samples, **options):
    revseg.segment_view(samples, RevSeg(ScriptedReasoner(ANSWERS), BoxTracker()), **options)


def colors(dataset):
    dataset.reload()
    return {field["path"]: field for field in dataset.app_config.color_scheme.fields or ()}


def shown(dataset):
    dataset.reload()
    return dataset.app_config.active_fields.paths


def test_query_answer_and_masks_are_shown(dataset):
    segment(dataset, prompt_field="query")
    assert shown(dataset) == ["query", "revseg_answers", "frames.revseg"]
    segment(dataset, queries="the ghost", label_field="second")  # which is what one looks at now
    assert shown(dataset) == ["second_answers", "frames.second"]


def test_objects_have_colours_of_their_own_and_the_truth_is_grey(dataset):
    segment(dataset, prompt_field="query")
    found = colors(dataset)
    assert dataset.app_config.color_scheme.color_by == "value"
    assert set(found) == {"revseg_answers", "frames.revseg", "frames.ground_truth"}
    masks = {c["value"]: c["color"] for c in found["frames.revseg"]["valueColors"]}
    assert (found["frames.revseg"]["colorByAttribute"], masks["1"]) == ("index", "#ff1eaa")
    assert len({masks[str(k)] for k in range(1, 8)}) == 7
    truth = found["frames.ground_truth"]["valueColors"]
    assert truth == [{"value": "none", "color": TRUTH_COLOR}]
    segment(dataset, queries="the cat", label_field="second")
    assert set(colors(dataset)) - set(found) == {"second_answers", "frames.second"}


def test_what_a_person_chose_is_left_alone(dataset):
    dataset.app_config.active_fields = fo.ActiveFields(paths=["filepath", "frames.ground_truth"])
    dataset.app_config.color_scheme = fo.ColorScheme(color_by="field")
    dataset.save()
    segment(dataset, prompt_field="query")
    assert shown(dataset) == ["filepath", "frames.ground_truth"]
    assert colors(dataset) == {}


def test_images_in_groups(make_dataset, tmp_path):
    paths = [str(tmp_path / f"{k}.png") for k in range(4)]
    for path in paths:
        Image.new("RGB", (64, 48)).save(path)
    dataset = make_dataset(*[fo.Sample(p, scene="s", order=k) for k, p in enumerate(paths)])
    segment(dataset.group_by("scene", order_by="order"), queries="the cat")
    assert shown(dataset) == ["revseg_answers", "revseg"]
    assert set(colors(dataset)) == {"revseg_answers", "revseg"}
