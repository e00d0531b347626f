import pytest

from fiftyone_revseg.reasoning import ChainSpec
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


def test_only_placeholders_are_replaced_and_only_once():
    text = fill('{"a": {query}} {other}', {"query": "{frame_count}", "frame_count": 3})
    assert text == '{"a": {frame_count}} {other}'


@pytest.mark.parametrize(
    ("template", "parts"),
    [("a {image} b", ("a ", " b")), ("{image}b", ("", "b")), ("no mark", ("", "no mark"))],
)
def test_where_pictures_go(template, parts):
    assert split_at(template, "image") == parts
