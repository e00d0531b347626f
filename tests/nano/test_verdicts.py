"""What turn 3 is trained on is what inference shows, and what is true."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from fiftyone_revseg.models.presets import resolve
from fiftyone_revseg.nano import vlm as nano_vlm
from fiftyone_revseg.nano.batches import collate
from fiftyone_revseg.nano.dialogues import IGNORED
from fiftyone_revseg.nano.proposals import read_proposals, write_proposals
from fiftyone_revseg.nano.sft import corpus
from fiftyone_revseg.nano.verdict_training import (
    VERDICT_SPEC,
    VerdictConfig,
    alike,
    real,
    train_verdicts,
    words_of,
)
from fiftyone_revseg.nano.verdicts import (
    VerdictMaker,
    film,
    propose,
    recorded,
    verdict_answer,
)
from fiftyone_revseg.reasoning import ChainSpec, Reply
from fiftyone_revseg.reasoning.parse_verdict import parse_verdict
from fiftyone_revseg.synthetic import make_world
from fiftyone_revseg.synthetic.queries import Query

SIDE = nano_vlm.PATCH * nano_vlm.MERGE
NANO = Path(resolve("revseg-nano").reasoner)


@pytest.fixture(scope="module")
def tokenizer():
    return nano_vlm.build_tokenizer(corpus())


@pytest.fixture(scope="module")
def maker(tokenizer):
    return VerdictMaker(tokenizer, VERDICT_SPEC, SIDE)


@pytest.fixture(scope="module")
def seen():
    return film(make_world(3, bodies=3), VERDICT_SPEC.frames)


def said(maker, example):
    """The last reply, all of which is learned."""
    reply = maker.tokenizer.decode(example.tokens).rpartition("assistant\n")[2]
    assert maker.tokenizer.decode(example.labels[example.labels != IGNORED]).endswith(reply.strip())
    return reply.split("<|im_end|>")[0]


def test_training_asks_what_a_verdict_asks(maker, tokenizer, seen, monkeypatch):
    from fiftyone_revseg.nano import verdicts

    asked = []
    real_dialogue = verdicts.verdict_dialogue
    monkeypatch.setattr(
        verdicts, "verdict_dialogue", lambda *a: asked.append(real_dialogue(*a)) or asked[-1]
    )
    proposals = propose(seen, np.random.default_rng(0))
    query = Query("attribute", "the red star", (0,), "")
    (example,) = maker.judged(seen, proposals, [(query, [1] * len(proposals), 5)])
    text = nano_vlm.build_processor(tokenizer).apply_chat_template(
        [
            {"role": m.role, "content": [{"type": "text", "text": m.text}]}
            for m in asked[0].conversation.messages
        ],
        add_generation_prompt=True,
    )
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert example.tokens[: len(ids)].tolist() == ids
    assert not example.images


def test_every_answer_can_be_read_and_is_true(maker):
    read = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        seen = film(make_world(seed), maker.spec.frames)
        proposals = propose(seen, rng)
        questions = maker.questions(seen, proposals, rng, 4)
        examples = maker.judged(seen, proposals, questions)
        for (query, votes, candidates), example in zip(questions, examples, strict=True):
            verdict = parse_verdict(said(maker, example), len(proposals), 0)
            bodies = {proposals[n - 1].body for n in verdict.objects}
            assert bodies == {one.body for one in proposals} & set(query.targets)
            assert all(0 <= vote <= candidates for vote in votes)
            read += 1
    assert read > 40


def test_a_track_that_goes_over_to_another_body_is_of_the_one_it_is_on_longest(seen):
    count = seen.world.frame_count
    bodies = np.zeros(count, int)
    bodies[-count // 3 :] = 1
    drifting = seen.track(bodies, "red star")
    query = Query("attribute", "the red star", (0,), "")
    assert verdict_answer(query, [drifting]) == "[1]"
    assert verdict_answer(replace(query, targets=(1,)), [drifting]) == "[]"


def test_each_line_foretells_whether_its_object_fits(maker, seen):
    proposals = [seen.track(np.full(seen.world.frame_count, b), "x") for b in (2, 0)]
    query = Query("attribute", "the red star", (0,), "")
    (example,) = maker.judged(seen, proposals, [(query, [1, 1], 3)])
    told = maker.tokenizer.convert_ids_to_tokens(example.labels[example.labels != IGNORED])
    assert told[:2] == [".", "\u0120fits"]
    assert maker.tokenizer.convert_tokens_to_string(told[2:]) == "[2]<|im_end|>"


def test_batches_of_words_are_of_like_lengths(maker):
    config = VerdictConfig(tokens=900)
    batches = alike(words_of(config, maker, [], 0), config.tokens)
    for batch in (next(batches) for _ in range(6)):
        lengths = [len(one.tokens) for one in batch]
        assert len(batch) * max(lengths) <= config.tokens
        assert min(lengths) > 0.6 * max(lengths)
        assert collate(batch)["grids"].numel() == 0
    first, resumed = (
        [next(words_of(config, maker, [], start)).tokens.tolist() for _ in range(2)]
        for start in (0, 1 << 20)
    )
    assert first[0] == first[1] != resumed[0]


def test_what_was_answered_wrongly_is_not_learned(maker):
    pairs = 0
    for seed in range(8):
        example = maker.again(make_world(seed, bodies=3), np.random.default_rng(seed), 3)
        text = maker.tokenizer.decode(example.tokens[example.tokens != maker.image_token])
        learned = maker.tokenizer.decode(example.labels[example.labels != IGNORED])
        for before, after in pairwise(text.split("Not ")):
            rejected = after.split("<|im_end|>")[0]
            corrected = after.split("assistant\n")[1].split("<|im_end|>")[0]
            assert before.rpartition("assistant\n")[2].split("<|im_end|>")[0] not in learned
            assert f'"object description": "{rejected}"' not in corrected
            pairs += 1
    assert pairs > 5


def test_a_run_is_gone_on_with(tmp_path):
    config = VerdictConfig(steps=2, tokens=300, compiled=False)
    checkpoint = train_verdicts(NANO, tmp_path, config)
    once = load_file(checkpoint / "model.safetensors")
    spec = ChainSpec.load(checkpoint)
    assert (spec.verdict_frames, spec.verdict) == (0, False)
    assert "turn3" in spec.prompts
    train_verdicts(NANO, tmp_path, replace(config, steps=3))
    further = load_file(checkpoint / "model.safetensors")
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    before = load_file(NANO / "model.safetensors")
    assert not once[name].equal(before[name])
    assert not once[name].equal(further[name])
    tower = [name for name in before if "visual" in name]
    assert tower
    assert all(before[name].equal(further[name]) for name in tower)


class TwoMinds:
    """Greedily it is wrong; sampled, it is right."""

    name, spec = "two minds", VERDICT_SPEC

    def __init__(self, world):
        self.world = world

    def generate(self, conversations, spec):
        return [Reply(self.answer(c, spec)) for c in conversations]

    def answer(self, conversation, spec):
        if len(conversation.messages) > 1:
            body = int(conversation.messages[-1].text.split("body")[1])
            mask = self.world.draw(0)[1][body]
            ys, xs = mask.nonzero()
            scale = 1000 / np.array([self.world.width, self.world.height] * 2)
            box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) * scale
            return json.dumps([{"bbox_2d": box.round().tolist(), "label": "x"}])
        body = 1 if spec.temperature else 0
        return f'<answer>[{{"frame_idx": 0, "object description": "body {body}"}}]</answer>'


def test_what_a_model_proposes_is_kept_and_made_into_tracks(tmp_path, maker, monkeypatch):
    world = make_world(2, bodies=2)
    monkeypatch.setattr("fiftyone_revseg.nano.proposals.make_world", lambda *_: world)
    monkeypatch.setattr("fiftyone_revseg.nano.verdict_training.make_world", lambda *_: world)
    path = tmp_path / "proposals.jsonl"
    for seeds in (range(2, 3), range(2, 4)):  # the second time, 2 is there
        write_proposals(TwoMinds(world), path, seeds, samples=2, questions=1)
    records = read_proposals(path)
    assert [record["seed"] for record in records] == [2, 3]
    seen = film(world, maker.spec.frames)
    proposals, votes, named = recorded(seen, records[0], candidates=3)
    assert [one.body for one in proposals] == [0, 1]
    assert votes == [1, 2]
    assert named == [{1}, {2}, {2}]
    examples = real(maker, records[0], np.random.default_rng(0))
    assert "body 0" in maker.tokenizer.decode(examples[0].tokens)
    assert len(examples) > 3
    path.write_text(path.read_text()[:-5])
    assert len(read_proposals(path)) == 1
