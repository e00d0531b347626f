"""The plugin, installed as ``revseg install`` does it, and datasets to try it on."""

import browser
import fiftyone as fo
import pytest
from fake_models import ANSWERS, BoxTracker, ScriptedReasoner, write_video

WIDTH, HEIGHT, FRAMES = 64, 48, 10


@pytest.fixture(scope="session", autouse=True)
def _plugin(tmp_path_factory):
    """Operators are looked for in ``fo.config.plugins_dir``, and only there."""
    from fiftyone_revseg.app.install import install_plugin

    before = fo.config.plugins_dir, fo.config.model_zoo_dir
    fo.config.plugins_dir = str(tmp_path_factory.mktemp("plugins"))
    fo.config.model_zoo_dir = str(tmp_path_factory.mktemp("zoo"))
    install_plugin()
    yield
    fo.config.plugins_dir, fo.config.model_zoo_dir = before


@pytest.fixture(scope="module")
def server():
    """The App's server, in a process of its own."""
    server = browser.Server()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def page(server):
    """A page of a browser, empty at first."""
    with browser.open_page() as page:
        yield page


@pytest.fixture
def no_page_errors(page, tmp_path):
    """Keeps a picture of how a test ended, and wants no errors of the page."""
    yield
    page.screenshot(path=tmp_path / "last.png")
    assert page.errors == []


@pytest.fixture
def fake_model(monkeypatch):
    """Lets every operator use models whose answers are known; returns the tracker."""
    import fiftyone_revseg as revseg
    from fiftyone_revseg.app import held_models as models
    from fiftyone_revseg.pipeline import RevSeg

    tracker = BoxTracker()
    model = revseg.load_model(RevSeg(ScriptedReasoner(ANSWERS), tracker))
    monkeypatch.setattr(models, "get_model", lambda loading: model)
    monkeypatch.setattr(models, "get_tracker", lambda loading: tracker)
    return tracker


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    paths = [folder / f"{name}.mp4" for name in "abc"]
    for path in paths:
        write_video(path, WIDTH, HEIGHT, FRAMES)
    return [str(path) for path in paths]


@pytest.fixture
def dataset(make_dataset, videos):
    """Three videos: with a query and two events, with one that finds nothing, with none."""
    first = fo.Sample(videos[0], query="the cat")
    first["events"] = fo.TemporalDetections(
        detections=[fo.TemporalDetection(label="event", support=s) for s in ([1, 4], [6, 9])]
    )
    return make_dataset(first, fo.Sample(videos[1], query="the ghost"), fo.Sample(videos[2]))
