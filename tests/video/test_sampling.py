from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_revseg.video import uniform_indices


@given(st.integers(1, 100_000), st.integers(1, 600))
def test_uniform_indices(length, count):
    indices = uniform_indices(length, count)
    assert len(indices) == min(length, count)
    assert all(b > a for a, b in pairwise(indices))
    assert indices[0] == 0
    if len(indices) > 1:
        assert indices[-1] == length - 1
        gaps = [b - a for a, b in pairwise(indices)]
        assert max(gaps) - min(gaps) <= 1  # uniform


@given(st.integers(1, 200))
def test_a_short_video_is_taken_whole(length):
    assert uniform_indices(length, length + 3) == tuple(range(length))


@pytest.mark.parametrize(("length", "count"), [(0, 4), (4, 0), (4, -1)])
def test_nothing_to_sample(length, count):
    with pytest.raises(ValueError, match="at least 1"):
        uniform_indices(length, count)
