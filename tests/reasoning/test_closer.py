"""Which frames turn 1 sees of long videos: windows, and stretches that the model asks for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_revseg.reasoning import ChainSpec, KeyframeChoice, ParseError, Turn
from fiftyone_revseg.reasoning.chain import first_turn, second_turn
from fiftyone_revseg.reasoning.closer import (
    CloserLook,
    FirstTurn,
    Stretch,
    Windows,
    compared,
    frames_to_sample,
    parse_closer,
    stretch_of,
)
from fiftyone_revseg.reasoning.looking_again import Look
from fiftyone_revseg.reasoning.rolling import run_talks
from fiftyone_revseg.types import FrameTable

SPEC = ChainSpec(frames=4, frame_size=28, key_frame_size=56, retries=0)


def choices(*found):
    items = [{"frame_idx": k, "object description": name} for k, name in found]
    return f"<think>hm</think> <answer>{json.dumps(items)}</answer>"


@given(st.floats(0, 1e5), st.floats(0, 100), st.integers(1, 64))
def test_sampled_frames_are_whole_windows_that_lie_close_enough(duration, gap, frames):
    count = frames_to_sample(SPEC.replace(frames=frames, max_gap=gap), min(duration, 1e4 * gap))
    assert count % frames == 0
    assert gap == 0 or min(duration, 1e4 * gap) / count <= gap * (1 + 1e-9)
    if gap == 0 or duration <= gap * frames:
        assert count == frames


def test_each_window_is_asked_about(scripted, request_for):
    request = request_for(count=10, size=(28, 28))
    seen = []

    def script(conversation):
        pictures = [p for p in conversation.messages[-1].content if hasattr(p, "pixels")]
        seen.append([int(p.pixels[0, 0, 0]) for p in pictures])
        return choices((1, "it")) if len(seen) == 2 else choices()

    found = run_talks(scripted(script), SPEC, [Windows(request, SPEC)], batch_size=1)[0]
    assert sorted(seen) == [[0, 10, 20, 30], [40, 50, 60, 70], [80, 90]]
    assert [one.look.frames for one in found] == [tuple(frames) for frames in sorted(seen)]
    assert sum(len(one.look.choices) for one in found) == 1
    assert [bool(one.turns[0].prompt) for one in found] == [True, False, False]


def test_few_windows_are_in_memory_at_a_time(scripted, request_for):
    request = request_for(count=200, size=(28, 28))
    reasoner = scripted(lambda conversation: choices())
    found = run_talks(reasoner, SPEC, [Windows(request, SPEC)], batch_size=100)[0]
    assert len(found) == 50
    assert max(map(len, reasoner.batches)) == 8


def test_a_window_that_fails_is_told_of(scripted, request_for):
    def script(conversation):
        text = conversation.messages[-1].text
        return RuntimeError("gone") if "4.0 s" in text else choices()

    def read_frame(k):
        if k == 0:
            raise OSError("broken frame")
        return request_for(count=1, size=(28, 28)).images[0]

    request = request_for(count=12, size=(28, 28), read_frame=read_frame)
    found = run_talks(scripted(script), SPEC, [Windows(request, SPEC)])[0]
    assert ["broken frame" in found[0].look.error, "gone" in found[1].look.error] == [True, True]
    assert found[2].look.error == ""


tables = st.integers(1, 60).map(
    lambda n: FrameTable(tuple(range(0, 3 * n, 3)), tuple(map(float, range(n))), 3 * n, float(n))
)


@given(tables, st.integers(1, 16), st.data())
def test_frames_to_compare_are_those_that_were_found_and_their_neighbours(table, count, data):
    found = []
    for start in range(0, len(table), count):
        frames = table.indices[start : start + count]
        keys = data.draw(st.lists(st.integers(0, len(frames) - 1), max_size=2))
        look = Look("window", frames, tuple(KeyframeChoice(k, "it") for k in keys))
        found.append(FirstTurn(look))
    positions = compared(found, table, count)
    assert len(positions) == min(count, len(table))
    assert positions == sorted(set(positions))
    assert 0 <= positions[0] <= positions[-1] < len(table)
    keys = [one.look.frames[c.frame] for one in found for c in one.look.choices]
    if len(set(keys)) <= count:
        assert set(keys) <= {table.indices[i] for i in positions}


def test_the_most_confident_windows_are_compared():
    table = FrameTable(tuple(range(8)), tuple(map(float, range(8))), 8, 8.0)
    sure = FirstTurn(Look("window", (4, 5), (KeyframeChoice(1, "it"),)), (turn(0.9),))
    unsure = FirstTurn(Look("window", (0, 1), (KeyframeChoice(0, "it"),)), (turn(0.5),))
    assert compared([unsure, sure], table, 1) == [5]


def test_a_window_is_shown_again_before_what_lies_beyond():
    table = FrameTable(tuple(range(12)), tuple(map(float, range(12))), 12, 12.0)
    found = FirstTurn(Look("window", (4, 5, 6, 7), (KeyframeChoice(3, "it"),)))
    assert compared([found], table, 4) == [4, 5, 6, 7]
    other = FirstTurn(Look("window", (0, 1, 2, 3), (KeyframeChoice(0, "it"),)))
    assert compared([found, other], table, 6) == [0, 1, 2, 5, 6, 7]


def turn(confidence):

    return Turn("p", "r", 1, 0.0, confidence=confidence)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('<think>a</think><answer>{"start": 1, "end": 3}</answer>', Stretch(1, 3)),
        ('{"start": 2, "end": 2}', Stretch(2, 2)),
        ('[{"start": "0", "end": "1"}]', Stretch(0, 1)),
        (choices((2, "it")), [KeyframeChoice(2, "it")]),
        (choices(), []),
    ],
)
def test_a_reply_is_a_stretch_or_choices(reply, expected):
    assert parse_closer(reply, 4) == expected


@pytest.mark.parametrize(
    "reply",
    [
        '{"start": 1, "end": 4}',
        '{"start": 3, "end": 1}',
        '{"start": -1, "end": 1}',
        '{"start": 1.5, "end": 2}',
        '{"start": null, "end": 2}',
        '[{"start": 0, "end": 1}, {"start": 2, "end": 3}]',
        '{"start": 1}',
        "closer, please",
    ],
)
def test_what_is_neither_is_refused(reply):
    with pytest.raises(ParseError):
        parse_closer(reply, 4)


def test_a_stretch_is_shown_closer(scripted, request_for):
    request = request_for(count=4, size=(28, 28))
    said = ['<answer>{"start": 1, "end": 2}</answer>']
    (first,) = run_talks(scripted(lambda c: said[0]), SPEC, [CloserLook(request, SPEC)])
    assert first.stretch == Stretch(1, 2)
    assert first.look.stretch == (1, 2)
    closer = stretch_of(request, first.stretch, 4)
    assert closer.frame_table.indices == (10, 13, 17, 20)
    assert closer.frame_table.times == pytest.approx((1.0, 1.3, 1.7, 2.0))
    assert [int(image[0, 0, 0]) for image in closer.images] == [10, 13, 17, 20]


@pytest.mark.parametrize("count", [1, 2, 7, 40])
@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 3), (1, 2), (3, 3), (2, 2)])
def test_any_stretch_can_be_shown(request_for, a, b, count):
    request = request_for(count=4, size=(8, 8))
    closer = stretch_of(request, Stretch(min(a, b), max(a, b)), count)
    indices = closer.frame_table.indices
    assert 1 <= len(indices) <= count
    assert len(indices) == len(closer.images)
    assert 0 <= indices[0] <= indices[-1] <= 30


def test_both_turns_are_asked_alike_whatever_else_a_checkpoint_wants(request_for):
    """Training asks these two alone, with the spec that inference has."""
    more = {"samples": 4, "verdict": True, "rounds": 2, "looks": 1, "max_gap": 1.0, "anchors": 2}
    asked = []
    for spec in (SPEC, SPEC.replace(**more)):
        request = request_for(size=(28, 28))
        first = first_turn(request, spec)
        history = first.say("assistant", choices((1, "it")))
        second = second_turn(request, spec, history, KeyframeChoice(1, "it"))
        assert (first.temperature, second.temperature) == (None, None)
        asked.append([(m.role, m.text) for c in (first, second) for m in c.messages])
        asked[-1] += [first.pattern, second.pattern]
    assert asked[0] == asked[1]


def test_times_beyond_the_sampled_frames_go_on_as_between_them(request_for):
    request = stretch_of(request_for(count=4, size=(8, 8)), Stretch(1, 2), 4)
    assert [request.time(k) for k in (0, 10, 15, 20, 39)] == pytest.approx([0, 1, 1.5, 2, 3.9])
    assert request.frame_table.fps == pytest.approx(10)
