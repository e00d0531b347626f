"""The vision tower looks at an image once, and nothing else changes."""

from types import SimpleNamespace

import pytest
import torch
from random_weights import save_random_checkpoint
from short_dialogues import ask, go_on, picture, watch_tower

from fiftyone_revseg.reasoning import ChainSpec, Conversation, Image, LocalReasoner, VideoFrames
from fiftyone_revseg.reasoning.seen_images import SeenImages, as_output, look, name_of

SPECS = {
    "tiny-qwen2.5-vl": ChainSpec(frames=3, frame_size=56, key_frame_size=112, max_new_tokens=6),
    "tiny-qwen3-vl": ChainSpec(
        frames=3,
        frame_size=64,
        key_frame_size=128,
        box_convention="relative-1000",
        max_new_tokens=6,
    ),
}


@pytest.fixture(scope="module", params=SPECS)
def checkpoint(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return save_random_checkpoint(folder, request.param, spec=SPECS[request.param])


@pytest.fixture
def reasoner(checkpoint):
    reasoner = LocalReasoner.load(checkpoint, device="cpu")
    reasoner._decoder = None  # which remembers more, so that images are not even asked for
    return reasoner


@pytest.fixture
def looked_at(reasoner, monkeypatch):
    return watch_tower(reasoner, monkeypatch)


def fresh(reasoner, conversations):
    reasoner._seen.forget()
    return reasoner.generate(conversations, reasoner.spec)


def test_frames_of_several_queries_and_of_both_turns_are_seen_once(reasoner, looked_at):
    spec = reasoner.spec
    first = [ask(spec, (0, 1, 2), "a?"), ask(spec, (0, 1, 2), "b?")]
    second = [go_on(spec, first[0], 7), go_on(spec, first[1], 8)]
    replies = [fresh(reasoner, first), reasoner.generate(second, spec)]
    assert looked_at == [3, 2]
    for conversations, found in zip([first, second], replies, strict=True):
        expected = fresh(reasoner, conversations)
        assert [r.text for r in found] == [r.text for r in expected]
        for reply, other in zip(found, expected, strict=True):
            assert reply.token_probabilities == pytest.approx(other.token_probabilities, rel=1e-3)


def test_the_features_are_those_of_the_tower(reasoner):
    conversation = go_on(reasoner.spec, ask(reasoner.spec, (3, 1, 3), "a?"), 3)
    inputs = reasoner.encode([conversation])
    names = [
        name_of(part.pixels)
        for m in conversation.messages
        for part in m.content
        if isinstance(part, Image)
    ]
    with torch.inference_mode():
        expected = reasoner.model(**inputs).logits
        for _ in range(2):  # the second time, all is remembered
            with reasoner._seen.used(inputs["pixel_values"], names):
                found = reasoner.model(**inputs).logits
            assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("joined", [True, False])
def test_deeper_layers_keep_the_form_that_the_release_of_transformers_gives_them(joined):
    def encode(pixels, grids):
        sizes = grids.prod(dim=1).tolist()
        deep = [pixels + 1, pixels + 2]
        return SimpleNamespace(
            pooler_output=pixels.split(sizes),
            deepstack_features=deep if joined else [layer.split(sizes) for layer in deep],
        )

    pixels, grids = torch.arange(20.0)[:, None], torch.tensor([[1, 2, 3], [1, 2, 4], [1, 2, 3]])
    pixels[14:] = pixels[:6]  # the first image once more
    names = [b"a", b"b", b"a"]
    features, found = look(encode, names, pixels, grids, {})
    assert found == joined
    assert list(features) == [b"a", b"b"]
    ours, theirs = as_output(features, names, joined), encode(pixels, grids)
    assert [p.tolist() for p in ours.pooler_output] == [p.tolist() for p in theirs.pooler_output]
    for layer, other in zip(ours.deepstack_features, theirs.deepstack_features, strict=True):
        assert type(layer) is type(other)
        assert [part.tolist() for part in layer] == [part.tolist() for part in other]


def test_no_more_memory_is_held_than_was_allowed(reasoner, looked_at):
    spec = reasoner.spec
    reasoner._seen = SeenImages(reasoner.model, held_bytes=0)
    for _ in range(2):
        reasoner.generate([ask(spec, (0, 1, 0), "a?")], spec)
    assert looked_at == [2, 2]
    assert not reasoner._seen._features
    assert reasoner._seen._bytes == 0


def test_the_oldest_images_go_first(reasoner, looked_at):
    spec = reasoner.spec
    reasoner.generate([ask(spec, (0,), "a?")], spec)
    reasoner._seen = SeenImages(reasoner.model, held_bytes=2 * reasoner._seen._bytes)
    for seed in (0, 1, 0, 2, 0, 1):
        reasoner.generate([ask(spec, (seed,), "a?")], spec)
    assert looked_at == [1, 1, 1, 1, 1]


def test_other_weights_see_anew(reasoner, looked_at):
    spec = reasoner.spec
    conversation = ask(spec, (0, 1, 2), "a?")
    reasoner.generate([conversation], spec)
    with torch.no_grad():
        next(reasoner.model.model.visual.parameters()).mul_(1)
    reasoner.generate([conversation], spec)
    assert looked_at == [3, 3]


def test_videos_and_images_are_kept_apart(reasoner, looked_at):
    spec = reasoner.spec
    frames = tuple(picture(seed, spec.frame_size) for seed in range(4))
    video = Conversation().say("user", VideoFrames(frames, (0.0, 1.0, 2.0, 3.0)), "a?")
    both = go_on(spec, video, 7)
    (found,) = fresh(reasoner, [both])
    (again,) = reasoner.generate([both], spec)
    assert found.text == again.text
    assert looked_at == [1, 1, 1]  # the key frame once, the video twice


def test_memory_is_let_go_of_when_it_runs_out(reasoner, monkeypatch):
    spec = reasoner.spec
    reasoner.generate([ask(spec, (0,), "a?")], spec)

    def too_much(*args, **kwargs):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(reasoner.model, "generate", too_much)
    with pytest.raises(torch.OutOfMemoryError):
        reasoner.generate([ask(spec, (1,), "a?")], spec)
    assert not reasoner._seen._features
    assert "get_image_features" not in vars(reasoner.model.model)
