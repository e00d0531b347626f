import pytest

from fiftyone_revseg.reasoning import ChainSpec, run_chain
from fiftyone_revseg.reasoning.conventions import BOX_CONVENTIONS
from fiftyone_revseg.reasoning.prompts import (
    PLACEHOLDERS,
    check_templates,
    default_template,
    fill,
    split_at,
)


def test_the_default_templates_are_all_there_and_valid():
    check_templates({name: default_template(name) for name in PLACEHOLDERS})


def test_the_defaults_ask_for_the_papers_format():
    turn1 = ChainSpec().template("turn1")
    for part in ("<think>", "</think>", "<answer>", '"frame_idx"', '"object description"'):
        assert part in turn1
    example = BOX_CONVENTIONS[ChainSpec().box_convention].example()
    asked = fill(ChainSpec().template("turn2"), {"example": example})
    assert '"bbox_2d": [x1, y1, x2, y2]' in asked


def test_the_corners_are_called_in_the_order_that_is_asked_for(scripted, request_for):
    def asked(convention, **prompts):
        spec = ChainSpec(
            frames=4, frame_size=28, key_frame_size=56, box_convention=convention, prompts=prompts
        )
        first = '<answer>[{"frame_idx": 2, "object description": "a"}]</answer>'
        reasoner = scripted(lambda c: first if len(c.messages) == 1 else "[]")
        (trajectory,) = run_chain(reasoner, spec, [request_for(size=(80, 40))])
        return next(turn.prompt for turn in trajectory.turns if turn.turn == 2)

    assert "(y1, x1) is the top left corner and (y2, x2) the" in asked("relative-1000-y-first")
    assert "(x1, y1) is the top left corner and (x2, y2) the" in asked("relative-1000")
    own = "{image} (x1, y1) of {description}: {example}"  # without the names of the corners
    assert '(x1, y1) of a: {"box_2d"' in asked("relative-1000-y-first", turn2=own)


def test_only_placeholders_are_replaced_and_only_once():
    text = fill('{"a": {query}} {other}', {"query": "{frame_count}", "frame_count": 3})
    assert text == '{"a": {frame_count}} {other}'


@pytest.mark.parametrize(
    ("template", "parts"),
    [("a {image} b", ("a ", " b")), ("{image}b", ("", "b")), ("no mark", ("", "no mark"))],
)
def test_where_pictures_go(template, parts):
    assert split_at(template, "image") == parts
