import pytest

from fiftyone_revseg.reasoning import Reply


def test_confidence_is_the_mean_over_the_tokens_of_a_span():
    reply = Reply("ab[cd]", ("a", "b[", "c", "", "d]"), (0.1, 0.2, 0.4, 0.9, 0.6))
    assert reply.confidence(2, 6) == pytest.approx((0.2 + 0.4 + 0.6) / 3)
    assert reply.confidence(0, 1) == pytest.approx(0.1)
    assert reply.confidence(3, 3) is None
    assert Reply("text").confidence(0, 4) is None


def test_tokens_and_probabilities_are_pairs():
    with pytest.raises(ValueError, match="2 token texts but 1 token probabilities"):
        Reply("ab", ("a", "b"), (0.5,))
