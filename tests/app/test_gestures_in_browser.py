"""Correcting an object by the gestures of FiftyOne's annotation mode, in a browser.

The tests are steps of one session, in order. What the App writes for each gesture is in
tests/dataset/test_drawn_in_the_app.py, too, which needs no browser.
"""

import importlib.util
import itertools
import re

import browser
import fiftyone as fo
import numpy as np
import pytest
from browser import cy, finish, keep_picture, open_form, submit, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_page_errors"),
    pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="playwright is not installed"
    ),
]

SEED = 7  # a video with three objects, of which one is asked for
CANVAS = "lighter-sample-renderer-canvas"
BRUSH = 8  # the radius of the App's brush, in pixels of the screen
SIZES = [(1366, 768), (1920, 1080)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A dataset with one video and its result, and where another object is, by frame."""
    import fiftyone_revseg as revseg
    from fiftyone_revseg.dataset.annotation import activate_annotation
    from fiftyone_revseg.synthetic import make_dataset

    folder = tmp_path_factory.mktemp("videos")
    dataset = make_dataset(str(folder), count=1, seed=SEED, name="gestures")
    frames = dataset.first().frames
    asked = frames[1].ground_truth.detections[0].label
    other = next(d for d in frames[1].objects.detections if d.label not in (asked, "green cross"))
    truth = {
        number: d
        for number, frame in frames.items()
        for d in frame.objects.detections
        if d.index == other.index
    }
    dataset.delete_frame_fields(["ground_truth", "objects"])
    dataset.delete_sample_fields(["kind", "thought"])
    revseg.segment_view(dataset, revseg.load_model("revseg-nano", prompt_field="query"))
    activate_annotation(dataset)
    yield dataset, truth
    dataset.delete()


@pytest.fixture(scope="module")
def page(server, world):
    dataset, _ = world
    with browser.open_page() as page:
        browser.open_dataset(page, server, dataset)
        browser.open_sample(page, 0)
        cy(page, "annotate").click()
        cy(page, "detection-mode").wait_for()
        page.wait_for_timeout(1000)
        advertisement = page.get_by_text("Dismiss", exact=True)
        if advertisement.count():
            advertisement.last.click()
        yield page


def stored(dataset):
    """frame number -> the raw detections there."""
    frames = dataset._frame_collection.find().sort("frame_number")
    return {f["frame_number"]: (f.get("revseg") or {}).get("detections") or [] for f in frames}


def overlap(dataset, truth):
    """The mean IoU of the boxes with those of the truth, over its frames."""
    from fiftyone_revseg.masks.boxes import box_iou, corners_px

    found, scores = stored(dataset), []
    for number, true in truth.items():
        boxes = [d["bounding_box"] for d in found[number]]
        assert len(boxes) < 2, f"there are repeats in frame {number}"
        both = [corners_px(b, (1, 1)) for b in (*boxes, true.bounding_box)]
        scores.append(box_iou(*both) if boxes else 0.0)
    return np.mean(scores)


def key_frames(dataset):
    return [n for n, found in stored(dataset).items() if any(d.get("keyframe") for d in found)]


def go_to(page, dataset, number):
    """Steps forward to a frame: a step that comes too soon after another one is lost."""
    rate = dataset.first().metadata.frame_rate

    def shown():
        return round(browser.seconds_shown(page) * rate) + 1

    while (before := shown()) < number:
        page.get_by_label("Step forward").click()
        wait_until(lambda before=before: shown() > before, patience=10)
    assert shown() == number
    page.wait_for_timeout(1000)


def on_page(page, dataset, *points):
    """Where relative points of the picture are on the page: it fills its canvas if it can."""
    size = size_of(dataset)
    box = cy(page, CANVAS).bounding_box()
    room = np.array([box["width"], box["height"]])
    size = size * (room / size).min()
    corner = np.array([box["x"], box["y"]]) + (room - size) / 2
    return [(corner + np.array(point) * size).tolist() for point in points]


def drag(page, *way):
    page.mouse.move(*way[0])
    page.mouse.down()
    for point in way[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


def drawn(dataset, number):
    """The labels that a person drew on a frame and that belong to no object yet."""
    frame = dataset._frame_collection.find_one({"frame_number": number}) or {}
    labels = [*((frame.get("revseg") or {}).get("detections") or ())]
    labels += (frame.get("revseg_points") or {}).get("polylines") or ()
    return [d for d in labels if d.get("index") is None and d.get("keyframe") is True]


def draw_box(page, dataset, box, number):
    """Draws a relative box on the frame that is shown, and waits until it is saved."""
    x, y, w, h = box
    cy(page, "detection-mode").click()
    drag(page, *on_page(page, dataset, (x, y), (x + w / 2, y + h / 2), (x + w, y + h)))
    wait_until(lambda: any("bounding_box" in d for d in drawn(dataset, number)))


def draw_points(page, dataset, points, number):
    """Clicks on relative points of the frame that is shown, and waits until they are saved."""
    cy(page, "polyline-mode").click()
    page.get_by_text("Click to start a new polyline").wait_for()
    for count, point in enumerate(on_page(page, dataset, *points), 1):
        page.mouse.click(*point)
        page.get_by_text("1 vertex" if count == 1 else f"{count} vertices").wait_for()
    page.mouse.click(*point, button="right")
    wait_until(lambda: len(points_in(dataset, number)) == len(points))
    assert np.allclose(points_in(dataset, number), sorted(points), atol=0.01)


def points_in(dataset, number):
    """The points that were clicked on; the App puts some before the first one."""
    polylines = [d for d in drawn(dataset, number) if "points" in d]
    return sorted(point for d in polylines for line in d["points"] for point in line)


def size_of(dataset):
    metadata = dataset.first().metadata
    return np.array([metadata.frame_width, metadata.frame_height])


def full_mask(dataset, detection):
    """The mask of a raw detection on its whole frame."""
    from fiftyone_revseg.dataset.labelled_videos import paste

    canvas = np.zeros(size_of(dataset)[::-1], bool)
    paste(canvas, fo.Detection.from_dict(dict(detection)))
    return canvas


def overlap_of(a, b):
    return (a & b).sum() / (a | b).sum()


def brush_strokes(page, dataset, label):
    """The way of the brush over a true mask, row by row, and its radius, in pixels of the video."""
    (left, _), (right, _) = on_page(page, dataset, (0, 0), (1, 0))
    radius = BRUSH * size_of(dataset)[0] / (right - left)
    corner = np.array(label.bounding_box[:2]) * size_of(dataset)
    way = []
    for row in np.arange(radius, len(label.mask) - radius, radius):
        (columns,) = np.nonzero(label.mask[int(row)])
        ends = columns[0] + radius, columns[-1] - radius
        if ends[0] <= ends[1]:
            way += [[x, row] for x in (ends if len(way) % 4 == 0 else ends[::-1])]
    return corner + np.array(way), radius


def distances(way, shape):
    """How far each pixel of a picture is from a way of (x, y)."""
    centres = np.moveaxis(np.indices(shape)[::-1], 0, -1) + 0.5
    found = np.full(shape, np.inf)
    for start, end in itertools.pairwise(way):
        along = end - start
        part = np.clip((centres - start) @ along / (along @ along), 0, 1)
        nearest = start + part[..., None] * along
        found = np.minimum(found, np.linalg.norm(centres - nearest, axis=-1))
    return found


def luminance(color):
    """The relative luminance of a CSS colour, as WCAG defines it."""
    parts = np.array(re.findall(r"\d+", color)[:3], float) / 255
    parts = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(parts @ [0.2126, 0.7152, 0.0722])


def propagate(page, *words):
    form = open_form(page, "ReVSeg: propagate")
    for said in words:
        form.get_by_text(said).wait_for()
    keep_picture(page, "propagate-form")
    submit(form, "Propagate")
    summary = finish(page, "tracked from frame")
    # The annotation mode reads its labels anew: what was drawn is one with the object
    wait_until(lambda: page.locator('[data-cy^="annotate-label-"]').count() == 1)
    page.wait_for_timeout(1000)
    return summary


def corrections(dataset):
    dataset.reload()
    (record,) = dataset.first().revseg_trajectory["segmentations"]
    return record["corrections"]


def test_correct_by_drawing(page, world):
    dataset, truth = world
    assert overlap(dataset, truth) < 0.2
    assert len(key_frames(dataset)) == 1  # the model's
    go_to(page, dataset, 5)
    draw_box(page, dataset, truth[5].bounding_box, 5)
    keep_picture(page, "drawn-box")
    assert sum(len(found) for found in stored(dataset).values()) > len(truth) + 20, "no repeats"
    summary = propagate(page, "The boxes that were moved or drawn (frame 5)")
    keep_picture(page, "annotation-corrected")
    assert "tracked from frame 5:" in summary
    assert overlap(dataset, truth) > 0.7
    assert key_frames(dataset) == [5]


def test_a_second_frame_is_drawn_on_and_the_first_one_is_kept(page, world):
    dataset, truth = world
    go_to(page, dataset, 12)
    draw_box(page, dataset, truth[12].bounding_box, 12)
    summary = propagate(
        page,
        "The boxes that were moved or drawn (frame 12)",
        "Go on from what was corrected before, too (frame 5)",
    )
    keep_picture(page, "two-frames-corrected")
    assert "tracked from frames" in summary
    assert key_frames(dataset) == [5, 12]
    assert [c["frame_number"] for c in corrections(dataset)] == [5, 12]
    assert overlap(dataset, truth) > 0.7


def test_points_alone_are_refused_before_anything_is_done(page, world):
    dataset, truth = world
    go_to(page, dataset, 16)
    x, y, w, h = truth[16].bounding_box
    before = stored(dataset)
    points = [(x + w * part, y + h / 2) for part in (0.3, 0.5, 0.7)]
    draw_points(page, dataset, points, 16)
    keep_picture(page, "drawn-points")
    form = open_form(page, "ReVSeg: propagate")
    form.get_by_text("What was drawn (points in frame 16)").wait_for()
    form.get_by_text("sam2-nano knows no points without a box").wait_for()
    keep_picture(page, "points-alone")
    assert form.get_by_role("button", name="Propagate", exact=True).is_disabled()
    submit(form, "Cancel")
    form.wait_for(state="detached")
    assert stored(dataset) == before
    assert len(points_in(dataset, 16)) == len(points)


def test_points_and_a_box_in_the_same_frame_go_together(page, world):
    dataset, truth = world
    draw_box(page, dataset, truth[16].bounding_box, 16)
    points = points_in(dataset, 16)
    keep_picture(page, "drawn-points-and-box")
    propagate(
        page,
        "What was drawn (box and points in frame 16)",
        "Go on from what was corrected before, too (frames 5, 12)",
    )
    assert key_frames(dataset) == [5, 12, 16]
    entry = corrections(dataset)[-1]
    assert (entry["frame_number"], entry["kind"]) == (16, "points")
    assert sorted(entry["prompt"]["on"]) == points
    assert entry["prompt"]["box"] == pytest.approx(truth[16].bounding_box, abs=0.02)
    assert overlap(dataset, truth) > 0.7
    frames = dataset._frame_collection.find({"revseg_points.polylines.0": {"$exists": True}})
    assert not list(frames), "points that were used are left, or the App's repeats of them"


def test_a_mask_is_painted_and_stays_to_the_pixel(page, world):
    dataset, truth = world
    go_to(page, dataset, 20)
    way, radius = brush_strokes(page, dataset, truth[20])
    cy(page, "segmentation-mode").click()
    page.keyboard.press("b")
    page.get_by_text("Paint to create a mask").wait_for()
    drag(page, *on_page(page, dataset, *(way / size_of(dataset))))
    wait_until(lambda: any(d.get("mask") for d in drawn(dataset, 20)))
    keep_picture(page, "drawn-mask")
    (painted,) = drawn(dataset, 20)
    before = full_mask(dataset, painted)
    # What is near the brush's way is painted, and nothing else
    distance = distances(way, before.shape)
    assert before[distance < radius - 1].all()
    assert not before[distance > radius + 1].any()
    assert overlap_of(before, full_mask(dataset, truth[20].to_dict())) > 0.5
    propagate(page, "What was drawn (mask in frame 20)")
    keep_picture(page, "mask-corrected")
    (own,) = stored(dataset)[20]
    assert (full_mask(dataset, own) == before).all()
    assert key_frames(dataset)[-1] == 20
    assert corrections(dataset)[-1]["kind"] == "mask"
    assert overlap(dataset, truth) > 0.7


def test_key_frames_are_diamonds_on_the_timeline(page, world):
    dataset, _ = world
    page.get_by_label("Show tracks").click()
    diamonds = page.locator('[data-track-id] [title^="Keyframe"]')
    expected = key_frames(dataset)
    wait_until(lambda: diamonds.count() == len(expected))
    rate = dataset.first().metadata.frame_rate
    seconds = [
        float(re.search(r"@ ([\d.]+)s", diamond.get_attribute("title")).group(1))
        for diamond in diamonds.all()
    ]
    assert sorted(seconds) == pytest.approx([(n - 1) / rate for n in expected], abs=0.01)
    on_top = """diamond => {
        const { x, y, width, height } = diamond.getBoundingClientRect();
        return document.elementFromPoint(x + width / 2, y + height / 2) === diamond;
    }"""
    assert all(diamond.evaluate(on_top) for diamond in diamonds.all())
    keep_picture(page, "timeline")


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_curve_is_readable_in_both_themes(page, theme):
    name = f"{theme.capitalize()} mode"
    toggle = page.locator(f"[title='{name}'], [aria-label='{name}']")
    if toggle.count():  # it names the theme that it leads to, and is below the open video
        toggle.evaluate("button => button.click()")
    panel = cy(page, "panel-content-reasoning")
    if not panel.count():
        cy(page, "explore").click()
        panel = browser.open_panel(page)
    panel.locator(".scatterlayer .js-line").nth(2).wait_for(state="attached")
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        browser.settle(page)
        keep_picture(page, f"panel-{theme}-{width}")
        panel.locator(".js-plotly-plot").scroll_into_view_if_needed()
        keep_picture(page, f"curve-{theme}-{width}")
    found = panel.locator(".js-plotly-plot").evaluate(
        """plot => {
            const background = getComputedStyle(plot.querySelector(".main-svg")).backgroundColor;
            const lines = [...plot.querySelectorAll(".scatterlayer .js-line")];
            return [background, ...lines.map((line) => getComputedStyle(line).stroke)];
        }"""
    )
    background, *lines = map(luminance, found)
    assert (background > 0.5) == (theme == "light")
    assert len(lines) == 3  # area, score, key frame
    for line in lines:
        darker, lighter = sorted((line, background))
        assert (lighter + 0.05) / (darker + 0.05) >= 3, found  # WCAG 2.1, 1.4.11
