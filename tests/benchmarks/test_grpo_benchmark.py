"""The experiment driver: it goes on where it stopped, and measures only what is new."""

import json
from pathlib import Path

import grpo
import grpo_pairs
import grpo_plots
import grpo_ship
import grpo_statistics
import grpo_tables
import grpo_weights
import numpy as np
import pytest
from random_weights import save_random_checkpoint

from fiftyone_revseg.models.builtin import PRESETS
from fiftyone_revseg.reasoning import ChainSpec

RUNS = [("soft", 0), ("direct", 0)]
FEW = {"prompts": 2, "rollouts": 2, "batch": 2, "save_every": 1, "bf16": False}


def test_seeds_come_last():
    assert grpo.matrix(["soft", "none"], [0, 1]) == [
        ("soft", 0),
        ("none", 0),
        ("soft", 1),
        ("none", 1),
    ]
    assert grpo.settings("direct", 2).temporal == "none"
    assert grpo.settings("soft", 2, steps=7).steps == 7


def test_held_out_pairs_have_all_kinds_in_equal_parts_and_a_world_each():
    rows = grpo_pairs.held_out(14)
    assert [row.kind for row in rows[:7]] == list(grpo_pairs.KINDS)
    assert len({row.seed for row in rows}) == 14
    assert min(row.seed for row in rows) >= 5000
    assert {row.split for row in rows} == {"test"}
    assert grpo_pairs.held_out(7) == rows[:7]


def test_intervals_cover_what_they_should():
    rng = np.random.default_rng(1)
    before = rng.random(200)
    after = before + rng.normal(0.1, 0.05, (3, 200))
    gain = grpo_statistics.difference(before, after)
    assert gain.low < gain.mean < gain.high
    assert gain.low > 0.08
    assert gain.high < 0.12
    nothing = grpo_statistics.difference(before, before[None])
    assert (nothing.mean, nothing.low, nothing.high) == (0, 0, 0)
    assert grpo_statistics.estimate(np.full((1, 5), np.nan)) is None
    assert grpo_statistics.Estimate(0.1, -0.02, 0.2).percent(True) == "+10.0 [-2.0, +20.0]"
    assert grpo_statistics.column([{"box": None}, {"box": 1}, {}], "box")[1] == 1


def test_a_step_logged_twice_counts_once(tmp_path):
    path = tmp_path / "curves.csv"
    path.write_text("step,kl\n1,0.5\n2,0.1\n2.0,0.3\n3,\n")
    curves = grpo_plots.read_curves(path)
    np.testing.assert_array_equal(curves["kl"], [0.5, 0.3, np.nan])
    np.testing.assert_allclose(grpo_plots.smoothed(curves["kl"], 3), [0.4, 0.4, 0.3])


def test_results_go_between_the_marks_of_a_page():
    page = f"a\n{grpo_tables.BEGIN}\nold\n{grpo_tables.END}\nb\n"
    filled = grpo_tables.fill_page(page, "new")
    assert filled == page.replace("old", "new")
    with pytest.raises(ValueError, match="no place"):
        grpo_tables.fill_page("a page", "new")


def test_a_section_replaces_an_older_one():
    card = "# m\n\nText\n\n## Limits\n\nMany\n"
    once = grpo_ship.with_section(card, grpo_ship.HEADING + "\n\nold")
    assert once == "# m\n\nText\n\n## Reinforcement learning\n\nold\n\n## Limits\n\nMany\n"
    twice = grpo_ship.with_section(once, grpo_ship.HEADING + "\n\nnew")
    assert twice == once.replace("old", "new")
    assert grpo_ship.with_section("# m\n", "## Reinforcement learning").startswith("# m\n\n## R")


def test_weights_are_rounded_as_the_embedded_ones(tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    base = Path(PRESETS["revseg-nano"].reasoner)
    weights = load_file(base / "model.safetensors")
    learned = {n: t.float() + 1e-4 for n, t in weights.items() if n != "lm_head.weight"}
    (tmp_path / "learned").mkdir()
    save_file(learned, tmp_path / "learned" / "model.safetensors")
    made = grpo_weights.mean_weights([tmp_path / "learned"], base, tmp_path / "shipped")
    ours = load_file(made / "model.safetensors")
    assert ours.keys() == weights.keys()
    assert {t.dtype for t in ours.values()} == {torch.bfloat16}
    name = "model.language_model.embed_tokens.weight"
    assert torch.equal(ours[name], learned[name].to(torch.bfloat16))
    assert torch.equal(ours["lm_head.weight"], ours[name])
    assert (made / "revseg.json").is_file()

    made = grpo_weights.mean_weights([tmp_path / "learned", base], base, tmp_path / "mean")
    mean = load_file(made / "model.safetensors")[name]
    assert torch.equal(mean, ((learned[name] + weights[name].float()) / 2).to(torch.bfloat16))


def test_a_gain_that_is_not_clear_is_not_shipped(tmp_path, monkeypatch):
    class Same:
        def __init__(self, *_):
            pass

        def think(self, rows):
            pass

        def of(self, rows):
            return [{"jf": 0.5, "box": None, "temporal": 1.0, "format": 1.0} for _ in rows]

    monkeypatch.setattr(grpo_ship, "Answers", Same)
    monkeypatch.setattr(grpo_ship, "track_answers", lambda *_: 0.0)
    base = Path(PRESETS["revseg-nano"].reasoner)
    run = tmp_path / "soft-0"
    (run / "checkpoint-1").mkdir(parents=True)
    (run / "checkpoint-1" / "trainer_state.json").write_text("{}")
    for name in ("model.safetensors", "revseg.json"):
        (run / "checkpoint-1" / name).write_bytes((base / name).read_bytes())
    grpo.keep_base(tmp_path, "revseg-nano")
    before = (base / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(ValueError, match="no clear gain"):
        grpo_ship.ship(tmp_path, [run], 2)
    assert (base / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="no checkpoint"):
        grpo_ship.ship(tmp_path, [tmp_path / "none-0"], 2)


def test_the_second_half_of_a_run(tmp_path):
    assert grpo_weights.second_half(tmp_path) == {}
    for step in (2, 4, 6, 8, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-12").mkdir()  # was not written to its end
    assert [*grpo_weights.second_half(tmp_path)] == [6, 8, 10]
    assert [*grpo_weights.second_half(tmp_path, 4)] == [4]
    assert grpo_weights.second_half(tmp_path, 5) == {}


@pytest.mark.slow
def test_runs_go_on_and_are_measured(tmp_path, capsys):
    spec = ChainSpec(
        frames=2,
        frame_size=32,
        key_frame_size=64,
        box_convention="relative-1000",
        prompts={"system": "", "turn1": "{frames}Find {query}", "turn2": "{image}Box"},
        max_new_tokens=6,
        retries=0,
    )
    model = str(save_random_checkpoint(tmp_path / "tiny", "tiny-qwen3-vl", spec=spec))
    out = tmp_path / "runs"
    grpo.train(out, RUNS, 4, model=model, steps=1, **FEW)
    assert [[*grpo_weights.checkpoints_of(out / f"{v}-{s}")] for v, s in RUNS] == [[1], [1]]
    grpo.train(out, RUNS[:1], 4, model=model, steps=2, **FEW)
    assert "soft-0: from step 1 to 2" in capsys.readouterr().out
    assert [*grpo_weights.checkpoints_of(out / "soft-0")] == [1, 2]
    turns = grpo_plots.read_curves(out / "direct-0" / "curves.csv")["turns"]
    assert turns.tolist() == [1.0]

    results = grpo.evaluate(out, RUNS, 7, cheap=True)
    asked = sorted((out / "evaluations").glob("*.json"))
    first = [path.stat().st_mtime_ns for path in asked]
    assert json.loads(json.dumps(results)) == grpo.evaluate(out, RUNS, 7, cheap=True)
    assert [path.stat().st_mtime_ns for path in asked] == first
    table = grpo_tables.to_markdown(results)
    assert "not measured yet" in table
    assert "direct, no chain" in table
    assert "Order by box" in grpo_tables.order_found(results)
    assert [p.name for p in grpo.draw(out, RUNS, tmp_path)] == ["grpo-chain.png", "grpo-direct.png"]

    with pytest.raises(ValueError, match="not the model any more"):
        grpo.train(out, RUNS, 4, model="revseg-nano", steps=1, **FEW)
