"""What counts as a suspected drift."""

import pytest

from fiftyone_revseg.dataset.drift import drift_score, frame_jumps, suspected_frames


def test_a_sudden_change_of_area_is_suspected():
    areas = [0.1, 0.1, 0.1, 0.35, 0.35]
    assert suspected_frames(areas) == [3]
    assert suspected_frames(areas[::-1]) == [2]
    assert drift_score(areas) == pytest.approx(0.25 / 0.35)


def test_a_sudden_change_of_score_is_suspected():
    assert suspected_frames([1.0] * 4, [0.9, 0.9, 0.2, 0.2]) == [2]
    assert drift_score([1.0] * 4, [0.9, 0.9, 0.2, 0.2]) == pytest.approx(0.7)


def test_slow_changes_are_not_suspected():
    areas = [1.1**k for k in range(40)]
    scores = [1 - k / 40 for k in range(40)]
    assert suspected_frames(areas, scores) == []
    assert drift_score(areas, scores) < 0.1


def test_entering_the_picture_is_no_drift():
    entering = [0.001, 0.004, 0.016, 0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
    assert suspected_frames(entering) == []
    assert suspected_frames(entering[::-1]) == []


@pytest.mark.parametrize("hidden", [None, 0, 0.0])
def test_being_hidden_is_no_drift(hidden):
    assert frame_jumps([0.1, hidden, 0.4, 0.4], [0.9, None, 0.1, 0.1]) == [0, 0, 0, 0]


def test_missing_scores_leave_the_areas_to_decide():
    assert suspected_frames([0.1, 0.4, 0.4], [None, 0.9, None]) == [1]


def test_nothing_has_not_drifted():
    assert drift_score([]) == drift_score([None, None]) == drift_score([0.1]) == 0
    assert suspected_frames([]) == []


def test_the_threshold_can_be_chosen():
    assert suspected_frames([1.0, 0.7, 0.7], threshold=0.2) == [1]


def test_areas_and_scores_must_belong_together():
    with pytest.raises(ValueError, match="2 areas but 1 scores"):
        drift_score([1.0, 1.0], [0.5])
