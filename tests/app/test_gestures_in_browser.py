"""Correcting an object by the gestures of FiftyOne's annotation mode, in a browser.

The tests are steps of one session, in order. What the App writes for each gesture is in
tests/dataset/test_drawn_in_the_app.py, too, which needs no browser.
"""

import importlib.util

import browser
import numpy as np
import pytest
from browser import cy, finish, keep_picture, open_form, submit, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_page_errors"),
    pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="playwright is not installed"
    ),
]

SEED = 7  # a video with three objects, of which one is asked for
CANVAS = "lighter-sample-renderer-canvas"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A dataset with one video and its result, and where another object is, by frame."""
    import fiftyone_revseg as revseg
    from fiftyone_revseg.dataset.annotation import activate_annotation
    from fiftyone_revseg.synthetic import make_dataset

    folder = tmp_path_factory.mktemp("videos")
    dataset = make_dataset(str(folder), count=1, seed=SEED, name="gestures")
    frames = dataset.first().frames
    asked = frames[1].ground_truth.detections[0].label
    other = next(d for d in frames[1].objects.detections if d.label not in (asked, "green cross"))
    truth = {
        number: d
        for number, frame in frames.items()
        for d in frame.objects.detections
        if d.index == other.index
    }
    dataset.delete_frame_fields(["ground_truth", "objects"])
    dataset.delete_sample_fields(["kind", "thought"])
    revseg.segment_view(dataset, revseg.load_model("revseg-nano", prompt_field="query"))
    activate_annotation(dataset)
    yield dataset, truth
    dataset.delete()


@pytest.fixture(scope="module")
def page(server, world):
    dataset, _ = world
    with browser.open_page() as page:
        browser.open_dataset(page, server, dataset)
        browser.open_sample(page, 0)
        cy(page, "annotate").click()
        cy(page, "detection-mode").wait_for()
        page.wait_for_timeout(1000)
        advertisement = page.get_by_text("Dismiss", exact=True)
        if advertisement.count():
            advertisement.last.click()
        yield page


def stored(dataset):
    """frame number -> the raw detections there."""
    frames = dataset._frame_collection.find().sort("frame_number")
    return {f["frame_number"]: (f.get("revseg") or {}).get("detections") or [] for f in frames}


def overlap(dataset, truth):
    """The mean IoU of the boxes with those of the truth, over its frames."""
    from fiftyone_revseg.masks.boxes import box_iou, corners_px

    found, scores = stored(dataset), []
    for number, true in truth.items():
        boxes = [d["bounding_box"] for d in found[number]]
        assert len(boxes) < 2, f"there are repeats in frame {number}"
        both = [corners_px(b, (1, 1)) for b in (*boxes, true.bounding_box)]
        scores.append(box_iou(*both) if boxes else 0.0)
    return np.mean(scores)


def key_frames(dataset):
    return [n for n, found in stored(dataset).items() if any(d.get("keyframe") for d in found)]


def go_to(page, dataset, number):
    """Steps forward to a frame: a step that comes too soon after another one is lost."""
    rate = dataset.first().metadata.frame_rate

    def shown():
        return round(browser.seconds_shown(page) * rate) + 1

    while (before := shown()) < number:
        page.get_by_label("Step forward").click()
        wait_until(lambda before=before: shown() > before, patience=10)
    assert shown() == number
    page.wait_for_timeout(1000)


def on_page(page, dataset, *points):
    """Where relative points of the picture are on the page: it fills its canvas if it can."""
    metadata = dataset.first().metadata
    size = np.array([metadata.frame_width, metadata.frame_height])
    box = cy(page, CANVAS).bounding_box()
    room = np.array([box["width"], box["height"]])
    size = size * (room / size).min()
    corner = np.array([box["x"], box["y"]]) + (room - size) / 2
    return [(corner + np.array(point) * size).tolist() for point in points]


def drag(page, *way):
    page.mouse.move(*way[0])
    page.mouse.down()
    for point in way[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


def wait_until_saved(dataset):
    """Waits until a label that belongs to no object yet has a key frame."""

    def drawn():
        for frame in dataset._frame_collection.find():
            labels = [*((frame.get("revseg") or {}).get("detections") or ())]
            labels += (frame.get("revseg_points") or {}).get("polylines") or ()
            if any(d.get("index") is None and d.get("keyframe") is True for d in labels):
                return True
        return False

    wait_until(drawn)


def propagate(page, words):
    form = open_form(page, "ReVSeg: propagate")
    form.get_by_text(words).wait_for()
    keep_picture(page, "propagate-form")
    submit(form, "Propagate")
    summary = finish(page, "tracked from frame")
    # The annotation mode reads its labels anew: what was drawn is one with the object
    wait_until(lambda: page.locator('[data-cy^="annotate-label-"]').count() == 1)
    page.wait_for_timeout(1000)
    return summary


def test_correct_by_drawing(page, world):
    dataset, truth = world
    assert overlap(dataset, truth) < 0.2
    assert len(key_frames(dataset)) == 1  # the model's
    go_to(page, dataset, 5)
    x, y, w, h = truth[5].bounding_box
    cy(page, "detection-mode").click()
    drag(page, *on_page(page, dataset, (x, y), (x + w / 2, y + h / 2), (x + w, y + h)))
    wait_until_saved(dataset)
    keep_picture(page, "drawn-box")
    assert sum(len(found) for found in stored(dataset).values()) > len(truth) + 20, "no repeats"
    summary = propagate(page, "The boxes that were moved or drawn (frame 5)")
    keep_picture(page, "annotation-corrected")
    assert "tracked from frame 5:" in summary
    assert overlap(dataset, truth) > 0.7
    assert key_frames(dataset) == [5]
