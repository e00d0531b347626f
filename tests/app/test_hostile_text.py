"""Text of models, servers and people in the App: it is shown, and makes the browser do nothing."""

import importlib.util
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import browser
import fiftyone as fo
import pytest
from browser import cy, finish, open_form, submit, type_in
from fake_models import BoxTracker, ScriptedReasoner, write_video
from fake_server import FakeServer, status
from second_looks import second_look

import fiftyone_revseg as revseg
from fiftyone_revseg.pipeline import RevSeg
from fiftyone_revseg.reasoning import Trajectory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="playwright is not installed"
    ),
]


@pytest.fixture(scope="module")
def elsewhere():
    """A server that nobody should ask for anything; ``seen`` is what it was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.seen.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def hostile(elsewhere):
    """Makes a text that fetches a picture wherever it is taken for Markdown or HTML."""
    url = f"http://127.0.0.1:{elsewhere.server_address[1]}"

    def make(place):
        return (
            f"{place}: ![x]({url}/{place}-md.png) <img src='{url}/{place}-html.png'> "
            f"[link]({url}/{place}) <b>{place}</b> | `code` **{place}** <script>alert(1)</script>"
        )

    return make


@pytest.fixture(scope="module")
def dataset(hostile, tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    # Without a slash, as a name of a file has none, this is an address, too
    names = ["![x](https:evil.example)<b>", "b"]
    for name in names:
        write_video(folder / f"{name}.mp4", 64, 48, 10)
    samples = [fo.Sample(str(folder / f"{name}.mp4")) for name in names]
    dataset = fo.Dataset("hostile")
    dataset.add_samples(samples)
    query = hostile("query").replace('"', "'")
    reasoner = ScriptedReasoner({query: [(0, hostile("description"), [0, 0, 50, 50])]})
    reasoner.name = hostile("model")
    revseg.segment_view(dataset, RevSeg(reasoner, BoxTracker()), query)
    first = dataset.first()
    answer = first.revseg_answers.classifications[0]
    answer["reasoning"], answer["reason"] = hostile("thought"), hostile("reason")
    answer["status"] = hostile("status")
    answer["model"] = hostile("model")
    record = first.revseg_trajectory["segmentations"][0]
    said = {place: hostile(place) for place in ("think", "why", "repair")}
    record["trajectory"] = second_look(Trajectory.from_dict(record["trajectory"]), said).to_dict()
    turn = record["trajectory"]["turns"][0]
    turn["error"], turn["reply"] = hostile("error"), f"```\n{hostile('reply')}\n```"
    first.save()
    yield dataset
    dataset.delete()


@pytest.fixture(scope="module")
def page(server, dataset):
    with browser.open_page() as page:
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        yield page


@pytest.fixture
def nothing_happens(page, elsewhere):
    """Checks that the words of each place are shown, and that nothing was made of them."""

    def check(where, *places):
        text = where.inner_text()
        for place in places:
            assert f"{place}: ![x](http://" in text.replace("\u2060", "")
        assert where.locator("img[alt='x'], img[src*='-html'], a[href*='127.0.0.1']").count() == 0
        found = where.locator("b, strong").all_inner_texts()
        assert not set(places) & set(found)

    yield check
    page.wait_for_timeout(300)  # for what was asked for just now
    assert elsewhere.seen == []
    assert "evil.example" not in {urlsplit(url).hostname for url in page.asked}
    assert page.errors == []


def test_the_panel(page, server, dataset, nothing_happens):
    browser.open_dataset(page, server, dataset)
    browser.open_sample(page, 0)
    panel = browser.open_panel(page)
    panel.get_by_text("thought: ").wait_for()
    panel.get_by_text("Show attempts").click()
    panel.get_by_text("error: ").wait_for()
    places = ("query", "status", "reason", "description", "thought", "model", "error", "reply")
    places += ("why", "repair")
    nothing_happens(panel, *places)


def test_the_form_of_an_object(page, dataset, nothing_happens):
    cy(page, "panel-content-reasoning").get_by_role("button", name="Re-propagate").click()
    form = browser.form(page)
    form.get_by_text("description: ").first.wait_for()
    form.get_by_text("description: ").first.click()
    page.get_by_role("option").first.wait_for()
    nothing_happens(page.locator("body"), "description", "query")
    page.keyboard.press("Escape")
    submit(form, "Cancel")
    form.wait_for(state="detached")


def test_forms(page, server, dataset, hostile, nothing_happens):
    browser.open_dataset(page, server, dataset)
    form = open_form(page, "ReVSeg: segment")
    type_in(form, "Query", hostile("typed"))
    form.get_by_text("The last run, of").wait_for()
    nothing_happens(form, "model")
    type_in(form, "Label field", hostile("labels"))
    form.get_by_text("labels: ").wait_for()
    nothing_happens(form, "labels")
    submit(form, "Cancel")
    form.wait_for(state="detached")


def test_a_summary(page, server, dataset, hostile, nothing_happens):
    looked = threading.Event()

    def fault(*_):
        looked.wait(browser.PATIENCE)
        return status(400, hostile("server"))

    with FakeServer(None, fault=fault) as other:
        form = open_form(page, "ReVSeg: segment")
        type_in(form, "Query", hostile("typed"))
        form.get_by_text("More settings", exact=True).click()
        type_in(form, "Server URL", other.url)
        type_in(form, "Label field", "other")
        form.get_by_text("2 videos").wait_for()
        submit(form, "Segment")
        shown = cy(page, "operators-prompt-view-modal")
        shown.get_by_text("![x](https:evil.example)<b>").wait_for()  # the video at work
        looked.set()
        shown.get_by_text("segmented in").wait_for()
        nothing_happens(shown, "server")
        finish(page, "segmented in")


def test_models_of_a_server(page, dataset, hostile, nothing_happens):
    with FakeServer(None, model=hostile("served")) as other:
        form = open_form(page, "ReVSeg: segment")
        type_in(form, "Query", "the dog")
        form.get_by_text("More settings", exact=True).click()
        type_in(form, "Server URL", other.url)
        type_in(form, "Label field", "third")
        form.get_by_text("2 videos").wait_for()
        submit(form, "Segment")
        page.get_by_text("it serves").first.wait_for()
        nothing_happens(page.locator("body"), "served")
