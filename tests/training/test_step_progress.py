"""Telling of a run's steps, and stopping between them: with the real trainer, on a tiny model."""

import pytest
from random_weights import save_random_checkpoint

from fiftyone_revseg.reasoning import ChainSpec
from fiftyone_revseg.training import GrpoConfig, train_grpo
from fiftyone_revseg.training.data import world_rows
from fiftyone_revseg.training.run_folder import RunFolder
from fiftyone_revseg.training.step_progress import StepProgress


@pytest.mark.slow
def test_a_stopped_run_is_saved_and_goes_on(tmp_path):
    spec = ChainSpec(frames=2, frame_size=32, key_frame_size=64, box_convention="relative-1000")
    model = str(save_random_checkpoint(tmp_path / "model", "tiny-qwen3-vl", spec=spec))
    few = {"prompts": 1, "rollouts": 2, "batch": 2, "max_turn_tokens": 4, "warmup": 0}
    config = GrpoConfig(model=model, steps=3, save_every=3, **few)
    told = []

    def stop_after_one(progress):
        told.append((progress.done, progress.total))
        if progress.done == 1:
            raise KeyboardInterrupt

    first = StepProgress(stop_after_one)
    train_grpo(world_rows(3), tmp_path / "run", config, callbacks=[first])
    assert first.stopped
    assert told[-1] == (1, 3)
    assert (tmp_path / "run" / "checkpoint-1" / "trainer_state.json").is_file()

    told.clear()
    second = StepProgress(lambda progress: told.append((progress.done, progress.total)))
    train_grpo(world_rows(3), tmp_path / "run", config, callbacks=[second])
    assert not second.stopped
    assert told[0] == (0, 2)  # counted from where it went on, so that the estimate is right
    assert told[-1] == (2, 2)
    curves = RunFolder(tmp_path / "run", 3).curves()
    assert [row["step"] for row in curves] == [1, 2, 3]
    assert "| steps | 3 |" in (tmp_path / "run" / "checkpoint" / "README.md").read_text()
