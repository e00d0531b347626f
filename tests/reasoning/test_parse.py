import json
import math
import random
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fiftyone_revseg.reasoning import (
    MAX_OBJECTS,
    KeyframeChoice,
    ParseError,
    parse_boxes,
    parse_choices,
    parse_think,
)
from fiftyone_revseg.reasoning.conventions import BOX_CONVENTIONS
from fiftyone_revseg.reasoning.parse import NO_OBJECT, answer_span

ONE = [KeyframeChoice(3, "a cat")]

CHOICES = [
    '<think>t</think> <answer>[{"frame_idx": 3, "object description": "a cat"}]</answer>',
    '<think>t</think><answer>{"frame_idx": 3, "object description": "a cat"}</answer>',
    '<think>if a < b then c</think><answer>[{"frame idx": "3", "description": "a cat"}]</answer>',
    '<answer>```json\n[{"frame_id": 3.0, "object_description": "a cat"}]\n```</answer>',
    'Sure:\n```json\n[{"frame id": 3, "label": " a\\n cat "}]\n```\nDone.',
    '[{"keyframe": "3.0", "object description": "a cat", "why": [1, {"x": []}]}]',
    '{"objects": [{"object description": "a cat", "Frame-Idx": 3}]}',
    "<answer>[{'frame_idx': 3, 'object description': 'a cat'}]</answer>",
    '<think>t</think><answer>[{"frame_idx": 3, "description": "a cat"}, {"frame_idx": 4, "desc',
    '<think>t</think><answer>[{"frame_idx": 3, "description": "a cat"}, {"frame_idx": 99, '
    '"description": "a dog"}]</answer>',
    '<think>I must write <answer>[{"frame_idx": 9, "description": "x"}]</answer> here</think>'
    '<answer>[{"frame_idx": 3, "description": "a cat"}]</answer>',
    '[{"frame_idx": 3, "description": "a cat"}, {"frame_idx": 3, "description": "a  cat"}]',
    '<think>forgot to close. <answer>[{"frame_idx": 3, "description": "a cat"}]</answer>',
]

NOT_CHOICES = [
    "",
    "no idea",
    "[",
    "<think>still thinking",
    '<think>maybe [{"frame_idx": 3, "description": "a cat"}], or else',
    '<think>I will write <answer> [{"frame_idx": 3, "description": "a cat"}], or else',
    "<answer></answer>",
    "<answer>[</answer>",
    "<answer>[{}]</answer>",
    "<answer>[[]]</answer>",
    "<answer>null</answer>",
    "<answer>{}</answer>",
    '[{"frame_idx": 16, "description": "a cat"}]',
    '[{"frame_idx": -1, "description": "a cat"}]',
    '[{"frame_idx": 2.5, "description": "a cat"}]',
    '[{"frame_idx": true, "description": "a cat"}]',
    '[{"frame_idx": null, "description": "a cat"}]',
    '[{"frame_idx": NaN, "description": "a cat"}]',
    '[{"frame_idx": 1e400, "description": "a cat"}]',
    '[{"frame_idx": ' + "9" * 5000 + ', "description": "a cat"}]',
    '[{"frame_idx": "three", "description": "a cat"}]',
    '[{"frame_idx": "\u0663", "description": "a cat"}]',
    '[{"frame_idx": [3], "description": "a cat"}]',
    '[{"frame_idx": 3}]',
    '[{"frame_idx": 3, "description": ""}]',
    '[{"frame_idx": 3, "description": "a c',
    '[{"frame_idx": 3, "description": "a cat", "tags": []',
    "[" * 100_000,
    '{"a":' * 50_000,
]


@pytest.mark.parametrize("reply", CHOICES)
def test_one_meaning_one_choice(reply):
    assert parse_choices(reply, 16) == ONE


@pytest.mark.parametrize("reply", NOT_CHOICES, ids=range(len(NOT_CHOICES)))
def test_unreadable_is_an_error_and_never_no_target(reply):
    with pytest.raises(ParseError):
        parse_choices(reply, 16)


@pytest.mark.parametrize(
    "reply", ["<think>none</think> <answer> [ ] </answer>", "[]", "```json\n[]\n```"]
)
def test_an_empty_list_is_no_target(reply):
    assert parse_choices(reply, 16) == []
    assert parse_boxes(reply, "pixels", 840, (640, 360)) == []


def test_apostrophes_survive():
    text = "the driver's van, where they've parked"
    reply = f'<answer>[{{"frame_idx": 0, "object description": "{text}"}}]</answer>'
    assert parse_choices(reply, 1) == [KeyframeChoice(0, text)]


def test_several_objects_keep_their_order():
    items = [{"frame_idx": k, "object description": f"cat {k}"} for k in (5, 1, 5)]
    items[2]["object description"] = "dog"
    assert parse_choices(json.dumps(items), 6) == [
        KeyframeChoice(5, "cat 5"),
        KeyframeChoice(1, "cat 1"),
        KeyframeChoice(5, "dog"),
    ]


def test_a_loop_is_cut():
    items = [
        {"frame_idx": 0, "description": f"cat {i}", "box": [0, 0, 9 + i, 9]} for i in range(99)
    ]
    assert len(parse_choices(json.dumps(items), 1)) == MAX_OBJECTS
    assert len(parse_boxes(json.dumps(items), "pixels", 840, (840, 840))) == MAX_OBJECTS


def test_a_description_can_always_be_stored():
    (choice,) = parse_choices('[{"frame_idx": 0, "description": "a \\ud800 cat"}]', 1)
    assert choice.description.encode("utf-8") == b"a ? cat"


def test_the_reason_tells_the_model_what_to_do():
    with pytest.raises(ParseError, match="frame_idx 16 does not exist, the frames are 0 to 15"):
        parse_choices('[{"frame_idx": 16, "description": "x"}]', 16)


@pytest.mark.parametrize(
    ("convention", "side"), [("pixels", 840), ("relative-1000", 1000), ("pixels", 336)]
)
@pytest.mark.parametrize("size", [(1280, 720), (480, 854), (7, 1000)])
def test_boxes_reach_source_pixels_in_both_conventions(convention, side, size):
    width, height = size
    known = (0.25 * width, 0.5 * height, 0.75 * width, height)
    reply = json.dumps([{"bbox_2d": [0.25 * side, 0.5 * side, 0.75 * side, side]}])
    key_frame_size = 840 if convention == "relative-1000" else side
    (box,) = parse_boxes(reply, convention, key_frame_size, size)
    assert box == pytest.approx(known)


@pytest.mark.parametrize(
    "reply",
    [
        '```json\n[{"bbox_2d": [84, 420, 168, 840], "label": "cat"}]\n```',
        '<think>t</think><answer>[{"bbox_2d": [84, 420, 168, 840]}]</answer>',
        '{"bbox": ["84", "420.0", 168, 840.0]}',
        '{"box": "[84, 420, 168, 840]"}',
        '{"Bounding Box": [[84, 420], [168, 840]]}',
        '{"x1": 84, "y1": 420, "x2": 168, "y2": 840}',
        '{"label": "cat", "bounding_box": {"xmin": 84, "ymin": 420, "xmax": 168, "ymax": 840}}',
        "[84, 420, 168, 840]",
        "[[84, 420, 168, 840]]",
        "The 2 cats are in [1, 2]: [84, 420, 168, 840]",
        '[{"bbox_2d": [168, 840, 84, 420]}]',
        '[{"bbox_2d": [84, 420, 168, 880]}]',
        '[{"bbox_2d": [84.0, 420.00, 168, 8.4e2]}]',
        '[{"bbox_2d": [84, 420, 168, 840], "label": "c',
        '[{"bbox_2d": [84, 420, 168, 840]}, {"bbox_2d": [1, 2, 3',
        '[{"bbox_2d": [84, 420, 168, 840]}, {"bbox_2d": [5, 5, 5, 5]}]',
        "the cat (84,420),(168,840)",
    ],
)
def test_one_meaning_one_box(reply):
    assert parse_boxes(reply, "pixels", 840, (1000, 500)) == [(100, 250, 200, 500)]


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I see no box",
        "[84, 420, 168",
        '[{"bbox_2d": [84, 420, 168]}]',
        '[{"bbox_2d": [84, 420, 168, 840, 1]}]',
        '[{"bbox_2d": [84, 420, NaN, 840]}]',
        '[{"bbox_2d": [84, 420, 1e999, 840]}]',
        '[{"bbox_2d": [84, 420, true, 840]}]',
        '[{"bbox_2d": [84, 420, "1_68", "\u0668"]}]',
        '[{"bbox_2d": [84, 420, 84, 840]}]',
        '[{"bbox_2d": [900, 900, 1000, 1000]}]',
        '[{"bbox_2d": [-9, -9, -1, -1]}]',
        '[{"bbox_2d": [84, 420, 84.5, 840]}]',
        '[{"bbox_2d": []}]',
        '[{"bbox_2d": [1, 2, 3, ' + "9" * 400 + "." + "9" * 400 + "e99999]}]",
        "[" * 100_000,
        '[{"bbox_2d": [84, 420, 168, 4000]}]',
        '[{"bbox_2d": [84, 420, 168, 1e308]}]',
    ],
    ids=range(18),
)
def test_unusable_boxes_are_errors(reply):
    with pytest.raises(ParseError):
        parse_boxes(reply, "pixels", 840, (1000, 500))


WHOLE = [
    '[{"KEY": [%s, %s, %s, %s], "label": "dog"}]',
    "<think>t</think>\n<answer>[[%s, %s, %s, %s]]</answer>",
    '{"x1": %s, "y1": %s, "x2": %s, "y2": %s}',
    '{"bbox": {"xmin": %s, "ymin": %s, "xmax": %s, "ymax": %s}}',
    '{"KEY": [[%s, %s], [%s, %s]]}',
    '{"KEY": "%s, %s, %s, %s"}',
    "(%s, %s), (%s, %s)",
    "<think>t</think>%s, %s, %s, %s",
    "<answer>%s, %s, %s, %s</answer>",
]


@pytest.mark.parametrize("form", WHOLE)
@pytest.mark.parametrize("convention", ["relative-1000", "relative-1", "relative-1000-y-first"])
def test_a_box_that_is_cut_off_is_none_or_the_same(form, convention):
    """Wherever the reply is cut: "40" is not read where "400" was to be written."""
    numbers = (0.125, 0.225, 0.325, 0.425) if convention == "relative-1" else (100, 200, 300, 400)
    reply = form.replace("KEY", BOX_CONVENTIONS[convention].key) % numbers
    whole = parse_boxes(reply, convention, 840, (1000, 1000))
    assert len(whole) == 1
    for end in range(len(reply)):
        try:
            assert parse_boxes(reply[:end], convention, 840, (1000, 1000), False) == whole
        except ParseError:
            continue


@pytest.mark.parametrize(
    "last", ["4*100", "4 00", "4OO", "350-400", "1920/2", "40%", "400px", "400 + 20", "4_00"]
)
@pytest.mark.parametrize(
    "form",
    [
        '[{{"bbox_2d": [100, 200, 300, {}]}}]',
        '[{{"bbox_2d": [[100, 200], [300, {}]]}}]',
        '{{"x1": 100, "y1": 200, "x2": 300, "y2": {}}}',
        '{{"top_left": [100, 200], "bottom_right": [300, {}]}}',
        "[100, 200, 300, {}]",
        "(100, 200), (300, {})",
    ],
)
def test_a_number_with_something_behind_it_is_none(form, last):
    assert len(parse_boxes(form.format("400"), "relative-1000", 840, (1000, 1000))) == 1
    with pytest.raises(ParseError):
        parse_boxes(form.format(last), "relative-1000", 840, (1000, 1000))


@pytest.mark.parametrize(
    "reply",
    [
        '[{"bbox_2d": [100, 200, 300, 400}]',
        '[{"bbox_2d": [100, 200, 300, 400], "label": "dog"',
        '{"bbox_2d": [100, 200, 300, 400, "label": "dog"}',
        '{"x1": 100, "y1": 200, "x2": 300, "y2": 400, "la',
    ],
)
def test_what_is_damaged_behind_its_numbers_is_still_a_box(reply):
    found = parse_boxes(reply, "relative-1000", 840, (1000, 1000), complete=False)
    assert found == [(100, 200, 300, 400)]


def test_an_unknown_convention_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match=r"must be one of .*'pixels', 'relative-1000'"):
        parse_boxes("[]", "xywh", 840, (10, 10))


@pytest.mark.parametrize(
    ("reply", "think"),
    [
        ("<think> a < b </think><answer>[]</answer>", "a < b"),
        ("a, then b</think><answer>[]</answer>", "a, then b"),
        ("<think>cut off", "cut off"),
        ("<think>not closed <answer>[]</answer>", "not closed"),
        ("Because of it: <answer>[]</answer>", "Because of it:"),
        ("[]", ""),
        ("<think>say <answer> later</think><answer>[]</answer>", "say <answer> later"),
    ],
)
def test_think(reply, think):
    assert parse_think(reply) == think


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ('<think>[1]</think> <answer> [{"a": 1}] </answer>', '[{"a": 1}]'),
        ('Here:\n```json\n[{"bbox_2d": [1]}]\n```', '[{"bbox_2d": [1]}]'),
        ("<think>t</think> words ", "words"),
        ("<think>never done [1", "<think>never done [1"),
        ("<answer>  </answer>", "  "),  # once gave a start behind the end
    ],
)
def test_answer_span(reply, answer):
    start, end = answer_span(reply)
    assert reply[start:end] == answer


# --- 20,000 fuzzed replies ------------------------------------------------------------------

FRAME_COUNT, SIDE, SIZE = 16, 840, (1280, 718)

REAL = [
    "<think> The video shows two dogs. The one that they've let off the lead runs from frame 2 "
    "to frame 11; it is largest in frame 7. </think> <answer> "
    '[{"frame_idx": 7, "object description": "the driver\'s dog, left of the van"}] </answer>',
    "<think>3 < 5, so none.</think> <answer>[]</answer>",
    '<think>Two.</think>\n<answer>```json\n[{"frame_idx": "0", "object description": "a"}, '
    '{"frame_idx": 15, "object description": "b \\"c\\""}]\n```</answer>',
    '```json\n[\n\t{"bbox_2d": [103, 246, 631, 829], "label": "brown dog"}\n]\n```',
    '[{"bbox_2d": [12.5, 0, 840, 839.9], "label": "they\'ve"}, {"bbox_2d": [1, 2, 300, 400]}]',
    "<think>x</think><answer>{'frame_idx': 12, 'object description': \"driver's\"}</answer>",
    "The box is (103,246),(631,829).",
]
SPLICES = [
    "[", "]", "{", "}", '"', "'", ",", ":", "\\", "\n", "```", "<think>", "</think>", "<answer>",
    "</answer>", "null", "NaN", "Infinity", "-", "1e400", "9" * 30, "0", "7", "16", "-1", "2.5",
    "true", '"frame_idx": 4', "[]", "{}", "\ud800", "\u0663", "\x00", "\U0001f600",
    "(", ")", "//", "/*", "*/", "#", "<|begin_of_box|>", "<|end_of_box|>", '"box_2d": ', "\\ud83d",
    "and so: ", "Frame ", "(103,246),(631,829)",
]  # fmt: skip
NUMBER = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")


def numbers_in(reply):
    """Every number that a reply names, however it is written."""
    found = set()
    for text in NUMBER.findall(reply):
        for part in (text, *re.findall(r"[0-9]+(?:\.[0-9]+)?", text)):
            value = float(part.replace("_", ""))
            found |= {value, -value}
    for text in re.findall(r"\.[0-9]+(?:[eE][-+]?[0-9]+)?", reply):
        found |= {float(text), -float(text)}
    return found | {int(text, 16) for text in re.findall(r"0[xX]([0-9a-fA-F]{1,9})", reply)}


def check(reply, complete=True):
    """Asserts all that must hold for any reply whatever."""
    try:
        choices = parse_choices(reply, FRAME_COUNT, complete)
    except ParseError:
        choices = None
    if choices == []:
        assert re.search(r"\[\s*\]", reply) or re.search(
            r"\b(?:none|null|no such object)\b", reply, re.IGNORECASE
        )
    for choice in choices or []:
        assert type(choice.frame) is int
        assert 0 <= choice.frame < FRAME_COUNT
        assert choice.frame in numbers_in(reply)
        assert choice.description.strip()
        choice.description.encode("utf-8")
    for convention in BOX_CONVENTIONS:
        try:
            boxes = parse_boxes(reply, convention, SIDE, SIZE, complete)
        except ParseError:
            continue
        for box in boxes:
            x1, y1, x2, y2 = box
            assert 0 <= x1 <= x2 - 1 <= SIZE[0] - 1
            assert 0 <= y1 <= y2 - 1 <= SIZE[1] - 1
            side = BOX_CONVENTIONS[convention].side(SIDE)
            named = numbers_in(reply) | {0.0, float(side)}
            for value, extent in zip(box, SIZE * 2, strict=True):
                assert any(math.isclose(value * side / extent, n, abs_tol=1e-6) for n in named)
    start, end = answer_span(reply)
    assert 0 <= start <= end <= len(reply)
    assert isinstance(parse_think(reply), str)
    return choices


def mutate(reply, rng):
    for _ in range(rng.randint(0, 4)):
        i = rng.randrange(len(reply) + 1)
        j = min(len(reply), i + rng.randint(0, 12))
        kind = rng.randrange(6)
        if kind == 0:
            reply = reply[:i]
        elif kind == 1:
            reply = reply[:i] + reply[j:]
        elif kind == 2:
            reply = reply[:i] + rng.choice(SPLICES) + reply[i:]
        elif kind == 3:
            reply = reply[:i] + rng.choice(SPLICES) + reply[j:]
        elif kind == 4:
            reply = reply[:j] + reply[i:]
        else:
            other = rng.choice(REAL)
            reply = reply[:i] + other[rng.randrange(len(other)) :]
    return reply


@pytest.mark.parametrize("seed", range(4))
def test_mutations_of_real_replies(seed):
    rng = random.Random(seed)
    read = sum(bool(check(mutate(rng.choice(REAL), rng))) for _ in range(4000))
    assert read > 400  # or the mutations would be too wild to say anything


keys = st.sampled_from(
    ["frame_idx", "frame id", "keyframe", "object description", "label", "bbox_2d", "box", "x1"]
)
leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.integers(-2, 20) | st.sampled_from(["3", "2.0", "", "a cat"])
)  # fmt: skip
json_like = st.recursive(
    leaves, lambda x: st.lists(x, max_size=5) | st.dictionaries(keys, x, max_size=4), max_leaves=12
)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(json_like, st.sampled_from(["{}", "<answer>{}</answer>", "<think>{}", "```json\n{}\n```"]))
def test_any_json(value, frame):
    check(frame.replace("{}", json.dumps(value)))


@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(SPLICES) | st.text(max_size=5), max_size=30).map("".join))
def test_any_text(reply):
    check(reply)
    check(reply, complete=False)


def is_a_description(choice):
    words = re.sub(r"[\W_]+", " ", choice.description).strip().lower()
    return choice.description not in ("", "...", "\u2026") and words not in NO_OBJECT


def test_a_description_that_is_a_tag_is_refused():
    items = [{"frame_idx": 0, "object description": "</think>"}]  # found by the test below
    with pytest.raises(ParseError):
        parse_choices(f"<think>hm</think> <answer>{json.dumps(items)}</answer>", 1)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.builds(
            KeyframeChoice,
            st.integers(0, FRAME_COUNT - 1),
            # not "<": a description that is itself a tag is refused, and asked for again
            st.text(st.characters(codec="utf-8", exclude_characters="<"), min_size=1).map(
                lambda s: " ".join(s.replace("\0", "?").split())
            ),
        ).filter(is_a_description),
        max_size=MAX_OBJECTS,
        unique=True,
    )
)
def test_a_well_formed_answer_is_read_exactly(choices):
    items = [{"frame_idx": c.frame, "object description": c.description} for c in choices]
    reply = f"<think>hm</think> <answer>{json.dumps(items)}</answer>"
    assert parse_choices(reply, FRAME_COUNT) == choices
