"""What turn 3 is trained on is what inference shows, and what is true."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from fiftyone_revseg.nano import vlm as nano_vlm
from fiftyone_revseg.nano.batches import collate, patches
from fiftyone_revseg.nano.dialogues import IGNORED
from fiftyone_revseg.nano.proposals import read_proposals, write_proposals
from fiftyone_revseg.nano.sft import corpus
from fiftyone_revseg.nano.verdict_training import VERDICT_SPEC, real
from fiftyone_revseg.nano.verdicts import (
    VerdictMaker,
    film,
    propose,
    recorded,
    verdict_answer,
    worn_mask,
)
from fiftyone_revseg.reasoning import Reply
from fiftyone_revseg.reasoning.parse_verdict import parse_verdict
from fiftyone_revseg.synthetic import make_world
from fiftyone_revseg.synthetic.queries import Query

SIDE = nano_vlm.PATCH * nano_vlm.MERGE


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
    """The last reply of each branch, all of which is learned."""
    replies = []
    for branch in range(1, example.branch.max() + 1):
        at = np.flatnonzero(example.branch == branch)
        text = maker.tokenizer.decode(example.tokens[at])
        replies.append(text.rpartition("assistant\n")[2].split("<|im_end|>")[0])
        learned = maker.tokenizer.decode(example.labels[at][example.labels[at] != IGNORED])
        assert learned.endswith(f"{replies[-1]}<|im_end|>")
    return replies


def test_training_shows_what_a_verdict_shows(maker, tokenizer, seen, monkeypatch):
    from fiftyone_revseg.nano import verdicts

    asked = []
    real_dialogue = verdicts.verdict_dialogue
    monkeypatch.setattr(
        verdicts, "verdict_dialogue", lambda *a: asked.append(real_dialogue(*a)) or asked[-1]
    )
    rng = np.random.default_rng(0)
    proposals = propose(seen, rng)
    votes = [1] * len(proposals)
    query = Query("attribute", "the red star", (0,), "")
    example = maker.judged(seen, proposals, [(query, votes, 5)], rng)
    messages = asked[0].conversation.messages
    content = [
        [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
            for part in message.content
        ]
        for message in messages
    ]
    processor = nano_vlm.build_processor(tokenizer)
    text = processor.apply_chat_template(
        [{"role": m.role, "content": c} for m, c in zip(messages, content, strict=True)],
        add_generation_prompt=True,
    )
    pictures = [part.pixels for part in messages[0].content if not isinstance(part, str)]
    shown = processor(text=[text], images=pictures, return_tensors="np", do_resize=False)
    ids = np.asarray(shown["input_ids"][0])
    first = np.flatnonzero(example.branch <= 1)
    np.testing.assert_array_equal(example.tokens[first][: len(ids)], ids)
    mine = np.concatenate([patches(image) for image in example.images])
    np.testing.assert_allclose(shown["pixel_values"], mine, atol=1e-6)


def test_every_answer_can_be_read_and_is_true(maker):
    read = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        seen = film(make_world(seed), maker.spec.frames)
        proposals = propose(seen, rng)
        questions = maker.questions(seen, proposals, rng, 4)
        replies = said(maker, maker.judged(seen, proposals, questions, rng))
        for (query, votes, candidates), reply in zip(questions, replies, strict=False):
            verdict = parse_verdict(reply, len(proposals), maker.spec.frames + 1)
            bodies = {proposals[n - 1].body for n in verdict.objects}
            assert bodies == {one.body for one in proposals} & set(query.targets)
            assert all(0 <= vote <= candidates for vote in votes)
            read += 1
        names = {body.name for body in seen.world.bodies}
        assert set(replies[len(questions) :]) <= names
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
    example = maker.judged(seen, proposals, [(query, [1, 1], 3)], np.random.default_rng(0))
    at = np.flatnonzero(example.branch == 1)
    told = maker.tokenizer.convert_ids_to_tokens(example.labels[at][example.labels[at] >= 0])
    assert told[:2] == [".", "\u0120fits"]
    assert maker.tokenizer.convert_tokens_to_string(told[2:]) == "[2]<|im_end|>"


def test_lines_alone_are_what_is_asked_without_the_pictures(maker):
    rows = maker.lines(make_world(5), np.random.default_rng(2), questions=3, count=2)
    assert len(rows) == 2
    for row in rows:
        assert not row.images
        said(maker, row)
        text = maker.tokenizer.decode(row.tokens[row.branch == 1])
        assert text.startswith("<|im_start|>user\nFind ")
        assert "<think>The " in text


def test_where_outlines_are_is_asked_of_the_tower(maker, seen):
    rng = np.random.default_rng(1)
    proposals = [seen.track(np.full(seen.world.frame_count, b), "x") for b in (2, 0)]
    query = Query("attribute", "the red star", (0,), "")
    example = maker.judged(seen, proposals, [(query, [1, 1], 3)], rng)
    numbers = np.concatenate([dense.number for dense in example.dense])
    assert {0, 1, 2, IGNORED} == set(numbers.tolist())
    assert "number" in collate([example])
    chains = maker.chains(seen.world, rng, 1)
    assert all((dense.number == IGNORED).all() for dense in chains.dense)


def test_what_was_answered_wrongly_is_not_learned(maker):
    pairs = 0
    for seed in range(8):
        example = maker.again(make_world(seed, bodies=3), np.random.default_rng(seed), 3)
        text = maker.tokenizer.decode(example.tokens[example.tokens != maker.image_token])
        learned = maker.tokenizer.decode(example.labels[example.labels != IGNORED])
        said(maker, example)
        for before, after in pairwise(text.split("Not ")):
            rejected = after.split("<|im_end|>")[0]
            corrected = after.split("assistant\n")[1].split("<|im_end|>")[0]
            assert before.rpartition("assistant\n")[2].split("<|im_end|>")[0] not in learned
            assert f'"object description": "{rejected}"' not in corrected
            pairs += 1
    assert pairs > 5


@pytest.mark.parametrize("pixels", [-2, 0, 1])
def test_worn_masks(pixels):
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    side = 10 + 2 * pixels
    worn = worn_mask(mask, pixels)
    assert worn.any(axis=0).sum() == worn.any(axis=1).sum() == side
    thin = np.eye(20, dtype=bool)
    assert worn_mask(thin, -2).any()


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
    example = real(maker, records[0], np.random.default_rng(0), 1)
    assert "body 0" in maker.tokenizer.decode(example.tokens)
    words = real(maker, records[0], np.random.default_rng(0), 1, pictures=False)
    assert not words.images
    assert "body 0" in maker.tokenizer.decode(words.tokens)
    path.write_text(path.read_text()[:-5])
    assert len(read_proposals(path)) == 1
