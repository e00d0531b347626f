import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_revseg.reasoning import ParseError
from fiftyone_revseg.reasoning.looking_again import Verdict
from fiftyone_revseg.reasoning.parse_verdict import objects_span, parse_verdict

TWO = [
    '{"objects": [2]}',
    '<think>1 is blue</think> <answer> {"objects": [2], "wrong_frames": []} </answer>',
    '```json\n{"objects": ["2"]}\n```',
    "{'objects': [2.0], 'wrong_frames': None}",
    '{"objects": 2}',
    '{"object": "Object 2"}',
    '{"Objects": ["#2"], "wrong frames": "none"}',
    '{"objects": [2, 2]}',
    '{"answer": {"objects": [2]}}',
    '[{"objects": [2]}]',
    '{"objects": [{"number": 2, "why": "it is red"}]}',
    '{"objects": [2], "object": 2}',
    '{"objects": [2], "answer": "the red one"}',
    "<think>t</think><answer>[2]</answer>",
    '<think>first {"objects": [1]}, but no</think><answer>{"objects": [2]}</answer>',
    '{"objects": [2], "why": "it is the one that',
]
NONE = [
    '{"objects": []}',
    '{"objects": "none"}',
    '{"objects": ["none of them"]}',
    '{"objects": null, "why": "both are blue"}',
    "<think>t</think><answer>[]</answer>",
    '{"objects": [], "wrong_frames": [0, 1, 2, 3]}',
]
UNREADABLE = {
    "": "no JSON",
    "none": "no JSON",
    "[": "no JSON",
    "<think>it is 2": "never finished",
    '<think>t</think><answer>{"why": "red"}</answer>': "no JSON",
    '{"objects": [1, 2': "not finished",
    '{"objects": 2': "not a number",
    '{"objects": [4]}': "object 4 does not exist, the objects are 1 to 3",
    '{"objects": [0]}': "object 0 does not exist",
    '{"objects": [-1]}': "does not exist",
    '{"objects": [' + "9" * 300 + "]}": "that large",
    '{"objects": ["the red one"]}': "not a number",
    '{"objects": [true]}': "not a number",
    '{"objects": [1.5]}': "not a number",
    '{"objects": ["none", 2]}': "not a number",
    '{"objects": [[2]]}': "not a number",
    '{"objects": [2], "object": [1]}': "differently",
    '{"objects": [2], "objects": [1]}': "several answers",
    '{"objects": [1]} or else {"objects": [2]}': "several answers",
    '{"objects": [2], "wrong_frames": [4]}': "picture 4 does not exist, the pictures are 0 to 3",
    '{"objects": [2], "wrong_frames": [0, 1, 2, 3]}': "wrong in every picture",
    '{"a":' * 50_000: "characters",
}


@pytest.mark.parametrize("reply", TWO)
def test_one_meaning_one_verdict(reply):
    verdict = parse_verdict(reply, objects=3, pictures=4)
    assert (verdict.objects, verdict.wrong_frames) == ((2,), ())


@pytest.mark.parametrize("reply", NONE)
def test_none_of_them(reply):
    verdict = parse_verdict(reply, objects=3, pictures=4)
    assert (verdict.objects, verdict.wrong_frames) == ((), ())


@pytest.mark.parametrize("reply", UNREADABLE, ids=range(len(UNREADABLE)))
def test_what_cannot_be_read_is_an_error_in_words_and_never_none(reply):
    with pytest.raises(ParseError, match=UNREADABLE[reply]):
        parse_verdict(reply, objects=3, pictures=4)


def test_a_draft_in_a_reply_that_was_cut_off_does_not_count():
    reply = 'It may be {"objects": [2]}, but'
    with pytest.raises(ParseError, match="cut off"):
        parse_verdict(reply, 3, 4, complete=False)


def test_the_reason_is_kept():
    reply = '<think>long</think><answer>{"objects": [3], "why": "it  is\\nred"}</answer>'
    assert parse_verdict(reply, 3, 4).why == "it is red"
    assert parse_verdict("<think>so 3</think>[3]", 3, 4).why == "so 3"


numbers = st.lists(st.integers(1, 9), unique=True).map(sorted)


@given(numbers, st.lists(st.integers(0, 6), unique=True).map(sorted), st.text(max_size=40))
def test_what_is_written_as_asked_is_read_back(objects, wrong, why):
    answer = {"objects": objects, "wrong_frames": wrong, "why": why}
    verdict = parse_verdict(json.dumps(answer), objects=9, pictures=8)
    assert verdict.objects == tuple(objects)
    assert verdict.wrong_frames == (tuple(wrong) if objects else ())
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict


@given(st.text(alphabet='{}[]",: 0123456789objectswrn_<>/thinkaswer\n', max_size=120))
def test_any_text_is_a_verdict_or_an_error(reply):
    try:
        verdict = parse_verdict(reply, objects=3, pictures=4)
    except ParseError:
        return
    assert set(verdict.objects) <= {1, 2, 3}
    assert set(verdict.wrong_frames) < {0, 1, 2, 3}


@given(numbers, st.sampled_from(['{"objects": %s}', '<think>{"objects": [7]}</think>\n%s']))
def test_every_beginning_of_a_reply_is_the_whole_or_an_error(objects, form):
    reply = form % json.dumps(objects)
    for end in range(len(reply)):
        try:
            verdict = parse_verdict(reply[:end], 9, 8, complete=False)
        except ParseError:
            continue
        assert list(verdict.objects) == objects


@pytest.mark.parametrize(
    ("reply", "span"),
    [
        ('{"objects": [1, 2], "wrong_frames": [3]}', "[1, 2]"),
        ('<think>[5]</think> <answer>{"wrong_frames": [3], "objects": []}</answer>', "[]"),
        ('{"objects": "none"}', '"none"'),
        ("<answer>[2]</answer>", "[2]"),
        ("nothing", "nothing"),
    ],
)
def test_where_the_list_of_objects_is(reply, span):
    start, end = objects_span(reply)
    assert reply[start:end] == span
