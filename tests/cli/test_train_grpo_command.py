"""``revseg train grpo``: what it trains on, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from random_weights import save_random_checkpoint

from fiftyone_revseg.cli import main
from fiftyone_revseg.reasoning import ChainSpec
from fiftyone_revseg.synthetic import make_dataset as make_world_dataset
from fiftyone_revseg.training import grpo


def run(*arguments, exit_code=0):
    result = CliRunner().invoke(main, ["train", "grpo", *map(str, arguments)])
    assert result.exit_code == exit_code, result.output
    return result.output


@pytest.fixture
def called(monkeypatch, tmp_path):
    """What the command would have trained, without training."""
    calls = []

    def train_grpo(rows, out, config, resume):
        calls.append((rows, config, resume))
        return tmp_path / "checkpoint"

    monkeypatch.setattr(grpo, "train_grpo", train_grpo)
    return calls


def test_made_up_worlds_are_the_default(called, tmp_path):
    said = run("-o", tmp_path / "run", "--worlds", 20, "--seed", 3, "--temporal", "binary")
    ((rows, config, resume),) = called
    assert (len(rows), rows[0].split, resume) == (20, "train", False)
    assert config == grpo.GrpoConfig(seed=3, temporal="binary")
    assert "checkpoint" in said
    run("-o", tmp_path / "run", "--worlds", 20, "--verdict-share", 0.3, "--spatial", "mask-tiers")
    assert called[1][1] == grpo.GrpoConfig(verdict_share=0.3, spatial="mask-tiers")
    assert {row.seed for row in called[0][0]}.isdisjoint(row.seed for row in called[1][0])


def test_a_dataset_and_a_saved_view_of_it(called, tmp_path):
    dataset = make_world_dataset(tmp_path, count=3, name="revseg-train-grpo")
    try:
        dataset.save_view("two", dataset.limit(2))
        said = run("-o", tmp_path / "run", "--dataset", dataset.name, "--lora-rank", 4)
        assert "3 queries to learn from; 0 are left out" in said
        run("-o", tmp_path / "run", "--dataset", dataset.name, "--view", "two")
        assert [len(rows) for rows, _, _ in called] == [3, 2]
        assert called[0][1].lora_rank == 4
        said = run(
            *("-o", tmp_path / "run", "--dataset", dataset.name, "--query-field", "ask"),
            exit_code=1,
        )
        assert "ask" in said
    finally:
        dataset.delete()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--batch", 7), "batches of 7"),
        (("--learning-rate", -1), "learning_rate"),
        (("--dataset", "no-such-dataset"), "no-such-dataset"),
        (("--resume",), "no run"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(called, tmp_path, arguments, words):
    said = run("-o", tmp_path / "run", "--worlds", 8, *arguments, exit_code=1)
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert not called


def test_too_few_rows_are_refused_and_nothing_is_left(tmp_path):
    spec = ChainSpec(frames=2, frame_size=32, key_frame_size=64, box_convention="relative-1000")
    model = save_random_checkpoint(tmp_path / "model", "tiny-qwen3-vl", spec=spec)
    said = run("-o", tmp_path / "run", "--worlds", 4, "--model", model, exit_code=1)
    assert "fewer than the 8" in said
    assert not (tmp_path / "run").exists()


def test_a_dry_run_trains_nothing(called, tmp_path):
    recipe = Path(__file__).parents[2] / "recipes" / "grpo_7b_8gpus" / "accelerate.yaml"
    out = tmp_path / "run"
    said = run("-o", out, "--worlds", 20, "--dry-run", "--accelerate", recipe, "--gpu-memory", 1)
    assert "rows: 20, each seen 80.0 times" in said
    assert "8 processes, ZeRO stage 3" in said
    assert "does NOT fit in 1 GB" in said
    assert not called
    assert not out.exists()
    said = run("-o", out, "--worlds", 4, "--dry-run", exit_code=1)
    assert "fewer than the 8" in said


def test_what_the_data_filter_dropped_is_left_out_aloud(called, tmp_path):
    dataset = make_world_dataset(tmp_path, count=3, name="revseg-train-filtered")
    try:
        dataset.set_values("data_filter_keep", [True, False, None])
        said = run("-o", tmp_path / "run", "--dataset", dataset.name)
        assert "2 queries to learn from; 1 are left out" in said
        assert "1 x the data filter dropped it" in said
    finally:
        dataset.delete()


def test_the_new_checkpoint_gets_a_name(monkeypatch, tmp_path):
    import shutil

    from fiftyone_revseg.models.builtin import CHECKPOINTS
    from fiftyone_revseg.models.presets import resolve

    monkeypatch.setenv("REVSEG_HOME", str(tmp_path / "home"))
    out = tmp_path / "run"

    def train_grpo(rows, out, config, resume):
        return shutil.copytree(CHECKPOINTS / "revseg-nano", out / "checkpoint")

    monkeypatch.setattr(grpo, "train_grpo", train_grpo)
    said = run("-o", out, "--worlds", 8, "--name", "revseg-nano", exit_code=1)
    assert "a model of this package" in said
    assert not out.exists()
    assert "known as mine now" in run("-o", out, "--worlds", 8, "--name", "mine")
    assert resolve("mine").reasoner == str(out / "checkpoint")
    assert resolve("mine").tracker == "sam2-nano"


def test_an_imported_benchmark(called, tmp_path):
    from miniatures import write_miniature

    from fiftyone_revseg.evaluation.benchmarks import import_benchmark

    miniature = write_miniature("mevis", tmp_path / "MeViS", "valid_u")
    dataset = import_benchmark("mevis", miniature.root, "valid_u", "revseg-train-mevis")
    try:
        said = run("-o", tmp_path / "run", "--dataset", dataset.name)
        ((rows, _, _),) = called
        assert f"{len(rows)} queries to learn from" in said
        texts = {text for texts in dataset.values("queries") for text in texts}
        assert rows
        assert {row.query for row in rows} <= texts
        assert len(rows[0].load(2).frames) == 2
    finally:
        dataset.delete()
