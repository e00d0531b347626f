"""A review by keyboard alone, in a browser: twelve answers in the order of a saved view.

The tests are steps of one session, in order.
"""

import importlib.util

import browser
import fiftyone as fo
import pytest
from browser import cy, keep_picture, wait_until
from fake_models import BoxTracker, ScriptedReasoner, write_video

import fiftyone_revseg as revseg
from fiftyone_revseg.pipeline import RevSeg

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_page_errors"),
    pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="playwright is not installed"
    ),
]

ANSWERS = {
    "both": [(0, "a grey cat", [25, 50, 75, 100]), (1, "a dog", [0, 0, 50, 50])],
    "the ghost": [],
}
FRAMES = {"a": 12, "b": 9, "c": 45, "d": 42}  # frames of each video
ORDER = "cadb"  # of the view
CERTAINTIES = (0.9, 0.2, 0.5)  # so the second answer of a video comes first
PAGES = ["a dog", "the ghost", "a grey cat"]
SIZES = [(1366, 768), (1920, 1080)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for name, frames in FRAMES.items():
        write_video(folder / f"{name}.mp4", 320, 180, frames)
    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(str(folder / f"{name}.mp4")) for name in FRAMES])
    dataset.compute_metadata()
    pipeline = RevSeg(ScriptedReasoner(ANSWERS), BoxTracker())
    revseg.segment_view(dataset, pipeline, queries=["both", "the ghost"], progress=False)
    for sample in dataset:
        for answer, certainty in zip(
            sample.revseg_answers.classifications, CERTAINTIES, strict=True
        ):
            answer["certainty"] = certainty
        (record, _) = sample.revseg_trajectory["segmentations"]
        record["trajectory"]["turns"][0]["reply"] = "a_long_word" * 80
        sample.save()
    ids = dict(zip(FRAMES, dataset.values("id"), strict=True))
    dataset.save_view("queue", dataset.select([ids[name] for name in ORDER], ordered=True))
    yield dataset
    dataset.delete()


@pytest.fixture(scope="module")
def page(server, dataset):
    with browser.open_page() as page:
        page.set_viewport_size(dict(zip(("width", "height"), SIZES[0], strict=True)))
        browser.open_dataset(page, server, dataset, "queue")
        browser.open_sample(page, 0)
        browser.open_panel(page)
        yield page


def panel_of(page):
    return cy(page, "panel-content-reasoning")


def shows(page, *texts):
    shown = panel_of(page).inner_text()
    return "Loading" not in shown and all(text in shown for text in texts)


def frames_in_curve(page):
    curve = panel_of(page).locator(".js-plotly-plot")
    return curve.evaluate("plot => plot.data?.[0]?.x.length") if curve.count() else None


def in_sight(page, name):
    """Whether a button can be pressed without scrolling."""
    button = panel_of(page).get_by_role("button", name=name)
    return button.evaluate(
        """button => {
            const { x, y, width, height } = button.getBoundingClientRect();
            const at = document.elementFromPoint(x + width / 2, y + height / 2);
            return button.contains(at) || at?.contains(button);
        }"""
    )


def test_buttons_stay_in_sight(page):
    wait_until(lambda: shows(page, "c.mp4", "0 of 12 reviewed", "Visible in"))
    panel_of(page).get_by_role("button", name="raw replies").click()
    wait_until(lambda: shows(page, "a_long_word"))
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        browser.settle(page)
        for top in (0, 300, 10_000):
            panel_of(page).locator(".revseg-page").evaluate(
                "(page, top) => { page.closest('[data-cy^=panel-content]')"
                ".querySelectorAll('div').forEach(part => { part.scrollTop = top; }); }",
                top,
            )
            for name in ("Accept (A)", "Reject (D)", "Next (S)", "Back (W)"):
                assert in_sight(page, name), (width, top, name)
        wide = "e => e.scrollWidth - e.clientWidth"  # by what a long word could stick out
        assert panel_of(page).locator(".revseg-page").evaluate(wide) <= 0
        keep_picture(page, f"review-{width}")
    page.set_viewport_size(dict(zip(("width", "height"), SIZES[0], strict=True)))
    panel_of(page).get_by_role("button", name="raw replies").click()
    browser.settle(page)


def test_a_thumbnail_goes_to_its_frame(page, dataset):
    thumbnails = panel_of(page).locator("img")
    wait_until(lambda: thumbnails.count() == 1 + 4)
    thumbnails.nth(3).click()  # beside the picture of the key frame: the third of 1, 16, 30, 45
    rate = dataset.first().metadata.frame_rate
    wait_until(lambda: abs(browser.seconds_shown(page) - 29 / rate) < 1 / rate)


def test_twelve_answers_by_keyboard(page, dataset):
    expected = [(name, shown) for name in ORDER for shown in PAGES]
    for k, (name, shown) in enumerate(expected):
        wait_until(lambda n=name, s=shown, k=k: shows(page, f"{n}.mp4", s, f"{k} of 12 reviewed"))
        if shown != "the ghost":
            wait_until(lambda n=name: frames_in_curve(page) == FRAMES[n])
        browser.settle(page, 0.3)
        page.keyboard.press("a" if k % 3 else "d")
    wait_until(lambda: shows(page, "12 of 12 reviewed"))
    dataset.reload()
    for sample in dataset:
        answers = sample.revseg_answers.classifications
        assert [answer.tags for answer in answers] == [["accepted"], ["rejected"], ["accepted"]]
        assert all(answer.reviewer and answer.reviewed_at for answer in answers)
        tags = {
            (detection.label, tag)
            for frame in sample.frames.values()
            for detection in frame.revseg.detections
            for tag in detection.tags
        }
        assert tags == {("a grey cat", "accepted"), ("a dog", "rejected")}


def test_a_judgment_is_changed(page, dataset):
    page.keyboard.press("w")
    page.keyboard.press("w")  # pressed before the first one is shown, so not heard
    wait_until(lambda: shows(page, "b.mp4", "the ghost", "accepted by"))
    browser.settle(page)
    keep_picture(page, "review-accepted")
    page.keyboard.press("d")
    wait_until(lambda: shows(page, "b.mp4", "the ghost", "rejected by"))
    assert panel_of(page).locator('[data-testid="SuccessOutlinedIcon"]').count() == 0
    browser.settle(page)
    theme = "theme => localStorage.setItem('mui-mode', theme)"
    page.evaluate(theme, "light")
    keep_picture(page, "review-rejected")
