"""What a run is estimated to ask, beside what is really asked."""

import pytest

from fiftyone_revseg.reasoning import ChainSpec, run_chain
from fiftyone_revseg.reasoning.cost import estimate_cost, requests_of

CHOICE = '<think>a</think><answer>[{"frame_idx": 1, "object description": "a"}]</answer>'
BOX = '[{"bbox_2d": [1, 2, 30, 40], "label": "a"}]'


def test_the_estimate_is_what_the_chain_asks(scripted, request_for):
    reasoner = scripted(lambda c: BOX if len(c.messages) > 1 else CHOICE)
    spec = reasoner.spec.replace(frame_size=56, key_frame_size=84, max_new_tokens=100)
    run_chain(reasoner, spec, [request_for("a"), request_for("b")])
    asked = [c for batch in reasoner.batches for c in batch]
    parts = [part for c in asked for m in c.messages for part in m.content]
    pictures = [part for part in parts if not isinstance(part, str)]
    cost = estimate_cost(spec, 2)
    assert (cost.requests, cost.images) == (len(asked), len(pictures))
    assert cost.image_tokens == sum(p.pixels.size // 3 for p in pictures) // 28**2
    letters = sum(len(part) for part in parts if isinstance(part, str))
    assert 0.7 * letters / 4 < cost.text_tokens - 2 * 100 < 1.3 * letters / 4
    assert cost.most_written == 4 * 100


def test_thoughts_and_hosts_that_count_pictures():
    spec = ChainSpec(frames=16, thinking_tokens=2000)
    assert estimate_cost(spec, 1).most_written == 2 * 3024
    assert estimate_cost(spec.replace(thinking=False), 1).most_written == 2 * 1024
    cost = estimate_cost(spec, 10, tokens_per_picture=1120)
    assert cost.image_tokens == 10 * 33 * 1120
    assert cost.money(2, 10) == pytest.approx(
        ((cost.image_tokens + cost.text_tokens) * 2 + cost.most_written * 10) / 1e6
    )
    assert "10 queries: about 20 requests with 330 pictures; about 369,600 tokens" in str(cost)


def test_looking_again_is_counted():
    spec = ChainSpec(frames=16)
    plain, one = estimate_cost(spec, 10), requests_of(spec)
    assert (one.turn1, one.turn2, one.turn3) == (1, 1, 0)
    five = estimate_cost(spec.replace(samples=4), 10)
    assert (five.requests, five.images) == (5 * plain.requests, 5 * plain.images)
    assert five.text_tokens == pytest.approx(5 * plain.text_tokens, abs=10)
    assert str(five).startswith("10 queries: at most 100 requests with 1,650 pictures")
    # A verdict has pictures of its own; rounds without one do nothing
    judged = estimate_cost(spec.replace(verdict=True), 10)
    assert (judged.requests, judged.images) == (30, plain.images + 160)
    assert estimate_cost(spec.replace(rounds=2), 10) == plain
    most = requests_of(spec.replace(samples=4, verdict=True, rounds=2, anchors=3, looks=1))
    assert (most.turn1, most.turn2, most.turn3) == (8, 16, 3)
    long = estimate_cost(spec, 10, windows=30)
    assert (long.requests, long.images) == (20 + 30, plain.images + 30 * 16)
