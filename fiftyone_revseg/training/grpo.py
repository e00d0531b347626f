"""Reinforcement learning on the two-turn chain by GRPO, as in ReVSeg (arXiv 2512.02835).

Each step draws some rows and several rollouts of each. A rollout's advantage is its reward minus
the mean of its group, over the group's standard deviation. The update is strictly on-policy, with
a KL term that keeps the model close to where it began.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiftyone_revseg.files import write_json
from fiftyone_revseg.measures.rewards import SPATIAL_VARIANTS, TEMPORAL_VARIANTS

if TYPE_CHECKING:
    from fiftyone_revseg.reasoning.spec import ChainSpec
    from fiftyone_revseg.training.box_masks import BoxMasks
    from fiftyone_revseg.training.chain_trainer import ChainTrainer
    from fiftyone_revseg.training.data import Row
    from fiftyone_revseg.training.environment import Task

VLLM_MODES = ("colocate", "server")


@dataclass(frozen=True)
class GrpoConfig:
    """Settings of a run. What belongs to the checkpoint, such as frames and sizes, is in its spec.

    The defaults are for the embedded model on a CPU. The paper has 128 rows a step and a learning
    rate of 1e-6 for 7B parameters; all else is as in the paper.

    Attributes:
        model: a preset's name, a directory, or the id of a repository on the Hugging Face hub
        steps: how many updates
        prompts: rows a step, over all processes
        rollouts: rollouts of each row; the group
        batch: rollouts that a device passes through the model at a time
        learning_rate: constant, after ``warmup`` steps
        warmup: steps
        beta: the weight of the KL term
        temporal: the variant of the temporal reward
        spatial: "box" rewards a box of IoU > 0.5, as in the paper; "mask-tiers" the mask that
            ``tracker`` makes of it, by how many of the IoUs 0.5, 0.7 and 0.9 it exceeds
        tracker: a preset's tracker, a path or an id; unused with "box"
        verdict_share: of the rows, those about turn 3: which of some tracks is meant
        temperature: of the sampling
        max_turn_tokens: the most tokens that one reply may have; None for the spec's
        max_completion_length: the most tokens of both replies, the key frame and the words around
            it; None for what that comes to
        lora_rank: 0 trains all weights; else adapters of that rank, merged at the end
        gradient_checkpointing: trades time for memory
        bf16: None for where a GPU has it
        vllm: None to generate with transformers; "colocate" or "server" with vLLM on a GPU
        max_grad_norm: longer gradients are shortened to this
        save_every: steps between two checkpoints to resume from
        keep: how many of them are kept; None for all
        sample_every: steps between two files of rollouts to read; 0 for none
        threads: of the CPU
        seed: of all chance

    Raises:
        ValueError: if a setting is not valid
    """

    model: str = "revseg-nano"
    steps: int = 200
    prompts: int = 8
    rollouts: int = 8
    batch: int = 8
    learning_rate: float = 5e-5
    warmup: int = 3
    beta: float = 1e-3
    temporal: str = "soft"
    spatial: str = "box"
    tracker: str = "sam2-nano"
    verdict_share: float = 0.0
    temperature: float = 1.0
    max_turn_tokens: int | None = None
    max_completion_length: int | None = None
    lora_rank: int = 0
    gradient_checkpointing: bool = False
    bf16: bool | None = None
    vllm: str | None = None
    max_grad_norm: float = 1.0
    save_every: int = 10
    keep: int | None = 3
    sample_every: int = 10
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            **dict.fromkeys(("steps", "prompts", "batch", "save_every", "threads"), 1),
            **dict.fromkeys(("warmup", "lora_rank", "sample_every", "seed"), 0),
            "rollouts": 2,  # a group of one has no mean to differ from
        }
        optional = {"max_turn_tokens": 1, "max_completion_length": 1, "keep": 1}
        for name, low in {**least, **optional}.items():
            value = getattr(self, name)
            if value is None and name in optional:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ValueError(f"{name} must be a whole number >= {low}, got {value!r}")
        for name in ("learning_rate", "temperature", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)!r}")
        if not self.beta >= 0:
            raise ValueError(f"beta must be >= 0, got {self.beta!r}")
        if self.temporal not in TEMPORAL_VARIANTS:
            raise ValueError(f"temporal must be one of {TEMPORAL_VARIANTS}, got {self.temporal!r}")
        if self.spatial not in SPATIAL_VARIANTS:
            raise ValueError(f"spatial must be one of {SPATIAL_VARIANTS}, got {self.spatial!r}")
        if not 0 <= self.verdict_share <= 1:
            raise ValueError(f"verdict_share must be in [0, 1], got {self.verdict_share!r}")
        if self.vllm is not None and self.vllm not in VLLM_MODES:
            raise ValueError(f"vllm must be one of {VLLM_MODES} or None, got {self.vllm!r}")
        if (self.prompts * self.rollouts) % self.batch:
            raise ValueError(
                f"{self.prompts} prompts of {self.rollouts} rollouts make "
                f"{self.prompts * self.rollouts} rollouts a step, which are no whole number of "
                f"batches of {self.batch}"
            )


def train_grpo(
    rows: Sequence[Row],
    out: str | Path,
    config: GrpoConfig | None = None,
    resume: bool | str | Path = True,
    task_type: type[Task] | None = None,
    callbacks: Sequence[Any] = (),
) -> Path:
    """Trains a checkpoint on the two-turn chain, and on verdicts if the settings say so.

    Args:
        rows: what to learn from, see :mod:`fiftyone_revseg.training.data`; drawn in an order that
            the seed fixes, each once before any is drawn again
        out: the run's folder: ``checkpoint-N/`` to resume from, ``curves.csv`` and ``curves.png``,
            ``tensorboard/``, ``rollouts/`` to read, and at the end ``checkpoint/``, the model in
            the ordinary format with its ``revseg.json`` and a model card
        config: the settings
        resume (True): whether to go on from the newest ``checkpoint-N/`` in the folder, or the
            path of the one to go on from
        task_type: how rows are asked and rewarded; None for the chain
        callbacks (()): more callbacks of the trainer, see
            :mod:`fiftyone_revseg.training.step_progress`

    Returns:
        the path of the checkpoint

    Raises:
        ValueError: if there are too few rows, a setting does not fit the checkpoint, or the run in
            the folder was made with others
    """
    import torch

    from fiftyone_revseg.reasoning.spec import FILE_NAME as SPEC

    config = config or GrpoConfig()
    torch.set_num_threads(config.threads)
    out = Path(out)
    start = _resume_point(out, resume)
    _same_run(out, config, len(rows), start is not None)
    trainer = build_trainer(rows, out, config, task_type)
    for callback in callbacks:
        trainer.add_callback(callback)
    if trainer.accelerator.is_main_process:
        write_json(out / "run.json", {"rows": len(rows), "config": asdict(config)}, indent=2)
        if start is not None and not (start / SPEC).is_file():
            trainer.keep_spec.write(start)  # a kill came between the trainer's part and this
    trainer.train(resume_from_checkpoint=str(start) if start else None)
    path = out / "checkpoint"
    save_checkpoint(trainer, path)
    return path


def build_trainer(
    rows: Sequence[Row], out: Path, config: GrpoConfig, task_type: type[Task] | None = None
) -> ChainTrainer:
    """Makes the trainer of a run, after checking that everything fits together.

    Raises:
        ValueError: if something does not
    """
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # trl is pinned for that reason
    try:
        import peft  # noqa: F401
        import tensorboard
        import trl  # noqa: F401
        from datasets import Dataset
    except ImportError as error:
        raise ValueError(
            f"Training needs what is not installed ({error}): pip install 'fiftyone-revseg[train]'"
        ) from error

    from transformers import PrinterCallback

    from fiftyone_revseg.reasoning.complete_weights import check_weights
    from fiftyone_revseg.training.budgets import (
        check_context,
        check_settings,
        completion_length,
        verdict_words,
    )
    from fiftyone_revseg.training.callbacks import Curves, KeepSpec, tensorboard
    from fiftyone_revseg.training.chain_trainer import ChainTrainer
    from fiftyone_revseg.training.chat_template import training_processor
    from fiftyone_revseg.training.environment import Task
    from fiftyone_revseg.training.rollout_log import RolloutLog
    from fiftyone_revseg.training.verdict_rows import judged_rows
    from fiftyone_revseg.training.verdict_task import VerdictTask

    checkpoint, spec = checkpoint_of(config.model)
    check_settings(rows, config, spec, checkpoint, _processes())
    rows = judged_rows(rows, config.verdict_share, spec.verdict_frames)
    check_weights(checkpoint)
    processor = training_processor(checkpoint)
    kind = task_type or (VerdictTask if config.verdict_share else Task)
    task = kind(rows, spec, config.temporal, _masks(config))
    length = completion_length(
        processor, spec, config.max_turn_tokens, config.max_completion_length
    )
    judged = 0
    if config.verdict_share:
        judged = verdict_words(processor, spec) + (config.max_turn_tokens or spec.reply_tokens)
    check_context(checkpoint, processor, spec, length, judged)
    arguments = trl_arguments(out, config, processor, length, spec)
    message = {"role": "user", "content": ""}
    system = spec.template("system")
    prompt = ([{"role": "system", "content": system}] if system else []) + [message]
    data = Dataset.from_dict({"prompt": [prompt] * len(rows), "row": list(range(len(rows)))})
    trainer = ChainTrainer(
        task,
        RolloutLog(out / "rollouts", config.sample_every),
        model=checkpoint,
        args=arguments,
        train_dataset=data,
        processing_class=processor,
        peft_config=_lora(config),
    )
    trainer.remove_callback(PrinterCallback)  # the curves are printed, and easier to read
    trainer.keep_spec = KeepSpec(checkpoint, spec)
    trainer.add_callback(trainer.keep_spec)
    trainer.add_callback(tensorboard(out / "tensorboard"))
    trainer.add_callback(Curves(out, config.steps, max(config.save_every, 10)))
    return trainer


def checkpoint_of(model: str) -> tuple[str, ChainSpec]:
    """Finds the vision-language model of a preset, or takes a path or hub id as it is.

    Returns:
        its path or id, and how it wants to be asked

    Raises:
        ValueError: if there is no such model
    """
    from fiftyone_revseg.models.presets import resolve
    from fiftyone_revseg.reasoning.local import checkpoint_spec

    checkpoint = resolve(model).reasoner
    return checkpoint, checkpoint_spec(checkpoint)


# Of Qwen-VL, and of GLM-V
_PICTURES = (
    *("<|image_pad|>", "<|video_pad|>", "<|vision_start|>"),
    *("<|image|>", "<|video|>", "<|begin_of_image|>", "<|begin_of_video|>"),
)


def trl_arguments(
    out: Path, config: GrpoConfig, processor: Any, length: int, spec: ChainSpec
) -> Any:
    """The settings as TRL's :class:`trl.GRPOConfig`."""
    import torch
    from trl import GRPOConfig

    from fiftyone_revseg.reasoning.thinking import thinking_arguments

    turn = config.max_turn_tokens or spec.reply_tokens
    gpu = torch.cuda.is_available()
    together = config.batch * _processes()
    rollouts = config.prompts * config.rollouts
    # A sampled picture would have no pixels
    known = processor.tokenizer.get_vocab()
    pictures = [known[token] for token in _PICTURES if token in known]
    limits: dict[str, Any] = {"max_new_tokens": turn, "suppress_tokens": pictures}
    if config.vllm:
        limits = {"max_tokens": turn}
    bf16 = gpu and torch.cuda.is_bf16_supported() if config.bf16 is None else config.bf16
    # Weights that are trained are kept in float32, or small updates would be rounded away
    frozen = bool(gpu and bf16 and config.lora_rank)
    return GRPOConfig(
        output_dir=str(out),
        model_init_kwargs={"dtype": "bfloat16" if frozen else "float32"},
        max_steps=config.steps,
        per_device_train_batch_size=config.batch,
        # one generation and one update a step: strictly on-policy
        gradient_accumulation_steps=rollouts // together,
        steps_per_generation=rollouts // together,
        num_iterations=1,
        num_generations=config.rollouts,
        max_completion_length=length,
        max_tool_calling_iterations=1,
        chat_template_kwargs=thinking_arguments(spec.thinking),
        generation_kwargs=limits,
        temperature=config.temperature,
        top_p=1.0,
        top_k=0,
        loss_type="grpo",
        scale_rewards="group",
        beta=config.beta,
        mask_truncated_completions=False,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=config.warmup,
        max_grad_norm=config.max_grad_norm,
        gradient_checkpointing=config.gradient_checkpointing,
        bf16=bf16,
        use_cpu=not gpu,
        pad_to_multiple_of=None,
        use_vllm=config.vllm is not None,
        vllm_mode=config.vllm or "colocate",
        report_to="none",
        logging_steps=1,
        save_steps=config.save_every,
        save_total_limit=config.keep,
        disable_tqdm=True,
        seed=config.seed,
    )


def save_checkpoint(trainer: Any, directory: Path) -> None:
    """Writes the model with its processor, ``revseg.json`` and card; adapters are merged.

    All processes call it, as each may hold a part of the weights; one of them writes.
    """
    from accelerate.utils import broadcast_object_list

    from fiftyone_revseg.training.model_card import write_card
    from fiftyone_revseg.training.saved_states import replacing_checkpoint
    from fiftyone_revseg.training.sharing import merge_in_place

    main = trainer.accelerator.is_main_process
    with contextlib.ExitStack() as stack:
        names = [""]
        if main:
            names = [str(stack.enter_context(replacing_checkpoint(directory)))]
        broadcast_object_list(names)
        trainer.save_model(names[0])
        if main:
            partial = Path(names[0])
            (partial / "training_args.bin").unlink(missing_ok=True)
            merge_in_place(partial)
            trainer.keep_spec.write(partial)
            write_card(partial, directory.parent, directory.parent.name)
    trainer.accelerator.wait_for_everyone()


def _processes() -> int:
    """How many processes train together: each launcher sets this for its processes."""
    return int(os.environ.get("WORLD_SIZE", 1))


def _masks(config: GrpoConfig) -> BoxMasks | None:
    if config.spatial == "box":
        return None
    from fiftyone_revseg.tracking.load import load_tracker
    from fiftyone_revseg.training.box_masks import BoxMasks

    return BoxMasks(load_tracker(config.tracker))


def _lora(config: GrpoConfig) -> Any:
    if not config.lora_rank:
        return None
    from peft import LoraConfig

    from fiftyone_revseg.training.gpu_memory import ADAPTED

    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=2 * config.lora_rank,
        lora_dropout=0.0,
        target_modules=ADAPTED,
        task_type="CAUSAL_LM",
    )


def _resume_point(out: Path, resume: bool | str | Path) -> Path | None:
    """The checkpoint to go on from: the newest one that was written to its end."""
    from fiftyone_revseg.training.saved_states import damage, newest_checkpoint

    if isinstance(resume, (str, Path)):
        if not (Path(resume) / "trainer_state.json").is_file():
            raise ValueError(f"there is no checkpoint to resume from in '{resume}'")
        if (reason := damage(Path(resume))) is not None:
            raise ValueError(f"the checkpoint in '{resume}' is not whole ({reason})")
        return Path(resume)
    return newest_checkpoint(out) if resume else None


def _same_run(out: Path, config: GrpoConfig, rows: int, resumed: bool) -> None:
    from fiftyone_revseg.training.run_folder import check_same_run
    from fiftyone_revseg.training.saved_states import read_settings

    path = out / "run.json"
    if not resumed or not path.is_file():
        return
    saved = read_settings(path)
    free = ("steps", "threads", "save_every", "keep", "sample_every", "vllm")
    # A run from before there was a setting has its default
    made = {"rows": saved.get("rows"), **asdict(GrpoConfig()), **saved.get("config", {})}
    check_same_run(out, made, {"rows": rows, **asdict(config)}, free)
