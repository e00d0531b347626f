"""Nothing is read twice, and replies are those of transformers' own ``generate``."""

import pytest
import torch
from random_weights import save_random_checkpoint
from short_dialogues import ask, go_on, watch_tower

from fiftyone_revseg.reasoning import ChainSpec, LocalReasoner

SPECS = {
    "tiny-qwen2.5-vl": ChainSpec(frames=3, frame_size=56, key_frame_size=112, max_new_tokens=9),
    "tiny-qwen3-vl": ChainSpec(
        frames=3,
        frame_size=64,
        key_frame_size=128,
        box_convention="relative-1000",
        max_new_tokens=9,
    ),
}
SPECS["tiny-qwen3.5"] = SPECS["tiny-qwen3-vl"].replace(max_new_tokens=16)
MANY_WORDS = (
    "this question has so many words that reading it once more would be a waste of time " * 3
)


@pytest.fixture(scope="module", params=SPECS)
def checkpoint(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return save_random_checkpoint(folder, request.param, spec=SPECS[request.param])


@pytest.fixture
def reasoner(checkpoint):
    return LocalReasoner.load(checkpoint, device="cpu")


@pytest.fixture
def plain(checkpoint):
    """The same model through transformers' ``generate``."""
    reasoner = LocalReasoner.load(checkpoint, device="cpu")
    reasoner._decoder = None
    return reasoner


def tokens_of(reasoner, conversation):
    return int(reasoner.encode([conversation])["attention_mask"].sum())


def read_again(reasoner, conversation):
    """States are those behind the last message: what the template writes there is read again."""
    kinds = getattr(reasoner.model.config.get_text_config(), "layer_types", None) or ()
    opened = reasoner.render(conversation).rpartition("<|im_end|>")[2]
    return len(reasoner.processor.tokenizer(opened).input_ids) * ("linear_attention" in kinds)


def assert_same(replies, expected):
    assert [r.text for r in replies] == [r.text for r in expected]
    for reply, other in zip(replies, expected, strict=True):
        assert (reply.tokens, reply.prompt_tokens) == (other.tokens, other.prompt_tokens)
        assert reply.token_texts == other.token_texts
        assert reply.token_probabilities == pytest.approx(other.token_probabilities, rel=1e-3)


def test_dialogues_of_all_lengths_and_turns(reasoner, plain):
    spec = reasoner.spec
    first = [ask(spec, (0, 1, 2), "a?"), ask(spec, (3,), MANY_WORDS), ask(spec, (), "no image?")]
    replies = reasoner.generate(first, spec)
    assert_same(replies, plain.generate(first, spec))
    assert len({reply.text for reply in replies}) > 1
    second = [go_on(spec, first[i], i, replies[i].text) for i in range(3)]
    mixed = [second[2], ask(spec, (5, 6), "new?"), second[0], second[1], second[0]]
    assert_same(reasoner.generate(mixed, spec), plain.generate(mixed, spec))


def test_turn_2_reads_what_follows_only(reasoner):
    spec = reasoner.spec
    first = ask(spec, (0, 1, 2), MANY_WORDS)
    (reply,) = reasoner.generate([first], spec)
    decoder = reasoner._decoder
    assert (decoder.read, decoder.reused) == (tokens_of(reasoner, first), 0)
    second = go_on(spec, first, 3, reply.text)
    before = decoder.read
    reasoner.generate([second], spec)
    # Of the reply, some tokens may be other ones when its text is read
    assert decoder.reused >= tokens_of(reasoner, first) - read_again(reasoner, first)
    assert decoder.reused + decoder.read - before == tokens_of(reasoner, second)


def test_the_queries_about_a_video_read_its_frames_once(reasoner, plain):
    spec, frames = reasoner.spec, tuple(range(9))
    asked = [ask(spec, frames, query) for query in ("a?", "b?", "quite another one?")]
    asked.insert(1, ask(spec, tuple(range(9, 18)), "a?"))
    assert_same(reasoner.generate(asked, spec), plain.generate(asked, spec))
    counts = [tokens_of(reasoner, conversation) for conversation in asked]
    decoder = reasoner._decoder
    assert decoder.read < counts[0] + counts[1] + 60  # the queries and their ends
    later = [ask(spec, frames, "c?")]
    before = decoder.read
    assert_same(reasoner.generate(later, spec), plain.generate(later, spec))
    assert decoder.read - before < 20


def test_equal_tokens_of_other_images_are_not_taken_for_them(reasoner, plain):
    spec = reasoner.spec
    for seeds in ((0, 1, 2), (0, 1, 3), (4, 1, 2)):
        asked = [ask(spec, seeds, MANY_WORDS)]
        assert_same(reasoner.generate(asked, spec), plain.generate(asked, spec))


def test_a_reply_that_reads_otherwise(reasoner, plain):
    """What stands in the dialogue need not be what the model wrote."""
    spec = reasoner.spec
    first = ask(spec, (0, 1, 2), "a?")
    reasoner.generate([first], spec)
    second = [go_on(spec, first, 3, "something else")]
    assert_same(reasoner.generate(second, spec), plain.generate(second, spec))


def test_the_same_dialogue_again(reasoner, plain):
    spec = reasoner.spec
    asked = [ask(spec, (0, 1), MANY_WORDS)] * 3
    for _ in range(2):
        assert_same(reasoner.generate(asked, spec), plain.generate(asked, spec))
    once, again = tokens_of(reasoner, asked[0]), read_again(reasoner, asked[0])
    assert reasoner._decoder.read <= once + 6 * (again + 1)


def test_replies_that_end_at_different_times(reasoner, plain):
    """Those that are done leave the batch, and are gone on from later all the same."""
    spec = reasoner.spec
    asked = [ask(spec, (i,), f"{i}?") for i in range(6)]
    written = [reply.token_texts for reply in plain.generate(asked, spec)]
    end = next(
        text
        for text in sorted({text for texts in written for text in texts if text.isascii()})
        if text and len({(*texts[:-1], text).index(text) for texts in written}) > 1
    )
    ids = plain.processor.tokenizer(end).input_ids
    for side in (reasoner, plain):
        side._stop = [*side._stop, *ids]
    replies = reasoner.generate(asked, spec)
    assert_same(replies, plain.generate(asked, spec))
    assert len({reply.tokens for reply in replies}) > 1
    second = [go_on(spec, c, 9, r.text) for c, r in zip(asked, replies, strict=True)]
    before = reasoner._decoder.read
    assert_same(reasoner.generate(second, spec), plain.generate(second, spec))
    new = [
        tokens_of(reasoner, b) - tokens_of(reasoner, a) + read_again(reasoner, a)
        for a, b in zip(asked, second, strict=True)
    ]
    assert reasoner._decoder.read - before <= sum(new)


def test_no_more_memory_is_held_than_was_allowed(reasoner, plain):
    spec = reasoner.spec
    kept = reasoner._decoder._kept
    reasoner.generate([ask(spec, (0, 1), "a?")], spec)
    kept._held_bytes = 2 * kept.bytes
    for seed in range(4):
        reasoner.generate([ask(spec, (seed, 1), "a?")], spec)
        assert 0 < kept.bytes <= kept._held_bytes
        assert len(kept) <= 2
    kept._held_bytes = 0
    kept.forget()
    asked = [ask(spec, (0, 1, 2), "a?"), ask(spec, (0, 1, 2), "b?")]
    assert_same(reasoner.generate(asked, spec), plain.generate(asked, spec))
    assert len(kept) == 0


def test_weights_that_changed_are_read_with_anew(reasoner, plain):
    spec = reasoner.spec
    asked = [ask(spec, (0, 1, 2), "a?")]
    reasoner.generate(asked, spec)
    weight = reasoner.model.get_input_embeddings().weight
    before = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.mul_(0.5)
        assert_same(reasoner.generate(asked, spec), plain.generate(asked, spec))
    finally:
        with torch.no_grad():
            weight.copy_(before)


def test_memory_is_let_go_of_when_it_runs_out(reasoner, monkeypatch):
    spec = reasoner.spec
    reasoner.generate([ask(spec, (0,), "a?")], spec)
    assert len(reasoner._decoder._kept)

    def too_much(*args, **kwargs):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(reasoner._decoder, "_forward", too_much)
    with pytest.raises(torch.OutOfMemoryError):
        reasoner.generate([ask(spec, (0, 1), "a?")], spec)
    assert not len(reasoner._decoder._kept)


def test_nothing_is_remembered_after_forget(reasoner, monkeypatch):
    spec, counts = reasoner.spec, watch_tower(reasoner, monkeypatch)
    asked = [ask(spec, (0,), "a?")]
    reasoner.generate(asked, spec)
    looked = sum(counts)
    reasoner.forget()
    assert not len(reasoner._decoder._kept)
    reasoner.generate(asked, spec)
    assert sum(counts) == 2 * looked > 0


def test_a_key_frame_of_several_dialogues_is_looked_at_once(reasoner, monkeypatch):
    spec, counts = reasoner.spec, watch_tower(reasoner, monkeypatch)
    for query in ("a?", "b?"):
        first = ask(spec, (0, 1, 2), query)
        (reply,) = reasoner.generate([first], spec)
        reasoner.generate([go_on(spec, first, 3, reply.text)], spec)
    assert counts == [3, 1]


def test_sampling_draws_other_replies(reasoner):
    spec = ChainSpec.from_dict({**reasoner.spec.to_dict(), "temperature": 1.5})
    texts = {reasoner.generate([ask(spec, (0, 1), "a?")], spec)[0].text for _ in range(4)}
    assert len(texts) > 1
