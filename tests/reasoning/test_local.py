"""The real classes of transformers, tiny, with random weights made on the spot."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from helper_scripts import run_script
from random_weights import save_random_checkpoint

from fiftyone_revseg.reasoning import (
    ChainSpec,
    Conversation,
    Image,
    LocalReasoner,
    VideoFrames,
    family_spec,
    run_chain,
)
from fiftyone_revseg.reasoning.local import _patch_side
from fiftyone_revseg.types import Status

FAMILIES = {
    "tiny-qwen2.5-vl": ChainSpec(frames=3, frame_size=56, key_frame_size=112, max_new_tokens=12),
    "tiny-qwen3-vl": ChainSpec(
        frames=3,
        frame_size=64,
        key_frame_size=128,
        box_convention="relative-1000",
        max_new_tokens=12,
    ),
}


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    return save_random_checkpoint(directory, request.param, spec=FAMILIES[request.param])


@pytest.fixture(scope="module")
def reasoner(checkpoint):
    return LocalReasoner.load(checkpoint, device="cpu")


def picture(seed, size):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def dialogues(spec):
    """Three conversations of different lengths; the last one has two turns and a larger image."""
    size = spec.frame_size
    one = Conversation().say("user", Image(picture(0, size)), "what is it?")
    many = Conversation().say(
        "user", *(part for i in range(3) for part in (f"{i}:", Image(picture(i, size)))), "which?"
    )
    two = one.say("assistant", "a cat").say(
        "user", Image(picture(7, spec.key_frame_size)), "where is the cat, then?"
    )
    return [one, many, two]


def logits(reasoner, conversation):
    with torch.inference_mode():
        return reasoner.model(**reasoner.encode([conversation])).logits[0, -1]


def test_the_checkpoint_says_how_it_wants_to_be_asked(checkpoint, reasoner):
    assert reasoner.spec == FAMILIES[next(n for n in FAMILIES if n in checkpoint.name)]
    assert reasoner.name == str(checkpoint)
    assert reasoner.model.dtype == torch.float32


def test_without_a_spec_the_family_decides(checkpoint, tmp_path):
    copy = shutil.copytree(checkpoint, tmp_path / "stock")
    (copy / "revseg.json").unlink()
    model_type = json.loads((copy / "config.json").read_text())["model_type"]
    assert LocalReasoner.load(copy, device="cpu").spec == family_spec(model_type)


def test_a_batch_answers_like_one_by_one(reasoner):
    conversations = dialogues(reasoner.spec)
    together = reasoner.generate(conversations, reasoner.spec)
    for conversation, reply in zip(conversations, together, strict=True):
        (alone,) = reasoner.generate([conversation], reasoner.spec)
        assert reply.text == alone.text
        assert reply.token_texts == alone.token_texts
        assert reply.token_probabilities == pytest.approx(alone.token_probabilities, rel=1e-3)
        assert reply.prompt_tokens == alone.prompt_tokens
    assert len({reply.text for reply in together}) > 1  # or the test would say nothing


def test_token_probabilities_are_those_of_a_plain_forward(reasoner):
    conversation = dialogues(reasoner.spec)[2]
    (reply,) = reasoner.generate([conversation], reasoner.spec)
    inputs = reasoner.encode([conversation])
    start = inputs["input_ids"].shape[1]
    expected = []
    for _ in range(reply.tokens):  # greedy decoding without a cache, by hand
        with torch.inference_mode():
            scores = reasoner.model(**inputs, use_cache=False).logits[:, -1].softmax(-1)
        probability, token = scores.max(dim=-1)
        expected.append(probability.item())
        inputs["input_ids"] = torch.cat([inputs["input_ids"], token[:, None]], dim=1)
        for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0)):
            more = torch.full_like(inputs[name][:, :1], value)
            inputs[name] = torch.cat([inputs[name], more], dim=1)
    ids = inputs["input_ids"][0, start:].tolist()
    decoded = reasoner.processor.tokenizer.decode(ids, skip_special_tokens=True)
    assert reply.tokens == reasoner.spec.max_new_tokens
    assert reply.text == decoded == "".join(reply.token_texts)
    assert reply.token_probabilities == pytest.approx(expected, rel=1e-3)
    assert max(expected) > 2 * min(expected)


def test_everything_the_processor_returns_reaches_the_model(reasoner):
    inputs = reasoner.encode(dialogues(reasoner.spec))
    assert {"input_ids", "attention_mask", "mm_token_type_ids", "pixel_values"} <= set(inputs)
    image = reasoner.model.config.image_token_id
    assert torch.equal(inputs["mm_token_type_ids"] == 1, inputs["input_ids"] == image)
    assert inputs["attention_mask"][0, 0] == 0  # padded on the left
    assert inputs["attention_mask"][:, -1].all()


@pytest.mark.parametrize("which", [0, 1])
def test_images_reach_the_model(reasoner, which):
    size = reasoner.spec.frame_size
    images = [picture(0, size), picture(1, size)]
    before = logits(reasoner, Conversation().say("user", *map(Image, images), "?"))
    images[which] = picture(9, size)
    after = logits(reasoner, Conversation().say("user", *map(Image, images), "?"))
    assert (before - after).abs().max() > 1e-3


def test_the_order_of_images_is_kept(reasoner):
    size = reasoner.spec.frame_size
    a, b = Image(picture(0, size)), Image(picture(1, size))
    inputs = reasoner.encode([Conversation().say("user", a, b), Conversation().say("user", b, a)])
    patches = inputs["pixel_values"].reshape(4, -1, inputs["pixel_values"].shape[-1])
    assert torch.equal(patches[0], patches[3])
    assert torch.equal(patches[1], patches[2])
    assert not torch.equal(patches[0], patches[1])


@pytest.mark.parametrize("patches", [1, 60])
def test_the_processor_leaves_sizes_alone(reasoner, patches):
    # 1 is below the stock processor's least size and 60 above its largest
    side = _patch_side(reasoner.processor)
    image = np.zeros((patches * side, patches * side, 3), np.uint8)
    inputs = reasoner.encode([Conversation().say("user", Image(image))])
    assert inputs["image_grid_thw"].tolist() == [[1, 2 * patches, 2 * patches]]
    count = (inputs["input_ids"] == reasoner.model.config.image_token_id).sum()
    assert count == patches**2


def test_video_input_reaches_the_model(reasoner):
    size = reasoner.spec.frame_size
    frames = [picture(i, size) for i in range(5)]  # an odd number: the tower takes two at a time

    def ask(frames):
        video = VideoFrames(tuple(frames), tuple(2.0 * i for i in range(5)))
        return Conversation().say("user", video, "which?")

    inputs = reasoner.encode([ask(frames)])
    assert inputs["video_grid_thw"][0, 0] == 3
    assert "pixel_values" not in inputs
    if "second_per_grid_ts" in inputs:  # Qwen2.5-VL: one frame every 2 s, two frames a step
        assert float(inputs["second_per_grid_ts"][0]) == pytest.approx(4.0)
    else:  # Qwen3-VL writes the mean time of each pair of frames
        text = reasoner.processor.tokenizer.decode(inputs["input_ids"][0])
        assert [f"<{t:.1f} seconds>" in text for t in (1.0, 5.0, 8.0)] == [True] * 3
    before = logits(reasoner, ask(frames))
    frames[4] = picture(9, size)
    assert (before - logits(reasoner, ask(frames))).abs().max() > 1e-3


def test_video_and_images_in_one_dialogue(reasoner):
    size = reasoner.spec.frame_size
    video = VideoFrames(tuple(picture(i, size) for i in range(4)), (0.0, 1.0, 2.0, 3.0))
    conversation = Conversation().say("user", video, "which?").say("assistant", "0")
    both = conversation.say("user", Image(picture(5, reasoner.spec.key_frame_size)), "where?")
    replies = reasoner.generate([conversation.say("user", "why?"), both], reasoner.spec)
    (alone,) = reasoner.generate([both], reasoner.spec)
    assert replies[1].text == alone.text


def test_the_prompt_is_rendered_by_the_checkpoints_own_template(reasoner):
    text = reasoner.render(dialogues(reasoner.spec)[2])
    picture_text = "<|vision_start|><|image_pad|><|vision_end|>"
    assert text == (
        f"<|im_start|>user\n{picture_text}what is it?<|im_end|>\n"
        "<|im_start|>assistant\na cat<|im_end|>\n"
        f"<|im_start|>user\n{picture_text}where is the cat, then?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_reply_ends_at_a_stop_token(checkpoint):
    reasoner = LocalReasoner.load(checkpoint, device="cpu")
    conversation = dialogues(reasoner.spec)[0]
    ids = reasoner.model.generate(
        **reasoner.encode([conversation]), max_new_tokens=12, do_sample=False
    )[0, -12:].tolist()
    stop = next(token for token in ids if token != ids[0])
    model = copy.deepcopy(reasoner.model)  # others share it
    model.generation_config.eos_token_id = [stop]
    stopping = LocalReasoner(model, reasoner.processor, reasoner.spec, "stopping")
    first, second = stopping.generate(dialogues(reasoner.spec)[:2], reasoner.spec)
    assert first.tokens == ids.index(stop) + 1
    assert len(first.token_probabilities) == ids.index(stop)
    assert second.tokens <= 12


def test_the_checkpoints_own_decoding_settings_are_ignored(checkpoint, reasoner, tmp_path):
    copy = shutil.copytree(checkpoint, tmp_path / "opinionated")
    settings = json.loads((copy / "generation_config.json").read_text())
    settings |= {"do_sample": True, "temperature": 5.0, "repetition_penalty": 9.0, "top_k": 3}
    (copy / "generation_config.json").write_text(json.dumps(settings))
    opinionated = LocalReasoner.load(copy, device="cpu")
    conversations = dialogues(reasoner.spec)
    texts = [r.text for r in reasoner.generate(conversations, reasoner.spec)]
    assert [r.text for r in opinionated.generate(conversations, reasoner.spec)] == texts


def test_a_temperature_samples(reasoner):
    spec = reasoner.spec.replace(temperature=2.0)
    torch.manual_seed(0)
    conversation = dialogues(spec)[0]
    replies = [reasoner.generate([conversation], spec)[0] for _ in range(3)]
    assert len({reply.text for reply in replies}) == 3
    assert all(0 < p <= 1 for reply in replies for p in reply.token_probabilities)


@pytest.mark.parametrize("encoding", ["images", "video"])
def test_the_chain_ends_honestly_with_random_weights(reasoner, request_for, encoding):
    spec = reasoner.spec.replace(frame_encoding=encoding)
    trajectories = run_chain(reasoner, spec, [request_for("a"), request_for("b", count=2)])
    for trajectory in trajectories:
        assert trajectory.status is Status.BAD_KEYFRAME
        assert [turn.tokens for turn in trajectory.turns] == [12, 12]
        assert all(0 < turn.confidence < 1 for turn in trajectory.turns)
        assert all(turn.seconds > 0 for turn in trajectory.turns)


def test_a_size_that_does_not_fit_is_said_at_once(reasoner):
    with pytest.raises(
        ValueError, match=r"frame_size is 100, but the model .* such as (84|112|96)"
    ):
        reasoner.generate(dialogues(reasoner.spec), reasoner.spec.replace(frame_size=100))


def test_nothing_to_generate(reasoner):
    assert reasoner.generate([], reasoner.spec) == []


def test_a_missing_checkpoint_is_one_clear_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"Cannot load the model .*: give a directory with"):
        LocalReasoner.load(tmp_path / "nowhere", device="cpu")


def test_an_unknown_family_is_asked_about(checkpoint, tmp_path):
    config = {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"^In which space does a 'llava' model give its boxes\?"):
        LocalReasoner.load(tmp_path, device="cpu")


def test_pickled_weights_are_refused(checkpoint, tmp_path):
    copy = shutil.copytree(checkpoint, tmp_path / "pickled")
    (copy / "model.safetensors").unlink()
    torch.save({}, copy / "pytorch_model.bin")
    with pytest.raises(ValueError, match="Cannot load the model"):
        LocalReasoner.load(copy, device="cpu")


def test_pieces_join_to_the_text_whatever_the_bytes(reasoner):
    from fiftyone_revseg.reasoning.local import _pieces

    tokenizer = reasoner.processor.tokenizer
    text = " caf\u00e9 \U0001f600 [1, 2] \u4e2d"
    ids = tokenizer(text)["input_ids"]
    pieces = _pieces(tokenizer, ids)
    assert len(pieces) == len(ids) == len(text.encode())
    assert "".join(pieces) == text
    rng = np.random.default_rng(0)
    for _ in range(200):
        ids = rng.integers(0, 256, 20).tolist()  # mostly not UTF-8: once joined to another text
        pieces = _pieces(tokenizer, ids)
        assert len(pieces) == 20
        assert "".join(pieces) == tokenizer.decode(ids)


def test_what_revseg_json_leaves_open_is_the_familys(checkpoint, tmp_path):
    # a file with the frames alone once made a Qwen3-VL's boxes pixels
    copied = shutil.copytree(checkpoint, tmp_path / "copy")
    family = family_spec(json.loads((copied / "config.json").read_text())["model_type"])
    text = json.dumps({"frames": 5})
    (copied / "revseg.json").write_text(text, encoding="utf-8-sig")  # as some editors write it
    assert LocalReasoner.load(copied, device="cpu").spec == family.replace(frames=5)
    asked = LocalReasoner.load(copied, device="cpu", spec={"retries": 0})
    assert asked.spec == family.replace(frames=5, retries=0)
    whole = ChainSpec(frames=9, key_frame_size=family.key_frame_size)
    assert LocalReasoner.load(copied, device="cpu", spec=whole).spec == whole


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("\xff", "is not valid JSON"),
        ("[]", "must hold a JSON object"),
        ('{"frmes": 3}', "Unknown settings"),
        ('{"frames": "many"}', "frames must be a whole number"),
        ('{"box_convention": null}', "box_convention must be one of"),
        ('{"prompts": "nowhere"}', "There are no prompts in"),
    ],
)
def test_a_broken_revseg_json_is_named_before_weights_are_read(text, message, checkpoint, tmp_path):
    shutil.copy(checkpoint / "config.json", tmp_path)
    (tmp_path / "revseg.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=rf"revseg\.json'.*{message}"):
        LocalReasoner.load(tmp_path, device="cpu")


def test_a_size_that_does_not_fit_is_said_before_weights_are_read(checkpoint, tmp_path):
    copied = shutil.copytree(checkpoint, tmp_path / "copy")
    (copied / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="frame_size is 100"):
        LocalReasoner.load(copied, device="cpu", spec={"frame_size": 100})


def test_what_is_no_spec_is_refused(checkpoint):
    with pytest.raises(ValueError, match="spec is 'pixels': give a ChainSpec or a dict"):
        LocalReasoner.load(checkpoint, device="cpu", spec="pixels")


def test_a_model_without_eyes_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ValueError, match="is a 'llama' model, which does not answer questions"):
        LocalReasoner.load(tmp_path, device="cpu")


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"cut"])
def test_damaged_weights_are_one_clear_sentence(content, checkpoint, tmp_path):
    copied = shutil.copytree(checkpoint, tmp_path / "copy")
    whole = (copied / "model.safetensors").read_bytes()
    (copied / "model.safetensors").write_bytes(content.replace(b"cut", whole[: len(whole) // 2]))
    with pytest.raises(ValueError, match=r"Cannot load the model .*: give a directory with"):
        LocalReasoner.load(copied, device="cpu")


def test_the_digest_covers_every_shard(checkpoint, tmp_path):
    reasoner = LocalReasoner.load(checkpoint, device="cpu")
    sharded = shutil.copytree(checkpoint, tmp_path / "sharded")
    (sharded / "model.safetensors").unlink()
    reasoner.model.save_pretrained(sharded, max_shard_size="40KB")
    shards = sorted(sharded.glob("model-*.safetensors"))
    assert len(shards) > 1
    before = LocalReasoner.load(sharded, device="cpu").digest
    content = bytearray(shards[-1].read_bytes())
    content[-1] ^= 1
    shards[-1].write_bytes(content)
    assert LocalReasoner.load(sharded, device="cpu").digest != before


def test_sharers_keep_their_own_stop_tokens(checkpoint):
    one, other = (LocalReasoner.load(checkpoint, device="cpu") for _ in range(2))
    assert one.model is other.model
    conversation = dialogues(one.spec)[0]
    (before,) = one.generate([conversation], one.spec)
    ids = one.model.generate(**one.encode([conversation]), max_new_tokens=12, do_sample=False)
    written = ids[0, -12:].tolist()
    other._stop = [next(token for token in written if token != written[0])]
    (stopped,) = other.generate([conversation], one.spec)
    assert stopped.tokens == written.index(other._stop[0]) + 1 <= before.tokens == 12
    assert len(stopped.token_probabilities) == written.index(other._stop[0]) < 12
    assert one.generate([conversation], one.spec)[0].text == before.text


@pytest.mark.slow
def test_a_checkpoint_in_the_hubs_cache(checkpoint, tmp_path):
    # as the hub's client lays it out; without a network
    repository = tmp_path / "models--someone--tiny"
    shutil.copytree(checkpoint, repository / "snapshots" / "abc123")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123")
    code = (
        "from fiftyone_revseg.reasoning import LocalReasoner\n"
        "one, two = (LocalReasoner.load('someone/tiny', device='cpu') for _ in range(2))\n"
        "assert one.model is two.model\n"
        "print(one.name, one.digest, one.spec.frames)"
    )
    printed = run_script(code, HF_HUB_CACHE=str(tmp_path), HF_HUB_OFFLINE="1")
    digest = LocalReasoner.load(checkpoint, device="cpu").digest
    assert printed.split() == ["someone/tiny", digest, "3"]


def test_a_thought_that_the_prompt_opens(checkpoint, tmp_path):
    """As the chat templates of thinking models do: the reply goes on with it."""
    thinking = shutil.copytree(checkpoint, tmp_path / "thinking")
    template = LocalReasoner.load(checkpoint, device="cpu").processor.chat_template
    for path in (thinking / "chat_template.jinja", thinking / "processor_config.json"):
        path.unlink(missing_ok=True)
    opening = "{% if add_generation_prompt %}<think>\n{% endif %}"
    (thinking / "chat_template.jinja").write_text(template + opening)
    shutil.copy(checkpoint / "processor_config.json", thinking)
    reasoner = LocalReasoner.load(thinking, device="cpu")
    asked = Conversation().say("user", "Is <think> a tag?")
    assert reasoner.render(asked).endswith("<think>\n")
    (reply,) = reasoner.generate([asked], reasoner.spec)
    assert reply.text.startswith("<think>")
    assert "".join(reply.token_texts) == reply.text
    assert reply.cut
    assert reply.tokens == reasoner.spec.max_new_tokens
    (plain,) = LocalReasoner.load(checkpoint, device="cpu").generate([asked], reasoner.spec)
    assert not plain.text.startswith("<think>")
