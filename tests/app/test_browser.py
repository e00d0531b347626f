"""The whole way in a browser: ask, look, correct, keep; with the App, mongod and the embedded pair.

The tests are steps of one session, in order. Where REVSEG_SCREENSHOTS names a folder, pictures
for the documentation are kept there.
"""

import importlib.util

import browser
import numpy as np
import pytest
from browser import cy, finish, keep_picture, open_form, submit, type_in, wait_until
from PIL import ImageChops

from fiftyone_revseg.dataset.explain import explain

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_page_errors"),
    pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="playwright is not installed"
    ),
]

VIDEOS, FIRST = 3, 7  # of these videos, the embedded pair answers two right; one has no target
LOOKED_AT = 0  # the video that is looked at and corrected; it has one object that is asked for


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A dataset with queries, and the true (bounding box, mask) per frame of one video."""
    from fiftyone_revseg.synthetic import make_dataset

    folder = tmp_path_factory.mktemp("videos")
    dataset = make_dataset(str(folder), count=VIDEOS, seed=FIRST, name="toy-videos")
    sample = dataset.skip(LOOKED_AT).first()
    truth = {
        number: [(d.bounding_box, d.mask) for d in frame.ground_truth.detections]
        for number, frame in sample.frames.items()
    }
    # So that all that is seen on the videos is what the model found
    dataset.delete_frame_fields(["ground_truth", "objects"])
    dataset.delete_sample_fields(["kind", "thought"])
    yield dataset, truth
    dataset.delete()


@pytest.fixture(scope="module")
def dataset(world):
    return world[0]


def reload(dataset):
    dataset.reload()
    return dataset


def answers(dataset, label_field):
    """The ids of the answers that are in the database, by sample."""
    reload(dataset)
    if not dataset.has_field(f"{label_field}_answers"):
        return {}
    found = zip(dataset.values("id"), dataset.values(f"{label_field}_answers"), strict=True)
    return {key: [c.id for c in value.classifications] for key, value in found if value}


def fill_segment_form(page, label_field):
    form = open_form(page, "ReVSeg: segment")
    form.get_by_text("A field with queries").click()
    type_in(form, "Label field", label_field)
    form.get_by_text(f"{VIDEOS} videos").wait_for()  # the estimate: the form is valid
    return form


def j_of(sample, truth):
    """The mean overlap with the truth over the frames in which there is an object."""
    height, width = sample.metadata.frame_height, sample.metadata.frame_width
    scores = []
    for number, true in truth.items():
        if not true:
            continue
        found = [(d.bounding_box, d.mask) for d in sample.frames[number].revseg.detections]
        a, b = (full_mask(items, width, height) for items in (true, found))
        scores.append((a & b).sum() / (a | b).sum())
    return np.mean(scores)


def full_mask(items, width, height):
    full = np.zeros((height, width), bool)
    for (x, y, *_), mask in items:
        x, y = round(x * width), round(y * height)
        part = full[max(y, 0) : y + mask.shape[0], max(x, 0) : x + mask.shape[1]]
        part |= mask[: part.shape[0], : part.shape[1]]
    return full


def test_a_form_without_a_query_cannot_be_submitted(page, server, dataset):
    browser.open_dataset(page, server, dataset)
    form = open_form(page, "ReVSeg: segment")
    form.get_by_text("One query").click()
    browser.field(form, "Query").wait_for()
    wait_until(form.get_by_role("button", name="Segment", exact=True).is_disabled)
    submit(form, "Cancel")
    form.wait_for(state="detached")
    assert answers(dataset, "revseg") == {}


def test_segment_from_the_form(page, server, dataset):
    form = fill_segment_form(page, "revseg")
    keep_picture(page, "segment-form")
    submit(form, "Segment")
    progress = cy(page, "operators-prompt-view-modal")
    progress.get_by_text(f"1 of {VIDEOS} videos").wait_for()
    keep_picture(page, "progress")
    summary = finish(page, f"{VIDEOS} of {VIDEOS} segmented")
    assert "found: " in summary
    assert reload(dataset).values("revseg_status") == ["ok", "ok", "no_target"]
    assert dataset.count("frames.revseg.detections") > 0
    # The App knows of the new fields without being reloaded
    cy(page, "checkbox-frames.revseg").wait_for()
    keep_picture(page, "grid")


def test_masks_are_drawn_on_the_video(page):
    browser.open_sample(page, LOOKED_AT)
    video = cy(page, "modal-looker-container").last
    shown = cy(page, "modal").locator('[data-cy="checkbox-frames.revseg"]')
    shown.wait_for()

    def changed_pixels(before):
        difference = ImageChops.difference(before, browser.picture_of(video)).convert("L")
        return np.count_nonzero(np.asarray(difference) > 30)

    with_masks = browser.picture_of(video)
    shown.click()
    wait_until(lambda: changed_pixels(with_masks) > 500)
    without = browser.picture_of(video)
    shown.click()
    wait_until(lambda: changed_pixels(without) > 500)


def test_the_panel_shows_why(page, dataset):
    panel = browser.open_panel(page)
    sample = dataset.skip(LOOKED_AT).first()
    (answer,) = sample.revseg_answers.classifications
    panel.get_by_text(sample.query, exact=True).wait_for()
    panel.get_by_text(answer.reasoning).wait_for()
    panel.get_by_text(f"Key frame: {answer.keyframe}.").wait_for()
    panel.get_by_text("ok, confidence").wait_for()
    pictures = panel.locator("img")
    count = 1 + len(explain(sample)[0].sampled)
    wait_until(lambda: pictures.count() == count)
    for n in range(count):
        wait_until(lambda n=n: pictures.nth(n).evaluate("image => image.naturalWidth") > 0)
    panel.get_by_text("Visible in").wait_for()
    keep_picture(page, "panel")


def test_go_to_the_key_frame(page, dataset):
    sample = dataset.skip(LOOKED_AT).first()
    number, rate = sample.revseg_answers.classifications[0].keyframe, sample.metadata.frame_rate
    cy(page, "panel-content-reasoning").get_by_role("button", name="Go to the key frame").click()
    wait_until(lambda: abs(browser.seconds_shown(page) - (number - 1) / rate) < 0.5 / rate)


def spoil(dataset, truth):
    """Puts all masks of the object in a wrong place, and its key frame's box in the right one.

    Returns:
        the number of the key frame
    """
    sample = dataset.skip(LOOKED_AT).first()
    keyframe = sample.revseg_answers.classifications[0].keyframe
    assert truth[keyframe], "the key frame is one without the object"
    for frame in sample.frames.values():
        for detection in frame.revseg.detections:
            _, _, width, height = detection.bounding_box
            detection.bounding_box = [0, 0, width, height]
    x, y, width, height = truth[keyframe][0][0]
    # By hand, nobody hits whole pixels
    box = [x - 0.003, y - 0.003, width + 0.0061, height + 0.0061]
    sample.frames[keyframe].revseg.detections[0].bounding_box = box
    sample.save()
    return keyframe


def test_propagate_a_corrected_box(page, world):
    dataset, truth = world
    keyframe = spoil(dataset, truth)
    before = j_of(reload(dataset).skip(LOOKED_AT).first(), truth)
    assert before < 0.3
    panel = cy(page, "panel-content-reasoning")
    panel.get_by_role("button", name="Re-propagate").click()
    form = browser.form(page)
    form.get_by_text(f"The boxes that were moved or drawn (frame {keyframe})").wait_for()
    keep_picture(page, "propagate-form")
    submit(form, "Propagate")
    summary = finish(page, "tracked from frame")
    assert f"tracked from frame {keyframe}" in summary

    sample = reload(dataset).skip(LOOKED_AT).first()
    assert j_of(sample, truth) > 0.5
    assert sample.revseg_answers.classifications[0].corrected
    corrected = panel.get_by_text("corrected by a person")
    corrected.scroll_into_view_if_needed()
    keep_picture(page, "corrected")


@pytest.mark.parametrize(("button", "tag"), [("Accept", "accepted"), ("Reject", "rejected")])
def test_accept_and_reject(page, dataset, button, tag):
    panel = cy(page, "panel-content-reasoning")
    panel.get_by_role("button", name=f"{button} (").click()
    wait_until(lambda: tag in (reload(dataset).count_label_tags("revseg_answers")))
    panel.get_by_text("test_000008.mp4").wait_for()  # it goes on to the next that waits
    browser.settle(page)
    page.keyboard.press("w")
    panel.get_by_text(f"{tag} by").wait_for()
    browser.settle(page)
    sample = reload(dataset).skip(LOOKED_AT).first()
    assert sample.revseg_answers.classifications[0].tags == [tag]
    tags = {tag for f in sample.frames.values() for d in f.revseg.detections for tag in d.tags}
    assert tags == {tag}


def test_schedule_a_run(page, server, dataset):
    browser.open_dataset(page, server, dataset)
    form = fill_segment_form(page, "later")
    form.get_by_role("button", name="Segment", exact=True).locator("xpath=..").locator(
        "button"
    ).last.click()
    page.get_by_text("Schedule", exact=True).click()
    submit(form, "Schedule")
    form.wait_for(state="detached")
    assert answers(dataset, "later") == {}
    browser.run_scheduled(dataset)
    found = answers(dataset, "later")
    assert len(found) == VIDEOS
    assert reload(dataset).values("later_status") == ["ok", "ok", "no_target"]


def test_a_killed_server_loses_nothing(page, server, dataset):
    form = fill_segment_form(page, "third")
    submit(form, "Segment")
    wait_until(lambda: answers(dataset, "third"))
    server.kill()
    saved = answers(dataset, "third")
    assert 1 <= len(saved) < VIDEOS

    server.start()
    browser.open_dataset(page, server, dataset)
    # The page may have asked the server while it was gone: the browser says so, nothing crashed
    page.errors[:] = [error for error in page.errors if error != "Failed to fetch"]
    form = open_form(page, "ReVSeg: segment")
    form.get_by_text("A field with queries").click()
    type_in(form, "Label field", "third")
    form.get_by_text(f"of {VIDEOS} videos").wait_for()
    submit(form, "Segment")
    assert f"{len(saved)} had answers before" in finish(page, "segmented in")
    found = answers(dataset, "third")
    assert len(found) == VIDEOS
    assert saved.items() <= found.items(), "done again"
