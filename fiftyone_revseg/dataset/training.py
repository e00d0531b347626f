"""Learning from a dataset: rows from a view, a run that the dataset remembers, a named model."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fiftyone_revseg.dataset.collection import check_collection, source_dataset
from fiftyone_revseg.dataset.registered_runs import RegisteredRun
from fiftyone_revseg.dataset.runs import versions
from fiftyone_revseg.dataset.training_runs import TRAINING
from fiftyone_revseg.files import check_writable
from fiftyone_revseg.models.presets import check_free, register_preset
from fiftyone_revseg.progress import OnProgress
from fiftyone_revseg.training.grpo import GrpoConfig, train_grpo


@dataclass
class TrainingSummary:
    """How a training run went.

    Attributes:
        folder: of the run
        name: of the new checkpoint; "" if it was given none
        state: "done", or "stopped" by whoever was told of its progress
        checkpoint: the path of the new checkpoint; None if the run was stopped
        run_key: the key under which the dataset remembers the run
        rows: how many queries there were to learn from
        skipped: reason -> how many samples or queries were left out
        curves: name of a curve -> its means at the beginning and at the end of the run
    """

    folder: str
    name: str = ""
    state: str = "stopped"
    checkpoint: str | None = None
    run_key: str | None = None
    rows: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-serializable dict."""
        return asdict(self)

    def __str__(self) -> str:
        left_out = sum(self.skipped.values())
        lines = [f"{self.rows} queries to learn from; {left_out} are left out"]
        lines += [f"  {n} x {reason}" for reason, n in self.skipped.items()]
        for curve, (first, last) in self.curves.items():
            lines.append(f"  {curve}: {first:.3f} at the beginning, {last:.3f} at the end")
        lines.append(
            f"stopped: train again to go on in '{self.folder}'"
            if self.checkpoint is None
            else f"the new checkpoint is in '{self.checkpoint}'"
        )
        return "\n".join(lines)


def train_view(
    view: Any,
    folder: str | Path,
    config: GrpoConfig | None = None,
    gt_field: str = "ground_truth",
    query_field: str | None = None,
    name: str = "",
    group_slice: str | None = None,
    progress: OnProgress | None = None,
) -> TrainingSummary:
    """Trains a model by reinforcement on the labelled videos of a view.

    Videos without labels or query, and those that the data filter dropped, are left out and
    counted. A run that was stopped or killed goes on when this is called again.

    Example::

        from fiftyone_revseg.dataset.training import train_view
        from fiftyone_revseg.training import GrpoConfig

        labelled = dataset.match_tags("labelled")
        print(train_view(labelled, "runs/mine", GrpoConfig(steps=50), name="my-checkpoint"))
        model = revseg.load_model("my-checkpoint")

    Args:
        view: a :class:`fiftyone.core.dataset.Dataset` or view: videos or clips
        folder: where the run and its checkpoint go, see
            :func:`fiftyone_revseg.training.grpo.train_grpo`
        config (None): a :class:`fiftyone_revseg.training.grpo.GrpoConfig`
        gt_field ("ground_truth"): the field with the true objects, detections on frames
        query_field (None): the field with each sample's query or queries. By default, its
            expressions, else "query"
        name (""): under which the new checkpoint is to be known, see
            :func:`fiftyone_revseg.models.presets.register_preset`
        group_slice (None): the slice with the videos, if the dataset is grouped
        progress (None): a function that is called after each step with a
            :class:`fiftyone_revseg.progress.RunProgress`, and raises
            ``KeyboardInterrupt`` to stop, which saves the run

    Returns:
        a :class:`TrainingSummary`; ``print`` it

    Raises:
        ValueError: if there is nothing to learn from, or a setting or name is not valid
    """
    import torch

    from fiftyone_revseg.dataset.training_rows import view_rows
    from fiftyone_revseg.training.model_card import summarize_curves
    from fiftyone_revseg.training.run_folder import RunFolder
    from fiftyone_revseg.training.step_progress import StepProgress

    config, folder = config or GrpoConfig(), Path(folder)
    if name:
        check_free(name, folder / "checkpoint")
    check_writable(folder)
    videos = check_collection(view, group_slice)
    rows, skipped = view_rows(videos, gt_field, query_field)
    result = TrainingSummary(str(folder), name, rows=len(rows))
    result.skipped = dict(Counter(s.reason for s in skipped).most_common())
    if not rows:
        why = "; ".join(f"{n} x {reason}" for reason, n in result.skipped.items())
        raise ValueError(f"There is nothing to learn from in '{gt_field}': {why or 'no videos'}")
    watch = StepProgress(progress or (lambda _: None))
    settings = {"gt_field": gt_field, "query_field": query_field, **asdict(config)}
    run = RegisteredRun(
        source_dataset(videos),
        TRAINING,
        "train",
        name=name,
        settings=settings,
        rows=len(rows),
        skipped=len(skipped),
        versions=versions(),
        checkpoint=None,
        curves={},
    )
    result.run_key = run.run_key
    threads = torch.get_num_threads()
    try:
        with run:
            path = train_grpo(rows, folder, config, callbacks=[watch])
            result.curves = summarize_curves(RunFolder(folder, config.steps).curves())
            run.remember(checkpoint=str(path), curves=result.curves)
            if watch.stopped:
                raise KeyboardInterrupt  # so that the dataset remembers it as interrupted
            if name:
                register_preset(name, path, base=config.model)
            result.state, result.checkpoint = "done", str(path)
    except KeyboardInterrupt:
        if not watch.stopped:  # a person at the keyboard
            raise
    finally:
        torch.set_num_threads(threads)  # of the App's server, or of whatever else is done here
    return result
