"""What the trainings of the embedded VLM have in common: their steps, and what they resume from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from fiftyone_revseg.training.run_folder import RunFolder, check_same_run

_KEEP = 180  # seconds between two states that are saved


class TrainingLoop:
    """A training of a model and of heads that are thrown away afterwards.

    Args:
        out: the run's folder
        config: the settings, a dataclass with ``steps``
        model: the model
        heads: the heads
        optimizers: of both
        save: writes the checkpoint

    Attributes:
        step: how many steps were taken
    """

    def __init__(
        self,
        out: str | Path,
        config: Any,
        model: Any,
        heads: Any,
        optimizers: Sequence[torch.optim.Optimizer],
        save: Callable[[], None],
    ):
        self._run = RunFolder(out, config.steps)
        self._config, self._save = config, save
        self._model, self._heads, self._optimizers = model, heads, optimizers
        self.step = 0

    def resume(self, may_change: tuple[str, ...]) -> None:
        """Goes on from a saved state, if there is one.

        Args:
            may_change: the settings that may differ from those of the saved run
        """
        state = self._run.load()
        if state is None:
            return
        check_same_run(self._run.directory, state["config"], asdict(self._config), may_change)
        self._model.load_state_dict(state["model"])
        self._heads.load_state_dict(state["heads"])
        for optimizer, saved_state in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved_state)
        self.step = state["step"]

    def train(
        self,
        batches: Iterator[dict[str, torch.Tensor]],
        learning_rate: Callable[[int], float],
        losses: Callable[[dict[str, torch.Tensor]], tuple[torch.Tensor, dict[str, Any]]],
    ) -> None:
        """Takes a step for each batch.

        Args:
            batches: the batches from ``step`` on
            learning_rate: of a step
            losses: of a batch, whose tensors are on the model's device: what is made less, and
                what is logged by name
        """
        device = next(self._model.parameters()).device
        # Not before a state is loaded: that makes new ones
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        self._model.train()
        kept = time.monotonic()
        try:
            for batch in batches:
                for group in groups:
                    group["lr"] = group["gain"] * learning_rate(self.step)
                loss, parts = losses({name: value.to(device) for name, value in batch.items()})
                loss.backward()
                parameters = [p for g in groups for p in g["params"]]
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                for optimizer in self._optimizers:
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                self.step += 1
                self._run.log(self.step, {n: float(v.detach()) for n, v in parts.items()})
                if self.step < self._config.steps and time.monotonic() - kept > _KEEP:
                    self._keep()
                    kept = time.monotonic()
        finally:  # an interrupted run loses nothing either
            self._keep()

    def _keep(self) -> None:
        self._run.save(
            {
                "config": asdict(self._config),
                "step": self.step,
                "model": self._model.state_dict(),
                "heads": self._heads.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            }
        )
        self._save()
        self._run.plot()
