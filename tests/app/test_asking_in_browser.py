"""Asking, and asking something else, in a browser: steps of one session, in order."""

import importlib.util

import browser
import pytest
from browser import cy, finish, keep_picture, submit, type_in, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_page_errors"),
    pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="playwright is not installed"
    ),
]

VIDEOS, FIRST = 2, 8  # of these videos, the embedded pair finds one object, and one has no target
ANOTHER = "the green triangle"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    from fiftyone_revseg.synthetic import make_dataset

    dataset = make_dataset(tmp_path_factory.mktemp("videos"), count=VIDEOS, seed=FIRST)
    dataset.delete_frame_fields(["ground_truth", "objects"])
    dataset.delete_sample_fields(["kind", "thought"])
    yield dataset
    dataset.delete()


def is_chosen(form, label):
    return form.get_by_label(label).is_checked()


def complaints(form):
    """What the form says in the colour of errors."""
    return form.evaluate(
        """form => [...form.querySelectorAll('p, span, div, h6')]
            .filter(e => e.childElementCount === 0 && e.innerText)
            .filter(e => { const [r, g, b] = getComputedStyle(e).color.match(/\\d+/g).map(Number)
                           return r > 180 && g < 110 && b < 110 })
            .map(e => e.innerText)"""
    )


def test_the_first_operator_is_segment_and_its_queries_are_there(page, server, dataset):
    browser.open_dataset(page, server, dataset)
    form = browser.open_form(page, "ReVSeg")
    form.get_by_text("ReVSeg: segment").wait_for()
    form.get_by_text(f"{VIDEOS} videos").wait_for()  # the estimate: nothing is left to fill in
    assert is_chosen(form, "A field with queries")
    assert browser.field(form, "Field").input_value() == "query"
    assert complaints(form) == []
    assert form.get_by_text("Server URL").count() == 0
    keep_picture(page, "first-form")
    submit(form, "Segment")
    finish(page, f"{VIDEOS} of {VIDEOS} segmented")
    dataset.reload()
    assert sorted(dataset.values("revseg_status")) == ["no_target", "ok"]


def test_an_untouched_form_complains_of_nothing(page, server, dataset):
    browser.open_dataset(page, server, dataset)
    form = browser.open_form(page, "ReVSeg: segment")
    form.get_by_text("It was asked").wait_for()
    assert is_chosen(form, "One query")
    button = form.get_by_role("button", name="Segment", exact=True)
    wait_until(button.is_disabled)
    assert complaints(form) == []
    keep_picture(page, "untouched-form")


def test_another_query_gets_a_field_of_its_own(page, dataset):
    form = browser.form(page)
    type_in(form, "Query", ANOTHER)
    wait_until(lambda: is_chosen(form, "New field: revseg_the_green_triangle"))
    form.get_by_text(f"{VIDEOS} answered something else, and are left as they are").wait_for()
    wait_until(form.get_by_role("button", name="Segment", exact=True).is_enabled)
    assert complaints(form) == []
    keep_picture(page, "another-query")
    before = [a.classifications[0].id for a in dataset.values("revseg_answers")]
    submit(form, "Segment")
    summary = cy(page, "operators-prompt-view-modal")
    summary.get_by_text(f"{VIDEOS} of {VIDEOS} segmented").wait_for()
    keep_picture(page, "another-summary")
    dataset.reload()
    asked = dataset.values("revseg_the_green_triangle_answers.classifications.query")
    assert {query for queries in asked for query in queries} == {ANOTHER}
    assert [a.classifications[0].id for a in dataset.values("revseg_answers")] == before


def test_the_summary_leads_to_what_was_found(page, dataset):
    found = dataset.values("revseg_the_green_triangle_status").count("ok")
    assert 0 < found < VIDEOS
    summary = cy(page, "operators-prompt-view-modal")
    summary.get_by_role("button", name="Show what was found").click()
    finish(page, f"{found} sample: The model found an object")
    wait_until(lambda: cy(page, "looker").count() == found)
    keep_picture(page, "found")


def test_the_same_query_is_known(page):
    form = browser.open_form(page, "ReVSeg: segment")
    type_in(form, "Query", ANOTHER)
    wait_until(lambda: is_chosen(form, "New field: revseg_the_green_triangle"))
    form.get_by_text("0 of 1 videos").wait_for()  # it is answered there
    form.get_by_label("Redo what changed").check()
    form.get_by_text("at most 1 videos").wait_for()
    keep_picture(page, "redo")
    submit(form, "Cancel")
