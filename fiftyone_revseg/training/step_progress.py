"""How far a training run is, for bars and for the App, and stopping it between two steps."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback

from fiftyone_revseg.progress import OnProgress, RunProgress


class StepProgress(TrainerCallback):
    """Tells after every step how far a run is.

    Where telling raises ``KeyboardInterrupt``, the run is saved after the step that it is at, and
    ends: it can be resumed.

    Args:
        report: called with a :class:`fiftyone_revseg.progress.RunProgress`, which counts
            the steps from where the run was begun or resumed

    Attributes:
        stopped: whether the run was stopped
    """

    def __init__(self, report: OnProgress) -> None:
        self.stopped = False
        self._report = report
        self._first = 0
        self._began = 0.0
        self._reward = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Starts the clock."""
        self._first, self._began = state.global_step, time.perf_counter()
        self._tell(state, control)

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Looks, within a long step too, whether somebody wants to stop."""
        self._tell(state, control)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Takes the mean reward of a step."""
        if logs and "chain/total" in logs:
            self._reward = f"mean reward {logs['chain/total']:.2f}"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tells of a step."""
        self._tell(state, control)
        if self.stopped:
            control.should_save = True
            control.should_training_stop = True

    def _tell(self, state: Any, control: Any) -> None:
        if self.stopped or not state.is_world_process_zero:
            return
        progress = RunProgress(
            state.global_step - self._first,
            state.max_steps - self._first,
            self._reward,
            seconds=time.perf_counter() - self._began,
            unit="step",
        )
        try:
            self._report(progress)
        except KeyboardInterrupt:
            self.stopped = True
