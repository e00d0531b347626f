"""A training run learns, resumes where it stopped, and leaves an ordinary checkpoint."""

import json

import pytest

from fiftyone_revseg.nano import SftConfig, train_sft
from fiftyone_revseg.nano.sft import NANO_SPEC, learning_rate
from fiftyone_revseg.reasoning import ChainSpec, LocalReasoner
from fiftyone_revseg.training.run_folder import RunFolder

TINY = SftConfig(
    image_steps=2, chain_steps=1, word_steps=1, image_batch=2, chain_batch=1, questions=2
)


def weights(checkpoint):
    from safetensors.torch import load_file

    return load_file(checkpoint / "model.safetensors")


@pytest.mark.slow
def test_an_interrupted_run_ends_like_one_that_was_not(tmp_path, monkeypatch):
    whole = weights(train_sft(tmp_path / "whole", TINY))

    log = RunFolder.log

    def interrupt(self, step, values, every=20):
        log(self, step, values, every)
        if step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "log", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_sft(tmp_path / "parts", TINY)
    monkeypatch.undo()
    parts = weights(train_sft(tmp_path / "parts", TINY))
    assert whole.keys() == parts.keys()
    assert all((whole[name] == parts[name]).all() for name in whole)

    with pytest.raises(ValueError, match="seed"):
        train_sft(tmp_path / "parts", SftConfig(**{**vars(TINY), "seed": 1}))

    checkpoint = tmp_path / "parts" / "checkpoint"
    assert ChainSpec.load(checkpoint) == NANO_SPEC
    assert LocalReasoner.load(checkpoint, device="cpu").spec == NANO_SPEC
    assert json.loads((checkpoint / "config.json").read_text())["model_type"] == "qwen3_vl"
    assert not list((tmp_path / "parts").glob("*.partial"))


@pytest.mark.slow
def test_several_workers_make_the_same_batches_in_the_same_order():
    from dataclasses import replace

    from fiftyone_revseg.nano import vlm as nano_vlm
    from fiftyone_revseg.nano.sft import _batches, corpus

    tokenizer = nano_vlm.build_tokenizer(corpus())
    config = replace(TINY, chain_steps=2)
    one = [*_batches(config, tokenizer, 1)]
    several = [*_batches(replace(config, workers=3), tokenizer, 1)]
    assert len(one) == len(several) == config.steps - 1
    for a, b in zip(one, several, strict=True):
        assert a.keys() == b.keys()
        assert all((a[name] == b[name]).all() for name in a)


def test_larger_batches_show_no_world_twice():
    own = SftConfig()
    assert own.worlds_a_step == 64  # as the embedded model was trained
    large = SftConfig(image_batch=4 * own.image_batch, chain_batch=4 * own.chain_batch)
    assert large.worlds_a_step >= max(2.5 * large.image_batch, 4 * large.chain_batch)


@pytest.mark.slow
def test_the_losses_can_be_learned(tmp_path):
    import torch

    from fiftyone_revseg.nano import vlm as nano_vlm
    from fiftyone_revseg.nano.losses import Losses, dense_heads
    from fiftyone_revseg.nano.sft import _batches, corpus, optimizers_of

    tokenizer = nano_vlm.build_tokenizer(corpus())
    model = nano_vlm.build_model(tokenizer, seed=0).train()
    heads = dense_heads(model)
    losses = Losses(tokenizer, model, heads)
    optimizers = optimizers_of(model, heads, TINY.learning_rate)
    batch = next(iter(_batches(TINY, tokenizer, 0)))
    seen = []
    for _ in range(25):
        parts = losses(batch)
        (parts["words"] + parts["dense"]).backward()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["gain"] * 1e-3
            optimizer.step()
            optimizer.zero_grad()
        seen.append({name: float(value.detach()) for name, value in parts.items()})
    for name in ("words", "presence", "color", "shape", "box", "reach"):
        assert seen[-1][name] < 0.7 * seen[0][name], name
    torch.testing.assert_close(losses.near.sum(1), torch.ones(101))


def test_learning_rate_warms_up_and_decays():
    config = SftConfig()
    rates = [learning_rate(config, step) for step in range(config.steps)]
    assert rates[0] < 0.02 * config.learning_rate
    assert max(rates) == config.learning_rate == rates[200]
    for stage in (rates[: config.seeing_steps], rates[config.seeing_steps :]):
        assert stage[-1] < 0.03 * config.learning_rate
        after = stage[len(stage) // 2 :]
        assert after == sorted(after, reverse=True)


def test_run_folder_keeps_one_curve_over_a_resume(tmp_path):
    run = RunFolder(tmp_path, steps=40)
    for step in range(1, 31):
        run.log(step, {"loss": float(step)}, every=10)
    again = RunFolder(tmp_path, steps=40)
    for step in range(21, 41):  # the steps after the last saved state are done again
        again.log(step, {"loss": 0.0, "extra": 1.0}, every=10)
    assert [row["step"] for row in again.curves()] == [10, 20, 30, 40]
    assert [row["loss"] for row in again.curves()] == [5.5, 15.5, 0.0, 0.0]
    assert run.load() is None
    run.save({"step": 30})
    assert run.load() == {"step": 30}
    assert not list(tmp_path.glob("*.partial"))
    run.plot()
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_a_damaged_state_is_not_gone_on_from_but_the_one_before(tmp_path, capsys):
    run = RunFolder(tmp_path, steps=40)
    for step in (10, 20):
        run.save({"step": step})
    state = tmp_path / "state.pt"
    state.write_bytes(state.read_bytes()[:-200])
    assert run.load() == {"step": 10}
    said = capsys.readouterr().err
    assert "state.pt' is damaged" in said
    assert "goes on from the state that was saved before it" in said
    assert run.load() == {"step": 10}  # the damaged one is out of the way
    run.save({"step": 15})
    assert run.load() == {"step": 15}
    assert (tmp_path / "damaged-state.pt").is_file()
    for path in tmp_path.glob("state*.pt"):
        path.write_bytes(b"")
    assert run.load() is None
    assert "starts from its beginning" in capsys.readouterr().err
