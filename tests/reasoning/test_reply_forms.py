"""Forms of replies that real models were seen to give, each in words of our own."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiftyone_revseg.reasoning import KeyframeChoice, ParseError, parse_boxes, parse_choices
from fiftyone_revseg.reasoning.parse import answer_span, parse_think
from fiftyone_revseg.reasoning.regions import MAX_ANSWER, MAX_REPLY

CAT = KeyframeChoice(1, "a cat")
DOG = KeyframeChoice(2, "a dog")
CAT_JSON = '{"frame_idx": 1, "object description": "a cat"}'
DOG_JSON = '{"frame_idx": 2, "object description": "a dog"}'
BOX = (100.0, 100.0, 300.0, 200.0)  # of [100, 200, 300, 400] in thousandths of 1000 x 500


def boxes(reply, convention="relative-1000", size=(1000, 500), **options):
    return parse_boxes(reply, convention, 840, size, **options)


@pytest.mark.parametrize(
    "reply",
    [
        "I looked at all frames. None of them shows a cat; only dogs are visible.\n\n[]",
        "None of the frames shows a cat.\n\n```json\n[]\n```",
        "<tool_call>No cat anywhere.</tool_call>\n[]",
        "<think>t</think><answer>[] (no cat is visible)</answer>",
        "<think>t</think><answer>There is no cat in the video.\n[]</answer>",
        "<think>t</think><answer>No such object: []</answer>",
        "<think>t</think>\nThe answer is []",
        "No cat was found. []",
        "[]\n\nNone of the frames shows a cat, so the list is empty.",
        "<think>It could be [1]. No.</think><answer>```json\n[ ]\n```</answer>",
        'First I took it for a cat, {"frame_idx": 1, "description": "a cat"}, but it is a dog.\n[]',
        "<answer><|begin_of_box|>[]<|end_of_box|></answer>",
        '{"objects": []}',
        "**Answer:** []",
        "There is no cat, so the answer is `[]`.",
        "[] No cat is visible.",
        "[] There is no cat",
        "The cat is not there. Therefore, []",
        "Since there is no cat, return **[]**",
        "No such object -> []",
        "No such object \u2192 `[]`",
        '{"objects": [], "reason": "no cat"}',
        '{"thought": "No cat is seen [here].", "answer": []}',
        '[{"frame_idx": 0, "object description": "no such object"}]',
        '<think>t</think><answer>[{"frame_idx": 0, "object description": "None."}]</answer>',
        '[{"frame_idx": null, "object description": "N/A"}]',
        '[{"frame_idx": -1, "object description": "null", "label": "none"}]',
        '{"frame_idx": 2, "label": "Not visible"}',
        '[{"frame_idx": null, "object description": null}]',
        'The answer: [{"frame_idx": null, "object description": "not present"}]',
    ],
)
def test_no_such_object_in_words_around_the_empty_list(reply):
    assert parse_choices(reply, 4) == []


@pytest.mark.parametrize(
    "reply",
    [
        "There is no cat.",
        "The cat is in frame 1, so the answer is not []",
        "I would write [] if there were none, but the cat is in frame 1.",
        "- [ ] look at every frame\n- [ ] write the answer",
        "The cat is in frame 1; otherwise I would return []",
        "If there were no cat: I might output []",
        "I must not return []",
        "I won't just output []",
        "[] is what I write where there is none, but the cat is in frame 1.",
        "[] No, wait: the cat is in frame 1",
        "[] No cat is there at first, but it comes in frame 1",
        "[] None of them, except frame 1 with the cat",
        '[{"frame_idx": 0, "object description": "There is no cat in the video"}]',
        '[{"frame_idx": 0, "object description": "no red cat is visible"}]',
        '[{"frame_idx": 0, "object description": "No cat."}]',
        '[{"frame_idx": 0, "object description": "None of the frames shows a cat"}]',
        '[{"frame_idx": 0, "object description": "The cat is not visible in this frame."}]',
        '{"objects": [], "label": "a cat"}',
        '{"objects": [], "frame": "2"}',
        '{"objects": [], "answer": "frame 1"}',
        '[{"frame_idx": 0, "object description": ""}]',
        '[{"frame_idx": 0, "object description": null}]',
        '[{"frame_idx": null, "object description": "a cat"}]',
        '[{"frame_idx": 9, "object description": "a cat"}]',
        '[{"object description": "none"}]',
        '[{"frame_idx": 0, "object description": "none"}, {"frame_idx": 1, "desc',
        '[{"frame_idx": 0, "object description": "none"',
        '[{"frame_idx": 0, "object description": "none"}, '
        '{"frame_idx": 1, "object description": "none"}]',
        f'[{{"frame_idx": 0, "object description": "none"}}, {CAT_JSON}]',
        f'[{CAT_JSON}, {{"frame_idx": 7, "object description": "no such object"}}]',
        '{"frame_idx": 0, "object description": "none", "label": "a cat"}',
        'I would write {"frame_idx": 0, "object description": "none"} if the cat were not there.',
        f"[] No cat is seen at first, but then [{CAT_JSON}], or rather {DOG_JSON}.",
        "<answer>[[]]</answer>",
        '<answer>{"tags": []}</answer>',
        f"<answer>[{CAT_JSON}, []]\n[]</answer>",
        f"Nothing:\n[]\nOr this one:\n[{CAT_JSON}]",
        "<think>I will answer []",
        "<think>so\n[]\n",
        "()",
        '[\n#frame_idx": 1, "object description": "a cat"}\n]',
    ],
)
def test_what_may_mean_something_else_is_not_no_such_object(reply):
    with pytest.raises(ParseError):
        parse_choices(reply, 4)


@pytest.mark.parametrize(
    "reply",
    [
        f"The cat sits in frame 1.\n\n[{CAT_JSON}]",
        f"It may be [{DOG_JSON}], or not. On a closer look it is:\n[{CAT_JSON}]",
        f"The frames are [0, 1, 2, 3]. The cat: {CAT_JSON}",
        f"It is [{CAT_JSON}]. So my answer:\n```json\n[{CAT_JSON}]\n```",
        f"[{CAT_JSON.replace('a cat', 'a' + chr(10) + 'cat')}]",
        '<answer>[{"frame_idx": 1, // best\n "object description": "a cat"}]</answer>',
        '<answer>[{"frame_idx": 1, # best\n /* the */ "object description": "a cat",}]</answer>',
        '<answer>[{"frame_idx": "Frame 1", "object description": "a cat"}]</answer>',
        '<answer>[{"frame": "frame_1 (0.5 s)", "object": "a cat"}]</answer>',
        "<answer>Answer: [{'frame_idx': 1, 'object description': 'a cat', 'x': None}]</answer>",
        "<answer>({'frame_idx': 1, 'object description': 'a cat'},)</answer>",
        "<answer>{frame_idx: 1, description: 'a cat'}</answer>",
        '{"frame_idx": 1, "frame_idx": 1, "description": "a cat"}',
        "\u25c1think\u25b7maybe [2]\u25c1/think\u25b7" + CAT_JSON,
        f"maybe {DOG_JSON}</think>\n{CAT_JSON}",
        '[{"frame_idx": 1, "object description": "a \\u0063at"}]',
        '{"frame_idx": 1, "object description": "a cat", "label": "none"}',
        f'If there were none: {{"frame_idx": 0, "label": "none"}}. But there is:\n[{CAT_JSON}]',
    ],
)
def test_one_meaning_one_key_frame(reply):
    assert parse_choices(reply, 4) == [CAT]


@pytest.mark.parametrize(
    "reply",
    [
        '{"frame_idx": 1, "description": "a cat", "frame_idx": 2, "description": "a dog"}',
        f"{CAT_JSON}\n{DOG_JSON}",
        f"1. {CAT_JSON}\n2. {DOG_JSON}",
        f"{CAT_JSON} and {DOG_JSON}",
        f"<answer>{CAT_JSON}</answer><answer>{DOG_JSON}</answer>",
        f'{{"objects": [{CAT_JSON}, {DOG_JSON}]}}',
    ],
)
def test_several_objects(reply):
    assert parse_choices(reply, 4) == [CAT, DOG]


@pytest.mark.parametrize(
    "description",
    [
        "no entry sign on the left",
        "a no-parking sign that is not lit",
        "No smoking sign that is visible on the wall",
        "the cat whose tail is not visible, left of the dog",
        "a none-too-clean cat",
        "nothing but the cat's tail",
        "the void",
    ],
)
def test_descriptions_that_only_sound_like_none(description):
    reply = json.dumps([{"frame_idx": 1, "object description": description}])
    assert parse_choices(reply, 4) == [KeyframeChoice(1, description)]


def test_keys_repeated_with_one_frame_are_two_objects():
    reply = '{"frame_idx": 1, "label": "a cat", "frame_idx": 1, "label": "a dog"}'
    assert parse_choices(reply, 4) == [CAT, KeyframeChoice(1, "a dog")]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (f"It may be {CAT_JSON}, or rather {DOG_JSON}.", "several answers"),
        (f"The cat:\n{CAT_JSON}\nThe dog:\n{DOG_JSON}", "several answers"),
        ('{"frame_idx": 1, "frame_idx": 2, "description": "a cat"}', "give each object"),
        ('{"frame_idx": 1, "label": "a cat", "label": "a dog"}', "repeats a key"),
        ('[{"frame_idx": 0, "object description": "..."}]', "description is missing"),
        ('[{"frame_idx": "1st", "object description": "a cat"}]', "not a whole number"),
        (f"<think>Then {CAT_JSON}, or", "never finished"),
        (f"<think>I write <answer>{CAT_JSON}</answer> at the end. Now the", "may be a draft"),
        ("<think>That is all.</think>", "nothing follows the thought"),
        ('<think>t</think><answer>[{"box": [1, 2, 3, 4]}]</answer>', "no JSON list of frame_idx"),
    ],
)
def test_refused_key_frames(reply, why):
    with pytest.raises(ParseError, match=why):
        parse_choices(reply, 4)


@pytest.mark.parametrize(
    "reply",
    [
        '<answer>{"boxes": [100, 200, 300, 400], "positive_points": [[1, 2]]}</answer>',
        '{"bboxes_2d": [[100, 200, 300, 400]]}',
        '{"bounding_boxes": [["dog", 100, 200, 300, 400, "red"]]}',
        "(100, 200, 300, 400)",
        "100, 200, 300, 400",
        "<box>100 200 300 400</box>",
        '{"left": 100, "top": 200, "right": 300, "bottom": 400}',
        '{"x0": 100, "y0": 200, "x1": 300, "y1": 400}',
        '{"top_left": [100, 200], "bottom_right": [300, 400]}',
        '{"bbox": {"x_min": 100, "y_min": 200, "x_max": 300, "y_max": 400}}',
        '{"box_2d": {"ymin": 200, "xmin": 100, "ymax": 400, "xmax": 300}}',
        '{"width": 1000, "height": 1000, "objects": [{"bbox_2d": [100, 200, 300, 400]}]}',
        "<|box_start|>(100,200),(300,400)<|box_end|>",
        "\\boxed{[100, 200, 300, 400]}",
        "At first [[1, 2, 900, 800]], but that is the cat. "
        "<|begin_of_box|>[[100, 200, 300, 400]]<|end_of_box|>",
        "The image spans [0, 0, 1000, 1000]. The dog is at [100, 200, 300, 400].",
        "The dog is at [100, 200, 300, 400]. The image spans [0, 0, 999, 999].",
        "In this frame: [100, 200, 300, 400]",
        "At 1.5 seconds it is at [100, 200, 300, 400].",
        "It is not [1, 2, 300, 400]: that is the cat. The dog is at [100, 200, 300, 400].",
        'Not {"bbox_2d": [1, 2, 900, 800]}, as that is the cat.\n'
        '```json\n[{"bbox_2d": [100, 200, 300, 400]}]\n```',
        '{"label": "a", "bbox": [100, 200, 300, 400], "label": "b", "bbox": [1, 2, 900, 800]}',
        '{"bbox_2d": [100, 200, 300, 400], "label": "d',
    ],
)
def test_one_meaning_one_box(reply):
    assert boxes(reply)[0] == BOX


@pytest.mark.parametrize("convention", ["pixels", "relative-1000"])
@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ('```json\n[{"box_2d": [472, 592, 600, 700], "label": "dog"}]\n```', "box_2d has y first"),
        ('[{"box_2d": [472, 592, 600, 700], "lab', "box_2d has y first"),
        ('{"box_yxyx": [472, 592, 600, 700]}', "yxyx has y first"),
        ("As [ymin, xmin, ymax, xmax]: [472, 592, 600, 700]", "says that y comes first"),
        ("[top, left, bottom, right] = [472, 592, 600, 700]", "says that y comes first"),
        ('{"bbox_xywh": [100, 200, 300, 400]}', "width and a height"),
        ('{"x": 100, "y": 200, "width": 300, "height": 400}', "width and a height"),
        ('{"bbox": {"left": 100, "top": 200, "width": 300, "height": 400}}', "width and a height"),
        ("[0.08, 0.10, 0.92, 0.90]", "shares of the image"),
        ('{"bbox_2d": [0.0, 0.0, 1.0, 1.0]}', "shares of the image"),
        ('{"bbox_2d": [0, 0, 1, 1]}', "shares of the image"),
        ('{"bbox_2d": [-0.02, 0.1, 1.03, 0.9]}', "shares of the image"),
        ('{"bbox_2d": [574, 374, 1400, 973]}', "pixels of the video"),
        ('{"point_2d": [100, 200], "label": "dog"}', "a point where a box"),
        ('<point x="10.5" y="20.1" alt="dog">dog</point>', "a point where a box"),
        ('{"bbox_2d": [100, 200, 300]}', "does not hold four numbers"),
        ("8%, 10%, 92%, 90%", "no JSON list"),
        ("The dog is at [100, 200, 300, 400], the cat at [1, 2, 300, 400].", "several answers"),
        ("The dog:\n[100, 200, 300, 400]\nThe cat:\n[1, 2, 300, 400]", "several answers"),
        ('[{"bbox_2d": [1, 2, 300, 4*10]}, {"bbox_2d": [1, 2, 300, 400]}]', "several answers"),
        ('{"bbox_2d": [1, 2, 300, 4{"bbox_2d": [1, 2, 300, 400]}', "a number of its box was cut"),
        ("The dog was seen at seconds [1, 2, 3, 4].", "no JSON list"),
        ("The RGB color [120, 80, 40, 255] was seen.", "no JSON list"),
        ("It is not [100, 200, 300, 400]: that is the cat.", "no JSON list"),
        ("The dog isn't at [100, 200, 300, 400].", "no JSON list"),
        ("Not [100, 200, 300, 400], but to the left.", "no JSON list"),
    ],
)
def test_no_box_that_may_be_another(reply, why, convention):
    with pytest.raises(ParseError, match=why):
        boxes(reply, convention, (1920, 1080))


def test_thousandths_are_not_taken_for_pixels():
    assert boxes("[100, 200, 860, 400]", "pixels", (640, 360))  # a little beyond the image
    with pytest.raises(ParseError, match="0 to 1000"):
        boxes("[100, 200, 960, 400]", "pixels", (640, 360))


@pytest.mark.parametrize(
    ("reply", "thought"),
    [
        ("The cat sits in frame 1.\n\n[1]", "The cat sits in frame 1."),
        ("None of them.\n```json\n[]\n```", "None of them."),
        ("<tool_call>No cat.</tool_call>\n[]", "No cat."),
        ("\u25c1think\u25b7a cat\u25c1/think\u25b7[]", "a cat"),
        ("a cat</think>[]", "a cat"),
        ("[]", ""),
        ("no idea", ""),
    ],
)
def test_thoughts_without_tags_are_kept(reply, thought):
    assert parse_think(reply) == thought


class TestCutOff:
    """A reply that a limit ended, of which nobody knows whether it began within a thought."""

    @pytest.mark.parametrize(
        "reply",
        [
            f"The cat is in frame 1: [{CAT_JSON}]. But wait, the",
            f"The cat.\n[{CAT_JSON}]\nBut wait",
            f"I will write <answer>[{CAT_JSON}]</answer>, or else",
            f"I will write <answer>[{CAT_JSON}",
            f"<think>I will write <answer>[{CAT_JSON}]</answer>",
            "None of them, so\n[]\nBut wait, the",
        ],
    )
    def test_what_may_be_a_draft_is_refused(self, reply):
        with pytest.raises(ParseError):
            parse_choices(reply, 4, complete=False)

    @pytest.mark.parametrize(
        "reply",
        [
            f"[{CAT_JSON}, {{",
            f"```json\n[{CAT_JSON}, {{",
            f"<answer>[{CAT_JSON}, {{",
            f"<think>t</think> <answer>[{CAT_JSON}, {{",
            f"t</think>The cat:\n[{CAT_JSON}, {{",
        ],
    )
    def test_an_answer_is_read_as_far_as_it_goes(self, reply):
        assert parse_choices(reply, 4, complete=False) == [CAT]


def test_rewards_are_for_json_only():
    for reply in ("(100, 200, 300, 400)", "100, 200, 300, 400"):
        assert boxes(reply)
        with pytest.raises(ParseError):
            boxes(reply, strict=True)
    assert boxes('[{"bbox_2d": [100, 200, 300, 400]}]', strict=True) == [BOX]


numbers = st.integers(10, 1000)


def _both_or_none(corners):
    """Corners the wrong way round are read; along one side only, they are refused."""
    x1, y1, x2, y2 = corners
    return corners if (x1 - x2) * (y1 - y2) >= 0 else (x2, y1, x1, y2)


corners_of_a_box = st.tuples(numbers, numbers, numbers, numbers).map(_both_or_none)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(corners_of_a_box, min_size=1, max_size=4, unique=True),
    st.sampled_from(["bbox_2d", "bbox", "Bounding Box", "boxes"]),
    st.sampled_from(["{}", "<think>[1, 2]</think>{}", "```json\n{}\n```", "Here:\n{}", "{}\nDone"]),
    st.integers(1, 4000),
    st.integers(1, 4000),
)
def test_round_trip_of_boxes(corners, key, frame, width, height):
    reply = frame.replace("{}", json.dumps([{key: list(c), "label": "x"} for c in corners]))
    expected = []
    for x1, y1, x2, y2 in corners:
        left, right = sorted((x1 * width / 1000, x2 * width / 1000))
        top, bottom = sorted((y1 * height / 1000, y2 * height / 1000))
        if right - left >= 1 and bottom - top >= 1 and (left, top, right, bottom) not in expected:
            expected.append((left, top, right, bottom))
    if expected:
        assert boxes(reply, size=(width, height)) == expected
    else:
        with pytest.raises(ParseError, match="empty or outside"):
            boxes(reply, size=(width, height))


@settings(max_examples=200, deadline=None)
@given(corners_of_a_box, corners_of_a_box, st.sampled_from(["", "bbox_2d"]))
def test_two_boxes_in_one_sentence_are_refused_unless_they_are_the_same(a, b, key):
    one, other = (json.dumps({key: c} if key else c) for c in (a, b))
    reply = f"The dog is at {one} and the cat sits at {other} beside it."
    if a == b and abs(a[0] - a[2]) >= 1 and abs(a[1] - a[3]) >= 2:
        assert len(boxes(reply)) == 1
    else:
        with pytest.raises(ParseError, match=r"several answers|empty or outside"):
            boxes(reply)


SHAPES = {
    "brackets": lambda n: "[" * n,
    "objects without end": lambda n: '{"a":' * n,
    "lists without end": lambda n: '[{"a": [' * n,
    "closed and open": lambda n: "[[]" * n,
    "a string without end": lambda n: '["' + "a" * n,
    "quotes": lambda n: '["' * n,
    "quotes of both kinds": lambda n: "[\"['" * n,
    "escapes": lambda n: '["' + '\\"[' * n,
    "backslashes": lambda n: '["' + "\\" * n,
    "blanks between corners": lambda n: "(1,1)" + " " * n + "(",
    "blanks between numbers": lambda n: "1," + " " * n,
    "blanks": lambda n: "[" + " " * n,
    "comments": lambda n: "[/*" * n,
    "line comments": lambda n: "[//\n" * n,
    "thoughts": lambda n: "<think>" * n,
    "ends of thoughts": lambda n: "</think>" * n,
    "answers": lambda n: "<answer>[" * n,
    "boxes with words": lambda n: "at [1, 2, 3, 4] " * n,
    "objects": lambda n: '{"frame_idx": 1, "label": "a"},' * n,
    "repeated keys": lambda n: "{" + '"frame_idx": 1, "label": "a",' * n + "}",
    "digits": lambda n: "[" + "9" * n,
    "words": lambda n: "[" + "a" * n,
    "fences": lambda n: "```json" * n,
    "commas": lambda n: "[1" + ",1" * n,
    "empty lists": lambda n: "[]" * n,
    "pairs": lambda n: "(1,2)," * n,
    "opened boxes": lambda n: "<|begin_of_box|>" * n,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_of_reply_takes_long(shape):
    """In quadratic time, this would take minutes."""
    make = SHAPES[shape]
    reply = make(MAX_ANSWER // len(make(1)))
    for read in (lambda r: parse_choices(r, 4), boxes, answer_span):
        with contextlib.suppress(ParseError):
            read(reply)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("x" * (MAX_REPLY + 1), "1,000,001 characters"),
        (f"<think>t</think>[{', '.join([CAT_JSON] * 2_000)}]", "its answer has"),
    ],
)
def test_what_is_too_long_is_refused_in_words(reply, why):
    for read in (lambda r: parse_choices(r, 4), boxes):
        with pytest.raises(ParseError, match=why):
            read(reply)
    assert isinstance(parse_think(reply), str)


def test_a_long_thought_is_no_long_answer():
    assert parse_choices(f"<think>{'hm ' * 200_000}</think>{CAT_JSON}", 4) == [CAT]
