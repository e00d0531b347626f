"""What a training run would be, checked without training: no weights are loaded or needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig

from fiftyone_revseg.reasoning.chain import ChainRequest, first_turn
from fiftyone_revseg.reasoning.spec import ChainSpec
from fiftyone_revseg.training.budgets import (
    check_context,
    check_settings,
    completion_length,
    image_tokens,
    verdict_words,
)
from fiftyone_revseg.training.chat_template import training_processor
from fiftyone_revseg.training.data import Row
from fiftyone_revseg.training.gpu_memory import MemoryEstimate, Workload, estimate_memory, shape_of
from fiftyone_revseg.training.grpo import GrpoConfig, checkpoint_of
from fiftyone_revseg.training.verdict_rows import judged_rows
from fiftyone_revseg.types import FrameTable


@dataclass(frozen=True)
class Launch:
    """Over what a run is spread.

    Attributes:
        processes: one for each GPU
        zero_stage: of DeepSpeed; 0 without it
    """

    processes: int = 1
    zero_stage: int = 0


@dataclass(frozen=True)
class DryRun:
    """What a run would be.

    Attributes:
        model: the checkpoint
        parameters: of the model
        rows: how many there are to learn from
        epochs: how often each row is seen, on average
        frame_tokens: tokens of each sampled frame
        key_frame_tokens: tokens of the key frame
        prompt_tokens: of turn 1 with its frames, or of turn 3 if it is asked for and longer
        completion_tokens: the most of both replies, the key frame and the words around it
        launch: over what it is spread
        updates: passes through each GPU for one step
        memory: of each GPU
        gpu_memory: what a GPU has, in bytes
        notes: what should be known, in words
    """

    model: str
    parameters: int
    rows: int
    epochs: float
    frame_tokens: int
    key_frame_tokens: int
    prompt_tokens: int
    completion_tokens: int
    launch: Launch
    updates: int
    memory: MemoryEstimate
    gpu_memory: int
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the estimate is less than what a GPU has."""
        return self.memory.peak <= self.gpu_memory

    def __str__(self) -> str:
        stage = f", ZeRO stage {self.launch.zero_stage}" if self.launch.zero_stage else ""
        verdict = "fits in" if self.fits else "does NOT fit in"
        memory = "\n".join("  " + line for line in str(self.memory).splitlines())
        return "\n".join(
            [
                f"model: {self.model}, {self.parameters / 1e6:,.0f} million parameters",
                f"rows: {self.rows:,}, each seen {self.epochs:.1f} times",
                f"pictures: {self.frame_tokens} tokens a frame, {self.key_frame_tokens} the key "
                "frame",
                f"a rollout: a prompt of {self.prompt_tokens:,} tokens, and at most "
                f"{self.completion_tokens:,} more",
                f"a step: {self.updates} passes through each of {self.launch.processes} "
                f"process{'es' if self.launch.processes > 1 else ''}{stage}",
                "memory of each GPU, estimated:",
                memory,
                f"  it {verdict} {self.gpu_memory / 1e9:.0f} GB",
                *(f"note: {note}" for note in self.notes),
            ]
        )


def read_launch(path: str | Path) -> Launch:
    """Reads over what a run is spread from a configuration of accelerate.

    Args:
        path: what ``accelerate launch --config_file`` takes; a DeepSpeed configuration that it
            names may be relative to the current directory, as for accelerate, or to the file

    Raises:
        ValueError: if it is no such file
    """
    import json

    from accelerate.commands.config.config_args import load_config_from_file

    path = Path(path)
    try:
        config = load_config_from_file(str(path))
        given = dict(getattr(config, "deepspeed_config", None) or {})
        stage = given.get("zero_stage", 0)
        file = given.get("deepspeed_config_file")
        if file:
            file = Path(file) if Path(file).is_file() else path.parent / Path(file).name
            stage = json.loads(file.read_text(encoding="utf-8"))["zero_optimization"]["stage"]
        return Launch(int(config.num_processes), int(stage))
    except Exception as error:  # whatever accelerate makes of a file that is not its own
        raise ValueError(
            f"'{path}' is no configuration of accelerate that can be used ({error}): make one "
            "with accelerate config"
        ) from error


def dry_run(
    rows: Sequence[Row],
    config: GrpoConfig,
    launch: Launch | None = None,
    gpu_memory: int | None = None,
) -> DryRun:
    """Finds out what a run would be, as far as that can be told without training.

    Args:
        rows: what to learn from
        config: the settings
        launch (None): over what the run is spread. By default, one process
        gpu_memory (None): what a GPU has, in bytes. By default, that of the GPU here, else 80 GB

    Returns:
        a :class:`DryRun`; ``print`` it

    Raises:
        ValueError: if the run could not even begin; in one sentence
    """
    launch = launch or Launch()
    checkpoint, spec = checkpoint_of(config.model)
    check_settings(rows, config, spec, checkpoint, launch.processes)
    rows = judged_rows(rows, config.verdict_share, spec.verdict_frames)
    shape = shape_of(AutoConfig.from_pretrained(checkpoint, trust_remote_code=False))
    try:
        processor = training_processor(checkpoint)
    except OSError as error:
        raise ValueError(f"The processor of '{checkpoint}' cannot be loaded: {error}") from error
    frame, key_frame = (
        image_tokens(processor, side) for side in (spec.frame_size, spec.key_frame_size)
    )
    prompt = prompt_length(processor, spec, frame)
    completion = completion_length(
        processor, spec, config.max_turn_tokens, config.max_completion_length
    )
    judged = 0
    if config.verdict_share:
        words = verdict_words(processor, spec)
        prompt = max(prompt, words + spec.judged_frames * frame)
        judged = words + (config.max_turn_tokens or spec.reply_tokens)
    check_context(checkpoint, processor, spec, completion, judged)
    gpu = torch.cuda.is_available()
    bf16 = config.bf16
    if bf16 is None:  # without a GPU, what is checked is a run on some other machine
        bf16 = torch.cuda.is_bf16_supported() if gpu else shape.parameters > 10**8
    if gpu_memory is None:
        gpu_memory = torch.cuda.get_device_properties(0).total_memory if gpu else 80 * 10**9
    rollouts = config.prompts * config.rollouts // launch.processes
    alone = launch.processes == 1 and not launch.zero_stage and not config.gradient_checkpointing
    work = Workload(
        batch=config.batch,
        generated=rollouts,
        # One process alone reads the prompt of a group once
        prompts_read=config.prompts if alone else rollouts,
        prompt_tokens=prompt,
        completion_tokens=completion,
        image_tokens=spec.frames * frame + key_frame,
    )
    memory = estimate_memory(
        shape,
        work,
        launch.processes,
        launch.zero_stage,
        bf16,
        config.lora_rank,
        config.beta > 0,
        config.gradient_checkpointing,
        config.vllm,
        gpu_memory,
    )
    return DryRun(
        model=checkpoint,
        parameters=shape.parameters,
        rows=len(rows),
        epochs=config.steps * config.prompts / len(rows),
        frame_tokens=frame,
        key_frame_tokens=key_frame,
        prompt_tokens=prompt,
        completion_tokens=completion,
        launch=launch,
        updates=rollouts // config.batch,
        memory=memory,
        gpu_memory=gpu_memory,
        notes=tuple(_notes(rows, config, spec, launch)),
    )


def prompt_length(processor: Any, spec: ChainSpec, frame_tokens: int) -> int:
    """The tokens of turn 1's prompt, for a query of some length.

    Args:
        processor: the checkpoint's
        spec: how it is asked
        frame_tokens: tokens of each sampled frame
    """
    black = np.zeros((8, 8, 3), np.uint8)
    count = spec.frames
    table = FrameTable(tuple(range(count)), tuple(k / 10 for k in range(count)), count, count / 10)
    query = "what is asked of the video " * 5
    request = ChainRequest(query, table, [black] * count, lambda k: black, (8, 8))
    texts = []
    for message in first_turn(request, spec).messages:
        content = [message.content] if isinstance(message.content, str) else message.content
        texts += [part for part in content if isinstance(part, str)]
    words = len(processor.tokenizer(" ".join(texts)).input_ids)
    # Around each picture and message stand tokens of their own
    return words + count * (frame_tokens + 2) + 8 * len(texts[:3])


def _notes(rows: Sequence[Row], config: GrpoConfig, spec: ChainSpec, launch: Launch) -> list[str]:
    notes = []
    try:
        scene = rows[0].load(spec.frames)
        if scene.unseen:
            notes.append(f"nothing can be learned from the first row, {rows[0].id}")
    except Exception as error:  # a video may be unreadable in any way; training counts such rows
        notes.append(f"the first row cannot be loaded ({rows[0].id}: {error})")
    if launch.zero_stage and find_spec("deepspeed") is None:
        notes.append("deepspeed is not installed here")
    if config.vllm and find_spec("vllm") is None:
        notes.append("vllm is not installed here")
    return notes
