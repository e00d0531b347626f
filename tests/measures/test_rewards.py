"""The rewards, by example as in the paper and by property for everything else."""

import itertools
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_revseg.masks.boxes import box_iou
from fiftyone_revseg.measures.rewards import (
    mask_tiers,
    temporal_reward_several,
    verdict_format_reward,
    verdict_reward,
)
from fiftyone_revseg.training import (
    format_reward,
    spatial_reward,
    temporal_reward,
    total_reward,
)

CHOICE = '[{"frame_idx": 3, "object description": "a cat"}]'
GOOD = f"<think> it moves </think> <answer> {CHOICE}</answer>"
BOX = '[{"bbox_2d": [10, 20, 300, 400], "label": "a cat"}]'
NONE = "<think> nothing moves </think> <answer>[]</answer>"

areas = st.lists(st.floats(0, 1e6), min_size=1, max_size=20)
edges = st.tuples(*[st.floats(0, 100)] * 4)
boxes = edges.map(lambda e: (min(e[0], e[2]), min(e[1], e[3]), max(e[0], e[2]), max(e[1], e[3])))


@pytest.mark.parametrize(
    ("turn1", "turn2", "expected"),
    [
        (GOOD, BOX, 1.0),
        (GOOD, f"<answer>{BOX}</answer>", 1.0),
        (GOOD, "I cannot see it", 0.75),
        (GOOD, "[]", 0.75),
        (GOOD, None, 0.75),
        (NONE, None, 1.0),
        (GOOD.replace("<think>", ""), BOX, 0.75),
        (CHOICE, BOX, 0.5),
        (GOOD.replace("3", "8"), None, 0.5),  # no such frame
        ("</think><think> <answer></answer>", None, 0.25),
        ("", None, 0.0),
        # Read all the same, but not in the form that was asked for
        (GOOD.replace('"frame_idx"', "frame_idx"), None, 0.5),
        (NONE.replace("[]", "there is no cat: []"), None, 0.5),
        (GOOD, "10, 20, 300, 400", 0.75),
        ("<think> I never fini", None, 0.0),
    ],
)
def test_format_is_the_share_of_rules_met(turn1, turn2, expected):
    assert format_reward(turn1, turn2, frame_count=8) == expected


@given(st.text(max_size=200), st.none() | st.text(max_size=100))
def test_format_takes_any_text(turn1, turn2):
    assert 0 <= format_reward(turn1, turn2, 8) <= 1


@pytest.mark.parametrize(
    ("areas", "k", "soft", "binary"),
    [
        ([0, 10, 30, 20], 2, 1.0, 1.0),
        ([0, 10, 30, 20], 3, 20 / 30, 1.0),
        ([0, 10, 30, 20], 0, 0.0, 0.0),
        ([10, 30, 20], 0, 0.0, 1.0),  # the smallest view of an object that is always there
        ([10, 30, 20], 2, 0.5, 1.0),
        ([7, 7, 7], 1, 1.0, 1.0),  # 0/0
        ([0, 0], 1, 0.0, 0.0),
        ([5], 0, 1.0, 1.0),
        ([0, 10], None, 0.0, 0.0),
        ([0, 0], None, 1.0, 1.0),
        ([], None, 1.0, 1.0),
    ],
)
def test_temporal_reward(areas, k, soft, binary):
    assert temporal_reward(areas, k) == pytest.approx(soft)
    assert temporal_reward(areas, k, "binary") == binary
    assert temporal_reward(areas, k, "none") == 0


@given(areas, st.data())
def test_a_larger_area_is_never_rewarded_less(areas, data):
    rewards = [temporal_reward(areas, k) for k in range(len(areas))]
    a, b = (data.draw(st.integers(0, len(areas) - 1)) for _ in range(2))
    assert all(0 <= reward <= 1 for reward in rewards)
    assert areas[a] > areas[b] or rewards[a] <= rewards[b]
    if max(areas) > 0:
        assert max(rewards) == 1


def test_what_is_no_choice_is_refused():
    with pytest.raises(ValueError, match="0 to 1"):
        temporal_reward([1, 2], 2)
    with pytest.raises(ValueError, match="0 to 1"):
        temporal_reward([1, 2], -1)
    with pytest.raises(ValueError, match="soft"):
        temporal_reward([1, 2], 0, "hard")


@given(areas, st.data())
def test_one_object_is_the_papers_case(areas, data):
    k = data.draw(st.integers(0, len(areas) - 1))
    assert temporal_reward_several([areas], [k]) == temporal_reward(areas, k)


def test_several_key_frames_are_matched_as_well_as_can_be():
    first, second = [0, 10, 20], [20, 10, 0]
    assert temporal_reward_several([first, second], [0, 2]) == 1
    assert temporal_reward_several([first, second], [2, 0]) == 1
    assert temporal_reward_several([first, second], [2]) == 0.5  # one is missing
    assert temporal_reward_several([first], [2, 2]) == 0.5  # one is too many
    assert temporal_reward_several([first, second], [2, 2]) == 0.5
    assert temporal_reward_several([], []) == 1
    assert temporal_reward_several([], [1]) == 0
    assert temporal_reward_several([first], []) == 0


def test_spatial_reward_is_one_above_the_threshold():
    true = (0, 0, 10, 10)
    assert spatial_reward([(0, 0, 10, 10)], [true]) == 1
    assert spatial_reward([(0, 0, 10, 5)], [true]) == 0  # exactly 0.5 is not above it
    assert spatial_reward([(0, 0, 10, 5.1)], [true]) == 1
    assert spatial_reward([(0, 0, 10, 5)], [true], threshold=0.4) == 1
    assert spatial_reward([(20, 20, 30, 30)], [true]) == 0
    assert spatial_reward([], []) == 1
    assert spatial_reward([], [true]) == 0
    assert spatial_reward([true], []) == 0


@given(st.lists(boxes, max_size=4), st.lists(boxes, max_size=4))
def test_the_matching_of_boxes_is_the_best_there_is(found, true):
    few, many = sorted([found, true], key=len)
    best = max(
        sum(box_iou(a, b) > 0.5 for a, b in zip(few, order, strict=True))
        for order in itertools.permutations(many, len(few))
    )
    if found or true:
        assert spatial_reward(found, true) == pytest.approx(best / len(many))


def test_total_counts_what_the_turns_allow():
    assert total_reward(1, 0.5, 1) == 2.5
    assert total_reward(1, 0.5, 1, turn2_ok=False) == 1.5
    assert total_reward(0.5, 0.5, 1, turn1_ok=False) == 0.5


@pytest.mark.parametrize(
    ("iou", "expected"), [(0, 0), (0.5, 0), (0.51, 1 / 3), (0.7, 1 / 3), (0.8, 2 / 3), (0.91, 1)]
)
def test_masks_are_rewarded_by_tiers(iou, expected):
    assert mask_tiers(iou) == pytest.approx(expected)


VERDICT = '{"objects": [2], "wrong_frames": [], "why": "it moves"}'


@pytest.mark.parametrize(
    ("reply", "thinks", "expected"),
    [
        (f"<think> it moves </think> <answer> {VERDICT} </answer>", True, 1),
        (VERDICT, True, 1 / 3),
        (VERDICT, False, 1),
        ('{"objects": []}', False, 1),  # none of them is an answer, too
        ('<think> it moves </think> <answer> {"objects": [4]} </answer>', True, 2 / 3),
        ("<think> it moves </think> <answer> the second </answer>", True, 2 / 3),
        ("the second", False, 0),
        ("", True, 0),
    ],
)
def test_the_form_of_a_verdict(reply, thinks, expected):
    assert verdict_format_reward(reply, 3, 8, thinks) == pytest.approx(expected)


numbers = st.frozensets(st.integers(1, 8))
shares = st.floats(0, 1)


@given(numbers, numbers, shares)
def test_only_the_right_verdict_earns_all(chosen, right, iou):
    earned = verdict_reward(chosen, right, iou)
    assert verdict_reward(sorted(chosen), sorted(right), iou) == earned
    if chosen == right:
        assert earned == 1
    else:
        assert 0 <= earned <= 0.5
        assert chosen or not earned


@given(numbers, numbers, shares, shares)
def test_what_covers_the_truth_better_is_never_rewarded_less(chosen, right, one, other):
    low, high = sorted([one, other])
    assert 0 <= mask_tiers(low) <= mask_tiers(high) <= 1
    assert verdict_reward(chosen, right, low) <= verdict_reward(chosen, right, high)


@given(st.text(max_size=200), st.booleans())
def test_the_form_of_a_verdict_takes_any_text(reply, thinks):
    assert 0 <= verdict_format_reward(reply, 3, 8, thinks) <= 1


def test_rewards_need_no_torch():
    code = (
        "import sys; from fiftyone_revseg.training import format_reward, temporal_reward, "
        "spatial_reward; print({'torch', 'fiftyone', 'transformers'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
