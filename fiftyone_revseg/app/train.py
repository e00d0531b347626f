"""The operator ``train``: a model learns from the true objects of a view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app.forms import (
    DEFAULT_MODEL,
    Form,
    model_input,
    problem,
    queries_input,
    tell_of,
    text,
)
from fiftyone_revseg.app.operator import Run, Settings, from_script
from fiftyone_revseg.app.running import duration
from fiftyone_revseg.app.targets import GT_FIELD, VideosOperator, truth_to_choose
from fiftyone_revseg.dataset.training import TrainingSummary, train_view
from fiftyone_revseg.dataset.training_runs import list_training_runs
from fiftyone_revseg.models.presets import check_free, home, resolve
from fiftyone_revseg.text.escape import markdown_line
from fiftyone_revseg.training.grpo import GrpoConfig

_NUMBERS = {
    "steps": (20, "Steps", "Updates of the weights"),
    "prompts": (8, "Queries a step", "The paper has 128"),
    "rollouts": (8, "Rollouts", "Answers to each query, which are compared; the paper has 8"),
    "lora_rank": (0, "LoRA rank", "Trains adapters of this rank, merged at the end; 0 trains all"),
}


class Train(VideosOperator):
    """Trains a model by reinforcement on the labelled videos of a view."""

    name = "train"
    label = "ReVSeg: train a model on true masks"
    description = (
        "Improves a model by reinforcement on the labelled videos of a view, and keeps the new "
        "checkpoint under a name"
    )
    icon = "school"
    risk = types.RiskLevel.HIGH
    title = "ReVSeg: train"
    target = "Learn from"
    button = "Train"
    delegate_by_default = True

    def ask(self, form: Form, subject: Any) -> Settings | None:
        names = truth_to_choose(form, subject)
        if not names:
            raise ValueError("There are no detections to learn from: label or import first")
        gt_field = form.choice("gt_field", names, label="Field with the true objects")
        query_field = queries_input(
            form, "By default, the expressions of each sample, or its query", required=True
        )
        preset = model_input(
            form, "What to train: a preset, a Hugging Face hub id, or a checkpoint's path"
        )
        if preset is not None:
            tell_of(form, preset)
        _checkpoint_inputs(form)
        if gt_field is not None:
            _settings_inputs(form)
        if form.fault is not None:
            return None
        return {
            "folder": _folder(form.ctx),
            "config": _config(form.ctx),
            "gt_field": gt_field,
            "query_field": query_field,
            "name": _name(form.ctx),
        }

    def work(self, run: Run[Any], **settings: Any) -> dict[str, Any]:
        summary = train_view(run.subject, progress=run.report, **settings)
        return {**summary.to_dict(), "summary": _in_words(summary)}

    def words(self, result: dict[str, Any]) -> dict[str, str]:
        return {"words": result["summary"]}

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return f"ReVSeg: train {_name(ctx)}"

    @from_script
    def __call__(
        self,
        sample_collection: Any,
        name: str,
        gt_field: str = GT_FIELD,
        query_field: str | None = None,
        model: str = DEFAULT_MODEL,
        folder: str | Path | None = None,
        steps: int = 20,
        prompts: int = 8,
        rollouts: int = 8,
        learning_rate: float | None = None,
        lora_rank: int = 0,
        group_slice: str | None = None,
        delegate: bool = True,
    ) -> Any:
        """Trains a model on the labelled videos of a collection.

        Example::

            import fiftyone.operators as foo
            import fiftyone_revseg as revseg

            train = foo.get_operator("fiftyone_revseg/train")
            train(labelled_view, "my-checkpoint", steps=50)  # scheduled
            model = revseg.load_model("my-checkpoint")  # when that is done

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection`; videos
                without labels or query, and those that the data filter dropped, are left out
            name: of the new checkpoint, under which every command and form knows it then
            gt_field ("ground_truth"): the field with the true objects
            query_field (None): the field with each sample's query or queries. By default, the
                expressions, else "query"
            model ("revseg-nano"): what to train: a preset, a hub id or a path
            folder (None): where the run and its checkpoint go. By default, into the folder
                ``checkpoints`` of :func:`fiftyone_revseg.models.presets.home`
            steps (20): how many updates
            prompts (8): queries a step
            rollouts (8): answers to each query
            learning_rate (None): by default, what suits the size of the model
            lora_rank (0): of adapters; 0 trains all weights
            group_slice (None): the slice with the videos, if the dataset is grouped
            delegate (True): whether to schedule this rather than to do it now

        Returns:
            if it was delegated, the :class:`fiftyone.operators.executor.ExecutionResult`; else a
            dict with "state", "summary" (Markdown), "checkpoint", "name", "rows", "skipped"
            (reason -> number), "curves" and "run_key"
        """


def _in_words(summary: TrainingSummary) -> str:
    """How it went, as Markdown."""
    name, folder = markdown_line(summary.name), markdown_line(summary.folder)
    lines = [f"**{name}** can be chosen as a model now. It is in {folder}.\n"]
    if summary.checkpoint is None:
        lines = [f"**Stopped.** Train with the same form to go on in {folder}.\n"]
    left_out = sum(summary.skipped.values())
    lines.append(f"{summary.rows} queries to learn from; {left_out} are left out\n")
    lines += [f"* {n} x {markdown_line(reason)}" for reason, n in summary.skipped.items()]
    rewards = {"format", "temporal", "spatial", "total"} & set(summary.curves)
    if rewards:
        lines += ["\n| reward | beginning | end |", "|---|---:|---:|"]
        for name, (first, last) in summary.curves.items():
            if name in rewards:
                lines.append(f"| {name} | {first:.2f} | {last:.2f} |")
        lines.append("\nThese are on what it learned from: *evaluate* on other videos says more.")
    return "\n".join(lines)


def _checkpoint_inputs(form: Form) -> None:
    ctx = form.ctx
    name, folder = _name(ctx), _folder(ctx)
    prop = form.inputs.str(
        "name",
        default=_default_name(ctx),
        label="Name of the new checkpoint",
        description="Under which every form and command knows it then",
    )
    form.check(prop, problem(check_free, name, folder / "checkpoint"))
    prop = form.inputs.str(
        "folder",
        label="Folder",
        description="Where the run and its checkpoint go. By default, "
        + markdown_line(_home(name)),
    )
    message = None
    if folder.exists() and not folder.is_dir():
        message = f"'{folder}' is a file: choose another folder"
    elif folder.is_dir() and any(folder.iterdir()):
        if (folder / "run.json").is_file():
            label = "There is a run in this folder: with the same settings it goes on"
            form.tell("resumes", label)
        else:
            message = f"'{folder}' is not empty, and holds no run: choose another folder"
    form.check(prop, message)


def _settings_inputs(form: Form) -> None:
    for name, (default, label, description) in _NUMBERS.items():
        least = {"rollouts": 2, "lora_rank": 0}.get(name, 1)
        form.inputs.int(name, default=default, min=least, label=label, description=description)
    prop = form.inputs.float(
        "learning_rate",
        label="Learning rate",
        description="By default, what suits the size of the model: 5e-5 for the embedded one, for "
        "large ones 1e-6 as in the paper, or 1e-5 with adapters",
    )
    if not form.check(prop, problem(_config, form.ctx)):
        return
    config = _config(form.ctx)
    each = config.prompts * config.rollouts
    parts = [f"{config.steps} steps of {each} answers", _expected_time(form.dataset, config)]
    form.tell(
        "cost",
        "Training takes long and all of the machine: " + " · ".join(filter(None, parts)),
        "Schedule it, unless the model and the number of steps are small: what is not scheduled "
        "stops when this window is closed",
        types.Warning,
    )


def _expected_time(dataset: fo.Dataset, config: GrpoConfig) -> str:
    """How long it takes, judged by the last run on the dataset with that model."""
    for run in reversed(list_training_runs(dataset)):
        made = run["settings"]
        if run["state"] == "done" and made["model"] == config.model:
            each = run["seconds"] / (made["steps"] * made["prompts"] * made["rollouts"])
            total = each * config.steps * config.prompts * config.rollouts
            return f"about {duration(total)}, as the last run here took"
    return "a small model on a CPU takes seconds a step, a large one on a GPU minutes"


def _config(ctx: foo.ExecutionContext) -> GrpoConfig:
    given = {name: ctx.params.get(name) for name in _NUMBERS}
    numbers: dict[str, Any] = {
        name: _NUMBERS[name][0] if value is None else int(value) for name, value in given.items()
    }
    model, rate = text(ctx, "model") or DEFAULT_MODEL, ctx.params.get("learning_rate")
    small = 0 < resolve(model).size < 10**9
    if rate is None:
        rate = 5e-5 if small else 1e-5 if numbers["lora_rank"] else 1e-6
    return GrpoConfig(
        model=model,
        batch=numbers["rollouts"] if small else 1,
        learning_rate=float(rate),
        gradient_checkpointing=not small,
        save_every=min(10, max(1, numbers["steps"])),
        **numbers,
    )


def _default_name(ctx: foo.ExecutionContext) -> str:
    return f"{Path(text(ctx, 'model') or DEFAULT_MODEL).name}-grpo"


def _name(ctx: foo.ExecutionContext) -> str:
    return text(ctx, "name") or _default_name(ctx)


def _home(name: str) -> Path:
    return home() / "checkpoints" / name


def _folder(ctx: foo.ExecutionContext) -> Path:
    given = text(ctx, "folder")
    return Path(given).expanduser() if given else _home(_name(ctx))
