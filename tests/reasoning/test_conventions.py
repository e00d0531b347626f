"""Boxes in every convention: what was asked for is read, and what speaks against it is refused."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_revseg.reasoning import ChainSpec, ParseError, parse_boxes
from fiftyone_revseg.reasoning.conventions import BOX_CONVENTIONS
from fiftyone_revseg.reasoning.patterns import box_pattern
from fiftyone_revseg.reasoning.spec import complete_settings, family_spec

SIZE, SIDE = (1920, 1080), 840
Y_FIRST = "relative-1000-y-first"


def boxes(reply, convention):
    return parse_boxes(reply, convention, SIDE, SIZE)


def written(box, convention):
    """A box in source pixels as a model with a convention writes it."""
    side = convention.side(SIDE)
    x1, y1, x2, y2 = (v * side / extent for v, extent in zip(box, SIZE * 2, strict=True))
    return [y1, x1, y2, x2] if convention.y_first else [x1, y1, x2, y2]


@pytest.mark.parametrize("name", BOX_CONVENTIONS)
@given(
    st.floats(0, 1800), st.floats(0, 1000), st.floats(100, 1920), st.floats(60, 1080), st.booleans()
)
def test_a_box_comes_back_from_each_convention(name, x1, y1, x2, y2, named):
    box = (min(x1, x2 - 20), min(y1, y2 - 20), x2, y2)
    convention = BOX_CONVENTIONS[name]
    corners = written(box, convention)
    reply = json.dumps([{convention.key: corners}] if named else corners)
    (read,) = boxes(reply, name)
    assert read == pytest.approx(box, abs=1e-6)


@pytest.mark.parametrize(
    ("convention", "reply"),
    [
        (Y_FIRST, '```json\n[{"box_2d": [100, 200, 300, 400], "label": "dog"}]\n```'),
        (Y_FIRST, '{"box_2d": [100, 200, 300, 400]}'),
        (Y_FIRST, "[100, 200, 300, 400]"),
        (Y_FIRST, "100, 200, 300, 400"),
        (Y_FIRST, 'The dog, as [ymin, xmin, ymax, xmax]: {"box_2d": [100, 200, 300, 400]}'),
        (Y_FIRST, '{"ymin": 100, "xmin": 200, "ymax": 300, "xmax": 400}'),
        (Y_FIRST, '{"box_2d": {"xmin": 200, "ymin": 100, "xmax": 400, "ymax": 300}}'),
        (Y_FIRST, '{"bounding_box": [100, 200, 300, 400]}'),
        ("relative-1", '[{"bbox_2d": [0.2, 0.1, 0.4, 0.3], "label": "dog"}]'),
        ("relative-1", "(0.2, 0.1), (0.4, 0.3)"),
        ("relative-1", "[.2, .1, .4, .3]"),
        ("relative-1", '{"bbox_2d": [".2", ".1", .4, .3]}'),
        ("relative-1", ".2, .1, .4, .3"),
        ("relative-1000", "\\boxed{200, 100, 400, 300}"),
        ("relative-1000", "bbox_2d: 200, 100, 400, 300"),
        ("relative-1000", '"bbox": 200, 100, 400, 300'),
        ("relative-1000", "**Bounding box:** 200, 100, 400, 300"),
        (Y_FIRST, "box_2d: 100, 200, 300, 400"),
        (Y_FIRST, 'where (x1, y1) is the top left corner:\n[{"box_2d": [100, 200, 300, 400]}]'),
        (Y_FIRST, "where (y1, x1) is the top left corner:\n[100, 200, 300, 400]"),
        (Y_FIRST, '{"box_2d": [100, 200, 300, 400], "label": "x0 y0"}'),
        (Y_FIRST, "{'box_2d': [100, 200, 300, 400], 'label': '(x1, y1)'}"),
        (Y_FIRST, '{"box_2d": [100, 200, 300, 400], "format": "y1x1y2x2"}'),
        (Y_FIRST, '{"box_2d": [100, 200, 300, 400], "format": "yxyx"}'),
        (Y_FIRST, '{"top_left": [100, 200], "bottom_right": [300, 400]}'),
        (Y_FIRST, '{"box_2d": {"top_left": [100, 200], "bottom_right": [300, 400]}}'),
        ("relative-1000", '{"top_left": [200, 100], "bottom_right": [400, 300]}'),
        ("relative-1000", '{"bbox": [200, 100, 400, 300], "format": "xyxy"}'),
        ("relative-1000", '{"bbox": [200, 100, 400, 300], "format": "x1, y1, x2, y2"}'),
        ("relative-1000", "(x1, y1, x2, y2) = (200, 100, 400, 300)"),
        ("relative-1000", '{"bbox": [400, 300, 200, 100], "label": "100 high, width and height"}'),
        ("relative-1000", "(200,100),(400,300)<|box_end|>"),
        ("relative-1000", '[{"bbox_2d": [200, 100, 400, 300]}]'),
        ("pixels", '[{"bbox_2d": [168, 84, 336, 252]}]'),
    ],
)
def test_forms_of_one_box(convention, reply):
    assert boxes(reply, convention) == [pytest.approx((384, 108, 768, 324))]


@pytest.mark.parametrize(
    ("convention", "reply", "why"),
    [
        (Y_FIRST, '{"bbox_2d": [100, 200, 300, 400]}', "bbox_2d has x first"),
        (Y_FIRST, '{"xyxy": [100, 200, 300, 400]}', "xyxy has x first"),
        (Y_FIRST, '{"xywh": [100, 200, 300, 400]}', "a width and a height"),
        (Y_FIRST, "As [xmin, ymin, xmax, ymax]: [100, 200, 300, 400]", "x comes first"),
        (Y_FIRST, '{"box_2d": [0.1, 0.2, 0.3, 0.4]}', "shares of the image"),
        (Y_FIRST, '{"box_2d": [100, 1200, 300, 1500]}', "pixels of the video"),
        (Y_FIRST, '{"point": [100, 200]}', "a point where a box was asked for"),
        (Y_FIRST, '{"box_2d": [100, 200]}', "its box_2d does not hold four numbers"),
        ("relative-1", '{"bbox_2d": [200, 100, 400, 300]}', "not 0 to 1"),
        ("relative-1", '{"box_2d": [0.1, 0.2, 0.3, 0.4]}', "box_2d has y first with some"),
        ("relative-1000", '{"box_2d": [100, 200, 300, 400]}', "box_2d has y first with some"),
        ("pixels", "As [ymin, xmin, ymax, xmax]: [100, 200, 300, 400]", "y comes first"),
        (Y_FIRST, '{"box_2d": [100, 200, 300, 400], "format": "x1, y1, x2, y2"}', "x comes first"),
        (Y_FIRST, '{"box_2d": [100, 200, 300, 400], "format": "xyxy"}', "x comes first"),
        (Y_FIRST, "(x1, y1) is the top left: [100, 200, 300, 400]", "x comes first"),
        (Y_FIRST, "bbox_2d: 100, 200, 300, 400", "no JSON list"),
        ("relative-1000", '{"bbox": [100, 200, 300, 400], "format": "yxyx"}', "y comes first"),
        ("relative-1000", "[y, x, y, x] format: [100, 200, 300, 400]", "y comes first"),
        ("relative-1000", '{"bbox_2d": [100, 200, 300, 1900]}', "go beyond 0 to 1000"),
        ("relative-1000", '{"bbox_2d": [400, 200, 3000, 1900]}', "go beyond 0 to 1000"),
        ("relative-1000", '{"bbox_2d": [-400, -200, 300, 400]}', "go beyond 0 to 1000"),
        ("pixels", '{"bbox_2d": [400, 200, 1200, 1200]}', "go beyond pixels of the 840 x 840"),
        ("relative-1000", '{"bbox_2d": [600, 500, 700, 150]}', "turned around along one side"),
        (Y_FIRST, '{"box_2d": [600, 500, 300, 650]}', "turned around along one side"),
        ("relative-1", "[-0.4, 0.1, 0.3, 0.65]", "go beyond 0 to 1"),
        ("relative-1000", '{"bbox": [100, 200, 300, 400], "t": "y1x1y2x2"}', "y comes first"),
        (Y_FIRST, '{"box_2d": [100, 200, 300, 400], "t": "x1y1x2y2"}', "x comes first"),
        ("relative-1", "[0.6, 0.5, 0.3, 0.65]", "turned around along one side"),
        ("relative-1000", "[100,200],[300,210],[310,400],[110,390]", "no JSON list"),
        ("relative-1000", "(100,200), (300,210),\n(310,400), (110,390)", "no JSON list"),
    ],
)
def test_what_speaks_against_the_convention_is_refused(convention, reply, why):
    with pytest.raises(ParseError, match=why):
        boxes(reply, convention)


@pytest.mark.parametrize("convention", ["relative-1000", Y_FIRST])
@pytest.mark.parametrize(
    "form",
    [
        '{{"bbox": {}, "format": "xywh"}}',
        '{{"bbox": {}, "bbox_format": "cxcywh"}}',
        '{{"bbox": {}, "coordinate_format": "x, y, width, height"}}',
        '{{"order": ["x", "y", "w", "h"], "bbox": {}}}',
        '{{"bbox": {}, "format": "coco"}}',
        "[x, y, width, height]: {}",
        "bbox (cx, cy, w, h) = {}",
        "[left, top, width, height] = {}",
        "(x_center, y_center, width and height): {}",
        "In COCO format: {}",
        '{{"bbox": {}, "format": "ltwh"}}',
        '{{"bbox": {}, "format": "xywhn"}}',
        "[center x, center y, width, height] = {}",
    ],
)
def test_a_place_and_a_size_in_words_are_refused_as_by_key(form, convention):
    with pytest.raises(ParseError, match="a width and a height"):
        boxes(form.format("[100, 200, 300, 400]"), convention)


@pytest.mark.parametrize(
    "reply",
    [
        "<|box_start|>(100,200),(300,400)<|box_end|><|box_start|>(500,500),(600,600)<|box_end|>",
        "(100,200),(300,400)\n(500,500),(600,600)",
        "(100,200),(300,400); (500,500),(600,600)",
        "[100, 200] [300, 400], [500, 500] [600, 600]",
    ],
)
def test_corners_in_a_row_are_several_boxes_where_it_is_marked(reply):
    found = parse_boxes(reply, "relative-1000", SIDE, (1000, 1000))
    assert found == [(100, 200, 300, 400), (500, 500, 600, 600)]


@pytest.mark.parametrize("name", BOX_CONVENTIONS)
def test_what_is_asked_for_is_read_and_fits_the_pattern(name):
    convention = BOX_CONVENTIONS[name]
    numbers = {"x1": 0.25, "y1": 0.1, "x2": 0.5, "y2": 0.75}
    reply = f"[{convention.example()}]"
    for corner, share in numbers.items():
        reply = reply.replace(corner, f"{share * convention.side(SIDE):g}")
    assert re.fullmatch(box_pattern(convention, 100), reply)
    assert boxes(reply, name) == [pytest.approx((480, 108, 960, 810))]


def test_gemma_is_known_and_others_are_told_all_conventions():
    assert family_spec("gemma4").box_convention == Y_FIRST
    with pytest.raises(ValueError, match=f"pixels.*relative-1000.*{Y_FIRST}.*relative-1"):
        family_spec("nobody")
    assert complete_settings("nobody", {"box_convention": "relative-1"}).key_frame_size == 840
    with pytest.raises(ValueError, match="box_convention must be one of"):
        ChainSpec(box_convention="y-first")
