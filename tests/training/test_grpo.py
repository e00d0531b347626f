"""GRPO on the chain: the tokens of inference, exact log-probabilities, resumable runs."""

import json

import numpy as np
import pytest
from random_weights import save_random_checkpoint
from tiny_families import FAMILIES, thinking

from fiftyone_revseg.reasoning import ChainRequest, ChainSpec, LocalReasoner, run_chain
from fiftyone_revseg.reasoning.chain import first_turn, second_turn
from fiftyone_revseg.training import GrpoConfig, train_grpo
from fiftyone_revseg.training.data import world_rows
from fiftyone_revseg.training.environment import Rewards
from fiftyone_revseg.training.grpo import build_trainer
from fiftyone_revseg.training.run_folder import RunFolder

PROMPTS = {
    "system": "Be brief.",
    "turn1": "{frames}Find {query} <img>",
    "frame": "{index}:",
    "turn2": "{image}Detect {description} in {size}",
}
SIDES = {"tiny-qwen2.5-vl": 28, "tiny-qwen3-vl": 32, "tiny-qwen3.5": 32}


def tiny(directory, architecture="tiny-qwen3-vl"):
    side = SIDES.get(architecture, 32)
    spec = ChainSpec(
        frames=3,
        frame_size=side,
        key_frame_size=2 * side,
        box_convention="relative-1000",
        prompts=PROMPTS,
        max_new_tokens=100,
    )
    return str(save_random_checkpoint(directory, architecture, spec=spec)), spec


def settings(model, **changes):
    few = {"prompts": 2, "rollouts": 4, "batch": 4, "steps": 2, "max_turn_tokens": 12}
    return GrpoConfig(**{"model": model, "warmup": 0, "save_every": 2, **few, **changes})


def answer(*choices):
    items = [{"frame_idx": k, "object description": text} for k, text in choices]
    return f"<think>hm < 3</think> <answer>{json.dumps(items)}</answer>"


TURN1 = [answer((1, "the cat")), answer((0, "a"), (2, "b")), "nonsense", answer()] * 2
TURN2 = '[{"bbox_2d": [0, 0, 500, 600], "label": "cat"}]'


def scripted(trainer):
    """Has the trainer's model say what a script says."""
    tokenizer = trainer.processing_class.tokenizer

    def generate(prompt_ids, images, fields, num_generations, has_tool_images=False):
        texts = [TURN2] * len(prompt_ids) if has_tool_images else TURN1
        ids = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
        end = [tokenizer.eos_token_id]
        return [row + end for row in ids], None

    trainer._generate_single_turn = generate


def rollouts_of(trainer):
    batch = [
        {"prompt": trainer.train_dataset[i]["prompt"], "row": i} for i in range(2) for _ in range(4)
    ]
    trainer.model.train()
    return trainer._generate_and_score_completions(batch)


def dialogues(trainer, spec):
    """What inference would have asked and been answered, from its own functions."""
    made = []
    for environment in trainer.environments:
        rollout = environment.rollout
        scene = rollout.scene
        frames = dict(zip(scene.frame_table.indices, scene.frames, strict=True))
        request = ChainRequest(
            rollout.row.query,
            scene.frame_table,
            scene.frames,
            frames.__getitem__,
            scene.source_size,
        )
        asked = first_turn(request, spec)
        steps = [asked]
        if rollout.shown is not None:
            said = asked.say("assistant", rollout.replies[0])
            steps.append(second_turn(request, spec, said, rollout.choices[rollout.shown]))
        made.append((steps, rollout.replies))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [*SIDES])
def test_tokens_and_log_probabilities_are_those_of_inference(tmp_path, architecture):
    """Both turns, malformed and empty answers, with and without what a group shares."""
    import torch

    model, spec = tiny(tmp_path / "model", architecture)
    config = settings(model, max_turn_tokens=None)
    trainer = build_trainer(world_rows(2, seed=4), tmp_path / "run", config)
    assert trainer._shares_prefix
    scripted(trainer)
    out = rollouts_of(trainer)
    reasoner = LocalReasoner.load(model, device="cpu", dtype="float32")
    images = ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")
    images = {name: out[name] for name in images}
    ids = torch.cat([out["prompt_ids"], out["completion_ids"]], dim=1)
    mask = torch.cat([out["prompt_mask"], out["completion_mask"]], dim=1)
    keep = out["completion_ids"].shape[1]

    written = (out["completion_mask"] * out["tool_mask"]).bool()

    def log_probabilities():
        found, entropy, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, keep, compute_entropy=True, **images
        )
        trainer.model.zero_grad()
        found[written].sum().backward()
        gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
        return found.detach(), entropy.detach(), gradients

    shared, shared_entropy, shared_gradients = log_probabilities()
    trainer._shares_prefix = False
    plain, plain_entropy, plain_gradients = log_probabilities()
    # Recurrent layers read in chunks of 64 tokens: already padding in front changes how they round
    close = 1e-3 if "3.5" in architecture else 1e-5
    for one, other in zip(shared_gradients, plain_gradients, strict=True):
        assert (one - other).norm() <= 1e-3 * other.norm()
    turns = 0
    for i, (steps, replies) in enumerate(dialogues(trainer, spec)):
        length, width = int(mask[i].sum()), ids.shape[1]
        trained = ids[i][mask[i].bool()].tolist()
        for asked, reply in zip(steps, replies, strict=True):
            inputs = reasoner.encode([asked])
            prompt = inputs["input_ids"][0].tolist()
            assert trained[: len(prompt)] == prompt
            said = reasoner.processor.tokenizer(reply, add_special_tokens=False).input_ids
            said = [*said, reasoner.processor.tokenizer.eos_token_id]
            assert trained[len(prompt) : len(prompt) + len(said)] == said
            # The plain forward of inference's inputs with the reply behind them
            whole = torch.tensor([prompt + said])
            kinds = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, len(said)))
            with torch.no_grad():
                logits = reasoner.model(
                    input_ids=whole,
                    attention_mask=torch.ones_like(whole),
                    mm_token_type_ids=kinds,
                    pixel_values=inputs["pixel_values"],
                    image_grid_thw=inputs["image_grid_thw"],
                ).logits[0]
            expected = logits.log_softmax(-1)[torch.arange(len(prompt) - 1, whole.shape[1] - 1)]
            expected = expected.gather(1, torch.tensor(said)[:, None])[:, 0]
            first = int(mask[i].argmax())  # the prompt is padded on the left
            at = slice(first + len(prompt), first + len(prompt) + len(said))
            at = slice(at.start - (width - keep), at.stop - (width - keep))
            assert written[i, at].all()
            for found in (shared, plain):
                assert (found[i, at] - expected).abs().max() < close
            turns += 1
        assert length == len(prompt) + len(said)
    assert turns == 8 + 4
    assert written.sum() == sum(e.rollout.tokens for e in trainer.environments)
    assert ((shared_entropy - plain_entropy) * written).abs().max() < close
    counts = [e.rollout.ending for e in trainer.environments]
    assert {c: counts.count(c) for c in counts} == {"grounded": 4, "malformed": 2, "refused": 2}


@pytest.mark.slow
def test_greedy_rollouts_are_the_chains_of_inference(tmp_path):
    """The embedded model, which does answer: both turns as run_chain gets them."""
    rows = world_rows(2, "val", seed=40, kinds=["attribute"])
    config = settings("revseg-nano", rollouts=2, batch=2, max_turn_tokens=None, beta=0.0)
    trainer = build_trainer(rows, tmp_path, config)
    trainer.temperature = 0.0
    trainer.model.train()
    prompt = trainer.train_dataset[0]["prompt"]
    trainer._generate_and_score_completions(
        [{"prompt": prompt, "row": i} for i in range(2) for _ in range(2)]
    )
    rollouts = [environment.rollout for environment in trainer.environments]
    reasoner = LocalReasoner.load(trainer.model.config._name_or_path, device="cpu", dtype="float32")
    turns = 0
    for i, row in enumerate(rows):
        scene = row.load(reasoner.spec.frames)
        frames = dict(zip(scene.frame_table.indices, scene.frames, strict=True))
        request = ChainRequest(
            row.query, scene.frame_table, scene.frames, frames.__getitem__, scene.source_size
        )
        (trajectory,) = run_chain(reasoner, reasoner.spec.replace(retries=0), [request])
        for rollout in rollouts[2 * i : 2 * i + 2]:
            shown = rollout.shown
            asked = [t for t in trajectory.turns if t.turn == 1 or t.object == shown]
            assert rollout.replies == [turn.reply for turn in asked]
            turns += len(rollout.replies)
            if shown is not None and trajectory.groundings[shown]:
                assert rollout.box_xyxy_px == trajectory.groundings[shown].box_xyxy_px
    assert turns == 6  # one of the two is answered with the empty list


@pytest.fixture
def variety_pays(monkeypatch):
    """Rewards the variety of characters: all that random weights write is else worth the same."""
    monkeypatch.setattr(
        "fiftyone_revseg.training.environment.score",
        lambda rollout, *_: Rewards(len(set(rollout.replies[0])), 0, 0),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "lora_rank", "gradient_checkpointing"),
    [
        ("tiny-qwen3-vl", 0, False),
        ("tiny-qwen3-vl", 4, False),
        ("tiny-qwen3-vl", 4, True),
        ("tiny-qwen3.5", 0, False),
        ("tiny-qwen3.5-moe", 0, False),
    ],
)
def test_a_run_leaves_a_checkpoint_that_needs_nothing_else(
    tmp_path, architecture, lora_rank, gradient_checkpointing, capsys, caplog, variety_pays
):
    import torch

    model, spec = tiny(tmp_path / "model", architecture)
    config = settings(
        model,
        lora_rank=lora_rank,
        gradient_checkpointing=gradient_checkpointing,
        learning_rate=1e-2,
        sample_every=1,
        beta=0.1,
    )

    path = train_grpo(world_rows(4), tmp_path / "run", config)
    slower = gradient_checkpointing or "moe" in architecture
    assert ("which is slower" in caplog.text) == slower
    reasoner = LocalReasoner.load(path, device="cpu", dtype="float32")
    assert reasoner.spec == spec
    assert sorted(p.name for p in path.iterdir() if "adapter" in p.name) == []
    old = LocalReasoner.load(model, device="cpu", dtype="float32")
    changed = {
        name
        for name, weight in reasoner.model.state_dict().items()
        if not torch.equal(weight, old.model.state_dict()[name])
    }
    assert any("language_model" in name for name in changed)
    assert any("linear_attn" in name for name in changed) == ("3.5" in architecture)
    assert any("visual" in name for name in changed) == (not lora_rank)
    template = reasoner.processor.chat_template
    assert template == old.processor.chat_template
    folder = tmp_path / "run"
    assert (folder / "curves.png").is_file()
    assert list((folder / "tensorboard").iterdir())
    assert len(list((folder / "rollouts").glob("*.txt"))) == 2
    rows = RunFolder(folder, 2).curves()
    assert [row["step"] for row in rows] == [1, 2]
    names = {"format", "temporal", "spatial", "total", "turns", "tokens", "kl", "clipped"}
    assert names | {"malformed", "overlong", "unreadable"} <= set(rows[0])
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert rows[1]["kl"] > 0
    assert rows[1]["clipped"] == 0  # strictly on-policy
    assert "step 2/2" in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.partial"))


class _Recorder:
    """A row that notes when it is loaded, and dies when it is told to."""

    kind = ""

    def __init__(self, row, number, log, fatal=()):
        self.row, self.number, self.log, self.fatal = row, number, log, fatal

    def __getattr__(self, name):
        return getattr(self.row, name)

    def load(self, frames):
        if len(self.log) in self.fatal:
            raise KeyboardInterrupt
        self.log.append(self.number)
        return self.row.load(frames)


@pytest.mark.slow
@pytest.mark.parametrize("lora_rank", [0, 4])
def test_a_killed_run_goes_on_where_it_was(tmp_path, lora_rank, variety_pays):
    from safetensors.torch import load_file

    model, _ = tiny(tmp_path / "model")
    often = {"steps": 3, "save_every": 1, "max_turn_tokens": 6, "lora_rank": lora_rank}
    config = settings(model, **often, learning_rate=1e-2)

    def rows(log, fatal=()):
        return [_Recorder(r, i, log, fatal) for i, r in enumerate(world_rows(6))]

    whole: list[int] = []
    train_grpo(rows(whole), tmp_path / "whole", config)
    assert sorted(whole) == list(range(6))
    assert whole != sorted(whole)

    parts: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        train_grpo(rows(parts, fatal=[3]), tmp_path / "parts", config)
    assert parts == whole[:3]
    (tmp_path / "parts" / "checkpoint-1" / "revseg.json").unlink()  # written last, after a kill
    again: list[int] = []
    train_grpo(rows(again), tmp_path / "parts", config)
    assert again == whole[2:]  # step 2 was not finished
    assert (tmp_path / "parts" / "checkpoint-1" / "revseg.json").is_file()

    curves = [RunFolder(tmp_path / name, 3).curves() for name in ("whole", "parts")]
    for a, b in zip(*curves, strict=True):
        a.pop("seconds"), b.pop("seconds")
        assert a == pytest.approx(b, abs=1e-6)

        assert a["gradient"] > 0
    names = [tmp_path / name / "checkpoint" / "model.safetensors" for name in ("whole", "parts")]
    old, *weights = map(load_file, [tmp_path / "model" / "model.safetensors", *names])
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    assert any((old[name] != weights[0][name]).any() for name in old)

    with pytest.raises(ValueError, match="learning_rate"):
        train_grpo(rows([]), tmp_path / "parts", settings(model, **often, learning_rate=1e-3))
    with pytest.raises(ValueError, match="rows"):
        train_grpo(rows([])[:5], tmp_path / "parts", config)
    with pytest.raises(ValueError, match="no checkpoint"):
        train_grpo(rows([]), tmp_path / "parts", config, resume=tmp_path / "elsewhere")


@pytest.mark.parametrize("setting", [None, False])
def test_a_thought_that_the_template_opens_is_part_of_the_reply(tmp_path, setting):
    model, spec = tiny(tmp_path / "model")
    spec.replace(thinking=setting).save(model)
    template = tmp_path / "model" / "chat_template.jinja"
    template.write_text(thinking(template.read_text()))
    trainer = build_trainer(world_rows(2), tmp_path / "run", settings(model, max_turn_tokens=None))
    scripted(trainer)
    prompt = trainer.processing_class.tokenizer.decode(rollouts_of(trainer)["prompt_ids"][0])
    assert prompt.endswith("<think>\n" if setting is None else "<think>\n\n</think>\n\n")
    rollouts = [environment.rollout for environment in trainer.environments]
    second = [rollout.replies[1] for rollout in rollouts if len(rollout.replies) == 2]
    assert second == ["<think>" + TURN2 if setting is None else TURN2] * 4
    endings = [rollout.ending for rollout in rollouts]
    assert endings.count("grounded") == (0 if setting is None else 4)  # what was drafted is no box


def test_a_key_frame_that_does_not_fit_is_counted_as_overlong(tmp_path):
    model, _ = tiny(tmp_path / "model")
    trainer = build_trainer(world_rows(2), tmp_path / "run", settings(model))
    scripted(trainer)
    trainer.max_completion_length = 100  # turn 1 alone takes about as many
    rollouts_of(trainer)
    rollouts = [environment.rollout for environment in trainer.environments]
    assert {len(rollout.replies) for rollout in rollouts} == {1}
    assert [rollout.ending for rollout in rollouts[:4]] == ["overlong"] * 2 + [
        "malformed",
        "refused",
    ]
    assert trainer._decoder is None


@pytest.mark.slow
def test_unreadable_videos_and_overlong_replies_do_not_stop_a_run(tmp_path):
    class Broken:
        id, query, kind = "broken", "the cat", ""

        def load(self, frames):
            raise OSError("no such file")

    model, _ = tiny(tmp_path / "model")
    config = settings(model, steps=1, max_turn_tokens=3)
    train_grpo([Broken(), *world_rows(1)], tmp_path / "run", config)
    (row,) = RunFolder(tmp_path / "run", 1).curves()
    assert row["unreadable"] == 0.5
    assert row["overlong"] > 0


def test_equal_images_are_seen_once_and_nothing_changes(tmp_path):
    import torch
    from transformers import AutoModelForImageTextToText

    from fiftyone_revseg.training.distinct_images import see_once

    model, _ = tiny(tmp_path / "model")
    model = AutoModelForImageTextToText.from_pretrained(model)
    patches = torch.randn(2, 16, 1536)
    pixels = torch.cat([patches[0], patches[1], patches[0]])
    grids = torch.tensor([[1, 4, 4]] * 3)
    outputs = []
    for _ in range(2):
        found = model.model.get_image_features(pixels, grids, return_dict=True)
        features = torch.cat(found.pooler_output)
        deep = torch.cat(found.deepstack_features[0])
        model.zero_grad()
        (features.pow(2).sum() + deep.sum()).backward()
        gradient = model.model.visual.patch_embed.proj.weight.grad.clone()
        outputs.append((features.detach(), deep.detach(), gradient))
        see_once(model)
    for a, b in zip(*outputs, strict=True):
        assert torch.allclose(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["qwen3_5", "glm4v"])
def test_pictures_are_never_drawn(tmp_path, family):
    from fiftyone_revseg.training.grpo import trl_arguments

    config, processor = FAMILIES[family]()
    arguments = trl_arguments(tmp_path, settings("any"), processor, 100, ChainSpec())
    suppressed = arguments.generation_kwargs["suppress_tokens"]
    assert {config.image_token_id, config.video_token_id} < set(suppressed)
    assert all(isinstance(token, int) for token in suppressed)


def test_too_few_tokens_for_the_key_frame_are_refused_before_the_start(tmp_path):
    model, _ = tiny(tmp_path / "model")
    with pytest.raises(ValueError, match="key frame with 4"):
        build_trainer(world_rows(2), tmp_path / "run", settings(model, max_completion_length=20))
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_is_refused(tmp_path):
    model, spec = tiny(tmp_path / "model")
    with pytest.raises(ValueError, match="reads at most 8192"):
        build_trainer(world_rows(2), tmp_path / "run", settings(model, max_turn_tokens=4100))
    with pytest.raises(ValueError, match="fewer than the 2"):
        build_trainer(world_rows(1), tmp_path / "run", settings(model))
    spec.replace(frame_encoding="video").save(model)
    with pytest.raises(ValueError, match="frame_encoding"):
        build_trainer(world_rows(2), tmp_path / "run", settings(model))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"steps": 0}, "steps"),
        ({"rollouts": 1}, "rollouts"),
        ({"batch": 7}, "batches of 7"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"beta": -1}, "beta"),
        ({"temporal": "hard"}, "soft"),
        ({"vllm": "yes"}, "colocate"),
        ({"max_turn_tokens": 0}, "max_turn_tokens"),
        ({"keep": True}, "keep"),
    ],
)
def test_settings_are_checked(changes, match):
    with pytest.raises(ValueError, match=match):
        GrpoConfig(**changes)


def test_the_settings_are_those_of_the_paper(tmp_path):
    from fiftyone_revseg.training.budgets import completion_length
    from fiftyone_revseg.training.chat_template import training_processor
    from fiftyone_revseg.training.grpo import trl_arguments

    model, spec = tiny(tmp_path / "model")
    processor = training_processor(model)
    config = GrpoConfig(model=model, prompts=16, rollouts=8, batch=32)
    length = completion_length(processor, spec)
    assert 2 * 100 + 4 < length < 2 * 100 + 4 + 500
    arguments = trl_arguments(tmp_path, config, processor, length, spec)
    assert arguments.loss_type == "grpo"
    assert arguments.beta == 1e-3
    assert arguments.num_generations == 8
    assert arguments.scale_rewards == "group"
    assert arguments.num_iterations == 1
    assert arguments.steps_per_generation == arguments.gradient_accumulation_steps == 4
    assert arguments.max_tool_calling_iterations == 1
    assert arguments.generation_kwargs["max_new_tokens"] == 100
    assert np.isclose(arguments.learning_rate, config.learning_rate)
