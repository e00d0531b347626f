"""Presets: a vision-language model and a tracker under one name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CHECKPOINTS = Path(__file__).parent / "checkpoints"

#: The tracker of ReVSeg (arXiv 2512.02835), and of every model that names none
DEFAULT_TRACKER = "sam2.1-hiera-large"


@dataclass(frozen=True)
class Preset:
    """A vision-language model and the tracker that goes with it.

    Attributes:
        reasoner: the hub id or path of the vision-language model
        tracker: the tracker, as :func:`fiftyone_revseg.tracking.Sam2Tracker.load` takes it
        description: one sentence for people who choose
    """

    reasoner: str
    tracker: str
    description: str


PRESETS = {
    "revseg-nano": Preset(
        str(CHECKPOINTS / "revseg-nano"),
        "sam2-nano",
        "The embedded pair, trained on synthetic worlds only: runs anywhere within seconds, "
        "for demos and tests.",
    ),
    "revseg-qwen2.5-vl-3b": Preset(
        "Qwen/Qwen2.5-VL-3B-Instruct",
        DEFAULT_TRACKER,
        "The stock 3B model in the two-turn chain; needs a GPU.",
    ),
    "revseg-qwen2.5-vl-7b": Preset(
        "Qwen/Qwen2.5-VL-7B-Instruct",
        DEFAULT_TRACKER,
        "The paper's architecture with stock weights (chain without RL); needs a GPU.",
    ),
    "revseg-qwen3-vl-4b": Preset(
        "Qwen/Qwen3-VL-4B-Instruct",
        DEFAULT_TRACKER,
        "The stock 4B model in the two-turn chain; needs a GPU.",
    ),
    "revseg-qwen3-vl-8b": Preset(
        "Qwen/Qwen3-VL-8B-Instruct",
        DEFAULT_TRACKER,
        "The stock 8B model in the two-turn chain; needs a GPU.",
    ),
}


class ModelNotFoundError(ValueError):
    """A model's name stands for nothing that can be loaded. The message says what to do."""


def resolve(name_or_path: str | Path) -> Preset:
    """Finds out what the name of a model stands for, without loading anything.

    Args:
        name_or_path: a preset; the id of a repository on the Hugging Face hub ("owner/name"); or
            the path of a checkpoint's directory

    Returns:
        a :class:`Preset`, for an id or a path one with the default tracker

    Raises:
        ModelNotFoundError: if the name can be none of these, or the embedded weights are missing
    """
    name = str(name_or_path)
    if name in PRESETS:
        preset = PRESETS[name]
        path = Path(preset.reasoner)
        if path.is_absolute() and not (path / "model.safetensors").is_file():
            raise ModelNotFoundError(
                f"The embedded model {name!r} has no weights in '{path}': this installation is "
                "incomplete, so install the package, or clone its repository, once more"
            )
        return preset
    path = Path(name).expanduser()
    if path.is_dir():
        return Preset(str(path), DEFAULT_TRACKER, "")
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        return Preset(name, DEFAULT_TRACKER, "")
    raise ModelNotFoundError(
        f"There is no model {name!r}: give one of {', '.join(PRESETS)}, a Hugging Face hub id such "
        "as 'Qwen/Qwen2.5-VL-7B-Instruct', or the path of a directory that exists"
    )
