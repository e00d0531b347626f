"""Every answer can be acted on, in a browser: a missing object is shown, and that is undone.

The tests are steps of one session, in order. Where REVSEG_SCREENSHOTS names a folder, pictures
are kept there.
"""

import importlib.util
import os
from pathlib import Path

import av
import browser
import fiftyone as fo
import numpy as np
import pytest
from browser import close, cy, finish, picture_of, submit, type_in, wait_until
from fake_models import ScriptedReasoner

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_page_errors"),
    pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="playwright is not installed"
    ),
]

FRAMES = 8
NONE, FAILED = 0, 1  # the videos: with "no such object", and where the chain failed


class _Mumbling(ScriptedReasoner):
    """Never gives a key frame."""

    def _reply(self, conversation):
        return "hm"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A dataset of two short videos, and per video a frame and the box of an object in it."""
    import fiftyone_revseg as revseg
    from fiftyone_revseg.pipeline import RevSeg, load_pipeline
    from fiftyone_revseg.synthetic import make_dataset

    folder = tmp_path_factory.mktemp("videos")
    whole = make_dataset(str(folder), count=2, seed=7)
    dataset, shown = fo.Dataset("actions"), []
    for sample in whole:
        path = folder / f"short_{len(dataset)}.mp4"
        with revseg.open_video(sample.filepath) as video:
            write_frames(path, [video[k] for k in range(FRAMES)])
        dataset.add_sample(fo.Sample(str(path), query=sample.query))
        sizes = {
            (d.bounding_box[2] * d.bounding_box[3], number): d.bounding_box
            for number, frame in sample.frames.items()
            for d in frame.objects.detections
            if number <= FRAMES
        }
        shown.append((max(sizes)[1], sizes[max(sizes)]))
    whole.delete()
    dataset.compute_metadata()
    tracker = load_pipeline("revseg-nano").tracker
    silent = RevSeg(ScriptedReasoner({"the ghost": []}), tracker)
    revseg.segment_view(dataset[:1], silent, queries="the ghost")
    revseg.segment_view(dataset[1:], RevSeg(_Mumbling({}), tracker), queries="the lost one")
    dataset.reload()
    assert dataset.values("revseg_status") == ["no_target", "bad_keyframe"]
    yield dataset, shown
    dataset.delete()


def write_frames(path, frames):
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def dataset(world):
    return world[0]


@pytest.fixture(scope="module")
def page(server):
    with browser.open_page() as page:
        page.set_viewport_size({"width": 1366, "height": 768})
        yield page


def keep_picture(page, name):
    folder = os.environ.get("REVSEG_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"actions-{name}.png")


def press(page, name):
    """Presses one of the panel's buttons, once all is drawn."""
    browser.settle(page)
    button = cy(page, "panel-content-reasoning").get_by_role("button", name=name, exact=True)
    button.scroll_into_view_if_needed()
    button.click()


def answers(dataset, number):
    dataset.reload()
    sample = dataset.skip(number).first()
    found = sample.revseg_answers.classifications
    return [(a.label, a["index"], a["status"]) for a in found]


def visible(dataset, number):
    sample = dataset.skip(number).first()
    return sum(bool(frame.revseg.detections) for frame in sample.frames.values())


def player(page):
    """The picture of the player, without what it shows only below the mouse."""
    page.mouse.move(5, 5)
    browser.settle(page)
    canvas = cy(page, "modal-looker-container").locator("canvas").first
    return np.asarray(picture_of(canvas), float)


def mean_color(picture, size, box):
    """The mean colour within a relative box of a video that fills a picture if it can."""
    room = np.array(picture.shape[1::-1])
    shown = np.array(size) * (room / size).min()
    x, y, w, h = np.array(box) * np.tile(shown, 2)
    left, top = (room - shown) / 2 + (x, y)
    part = picture[round(top) : round(top + h), round(left) : round(left + w)]
    return part.mean(axis=(0, 1))


@pytest.fixture(scope="module")
def pictures():
    """Pictures of the player that a later step is compared with."""
    return {}


def test_a_missing_object_that_was_drawn_takes_the_place_of_no_such_object(
    page, server, world, pictures
):
    dataset, shown = world
    number, box = shown[NONE]
    sample = dataset.skip(NONE).first()
    # As the App stores a box that is drawn, see test_drawn_in_the_app
    drawn = fo.Detection(label="a disc", bounding_box=box, keyframe=True)
    sample.frames[number].revseg.detections.append(drawn)
    sample.save()
    browser.open_dataset(page, server, dataset)
    browser.open_sample(page, NONE)
    panel = browser.open_panel(page)
    panel.get_by_text("no_target").first.wait_for()
    pictures["none"] = player(page)
    keep_picture(page, "none")
    press(page, "Add an object")
    form = browser.form(page)
    form.get_by_text(f"(frame {number})").wait_for()
    assert browser.field(form, "Description").input_value() == "a disc"
    keep_picture(page, "none-form")
    submit(form, "Add")
    summary = finish(page, "tracked from frame")
    assert "object 1 (a disc)" in summary
    panel.get_by_text("corrected by a person").wait_for()
    keep_picture(page, "none-added")
    assert answers(dataset, NONE) == [("a disc", 1, "ok")]
    assert visible(dataset, NONE) > 4
    first = dataset.first()
    size = first.metadata.frame_width, first.metadata.frame_height
    (found,) = first.frames[1].revseg.detections

    def covers():
        seen = [mean_color(p, size, found.bounding_box) for p in (pictures["none"], player(page))]
        return np.abs(seen[0] - seen[1]).max() > 10

    wait_until(covers, patience=30)  # the player shows the mask


def test_it_is_called_something_else(page, dataset):
    press(page, "Rename")
    form = browser.form(page)
    type_in(form, "Description", "a red disc")
    submit(form, "Rename")
    close(form, "object 1 is called a red disc")
    cy(page, "panel-content-reasoning").get_by_text("a red disc").first.wait_for()
    assert answers(dataset, NONE) == [("a red disc", 1, "ok")]


def test_both_are_undone(page, dataset, pictures):
    for kind in ("renamed", "box"):
        press(page, "Undo")
        form = browser.form(page)
        form.get_by_text(kind).first.wait_for()
        keep_picture(page, f"undo-{kind}")
        submit(form, "Undo")
        close(form, "undone")
    panel = cy(page, "panel-content-reasoning")
    panel.get_by_text("no_target").first.wait_for()
    browser.settle(page)
    keep_picture(page, "undone")
    assert panel.get_by_role("button", name="Undo", exact=True).count() == 0
    assert answers(dataset, NONE) == [("no_target", None, "no_target")]
    assert visible(dataset, NONE) == 1  # what was drawn is there again
    wait_until(lambda: np.abs(player(page) - pictures["none"]).mean() < 1, patience=30)


def test_that_there_is_none_is_accepted(page, dataset):
    browser.settle(page)
    page.keyboard.press("a")
    sample_id = dataset.first().id

    def accepted():
        dataset.reload()
        (answer,) = dataset[sample_id].revseg_answers.classifications
        return answer.tags == ["accepted"] and answer["reviewer"]

    wait_until(accepted)


def test_a_missing_object_is_shown_where_the_chain_failed(page, server, world):
    dataset, shown = world
    number, box = shown[FAILED]
    browser.open_dataset(page, server, dataset)
    browser.open_sample(page, FAILED)
    panel = browser.open_panel(page)
    panel.get_by_text("bad_keyframe").first.wait_for()
    press(page, "Add an object")
    form = browser.form(page)
    form.get_by_text("A box that I type in").wait_for()
    type_in(form, "Frame", str(number))
    for side, value in zip(("Left", "Top", "Width", "Height"), box, strict=True):
        type_in(form, side, f"{value:.4f}")
    keep_picture(page, "failed-form")
    submit(form, "Add")
    assert "object 1 (the lost one)" in finish(page, "tracked from frame")
    panel.get_by_text("corrected by a person").wait_for()
    keep_picture(page, "failed-added")
    assert answers(dataset, FAILED) == [("the lost one", 1, "ok")]
    assert visible(dataset, FAILED) > 4


def test_it_is_deleted(page, dataset):
    press(page, "Delete")
    form = browser.form(page)
    form.get_by_text("It can be undone").wait_for()
    submit(form, "Delete")
    close(form, "is deleted")
    cy(page, "panel-content-reasoning").get_by_text("no_target").first.wait_for()
    assert answers(dataset, FAILED) == [("no_target", None, "no_target")]
    assert visible(dataset, FAILED) == 0


def test_a_query_is_asked_in_other_words(page, dataset):
    query = dataset.skip(FAILED).first().query
    press(page, "Ask again")
    form = browser.form(page)
    assert browser.field(form, "Ask").input_value() == "the lost one"
    type_in(form, "Ask", query)
    keep_picture(page, "ask-again")
    submit(form, "Ask")
    finish(page, 'in place of "the lost one"')
    panel = cy(page, "panel-content-reasoning")
    panel.get_by_text(query, exact=True).first.wait_for()
    browser.settle(page)
    keep_picture(page, "asked-again")
    dataset.reload()
    found = dataset.skip(FAILED).first().revseg_answers.classifications
    assert {answer["query"] for answer in found} == {query}
