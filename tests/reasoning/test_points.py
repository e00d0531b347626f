"""A point beside a box: read in every convention, refused where it contradicts the box."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_revseg.reasoning import ChainSpec, ParseError, Trajectory, run_chain
from fiftyone_revseg.reasoning.conventions import BOX_CONVENTIONS
from fiftyone_revseg.reasoning.parse import parse_prompt
from fiftyone_revseg.reasoning.patterns import box_pattern
from fiftyone_revseg.reasoning.spec import family_spec
from fiftyone_revseg.types import Status

SIZE, SIDE = (1920, 1080), 840
Y_FIRST = "relative-1000-y-first"


def read(reply, convention="relative-1000", prompt="box+point"):
    spec = ChainSpec(key_frame_size=SIDE, box_convention=convention, prompt=prompt)
    return parse_prompt(reply, spec, SIZE)


def written(point, convention):
    side = convention.side(SIDE)
    x, y = (v * side / extent for v, extent in zip(point, SIZE, strict=True))
    return [y, x] if convention.y_first else [x, y]


@pytest.mark.parametrize("name", BOX_CONVENTIONS)
@given(st.floats(100, 1800), st.floats(60, 1000), st.floats(0, 1), st.floats(0, 1))
def test_a_point_comes_back_from_each_convention(name, x2, y2, along, down):
    convention = BOX_CONVENTIONS[name]
    box = (20.0, 10.0, x2, y2)
    point = (20 + along * (x2 - 20) * 0.999, 10 + down * (y2 - 10) * 0.999)
    corners = [*written(box[:2], convention), *written(box[2:], convention)]
    reply = json.dumps(
        [{convention.key: corners, convention.point_key: written(point, convention)}]
    )
    found, (on,) = read(reply, name)
    assert found == pytest.approx(box, abs=1e-6)
    assert on == pytest.approx(point, abs=1e-6)


BOX = '"bbox_2d": [100, 100, 300, 300]'


@pytest.mark.parametrize(
    "reply",
    [
        f'[{{{BOX}, "point_2d": [200, 250], "label": "dog"}}]',
        f'[{{{BOX}, "points": [[200, 250]]}}]',
        f'[{{{BOX}, "point": "200, 250"}}]',
        f'[{{"point_2d": [200, 250], {BOX}}}]',
        f'[{{{BOX}, "point_2d": {{"x": 200, "y": 250}}}}]',
        f'[{{{BOX}, "points": [{{"y": 250, "x": "200", "label": "dog"}}]}}]',
        f'[{{{BOX}, "point_2d": [200, 250, 1]}}]',
        f'[{{{BOX}, "points": [[200, 250, 1]]}}]',
        f'[{{{BOX}, "points": [], "point": [200, 250]}}]',
        f'Draft: {{{BOX}, "point_2d": [150, 150]}} no.\n[{{{BOX}, "point_2d": [200, 250]}}]',
        f'[{{{BOX}, "point_2d": [200, 250]}}, {{"bbox_2d": [1, 1, 9, 9], "point_2d": [5, 5]}}]',
    ],
)
def test_forms_of_one_point(reply):
    box, points = read(reply)
    assert box == pytest.approx((192, 108, 576, 324))
    assert points == (pytest.approx((384, 270)),)


def test_a_key_with_x_first_is_refused_where_y_is():
    box = '"box_2d": [100, 200, 300, 600]'
    there = pytest.approx((960, 216))
    for prompt, beside in (("box+point", f"{box}, "), ("point", "")):
        with pytest.raises(ParseError, match=r'point_2d has x first: write "point": \[y, x\]'):
            read(f'[{{{beside}"point_2d": [250, 210]}}]', Y_FIRST, prompt)
        for key, value in {
            "point": "[200, 500]",
            "points": '[{"x": 500, "y": 200}]',
            "point_2d": '{"x": 500, "y": 200}',
        }.items():
            assert read(f'[{{{beside}"{key}": {value}}}]', Y_FIRST, prompt)[1] == (there,)


def test_several_points_and_none():
    assert len(read(f'[{{{BOX}, "points": [[200, 250], [110, 110], [200, 250]]}}]')[1]) == 2
    assert read(f"[{{{BOX}}}]")[1] == ()
    assert read(f'[{{{BOX}, "points": []}}]')[1] == ()
    assert read("[100, 100, 300, 300]")[1] == ()
    # Nobody asked for it
    assert read(f'[{{{BOX}, "point_2d": [900, 900]}}]', prompt="box")[1] == ()


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (f'[{{{BOX}, "point_2d": [900, 900]}}]', "its point is not within its box"),
        (f'[{{{BOX}, "point_2d": [0.2, 0.3]}}]', "shares of the image"),
        (f'[{{{BOX}, "point_2d": [200]}}]', "its point does not hold two numbers"),
        (f'[{{{BOX}, "point_2d": [200, "left"]}}]', "its point does not hold two numbers"),
        (f'[{{{BOX}, "point_2d": [1e999, 200]}}]', "its point does not hold two numbers"),
        (f'[{{{BOX}, "point_2d": [200, 25', "its point does not hold two numbers"),
        (f'[{{{BOX}, "point_2d": [200, 25*10]}}]', "its point does not hold two numbers"),
        (f'[{{{BOX}, "point_2d": [true, 250]}}]', "its point does not hold two numbers"),
        (f'[{{{BOX}, "point_2d": [200, 250, 0]}}]', "its point does not hold two numbers"),
        (f'[{{{BOX}, "point_2d": [200, 250, 300]}}]', "its point does not hold two numbers"),
        (f'[{{{BOX}, "point_2d": {{"x": 200}}}}]', "its point does not hold two numbers"),
        (f'[{{{BOX}, "point": {{"x": 200, "y": 250, "w": 9}}}}]', "does not hold two numbers"),
        ('[{"point_2d": [200, 250]}]', "a point where a box was asked for"),
        ("[]", "no box although the object was seen"),
    ],
)
def test_points_that_contradict(reply, why):
    with pytest.raises(ParseError, match=why):
        read(reply)


@pytest.mark.parametrize("name", BOX_CONVENTIONS)
def test_what_is_asked_for_is_read_and_fits_the_pattern(name):
    convention = BOX_CONVENTIONS[name]
    reply = f"[{convention.example('box+point')}]"
    shares = {"x1": 0.25, "y1": 0.1, "x2": 0.5, "y2": 0.75, "y": 0.5, "x": 0.3}
    for corner, share in shares.items():
        reply = re.sub(rf"\b{corner}\b", f"{share * convention.side(SIDE):g}", reply)
    assert re.fullmatch(box_pattern(convention, 100, "box+point"), reply)
    box, (point,) = read(reply, name)
    assert box == pytest.approx((480, 108, 960, 810))
    assert point == pytest.approx((576, 540))


@pytest.mark.parametrize(
    ("reply", "count"),
    [
        ('[{"point_2d": [500, 250], "label": "dog"}]', 1),
        ('```json\n{"point": [500, 250]}\n```', 1),
        ("[500, 250]", 1),
        ('[{"point_2d": {"x": 500, "y": 250}}]', 1),
        ('[{"points": [[500, 250], [510, 250]]}, {"points": [[1, 1]]}]', 2),
        ('<points coords="1 1 500 250">the dog</points>', 1),
        ('There: <points coords="17 1 500 250 2 510 250" alt="dogs"/>', 2),
    ],
)
def test_points_alone(reply, count):
    box, points = read(reply, prompt="point")
    assert box is None
    assert len(points) == count
    assert points[0] == pytest.approx((960, 270))


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ('<point x="50.0" y="25.0" alt="dog">dog</point>', "in percent, as the first Molmo"),
        ('<points coords="1 1 500 250;2 1 500 250">dog</points>', "not those of one picture"),
        ('<points coords="1 1 500">dog</points>', "not those of one picture"),
        ('<points coords="1 1 500 1200">dog</points>', "outside the image"),
        ('[{"point_2d": [0.5, 0.25]}]', "shares of the image"),
        ('[{"point_2d": [-20, 250]}]', "outside the image"),
        ('[{"bbox_2d": [1, 2, 3, 4]}]', r'it has no point: write \{"point_2d": \[x, y\]'),
        ("[]", "no point although the object was seen"),
        ("It is on the left.", "it has no point"),
        ('[{"point_2d": [500, 25', "no point"),
        ('[{"x": 500, "y": 250, "width": 20, "height": 10}]', "no point"),
        ('[{"points": []}]', "no point"),
    ],
)
def test_points_alone_that_are_none(reply, why):
    with pytest.raises(ParseError, match=why):
        read(reply, prompt="point")


@pytest.mark.parametrize("name", BOX_CONVENTIONS)
def test_a_point_that_is_asked_for_alone_fits_the_pattern(name):
    convention = BOX_CONVENTIONS[name]
    reply = f"[{convention.example('point')}]"
    for corner, share in {"y": 0.5, "x": 0.3}.items():
        reply = re.sub(rf"\b{corner}\b", f"{share * convention.side(SIDE):g}", reply)
    assert re.fullmatch(box_pattern(convention, 100, "point"), reply)
    assert read(reply, name, "point") == (None, (pytest.approx((576, 540)),))


def test_the_chain_goes_on_with_points_alone(scripted, request_for):
    spec = ChainSpec(frames=4, frame_size=28, key_frame_size=56, prompt="point")

    def reply(conversation):
        if len(conversation.messages) == 1:
            return '<think>a</think><answer>[{"frame_idx": 2, "object description": "a"}]</answer>'
        if conversation.messages[-1].text.startswith("That reply"):
            return '<points coords="1 1 21 28">a</points>'
        assert "bounding box" not in conversation.messages[-1].text
        return '[{"bbox_2d": [14, 14, 28, 56]}]'

    (trajectory,) = run_chain(scripted(reply), spec, [request_for(size=(80, 40))])
    assert trajectory.status is Status.OK
    (found,) = trajectory.groundings
    assert (found.box_xyxy_px, found.points) == (None, ((30, 20),))
    assert "it has no point" in trajectory.turns[1].error
    assert Trajectory.from_json(trajectory.to_json()) == trajectory


def test_molmo_is_asked_for_points():
    assert family_spec("molmo2").prompt == "point"


def test_the_chain_asks_for_a_point_and_keeps_it(scripted, request_for):
    spec = ChainSpec(frames=4, frame_size=28, key_frame_size=56, prompt="box+point")

    def reply(conversation):
        if len(conversation.messages) == 1:
            return '<think>a</think><answer>[{"frame_idx": 2, "object description": "a"}]</answer>'
        asked = conversation.messages[-1].text
        assert '"point_2d": [x, y]' in asked
        assert asked.endswith("around it.")
        return '[{"bbox_2d": [14, 14, 28, 56], "point_2d": [21, 28]}]'

    (trajectory,) = run_chain(scripted(reply), spec, [request_for(size=(80, 40))])
    assert trajectory.status is Status.OK
    assert trajectory.groundings[0].points == ((30, 20),)
    assert Trajectory.from_json(trajectory.to_json()) == trajectory


def test_what_is_stored_without_points_is_as_before():
    assert "prompt" not in ChainSpec().to_dict()
    assert ChainSpec(prompt="box+point").to_dict()["prompt"] == "box+point"
    with pytest.raises(ValueError, match="prompt must be one of"):
        ChainSpec(prompt="dots")
