"""Replies as families of models shape them, in words of our own: what each is read as.

One line for each shape that was seen or is documented: tags, fences, lists of lists, words around
the answer, thoughts that are open, closed or cut off, "no such object", and boxes in each order,
scale and key.
"""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_revseg.reasoning import ParseError, parse_boxes, parse_choices
from fiftyone_revseg.reasoning.conventions import BOX_CONVENTIONS
from fiftyone_revseg.reasoning.regions import OPENED_THOUGHT

SIDE, SIZE = (
    840,
    (1680, 840),
)  # so that a box in pixels of the key frame is twice as wide in the video
DOG = [(3, "a brown dog")]
CUT = object()  # the reply was cut off

Q = '[{"frame_idx": 3, "object description": "a brown dog"}]'

# family -> (reply, what turn 1 reads: [(frame, description)], [] for "no such object", or why not)
CHOICES = {
    "Qwen2.5-VL": [
        (f"<think>The dog runs.</think> <answer> {Q} </answer>", DOG),
        (f"<think>The dog runs.</think>\n<answer>\n```json\n{Q}\n```\n</answer>", DOG),
        (f"```json\n{Q}\n```", DOG),
        (Q, DOG),
        ('{"frame_idx": 3, "object description": "a brown dog"}', DOG),
        ("<think>Nobody is there.</think> <answer>[]</answer>", []),
        ("<think>Nobody is there.</think> <answer>No such object: []</answer>", []),
        (f"<answer>{Q[:-1]}", DOG),
        ('<answer>[{"frame_idx": 3, "object description": "a bro', "no JSON list"),
    ],
    "Qwen3-VL": [
        ('<answer>[{"frame_idx": "3", "object description": "a brown dog"}]</answer>', DOG),
        ('<answer>[{"frame_index": 3, "description": "a brown dog"}]</answer>', DOG),
        ("<answer>[{'frame_idx': 3, 'object description': 'a brown dog'}]</answer>", DOG),
        ('<answer>[{"frame_idx": 99, "object description": "a dog"}]</answer>', "does not exist"),
        ('<answer>[{"frame_idx": 3.5, "object description": "a dog"}]</answer>', "whole number"),
        ('<answer>[{"frame_idx": 3}]</answer>', "description is missing"),
        ("<answer>```json\n[]\n```</answer>", []),
        ("There is no such object in the video.\n\n[]", []),
    ],
    "Qwen3.5, 3.6, 3.8": [
        (f"The dog, then. It is largest in frame 3.\n</think>\n\n<answer>{Q}</answer>", DOG),
        (f"{OPENED_THOUGHT}The dog, then.\n</think>\n\n{Q}", DOG),
        (f'{OPENED_THOUGHT}A draft: [{{"frame_idx": 1, "object description": "..."}}]', CUT),
        (f"{OPENED_THOUGHT}So {Q} would do, but wait, is it", CUT),
        (f"<think>\n\n</think>\n\n<answer>{Q}</answer>", DOG),
        (f"<think>Or [] ? No.</think>\n\n<answer>{Q}</answer>", DOG),
        ("<think>It is not there.</think>\n\n[]", []),
    ],
    "GLM": [
        (f"<think>Look.</think><answer><|begin_of_box|>{Q}<|end_of_box|></answer>", DOG),
        (
            f"<think>Look.</think>\nClearest there: <|begin_of_box|>{Q}<|end_of_box|>",
            DOG,
        ),
        ("<think>Look.</think><answer><|begin_of_box|>[]<|end_of_box|></answer>", []),
    ],
    "Gemini, Gemma": [
        ('```json\n[\n  {"frame_idx": 3, "object description": "a brown dog"}\n]\n```', DOG),
        (f"Here is the key frame:\n\n```json\n{Q}\n```\n\nIt is plainly visible there.", DOG),
        ('```json\n{"objects": [{"frame": 3, "label": "a brown dog"}]}\n```', DOG),
        ('```json\n{"objects": []}\n```', []),
        ("```json\n[]\n```\n\nNo frame shows such an object.", []),
    ],
    "InternVL": [
        ('{"answer": [{"frame_idx": 3, "object description": "a brown dog"}]}', DOG),
        (f"Answer: {Q}", DOG),
        ("Frame 3 shows the dog best.", "no JSON list"),
    ],
    "hosted": [
        (f"**Answer**\n\n{Q}", DOG),
        (f"1. The dog is brown.\n2. Frame 3 is sharp.\n\n{Q}", DOG),
        ('[{"frame_idx": 3, "object description": "a brown dog"},]', DOG),
        ("I cannot help with that.", "no JSON list"),
        ("", "empty|no JSON list"),
    ],
}


@pytest.mark.parametrize(
    ("family", "reply", "expected"), [(f, *line) for f, lines in CHOICES.items() for line in lines]
)
def test_turn_1(family, reply, expected):
    if expected is CUT:
        with pytest.raises(ParseError):
            parse_choices(reply, 16, complete=False)
    elif isinstance(expected, str):
        with pytest.raises(ParseError, match=expected):
            parse_choices(reply, 16)
    else:
        assert [(c.frame, c.description) for c in parse_choices(reply, 16)] == expected


THERE = (200.0, 50.0, 400.0, 150.0)  # in the video
PIXELS, THOUSANDTHS, Y_FIRST, SHARES = BOX_CONVENTIONS
R = "119, 60, 238, 179"  # in thousandths, rounded

# family, convention -> (reply, whether turn 2 reads THERE from it, or why not)
BOXES = {
    ("Qwen2.5-VL", PIXELS): [
        ('```json\n[\n\t{"bbox_2d": [100, 50, 200, 150], "label": "dog"}\n]\n```', True),
        ('[{"bbox_2d": [100, 50, 200, 150]}]', True),
        ('{"bbox_2d": [100.0, 50.0, 200.0, 150.0], "label": "the dog"}', True),
        ("[100, 50, 200, 150]", True),
        ("100, 50, 200, 150", True),
        ('[{"bbox_2d": [200, 150, 100, 50]}]', True),  # corners the wrong way round
        ('[{"bbox_2d": [100, 50, 200, 150], "label": "dog"', True),  # cut off after the box
        ('[{"bbox_2d": [100, 50, 200', "does not hold four numbers|no JSON list"),
        ('[{"bbox_2d": [0.12, 0.06, 0.24, 0.18]}]', "shares of the image"),
        ('[{"bbox_2d": [100, 50, 100, 50]}]', "empty or outside"),
    ],
    ("Qwen2-VL", THOUSANDTHS): [
        ("<|object_ref_start|>the dog<|object_ref_end|>"
         "<|box_start|>(119,60),(238,179)<|box_end|>", True),
        ("(119,60),(238,179)", True),
    ],
    ("Qwen3-VL", THOUSANDTHS): [
        (f'```json\n[\n\t{{"bbox_2d": [{R}], "label": "dog"}}\n]\n```', True),
        (f'<answer>[{{"bbox_2d": [{R}]}}]</answer>', True),
        (f'<answer>{{"bbox_2d": "{R}"}}</answer>', True),
        (f'The picture spans [0, 0, 1000, 1000], and the dog is at [{R}].\n[{R}]', True),
    ],
    ("Qwen3.5, 3.6, 3.8", THOUSANDTHS): [
        (f'{OPENED_THOUGHT}It stands left.\n</think>\n\n[{{"bbox_2d": [{R}]}}]', True),
        (f'<think>[0, 0, 9, 9]?</think>\n\n```json\n[{{"bbox_2d": [{R}]}}]\n```', True),
        (f"{OPENED_THOUGHT}Perhaps [{R}], but", CUT),
    ],
    ("GLM", THOUSANDTHS): [
        (f"<think>Left.</think>The dog is at <|begin_of_box|>[{R}]<|end_of_box|>.", True),
        (f"<think>Left.</think><answer><|begin_of_box|>[[{R}]]<|end_of_box|></answer>", True),
    ],
    ("InternVL", THOUSANDTHS): [
        (f"<ref>the dog</ref><box>[[{R}]]</box>", True),
        (f"dog[[{R}]]", True),
    ],
    ("Gemini, Gemma", Y_FIRST): [
        ('```json\n[\n  {"box_2d": [60, 119, 179, 238], "label": "dog"}\n]\n```', True),
        ('[{"box_2d": [60, 119, 179, 238], "label": "dog", "mask": "data:image/png;..."}]', True),
        ("[60, 119, 179, 238]", True),
        (f'[{{"bbox_2d": [{R}]}}]', "bbox_2d has x first"),
        ('[{"point": [120, 178], "label": "dog"}]', "a point where a box was asked for"),
    ],
    ("hosted", SHARES): [
        ('[{"bbox_2d": [0.119, 0.06, 0.238, 0.179], "label": "dog"}]', True),
        ('{"x_min": 0.119, "y_min": 0.06, "x_max": 0.238, "y_max": 0.179}', True),
        ('{"bbox_2d": {"x1": 0.119, "y1": 0.06, "x2": 0.238, "y2": 0.179}}', True),
        (f'[{{"bbox_2d": [{R}]}}]', "not 0 to 1"),
        ('{"x": 0.119, "y": 0.06, "width": 0.119, "height": 0.119}', "a width and a height"),
        ("The dog is in the upper left.", "no JSON list"),
    ],
    ("Molmo", THOUSANDTHS): [
        ('<point x="17.8" y="12.0" alt="dog">dog</point>', "a point where a box was asked for"),
        ('<points x1="17.8" y1="12" x2="3" y2="4">dogs</points>', "a point where a box"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "convention", "reply", "expected"),
    [(*key, *line) for key, lines in BOXES.items() for line in lines],
)
def test_turn_2(family, convention, reply, expected):
    if expected is CUT:
        with pytest.raises(ParseError):
            parse_boxes(reply, convention, SIDE, SIZE, complete=False)
    elif isinstance(expected, str):
        with pytest.raises(ParseError, match=expected):
            parse_boxes(reply, convention, SIDE, SIZE)
    else:
        (box,) = parse_boxes(reply, convention, SIDE, SIZE)
        assert box == pytest.approx(THERE, abs=2)


def test_the_tables_have_enough_shapes():
    shapes = [line for lines in (*CHOICES.values(), *BOXES.values()) for line in lines]
    assert len(shapes) >= 60


PIECES = st.one_of(
    st.sampled_from(list('[]{}(),:"\n ')),
    st.sampled_from(["```json\n", "<answer>", "</answer>", "<think>", "</think>", "<|box_start|>"]),
    st.sampled_from(
        ["bbox_2d", "box_2d", "xyxy", "yxyx", "xywh", "label", "point_2d", "x1", "ymin"]
    ),
    st.sampled_from(["the image spans", "[ymin, xmin, ymax, xmax]"]),
    st.integers(-(10**6), 10**6).map(str),
    st.floats(-2, 2).map(str),
    st.lists(st.integers(-50, 1200), min_size=2, max_size=8).map(str),
)


@given(st.lists(PIECES, max_size=25).map("".join), st.sampled_from([*BOX_CONVENTIONS]))
def test_whatever_is_written_no_box_leaves_the_frame(reply, convention):
    try:
        boxes = parse_boxes(reply, convention, SIDE, SIZE)
    except ParseError:
        return
    for x1, y1, x2, y2 in boxes:
        assert 0 <= x1 < x2 <= SIZE[0]
        assert 0 <= y1 < y2 <= SIZE[1]


@given(st.sampled_from([*BOX_CONVENTIONS.values()]), st.data())
def test_whatever_names_another_order_gives_no_box(convention, data):
    """The other order's key, or its words, around four numbers that would fit."""
    key = data.draw(st.sampled_from(["yxyx", "box_yxyx"] if not convention.y_first else ["xyxy"]))
    most = convention.side(SIDE)
    corners = data.draw(st.lists(st.floats(0.3 * most, 0.9 * most), min_size=4, max_size=4))
    reply = f'[{{"{key}": {corners}, "label": "it"}}]'
    with pytest.raises(ParseError, match=re.escape(convention.asked)):
        parse_boxes(reply, convention.name, SIDE, SIZE)
