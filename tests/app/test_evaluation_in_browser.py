"""An evaluation in FiftyOne's own Model Evaluation panel, in a browser."""

import contextlib
import importlib.util

import browser
import pytest
from browser import cy, keep_picture

import fiftyone_revseg as revseg

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="playwright is not installed"
    ),
]


@pytest.fixture
def dataset(tmp_path):
    from fiftyone_revseg.synthetic import make_dataset

    dataset = make_dataset(str(tmp_path), count=2, seed=7)
    revseg.segment_view(dataset, "revseg-nano", prompt_field="query", progress=False)
    yield dataset
    dataset.delete()


def test_the_model_evaluation_panel_shows_j_and_f(dataset, tmp_path):
    from playwright.sync_api import TimeoutError as NotShown

    evaluation = revseg.evaluate_view(dataset, "revseg", "ground_truth", eval_key="nano")
    server = browser.Server()
    try:
        with browser.open_page() as page:
            browser.open_dataset(page, server, dataset)
            try:
                cy(page, "new-panel-btn").click()
                page.get_by_text("Model Evaluation", exact=True).click()
                panel = cy(page, "panel-content-model_evaluation_panel_builtin")
                listed = panel.get_by_text("nano", exact=True)
                listed.wait_for()
                jf_shown = panel.get_by_text("J&F", exact=True)
                # The list is drawn several times, and a click on what is drawn anew meanwhile is
                # lost; where the list is gone, the evaluation is on its way
                for _ in range(6):
                    browser.settle(page)
                    if listed.is_visible() and panel.get_by_text("Evaluate Model").is_visible():
                        listed.click()
                    with contextlib.suppress(NotShown):
                        jf_shown.wait_for(timeout=30_000)
                        break
                assert jf_shown.is_visible(), f"there is no J&F in {panel.inner_text()!r}"
                shown = panel.inner_text()
                jf = evaluation.table[-1]["jf"]
                assert f"{jf:.3f}"[:4] in shown or f"{100 * jf:.1f}" in shown, shown
                keep_picture(page, "model-evaluation")
            finally:
                page.screenshot(path=tmp_path / "last.png")
            assert page.errors == []
    finally:
        server.kill()
