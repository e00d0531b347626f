"""Turn 3 under GRPO: made-up tracks, the tokens of inference, and what a verdict earns."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fake_models import BoxTracker
from random_weights import save_random_checkpoint

from fiftyone_revseg.masks.overlap import video_iou
from fiftyone_revseg.reasoning import ChainRequest, ChainSpec, LocalReasoner
from fiftyone_revseg.reasoning.judging import Judging
from fiftyone_revseg.training import GrpoConfig, train_grpo
from fiftyone_revseg.training.box_masks import BoxMasks
from fiftyone_revseg.training.chat_template import next_turn, training_processor
from fiftyone_revseg.training.data import world_rows
from fiftyone_revseg.training.dry_run import dry_run
from fiftyone_revseg.training.environment import ChainEnvironment, Task
from fiftyone_revseg.training.grpo import build_trainer
from fiftyone_revseg.training.rollout_log import RolloutLog
from fiftyone_revseg.training.run_folder import RunFolder
from fiftyone_revseg.training.verdict_rows import VerdictRow, judged_rows
from fiftyone_revseg.training.verdict_task import VerdictTask, score_verdict

PROMPTS = {
    "system": "Be brief.",
    "turn1": "{frames}Find {query}",
    "frame": "{index}:",
    "turn2": "{image}Detect {description}",
    "turn3": "{frames}Judge {query}",
    "object": "{number} {description} {motion}",
    "thought3": "<think>{objects}</think>",
    "ask3": "{votes} of {candidates}",
}
SPEC = ChainSpec(
    frames=3,
    frame_size=32,
    key_frame_size=64,
    box_convention="relative-1000",
    prompts=PROMPTS,
    max_new_tokens=40,
)
STOCK = SPEC.replace(prompts={})


class Without:
    """A row that has no tracks."""

    id, kind, query = "one", "", "the cat"


@pytest.fixture(scope="module")
def rows():
    return [VerdictRow(row) for row in world_rows(12, "val", seed=70)]


@pytest.fixture(scope="module")
def task(rows):
    return VerdictTask(rows, SPEC)


@pytest.fixture(scope="module")
def scenes(task):
    return [task.load(i)[0] for i in range(len(task.rows))]


def request_of(row, scene):
    return ChainRequest(row.query, scene.frame_table, scene.frames, scene.read, scene.source_size)


def play(task, i, reply, ended=True):
    """Plays one rollout as the trainer does."""
    environment = ChainEnvironment(task)
    environment.reset(row=i)
    assert task.hear(environment.rollout, reply, ended) is False
    return environment.rollout, task.score(environment.rollout)


def says(*numbers):
    return json.dumps({"objects": numbers, "wrong_frames": []})


def test_a_share_of_the_rows_is_about_turn_3():
    rows = world_rows(10)
    for share, count in ((0, 0), (0.3, 3), (0.5, 5), (1, 10)):
        made = judged_rows(rows, share)
        assert [isinstance(row, VerdictRow) for row in made].count(True) == count
        assert [(row.id, row.query, row.kind) for row in made] == [
            (row.id, row.query, row.kind) for row in rows
        ]
    with pytest.raises(ValueError, match="made-up worlds only"):
        judged_rows([Without()], 1.0)
    assert len(judged_rows([Without()], 0.3)) == 1


def test_tracks_are_of_the_target_or_not(rows, scenes):
    found = [bool(scene.right) for scene in scenes]
    assert 0 < found.count(True) < len(found)
    assert any(len(scene.objects) > len(scene.right) > 0 for scene in scenes)
    for row, scene in zip(rows, scenes, strict=True):
        assert len(scene.truth) == len(row.row.targets)
        assert all(1 <= one.votes <= scene.candidates for one in scene.objects)
        for number, one in enumerate(scene.objects, 1):
            overlap = max([video_iou([one.track], [true]) for true in scene.truth], default=0)
            assert (overlap > 0.5) == (number in scene.right)
    again = rows[0].load(SPEC.frames)
    assert again.right == scenes[0].right
    assert again.objects == scenes[0].objects


@pytest.mark.parametrize("spec", [SPEC, STOCK], ids=["own words", "stock"])
def test_what_is_shown_is_what_inference_shows(rows, scenes, spec):
    """The same words and the same pixels, message by message."""
    environment = ChainEnvironment(VerdictTask(rows, spec))
    for i in (0, 1) if spec is SPEC else (0,):
        blocks = environment.reset(row=i)
        scene = scenes[i]
        judging = Judging(request_of(rows[i], scene), spec, scene.objects, scene.candidates)
        (dialogue,) = judging.start()
        first, *others = [m for m in dialogue.conversation.messages if m.role != "system"]
        assert len(others) == (0 if spec is STOCK else 2)
        parts = list(first.content)
        for message in others:
            parts += [{"type": "next_turn", "role": message.role, "text": ""}, *message.content]
        pictures = 0
        for block, part in zip(blocks, parts, strict=True):
            if block["type"] == "image":
                assert (np.array(block["image"]) == part.pixels).all()
                pictures += 1
            else:
                assert part in (block, block["text"])
        assert pictures == len(scene.shown)


def test_a_verdict_is_rewarded(task, scenes):
    for i, scene in enumerate(scenes):
        rollout, earned = play(task, i, says(*sorted(scene.right)))
        assert (rollout.ending, rollout.error) == ("judged", "")
        assert earned.parts == {"format": 1, "truth": 1}
        assert earned.total == 2
        wrong = set(range(1, len(scene.objects) + 1)) - scene.right
        if wrong:
            assert play(task, i, says(*wrong))[1].truth == 0
            assert play(task, i, says(*wrong, *scene.right))[1].truth <= 0.5
        if scene.right:
            assert play(task, i, says())[1].truth == 0


@pytest.mark.parametrize(
    ("reply", "ended", "ending", "form"),
    [
        (says(9), True, "malformed", 0),
        ("the first one", True, "malformed", 0),
        (" ", True, "empty", 0),
        (says(), False, "overlong", 1),
    ],
)
def test_what_is_no_verdict_has_no_truth(task, reply, ended, ending, form):
    rollout, earned = play(task, 0, reply, ended)
    assert (rollout.ending, rollout.verdict) == (ending, None)
    assert rollout.error
    assert earned.parts == {"format": form, "truth": 0}
    # Stock words ask for a thought
    assert score_verdict(rollout, STOCK).format == pytest.approx(form / 3)


def test_a_row_that_cannot_be_read_teaches_nothing(monkeypatch, rows, tmp_path):
    def broken(self, frames):
        raise OSError("no such world")

    monkeypatch.setattr(VerdictRow, "load", broken)
    rollout, earned = play(VerdictTask(rows, SPEC), 0, says(1))
    assert (rollout.ending, earned) == ("unreadable", None)
    assert "no such world" in rollout.problem


def test_rollouts_of_both_kinds_are_counted(task, rows, tmp_path):
    rollout, earned = play(task, 0, says(1))
    task = VerdictTask([rows[0].row], SPEC)
    environment = ChainEnvironment(task)
    environment.reset(row=0)
    assert task.hear(environment.rollout, '[{"frame_idx": 0, "object description": "it"}]', True)
    environment.rollout.replies.append("no box")
    others = environment.rollout, task.score(environment.rollout)
    log = RolloutLog(tmp_path, every=1)
    values = log.add(1, [rollout, others[0]], [earned, others[1]], group=1)
    assert (values["judged"], values["turns"]) == (0.5, 2)
    assert values["total"] == (earned.total + others[1].total) / 2
    text = (tmp_path / "step_000001.txt").read_text()
    assert "Tracks: 1 " in text
    assert f"Turn 3: {says(1)}" in text
    assert f"truth {earned.truth:.2f}, total {earned.total:.2f}" in text
    assert "spatial 0.00" in text
    assert "turns" not in log.add(2, [rollout], [earned], group=1)
    # The one that is shown beside the first group is of the other kind
    log.add(3, [others[0]] * 3 + [rollout], [others[1]] * 3 + [earned], group=1)
    text = (tmp_path / "step_000003.txt").read_text()
    assert (text.count("Turn 1: "), text.count("Turn 3: ")) == (1, 1)


def test_a_box_is_rewarded_by_how_well_its_mask_fits():
    (row,) = world_rows(1, "val", seed=3, kinds=["attribute"])
    scene = row.load(SPEC.frames)
    assert scene.masks.shape[:2] == scene.boxes.shape[:2]
    k = int(scene.areas[0].argmax())
    x1, y1, x2, y2 = scene.boxes_at(k)[0]
    width, height = scene.source_size
    # The tracker takes the box itself for the mask
    filled = scene.masks[0, k].sum() / ((x2 - x1) * (y2 - y1))

    def earned(box):
        task = Task([row], SPEC, masks=BoxMasks(BoxTracker()))
        environment = ChainEnvironment(task)
        environment.reset(row=0)
        rollout = environment.rollout
        choice = json.dumps([{"frame_idx": k, "object description": "it"}])
        assert task.hear(rollout, f"<think>hm</think><answer>{choice}</answer>", True)
        rollout.replies.append("a box")
        rollout.box_xyxy_px = box
        return task.score(rollout).spatial

    assert earned((x1, y1, x2, y2)) == sum(filled > tier for tier in (0.5, 0.7, 0.9)) / 3 > 0
    assert earned((0, 0, width, height)) == 0
    assert earned(None) == 0
    with pytest.raises(ValueError, match="true masks"):
        BoxMasks(BoxTracker()).best_iou(replace(scene, masks=None), k, (0, 0, 1, 1))


def settings(model, **changes):
    few = {"prompts": 2, "rollouts": 2, "batch": 2, "steps": 1, "max_turn_tokens": 12}
    return GrpoConfig(**{"model": model, "warmup": 0, "verdict_share": 0.5, **few, **changes})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return str(save_random_checkpoint(folder, "tiny-qwen3-vl", spec=SPEC))


def test_tokens_and_log_probabilities_are_those_of_inference(tmp_path, model):
    """A group about turn 3 beside one about both turns, with and without what a group shares."""
    import torch

    trainer = build_trainer(world_rows(2, seed=4), tmp_path / "run", settings(model))
    assert trainer._shares_prefix
    tokenizer = trainer.processing_class.tokenizer
    end = [tokenizer.eos_token_id]

    def generate(prompt_ids, images, fields, num_generations, has_tool_images=False):
        texts = ["[]", "nothing", says(1), says()]
        return [tokenizer(text).input_ids + end for text in texts], None

    trainer._generate_single_turn = generate
    batch = [
        {"prompt": trainer.train_dataset[i]["prompt"], "row": i} for i in range(2) for _ in range(2)
    ]
    trainer.model.train()
    out = trainer._generate_and_score_completions(batch)
    endings = [environment.rollout.ending for environment in trainer.environments]
    assert endings == ["refused", "malformed", "judged", "judged"]
    truths = [environment.rewards.truth for environment in trainer.environments]
    assert truths[:2] == [None, None]
    assert sorted(truths[2:]) != [1, 1]
    reasoner = LocalReasoner.load(model, device="cpu", dtype="float32")
    rollout = trainer.environments[2].rollout
    judging = Judging(
        request_of(rollout.row, rollout.scene),
        SPEC,
        rollout.scene.objects,
        rollout.scene.candidates,
    )
    prompt = reasoner.encode([judging.start()[0].conversation])["input_ids"][0].tolist()
    trained = out["prompt_ids"][2][out["prompt_mask"][2].bool()].tolist()
    assert trained == prompt
    ids = torch.cat([out["prompt_ids"], out["completion_ids"]], dim=1)
    mask = torch.cat([out["prompt_mask"], out["completion_mask"]], dim=1)
    names = ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")
    images = {name: out[name] for name in names}
    found = []
    for shares in (True, False):
        trainer._shares_prefix = shares
        with torch.no_grad():
            log, _, _ = trainer._get_per_token_logps_and_entropies(
                trainer.model, ids, mask, out["completion_ids"].shape[1], **images
            )
        found.append(log[out["completion_mask"].bool()])
    assert len(found[0]) == sum(e.rollout.tokens for e in trainer.environments)
    assert (found[0] - found[1]).abs().max() < 1e-5


@pytest.mark.parametrize("architecture", ["tiny-qwen2.5-vl", "tiny-qwen3.5"])
def test_messages_within_one_message_render_as_messages(tmp_path, architecture):
    """What the checkpoint's own template makes of them, a given thought included."""
    from transformers import AutoProcessor

    folder = save_random_checkpoint(tmp_path, architecture, spec=SPEC)
    texts = ["Find it", "<think>1 moves</think>", "3 of 5"]
    said = [[{"type": "text", "text": text}] for text in texts]
    said[0].insert(0, {"type": "image"})
    roles = ["user", "assistant", "user"]
    messages = [{"role": role, "content": part} for role, part in zip(roles, said, strict=True)]
    blocks = [*said[0], next_turn("assistant"), *said[1], next_turn("user"), *said[2]]
    system = {"role": "system", "content": "Be brief."}
    rendered = [
        processor.apply_chat_template(given, add_generation_prompt=True, tokenize=False)
        for processor, given in (
            (AutoProcessor.from_pretrained(folder), [system, *messages]),
            (training_processor(folder), [system, {"role": "user", "content": blocks}]),
        )
    ]
    assert rendered[0] == rendered[1]
    assert rendered[0].count("user") == 2


@pytest.mark.slow
def test_a_run_on_both_leaves_both_curves(tmp_path, model):
    config = settings(model, steps=2, prompts=4, batch=8, spatial="mask-tiers")
    path = train_grpo(world_rows(8), tmp_path / "run", config)
    assert LocalReasoner.load(path, device="cpu").spec == SPEC
    curves = RunFolder(tmp_path / "run", 2).curves()
    assert [row["step"] for row in curves] == [1, 2]
    assert {"format", "total", "truth", "spatial", "turns"} <= set().union(*curves)
    assert "verdict_share" in (path / "README.md").read_text()


def test_what_does_not_fit_is_refused(tmp_path, model):
    rows = world_rows(2)
    long = {**PROMPTS, "turn3": "{frames}Judge {query}" + 8000 * " it"}
    wordy = str(save_random_checkpoint(tmp_path, "tiny-qwen3-vl", spec=SPEC.replace(prompts=long)))
    for begin in (dry_run, lambda *given: build_trainer(given[0], tmp_path / "run", given[1])):
        with pytest.raises(ValueError, match="turn 3, with 3 frames of 1 tokens, needs"):
            begin(rows, settings(wordy))
    own = {name: text for name, text in PROMPTS.items() if "3" not in name}
    other = str(save_random_checkpoint(tmp_path, "tiny-qwen3-vl", spec=SPEC.replace(prompts=own)))
    for begin in (dry_run, lambda *given: build_trainer(given[0], tmp_path / "run", given[1])):
        with pytest.raises(ValueError, match="put 'turn3' into the prompts"):
            begin(rows, settings(other))
        with pytest.raises(ValueError, match="made-up worlds only"):
            begin([Without()] * 2, settings(model))
        with pytest.raises(ValueError, match="true masks"):
            begin([Without()] * 2, settings(model, verdict_share=0.0, spatial="mask-tiers"))
    assert not (tmp_path / "run").exists()
    for change, words in (
        ({"spatial": "point"}, "mask-tiers"),
        ({"verdict_share": 1.5}, r"\[0, 1"),
    ):
        with pytest.raises(ValueError, match=words):
            settings(model, **change)


def test_a_dry_run_knows_of_turn_3(model):
    rows = world_rows(4)
    both, chain = (dry_run(rows, settings(model, verdict_share=share)) for share in (0.5, 0.0))
    assert both.prompt_tokens > chain.prompt_tokens
    assert both.rows == chain.rows == 4
