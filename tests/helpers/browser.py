"""The App as people see it: its server, and a browser without a screen."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fiftyone as fo
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 180  # seconds; two cores may be shared with other work

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def wait_until(condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Waits until a condition holds.

    Args:
        condition: called again and again
        patience (180): how many seconds to wait

    Returns:
        what ``condition`` returned at last

    Raises:
        TimeoutError: if it did not come true
    """
    deadline = time.monotonic() + patience
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {patience} s")
        time.sleep(0.2)
    return found


class Server:
    """The App's server, in a process of its own."""

    def __init__(self) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Starts the server, and waits until it answers."""
        command = [sys.executable, "-m", "fiftyone.server.main"]
        command += ["--port", str(self.port), "--address", "127.0.0.1"]
        self.process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
        wait_until(self._answers)

    def kill(self) -> None:
        """Kills the server, so that it has no time for anything."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def _answers(self) -> bool:
        assert self.process.poll() is None, "the App's server has ended"
        try:
            with urllib.request.urlopen(self.url, timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False


def environment() -> dict[str, str]:
    """What processes of the App need to use the database and the plugins of these tests."""
    return {
        **os.environ,
        "FIFTYONE_PLUGINS_DIR": fo.config.plugins_dir,
        "FIFTYONE_MODEL_ZOO_DIR": fo.config.model_zoo_dir,
        "FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS": "true",  # to schedule runs
    }


def run_scheduled(dataset: fo.Dataset) -> None:
    """Executes what is scheduled for a dataset, in a process of its own as FiftyOne does it."""
    code = (
        "import sys\n"
        "from fiftyone.operators.delegated import DelegatedOperationService\n"
        "DelegatedOperationService().execute_queued_operations(dataset_name=sys.argv[1])"
    )
    command = [sys.executable, "-c", code, dataset.name]
    subprocess.run(command, env=environment(), check=True, timeout=2 * PATIENCE)


# The App's router throws this where something asks it for a page that is still on its way, as on a
# machine that is slow; it goes on when the page is there
_ASKED_TOO_EARLY = "entry is loading"
_EXECUTE = "/operators/execute"


@contextmanager
def open_page() -> Iterator[Any]:
    """Opens an empty page in a browser without a screen.

    Yields:
        a Playwright page; ``page.errors`` are the App's crashes
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(1000 * PATIENCE)
        page.errors = []

        def note(error: Any) -> None:
            if str(error) != _ASKED_TOO_EARLY:
                page.errors.append(str(error))

        page.on("pageerror", note)
        page.executing = set()
        page.on("request", lambda r: page.executing.add(r) if _EXECUTE in r.url else None)
        for end in ("requestfinished", "requestfailed"):
            page.on(end, lambda r: page.executing.discard(r))
        yield page
        browser.close()


def cy(page: Any, name: str) -> Any:
    """Finds a part of the App by the name that its own tests use."""
    return page.locator(f'[data-cy="{name}"]')


def open_dataset(page: Any, server: Server, dataset: fo.Dataset, view: str = "") -> None:
    """Opens a dataset or a saved view of all of it, and waits until its samples are there."""
    page.goto(f"{server.url}/datasets/{dataset.name}" + (f"?view={view}" if view else ""))
    wait_until(lambda: cy(page, "looker").count() == len(dataset))
    advertisement = page.get_by_text("Dismiss", exact=True)
    if advertisement.count():
        advertisement.click()


def settle(page: Any, pause: float = 1.0) -> None:
    """Waits until the page neither executes an operator nor draws what the last ones returned.

    Each answer of a panel's methods draws the panel anew, and with what it shows then it may ask
    for more. What is clicked on in between is replaced before it hears of it: the click is lost.

    Args:
        page: the page
        pause (1.0): for how many seconds nothing must have happened
    """
    since = time.monotonic()
    deadline = since + PATIENCE
    while time.monotonic() - since < pause:
        before = time.monotonic()
        if before > deadline:
            raise TimeoutError(f"the page is not quiet within {PATIENCE} s")
        page.wait_for_timeout(100)
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        if page.executing or time.monotonic() - before > 0.5:
            since = time.monotonic()


def open_form(page: Any, operator: str) -> Any:
    """Opens an operator's form with the keyboard.

    Args:
        page: the page
        operator: the operator's label, or the beginning of it

    Returns:
        the form
    """
    page.keyboard.press("`")
    cy(page, "operators-browser-search").wait_for()
    page.keyboard.type(operator)
    page.keyboard.press("Enter")
    return form(page)


def form(page: Any) -> Any:
    """Waits for the form of an operator."""
    found = cy(page, "operators-prompt-modal")
    found.wait_for()
    return found


def field(parent: Any, label: str) -> Any:
    """Finds the input below a label."""
    return parent.locator(f"xpath=.//*[text()='{label}']/following::input[1]")


def type_in(parent: Any, label: str, text: str) -> None:
    """Types text into the input below a label, in place of what is there."""
    box = field(parent, label)
    box.fill(text)
    box.press("Tab")


def submit(parent: Any, label: str) -> None:
    """Presses a form's button, as soon as the form is valid."""
    parent.get_by_role("button", name=label, exact=True).click()


def finish(page: Any, words: str) -> str:
    """Waits for an operator's summary, and closes it.

    Args:
        page: the page
        words: what the summary says

    Returns:
        the whole summary
    """
    shown = cy(page, "operators-prompt-view-modal")
    shown.get_by_text(words).wait_for()
    text = shown.inner_text()
    shown.get_by_role("button", name="Done").click()
    shown.wait_for(state="detached")
    return text


def close(form: Any, words: str) -> None:
    """Waits for the summary of an operator that works at once, in place of its form; closes it."""
    form.get_by_text(words).first.wait_for()
    form.get_by_role("button", name="Close").click()
    form.wait_for(state="detached")


def open_sample(page: Any, number: int) -> None:
    """Opens a video of the grid, counted from 0."""
    cy(page, "looker").nth(number).click()
    cy(page, "modal").wait_for()
    cy(page, "modal-looker-container").locator("canvas").first.wait_for()


def open_panel(page: Any) -> Any:
    """Opens the reasoning panel beside the video; returns it."""
    cy(page, "panel-tab-reasoning").click()
    panel = cy(page, "panel-content-reasoning")
    panel.wait_for()
    split = page.get_by_title("Split horizontally")
    if split.count():
        split.last.click()
        wait_until(lambda: cy(page, "panel-content-fo-sample-modal-plugin").count() == 1)
    return panel


def picture_of(element: Any) -> Image.Image:
    """Takes a picture of a part of the page."""
    return Image.open(io.BytesIO(element.screenshot())).convert("RGB")


def keep_picture(page: Any, name: str) -> None:
    """Keeps a picture of the page for the documentation, where REVSEG_SCREENSHOTS says so."""
    folder = os.environ.get("REVSEG_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        path = Path(folder) / f"app-{name}.png"
        Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, optimize=True)


def seconds_shown(page: Any) -> float:
    """Where the player is, in seconds, as it says itself."""
    text = cy(page, "modal-content").inner_text()
    minutes, seconds = re.search(r"(\d+):(\d+\.\d+) /", text).groups()
    return 60 * int(minutes) + float(seconds)
