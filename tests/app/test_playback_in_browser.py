"""What the App really shows: pictures and labels that say their own frame number, read from it.

One session on one page. Videos that the App plays wrongly come first, then their copies.
"""

import importlib.util
import operator
import random
import time
from fractions import Fraction

import browser
import fiftyone as fo
import numpy as np
import pytest
from browser import cy, keep_picture, wait_until
from fake_models import BoxTracker, ScriptedReasoner
from timed_videos import BITS, encode, read

import fiftyone_revseg as revseg
from fiftyone_revseg.dataset.correct import propagate
from fiftyone_revseg.dataset.playable import make_playable
from fiftyone_revseg.dataset.playback import playback_of
from fiftyone_revseg.pipeline import RevSeg

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_page_errors"),
    pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="playwright is not installed"
    ),
]

SIZE, COUNT = (320, 192), 90
PATIENCE = 10  # seconds
PHONE = [33 * k for k in range(60)] + [33 * 60 + 67 * k for k in range(30)]
LATE = [500 + 40 * k for k in range(COUNT)]
VIDEOS = {
    "phone.mp4": (PHONE, {}),
    "late.mp4": (LATE, {"sound": 4}),
    "screen.webm": (PHONE, {"codec": "libvpx-vp9", "rate": 25}),
    "hevc.mp4": (list(range(COUNT)), {"codec": "libx265", "time_base": Fraction(1, 25)}),
}
NAMES = list(VIDEOS)
POSITIONS = 12
ANSWER = {"the cat": [(1, "a grey cat", [25, 50, 75, 100])]}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """The videos, with labels that say in which frame they are, and results to correct."""
    folder = tmp_path_factory.mktemp("videos")
    dataset = fo.Dataset("plays-wrongly")
    for name, (stamps, options) in VIDEOS.items():
        sample = fo.Sample(encode(folder / name, stamps, size=SIZE, **options), query="the cat")
        for k in range(COUNT):
            bits = [_bit(i) for i in range(BITS) if k >> i & 1]
            sample.frames[k + 1] = fo.Frame(bits=fo.Detections(detections=bits))
        dataset.add_sample(sample)
    dataset.compute_metadata()
    dataset.app_config.color_scheme = fo.ColorScheme(color_by="field", color_pool=["#ff0000"])
    # A person's own choice, which a run leaves alone
    dataset.app_config.active_fields = fo.ActiveFields(paths=["frames.bits"])
    dataset.save()
    model = RevSeg(ScriptedReasoner(ANSWER), BoxTracker())
    revseg.segment_view(dataset[:1], model, prompt_field="query")
    yield dataset
    dataset.delete()


def _bit(i):
    """A label below the block of the picture that stands for the same bit."""
    box = [(i + 0.2) / BITS, 0.6, 0.6 / BITS, 0.3]
    return fo.Detection(label=".", bounding_box=box, mask=np.ones((8, 8), bool))


def open_video(page, server, dataset, name):
    """Opens a video with nothing on it but the labels that are numbers."""
    browser.open_dataset(page, server, dataset)
    browser.open_sample(page, NAMES.index(name))
    wait_until(lambda: look(page) is not None)


def look(page):
    """The (picture, labels) that are on the screen, as frame numbers from 1; None if none are."""
    image = np.asarray(browser.picture_of(cy(page, "modal-looker-container").last)).astype(int)
    saturation = image.max(axis=2) - image.min(axis=2)
    grey = (saturation < 8) & (abs(image.mean(axis=2) - 128) < 8)
    rows = np.flatnonzero(grey.sum(axis=1) > 40)
    columns = np.flatnonzero(grey.sum(axis=0) > 40)
    if not len(rows) or not len(columns):
        return None
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    picture = read(image[top:bottom, left:right])
    height, width = bottom - top, right - left
    labels = 0
    for i in range(BITS):
        x = slice(left + int(width * (i + 0.4) / BITS), left + int(width * (i + 0.6) / BITS))
        y = slice(top + int(height * 0.68), top + int(height * 0.82))
        labels |= bool(np.median(saturation[y, x]) > 30) << i
    return picture + 1, labels + 1


def press(page, key):
    cy(page, "modal-looker-container").last.hover()
    page.keyboard.press(key)


def seek(page, part):
    """Clicks on the ruler below the video."""
    ruler = page.get_by_test_id("timeline-ruler")
    # On a busy machine, it can be there before it has a place
    box = wait_until(ruler.bounding_box)
    page.mouse.click(box["x"] + part * box["width"], box["y"] + box["height"] / 2)


def settled(page, expected=lambda picture, labels: True):
    """What is on the screen when that does not change any more.

    On a busy machine, the labels of a new position can be there seconds before its picture: what is
    not expected has to stay for a while.
    """
    last, since = None, time.monotonic()
    while True:
        now = look(page)
        if now is None or now != last:
            last, since = now, time.monotonic()
        elif expected(*now) or time.monotonic() - since > PATIENCE:
            return now


def positions(page, seed, expected, count=POSITIONS):
    """Goes to random positions: sought, stepped to, and paused at; yields what is there."""
    rng = random.Random(seed)
    for k in range(count):
        way = k % 4
        if way == 0:
            seek(page, rng.random())
        elif way == 3:
            press(page, " ")
            page.wait_for_timeout(rng.randint(100, 500))
            press(page, " ")
        else:
            for _ in range(rng.randint(1, 4)):
                press(page, "." if way == 1 else ",")
        # Paused while it played, it may stay a few pictures behind its clock
        waited_for = expected if way < 3 else lambda picture, labels: True
        yield ("sought", "stepped", "stepped back", "paused")[way], settled(page, waited_for)


@pytest.mark.parametrize("name", NAMES[:3])
def test_the_app_shows_what_was_computed(page, server, dataset, name):
    open_video(page, server, dataset, name)
    playback = playback_of(sample_of(dataset, name))
    as_computed = computed(playback)
    wrong = 0
    for way, (picture, labels) in positions(page, 1, as_computed):
        if way == "paused" or labels == 1:
            continue
        assert as_computed(picture, labels), (way, picture, labels)
        wrong += picture != labels
    assert wrong >= 3


def computed(playback):
    """Whether labels are on the picture that they should be on."""

    def holds(picture, labels):
        if labels == 1:  # the App has more frames than there are labels
            return True
        # One beside it, where a time is rounded, or Matroska says how long a frame is shown
        return labels <= COUNT and abs(picture - playback.picture_of(labels)) <= 1

    return holds


def sample_of(dataset, name):
    return dataset[dataset.values("id")[NAMES.index(name)]]


def test_a_box_that_is_drawn_there_ends_up_where_it_was_seen(page, server, dataset):
    open_video(page, server, dataset, "phone.mp4")
    sample = sample_of(dataset, "phone.mp4")
    seek(page, 0.5)
    picture, number = settled(page, computed(playback_of(sample)))
    assert picture != number
    drawn = fo.Detection(label="a grey cat", bounding_box=[0.1, 0.2, 0.3, 0.4])
    sample.frames[number].revseg.detections.append(drawn)  # as the App stores it
    sample.save()
    with pytest.raises(ValueError, match=f"says frame {number}, it shows the picture of"):
        propagate(sample, 1, model=BoxTracker())

    panel = browser.open_panel(page)
    panel.get_by_text("Beware").wait_for()
    keep_picture(page, "plays-wrongly")
    panel.get_by_role("button", name="Re-propagate").click()
    form = browser.form(page)
    form.get_by_text(f"The App stored a box in frame {number}").wait_for()
    asked = browser.field(
        form, f"The App stored a box in frame {number}, but showed another frame: which?"
    )
    assert asked.input_value() == str(picture)
    wait_until(form.get_by_role("button", name="Propagate", exact=True).is_enabled, patience=60)
    keep_picture(page, "which-picture")
    browser.submit(form, "Cancel")

    assert list(propagate(sample, 1, model=BoxTracker(), seen={number: picture}).prompts) == [
        picture
    ]


def test_copies_show_each_picture_with_its_labels(page, server, dataset, tmp_path_factory):
    summary = make_playable(dataset, tmp_path_factory.mktemp("copies"))
    assert (len(summary.changed), summary.failures) == (4, {})
    for name in NAMES:
        open_video(page, server, dataset, name)
        seen = set()
        for way, (picture, labels) in positions(page, 2, operator.eq, count=8):
            seen.add(picture)
            if way == "paused" and picture != labels:
                # A browser that is paused while it plays may be a few pictures behind its clock,
                # with any video
                press(page, ".")
                picture, labels = settled(page, operator.eq)
            assert picture == labels, (name, way, picture, labels)
        assert len(seen) > 4
