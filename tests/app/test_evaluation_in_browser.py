"""An evaluation in FiftyOne's own Model Evaluation panel, in a browser."""

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
                browser.settle(page)  # the list is drawn several times before it can be used
                listed.click()
                try:
                    panel.get_by_text("J&F", exact=True).wait_for()
                except NotShown as e:
                    raise AssertionError(f"there is no J&F in {panel.inner_text()!r}") from e
                shown = panel.inner_text()
                jf = evaluation.table[-1]["jf"]
                assert f"{jf:.3f}"[:4] in shown or f"{100 * jf:.1f}" in shown, shown
                keep_picture(page, "model-evaluation")
            finally:
                page.screenshot(path=tmp_path / "last.png")
            assert page.errors == []
    finally:
        server.kill()
