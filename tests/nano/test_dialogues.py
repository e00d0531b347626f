"""What the VLM is trained on is what inference shows it, token for token."""

import json

import numpy as np
import pytest

from fiftyone_revseg.nano import vlm as nano_vlm
from fiftyone_revseg.nano.batches import collate, patches, tree_mask
from fiftyone_revseg.nano.dialogues import (
    DialogueMaker,
    choose_queries,
    key_frame,
    normalized,
    resize_mask,
    rotary_positions,
    snapshot,
    visible_box,
)
from fiftyone_revseg.nano.sft import NANO_SPEC, corpus
from fiftyone_revseg.reasoning import ChainRequest, parse_boxes, parse_choices, run_chain
from fiftyone_revseg.reasoning.backend import Reply
from fiftyone_revseg.synthetic import make_world
from fiftyone_revseg.types import FrameTable

SIDE = nano_vlm.PATCH * nano_vlm.MERGE


@pytest.fixture(scope="module")
def tokenizer():
    return nano_vlm.build_tokenizer(corpus())


@pytest.fixture(scope="module")
def processor(tokenizer):
    return nano_vlm.build_processor(tokenizer)


@pytest.fixture(scope="module")
def model(tokenizer):
    return nano_vlm.build_model(tokenizer, seed=0).eval()


def full_dialogues(example):
    """Prefix + branch, for each branch."""
    prefix = example.branch == 0
    for b in range(1, example.branch.max() + 1):
        yield np.flatnonzero(prefix | (example.branch == b))


def test_every_whole_number_is_one_token_and_texts_round_trip(tokenizer):
    for n in (0, 7, 10, 99, 100, 480, 999, 1000):
        assert len(tokenizer.tokenize(str(n))) == 1
    for text in ("Find the Zebra, höchst ungewöhnlich: 3.75 ☂", '[{"bbox_2d": [10, 0, 1000, 55]}]'):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_training_shows_what_the_chain_shows(tokenizer, processor):
    """The chain's own prompts, rendered by the processor, equal the training tokens."""
    world, rng = make_world(3), np.random.default_rng(0)
    table = np.linspace(0, world.frame_count - 1, NANO_SPEC.frames).round().astype(int)
    asked, turns = [], set()

    class Recorder:
        name, spec = "recorder", NANO_SPEC

        def generate(self, conversations, spec):
            asked.extend(conversations)
            return [Reply(replies[len(c.messages) > 1]) for c in conversations]

    maker = DialogueMaker(tokenizer, NANO_SPEC, SIDE)
    example = maker.chains(world, rng, questions=1)
    text = tokenizer.decode(example.tokens[example.tokens != maker.image_token])
    said = [part.split("<|im_end|>")[0] for part in text.split("<|im_start|>assistant\n")[1:]]
    replies = [said[0], said[1] if len(said) > 1 else "[]"]
    opened = text.split("Find ")[1].split("<|im_end|>")[0]
    run_chain(
        Recorder(),
        NANO_SPEC,
        [
            ChainRequest(
                query=opened,
                frame_table=FrameTable(
                    tuple(int(k) for k in table),
                    tuple(k / world.fps for k in table.tolist()),
                    world.frame_count,
                    world.frame_count / world.fps,
                ),
                images=[world.draw(int(k))[0] for k in table],
                read_frame=lambda k: world.draw(k)[0],
                source_size=(world.width, world.height),
            )
        ],
    )
    for conversation in asked:
        messages = [
            {
                "role": m.role,
                "content": [
                    {"type": "text", "text": c} if isinstance(c, str) else {"type": "image"}
                    for c in m.content
                ],
            }
            for m in conversation.messages
        ]
        images = [
            c.pixels for m in conversation.messages for c in m.content if hasattr(c, "pixels")
        ]
        text = processor.apply_chat_template(messages, add_generation_prompt=True)
        shown = processor(text=[text], images=images, return_tensors="np", do_resize=False)
        ids = np.asarray(shown["input_ids"][0])
        if len(images) > NANO_SPEC.frames and list(
            example.tokens[len(ids) - 20 : len(ids)]
        ) != list(ids[-20:]):
            continue  # turn 2 of another target than the one that was drawn for training
        turns.add(len(conversation.messages))
        np.testing.assert_array_equal(example.tokens[: len(ids)], ids)
        mine = np.concatenate([patches(image) for image in example.images[: len(images)]])
        np.testing.assert_allclose(shown["pixel_values"], mine, atol=1e-6)
    assert turns == {1, 3}


def test_positions_equal_the_models_own(tokenizer, model):
    import torch

    maker = DialogueMaker(tokenizer, NANO_SPEC, SIDE)
    example = maker.chains(make_world(0), np.random.default_rng(0), questions=3)
    small, large = nano_vlm.FRAME_SIZE // nano_vlm.PATCH, nano_vlm.KEY_FRAME_SIZE // nano_vlm.PATCH
    for at in full_dialogues(example):
        ids = torch.from_numpy(example.tokens[at])[None]
        pictures = int((ids == maker.image_token).sum())
        shown = NANO_SPEC.frames
        grids = [[1, small, small]] * shown
        grids += [[1, large, large]] * ((pictures - shown * 36) // 144)
        positions, _ = model.model.get_rope_index(
            ids, (ids == maker.image_token).int(), torch.tensor(grids)
        )
        np.testing.assert_array_equal(positions[:, 0].numpy(), example.positions[:, at])


def test_a_branch_in_the_tree_is_scored_as_if_it_were_alone(tokenizer, model):
    import torch

    maker = DialogueMaker(tokenizer, NANO_SPEC, SIDE)
    example = maker.chains(make_world(1), np.random.default_rng(1), questions=3)
    batch = collate([example])
    by_image = batch["patches"].split(batch["grids"].prod(-1).tolist())
    key_frames = list(range(NANO_SPEC.frames, len(by_image)))
    with torch.no_grad():
        tree = model.model(
            input_ids=batch["tokens"],
            pixel_values=batch["patches"],
            image_grid_thw=batch["grids"],
            position_ids=batch["positions"],
            attention_mask=tree_mask(batch["branch"]),
            use_cache=False,
        ).last_hidden_state[0]
        seen = 0
        for at in full_dialogues(example):
            ids = batch["tokens"][:, at]
            large = int((ids == maker.image_token).sum()) > NANO_SPEC.frames * 36
            # the frames, then the branch's own key frame if it has one
            pictures = [*range(NANO_SPEC.frames), *([key_frames.pop(0)] if large else [])]
            alone = model.model(
                input_ids=ids,
                pixel_values=torch.cat([by_image[i] for i in pictures]),
                image_grid_thw=batch["grids"][pictures],
                mm_token_type_ids=(ids == maker.image_token).int(),
                use_cache=False,
            ).last_hidden_state[0]
            torch.testing.assert_close(tree[at], alone, atol=2e-4, rtol=1e-3)
            seen += 1
    assert seen == 3
    assert not key_frames


def test_only_replies_are_trained_and_they_are_right(tokenizer):
    maker = DialogueMaker(tokenizer, NANO_SPEC, SIDE)
    for seed in range(6):
        world, rng = make_world(seed), np.random.default_rng(seed)
        example = maker.chains(world, rng, questions=3)
        for at in full_dialogues(example):
            labels = example.labels[at]
            trained = tokenizer.decode(labels[labels >= 0])
            replies = trained.split("<|im_end|>")[:-1]
            names = {body.name for body in world.bodies}
            for choice in parse_choices(replies[0], NANO_SPEC.frames):
                assert choice.description in names
            if len(replies) > 1:
                boxes = parse_boxes(
                    replies[1], NANO_SPEC.box_convention, NANO_SPEC.key_frame_size, (1000, 1000)
                )
                assert len(boxes) == 1
            else:
                assert "bbox" not in trained


def test_key_frames_are_frames_in_which_the_body_is_large():
    world = make_world(11)
    table = np.linspace(0, world.frame_count - 1, 8).round().astype(int)
    shots = [snapshot(world, int(k)) for k in table]
    rng = np.random.default_rng(0)
    for body in range(len(world.bodies)):
        areas = np.array([shot.areas[body] for shot in shots])
        drawn = [key_frame(shots, body, rng) for _ in range(100)]
        assert areas[drawn].mean() > 0.8 * areas.max()
        assert areas[drawn].min() > 0


def test_choose_queries_gives_distinct_texts():
    rng = np.random.default_rng(0)
    for seed in range(20):
        texts = [q.text for q in choose_queries(make_world(seed), rng, 5)]
        assert len(set(texts)) == len(texts)


def test_visible_box_and_mask_resize():
    mask = np.zeros((60, 80), bool)
    mask[6:12, 8:24] = True
    np.testing.assert_array_equal(visible_box(mask), [10, 10, 30, 20])
    cover = resize_mask(mask, 10)
    assert cover.shape == (10, 10)
    np.testing.assert_allclose(cover[1, 1:3], 1)
    assert cover.sum() == pytest.approx(2)


def test_patches_equal_the_image_processors(processor):
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    theirs = processor.image_processor(images=[image], return_tensors="np", do_resize=False)
    np.testing.assert_allclose(theirs["pixel_values"], patches(normalized(image)), atol=1e-6)


def test_rotary_positions_of_plain_text_count_up():
    positions = rotary_positions(np.array([5, 6, 7]), image_token=1, grids=[])
    np.testing.assert_array_equal(positions, np.tile(np.arange(3), (3, 1)))


def test_the_tokenizer_is_the_same_every_time(tokenizer):
    again = nano_vlm.build_tokenizer(corpus())
    assert json.loads(again.backend_tokenizer.to_str()) == json.loads(
        tokenizer.backend_tokenizer.to_str()
    )


def test_logic_trains_what_follows_and_nothing_that_must_be_seen(tokenizer):
    maker = DialogueMaker(tokenizer, NANO_SPEC, SIDE)
    for seed in range(8):
        examples = maker.logic(make_world(seed), np.random.default_rng(seed), questions=3)
        assert len(examples) == 3
        for example in examples:
            assert not example.images
            text = tokenizer.decode(example.tokens)
            trained = tokenizer.decode(example.labels[example.labels >= 0])
            assert trained.endswith("</answer><|im_end|>\n")
            assert text.endswith(trained[trained.index("So ") :]) or "frame_idx" in trained
            for seen in ("moves", "stands", "comes", "goes", "wide", "always", "Find"):
                assert seen not in trained
