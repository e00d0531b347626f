"""The order of images by the numbers in their names."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_revseg.video.image_order import in_order

CLOCK = 1581624652.25
IN_ORDER = {
    "seconds": [str(round(CLOCK + 0.05 * k, 2)) for k in range(20)],
    "sums of floats": [str(0.1 * k) for k in range(30)],
    "seconds after a name": [f"img_{k / 25}" for k in range(60)],
    "seconds within one": ["52.25", "52.3", "52.35", "52.4"],
    "without a point at whole seconds": ["52", "52.05", "52.1", "52.15"],
    "before zero": ["-1.5", "-1.0", "-0.5", "0.0", "0.5"],
    "whole numbers before zero": ["t=-2", "t=-1", "t=0", "t=10"],
    "exponents": ["0.0", "1e-05", "2e-05", "0.0001"],
    "seconds and nanoseconds": [f"{s}.{n}00000000" for s in (10, 11) for n in (1, 2, 9)],
    "numbers after a point": [f"shot1.{k}" for k in range(1, 25)],
    "cameras and numbers": [f"cam{c}.{k}" for c in (1, 2) for k in range(1, 12)],
    "every fifth": [f"shot1.{k}" for k in (1, 6, 11, 16, 21)],
    "around a missing one": ["1.8", "1.9", "1.11", "1.12"],
    "padded and overflowing": [f"a.{k:02d}" for k in range(95, 105)],
    "versions": ["v1.2.9", "v1.2.10", "v1.10.1"],
    "dates": ["2024.05.01", "2024.05.02", "2024.12.01"],
    "both": [f"frame_1.5_{k:04d}" for k in range(5)],
    "a dash": ["frame-1", "frame-2", "frame-10"],
    "dashes throughout": ["-1", "-2", "-10"],
    "several prefixes": ["a1", "a2", "a10", "b1"],
}


@pytest.mark.parametrize("case", IN_ORDER)
def test_names_in_order(case):
    expected = [name + ".png" for name in IN_ORDER[case]]
    shuffled = random.Random(0).sample(expected, len(expected))
    assert in_order(shuffled) == expected


def test_times_of_any_jitter():
    for seed in range(20):
        chance = random.Random(seed)
        times = sorted({round(CLOCK + 20 * chance.random(), 2) for _ in range(150)})
        names = [f"{time}.jpg" for time in times]
        assert in_order(chance.sample(names, len(names))) == names


@given(st.lists(st.text(".-_e=01x", max_size=12), unique=True))
def test_any_names_are_kept(names):
    assert sorted(in_order(names)) == sorted(names)
    assert in_order(names) == in_order(names[::-1])
