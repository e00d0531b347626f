"""Checkpoints of other makers: the real classes of transformers, tiny, with random weights."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_families import FAMILIES, save_family

from fiftyone_revseg.reasoning import Conversation, Image, LocalReasoner, family_spec, run_chain
from fiftyone_revseg.reasoning.backend import VideoFrames
from fiftyone_revseg.reasoning.conventions import find_convention
from fiftyone_revseg.reasoning.decoding import Drawn
from fiftyone_revseg.reasoning.regions import ParseError, answer_region
from fiftyone_revseg.types import Status

CONVENTIONS = {
    "qwen2_5_vl": "pixels",
    "gemma4": "relative-1000-y-first",
    "gemma4_unified": "relative-1000-y-first",
}
UNKNOWN = ("llava", "gemma3", "glm5_next", "mistral3")
READ_ANEW = (
    *("internvl", "llava", "gemma3", "gemma4", "gemma4_unified", "glm5_next", "mistral3"),
    *("molmo2", "qwen4_exp"),
)
FAST = [family for family in FAMILIES if family not in READ_ANEW]

SIDES = dict.fromkeys(FAMILIES, 56) | dict.fromkeys((f for f in FAMILIES if "qwen" in f), 64)
SIDES |= {"qwen2_vl": 56, "qwen2_5_vl": 56, "gemma4": 96, "gemma4_unified": 96}
PROMPTS = {
    "system": "Be brief.",
    "turn1": "{frames}Find {query}",
    "frame": "{index}:",
    "turn2": "{image}Detect {description}",
    "turn2_point": "{image}Point to {description}",
}


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request, tmp_path_factory):
    return save_family(request.param, tmp_path_factory.mktemp(request.param)), request.param


def load(checkpoint, **settings):
    directory, family = checkpoint
    side = SIDES[family]
    settings = {"frame_size": side, "key_frame_size": 2 * side, "max_new_tokens": 12, **settings}
    if family in UNKNOWN:
        settings["box_convention"] = "relative-1000"
    return LocalReasoner.load(directory, device="cpu", spec=settings)


def picture(seed, size):
    return Image(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def test_the_family_or_the_caller_says_where_boxes_are(checkpoint):
    directory, model_type = checkpoint
    if model_type in UNKNOWN:
        question = (
            rf"^In which space does a '{model_type}' model give its boxes\?.*load it with spec"
        )
        for spec in (None, {}, {"frames": 3}):
            with pytest.raises(ValueError, match=question):
                LocalReasoner.load(directory, device="cpu", spec=spec)
        answered = LocalReasoner.load(directory, device="cpu", spec={"box_convention": "pixels"})
        assert answered.spec.box_convention == "pixels"
    else:
        own = LocalReasoner.load(directory, device="cpu").spec
        assert own == family_spec(model_type)
        assert own.box_convention == CONVENTIONS.get(model_type, "relative-1000")
    assert load(checkpoint, frames=3).spec.frames == 3


def test_batches_of_dialogues_with_pictures(checkpoint):
    reasoner, side = load(checkpoint), SIDES[checkpoint[1]]
    one = Conversation().say("user", picture(0, side), "what is it?")
    many = Conversation().say("user", picture(0, side), "1:", picture(1, side), picture(2, side))
    two = one.say("assistant", "a cat").say("user", picture(3, 2 * side), "where?")
    words = Conversation().say("user", "no picture at all")
    together = reasoner.generate([one, many, two, words], reasoner.spec)
    for conversation, reply in zip([one, many, two, words], together, strict=True):
        (alone,) = reasoner.generate([conversation], reasoner.spec)
        assert reply.text == alone.text
        assert reply.prompt_tokens == alone.prompt_tokens


def test_samples_are_the_same_alone_and_among_others(checkpoint):
    reasoner, side = load(checkpoint, max_new_tokens=5), SIDES[checkpoint[1]]
    one = Conversation().say("user", picture(0, side), "what is it?")
    other = Conversation().say("user", picture(1, side), "something longer than that?")
    asked = [other, other.sampled(1.5, 1), one.sampled(1.5, 1), one.sampled(1.5, 2)]
    together = reasoner.generate(asked, reasoner.spec)
    for conversation, reply in list(zip(asked, together, strict=True))[-2:]:
        (alone,) = reasoner.generate([conversation], reasoner.spec)
        assert reply.text == alone.text
        assert reply.token_probabilities == pytest.approx(alone.token_probabilities, rel=1e-2)
    # (Random weights hardly look at the dialogue: with equal seeds, both may be drawn alike)
    assert len({reply.text for reply in (together[0], *together[-2:])}) == 3


def test_frames_as_a_video(checkpoint):
    side = SIDES[checkpoint[1]]
    if checkpoint[1] in ("llava", "gemma3", "mistral3"):
        with pytest.raises(ValueError, match="takes no videos: set it to 'images'"):
            load(checkpoint, frame_encoding="video")
        return
    reasoner = load(checkpoint, frame_encoding="video", max_new_tokens=3)
    asked = []
    for seed in range(2):
        frames = [picture(4 * seed + i, side).pixels for i in range(4)]
        video = VideoFrames(tuple(frames), (0.0, 1.0, 2.0, 3.0))
        asked.append(Conversation().say("user", video, "where?" * (seed + 1)))
    together = reasoner.generate(asked, reasoner.spec)
    for conversation, reply in zip(asked, together, strict=True):
        (alone,) = reasoner.generate([conversation], reasoner.spec)
        assert reply.text == alone.text
        assert reply.token_probabilities == pytest.approx(alone.token_probabilities, rel=1e-3)
    assert together[0].token_probabilities != together[1].token_probabilities


def test_every_picture_reaches_the_model(checkpoint):
    reasoner = load(checkpoint)

    def logits(*pictures):
        inputs = reasoner.encode([Conversation().say("user", *pictures, "?")])
        with torch.inference_mode():
            return reasoner.model(**inputs).logits[0, -1]

    a, b, c = (picture(i, SIDES[checkpoint[1]]) for i in range(3))
    assert (logits(a, b) - logits(a, c)).abs().max() > 1e-4
    assert (logits(a, b) - logits(c, b)).abs().max() > 1e-4


def test_gemma_sees_pictures_at_their_size(tmp_path):
    reasoner = LocalReasoner.load(save_family("gemma4", tmp_path), device="cpu")
    image = reasoner.model.config.image_token_id
    for side, tokens, budget in ((48, 1, 70), (480, 100, 140), (1536, 1024, 1120)):
        asked = Conversation().say("user", picture(0, 48), picture(0, side), "?")
        inputs = reasoner.encode([asked])
        assert (inputs["input_ids"] == image).sum() == 1 + tokens
        assert inputs["pixel_values"].shape[1] == 9 * budget
    with pytest.raises(ValueError, match="at most 1120 squares of 48 pixels: set it to 1584 or"):
        reasoner.generate([asked], reasoner.spec.replace(key_frame_size=1632))


class Understood:
    """A model whose replies are taken for sensible ones, so that dialogues go on.

    Attributes:
        written: what the model really wrote, and how probable each token was
    """

    name = "random"

    def __init__(self, reasoner, spec, together, cut):
        self.reasoner, self.spec = reasoner, spec
        self.together, self.cut = together, cut
        self.written = []

    def generate(self, conversations, spec):
        batches = [conversations] if self.together else [[one] for one in conversations]
        replies = [reply for batch in batches for reply in self.reasoner.generate(batch, spec)]
        self.written += [(reply.text, *reply.token_probabilities) for reply in replies]
        return [self.read(*pair) for pair in zip(conversations, replies, strict=True)]

    def read(self, conversation, reply):
        if conversation.thinking is not False:
            assert reply.text.startswith("<think>")
            if self.cut:
                assert reply.cut
                return reply
        choice = [{"frame_idx": 1, "object description": "a dog"}]
        convention = find_convention(self.spec.box_convention)
        reach = convention.side(self.spec.key_frame_size)
        corners = [reach // 8, reach // 4, reach // 2, reach]
        box = [{convention.key: corners, "label": "a dog"}]
        if self.spec.prompt == "point":
            box = [{convention.point_key: corners[1:3], "label": "a dog"}]
        answer = json.dumps(choice if len(conversation.messages) == 2 else box)
        thought = "<think>It moves.</think>" if conversation.thinking is not False else ""
        empty = {"cut": False, "token_texts": (), "token_probabilities": ()}
        return replace(reply, text=thought + answer, **empty)


@pytest.mark.parametrize("thought", ["on", "off", "cut off"])
def test_the_whole_chain_is_the_same_in_every_way(checkpoint, thought, request_for):
    spec = load(checkpoint, max_new_tokens=6, thinking_tokens=4, prompts=PROMPTS).spec
    spec = spec.replace(thinking=thought != "off")
    requests = [request_for("it", 3), request_for("one more", 2)]
    ways = [("generate", False), ("generate", True)]
    if checkpoint[1] in FAST:
        ways[1:] = [("all read anew", True), ("nothing read twice", True)]
    elif thought != "cut off":  # where it is both on and off
        del ways[0]
    told = []
    for way, together in ways:
        reasoner = load(checkpoint)
        assert (reasoner._decoder is not None) == (checkpoint[1] in FAST)
        if way == "generate":
            reasoner._decoder = None
        elif way == "all read anew":
            reasoner._decoder._kept._held_bytes = 0
        model = Understood(reasoner, spec, together, thought == "cut off")
        found = run_chain(model, spec, requests)
        told.append(model.written)
        assert [t.status for t in found] == [Status.OK] * 2
        errors = [turn.error for t in found for turn in t.turns]
        assert len(errors) == (8 if thought == "cut off" else 4)
        assert all("asked again without thinking" in e for e in filter(None, errors))
        if way == "nothing read twice":
            assert reasoner._decoder.reused > reasoner._decoder.read / 3
    for written in told:
        for one, other in zip(sorted(written), sorted(told[0]), strict=True):
            assert one[0] == other[0]
            assert one[1:] == pytest.approx(other[1:], rel=1e-3)
    assert len({f"{first:.3g}" for _, _, first, *_ in told[0]}) > 2


@pytest.mark.parametrize(
    ("missing", "match"),
    [
        (["chat_template.jinja"], "has no chat template"),
        (["tokenizer.json", "tokenizer_config.json"], "knows no words"),
    ],
)
def test_what_cannot_be_asked_is_refused_when_it_is_loaded(tmp_path, missing, match):
    save_family("qwen3_vl", tmp_path)
    for name in missing:
        (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=match):
        LocalReasoner.load(tmp_path, device="cpu")


@pytest.mark.parametrize("marks", [("<|channel>", "<channel|>"), ("[THINK]", "[/THINK]")])
def test_a_thought_between_special_tokens_is_no_answer(tmp_path, monkeypatch, marks):
    """They are no text; without them a draft would look like the answer."""
    reasoner = LocalReasoner.load(save_family("gemma4", tmp_path), device="cpu")
    tokenizer = reasoner.processor.tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": [*marks]})
    reasoner = LocalReasoner(reasoner.model, reasoner.processor, reasoner.spec, "gemma")
    written = f"{marks[0]}thought: [0, 0, 9, 9]?{marks[1]}[1, 2, 3, 4]<|im_end|>"
    ids = tokenizer(written, add_special_tokens=False).input_ids
    drawn = [Drawn(ids, [0.5] * len(ids))]
    monkeypatch.setattr(reasoner, "_drawn_by_transformers", lambda *_: drawn)
    asked = Conversation(thinking=False).say("user", "where?")
    (reply,) = reasoner.generate([asked], reasoner.spec)
    assert len(reply.token_texts) == len(reply.token_probabilities)
    start, end = answer_region(reply.text)
    assert reply.text[start:end] == "[1, 2, 3, 4]"
    with pytest.raises(ParseError, match="never finished"):
        answer_region("".join(reply.token_texts[:-14]), complete=False)
