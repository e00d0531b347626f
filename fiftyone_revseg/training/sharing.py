"""Making a folder of a checkpoint that others can use: whole, in safetensors, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from fiftyone_revseg.files import remove_leftovers, replacing_folder
from fiftyone_revseg.reasoning.spec import FILE_NAME as SPEC
from fiftyone_revseg.training import model_card

_ADAPTERS = "adapter_config.json"
# What a checkpoint of transformers consists of, but for its weights
_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.md")
# What trainers leave beside it
_STATE = ("trainer_state.json", "adapter_config.json", "README.md")


def share_checkpoint(
    source: str | Path,
    directory: str | Path,
    name: str | None = None,
    license: str | None = None,
) -> Path:
    """Makes a folder of a trained checkpoint that can be uploaded to a hub as it is.

    It holds the weights in safetensors, with adapters merged into them, processor, ``revseg.json``
    and a model card, and loads with ``load_model(directory)`` alone. Optimizer states and other
    files of the run stay behind.

    Args:
        source: the ``checkpoint/`` of a run, one of its ``checkpoint-N/``, or a run's folder
        directory: where to write; it must be empty or new
        name (None): what to call it in the card. By default, as the directory
        license (None): the licence's name for the card

    Returns:
        the directory

    Raises:
        ValueError: if there is no checkpoint, or the directory is in use
    """
    source, directory = Path(source).expanduser(), Path(directory).expanduser()
    if (source / "checkpoint").is_dir() and not (source / "config.json").is_file():
        source = source / "checkpoint"
    adapters = (source / _ADAPTERS).is_file()
    if not adapters and not (source / "config.json").is_file():
        raise ValueError(
            f"'{source}' holds no checkpoint: give the checkpoint/ or a checkpoint-N/ of a run"
        )
    if not list(source.glob("*.safetensors")):
        raise ValueError(f"'{source}' has no weights in safetensors, so cannot be shared")
    if not (source / SPEC).is_file():
        raise ValueError(
            f"'{source}' has no {SPEC}, which says how the model wants to be asked: copy that of "
            "the model that it was trained from"
        )
    remove_leftovers(directory)
    _check_unused(directory)
    with replacing_folder(directory, durable=True) as partial:
        patterns = _FILES if adapters else (*_FILES, "*.safetensors")
        for path in (file for pattern in patterns for file in source.glob(pattern)):
            if path.name not in _STATE:
                shutil.copyfile(path, partial / path.name)
        if adapters:
            merge_adapters(source).save_pretrained(partial)
        card = source / model_card.FILE_NAME
        if card.is_file() and name is None and license is None and not adapters:
            shutil.copyfile(card, partial / model_card.FILE_NAME)
        else:
            model_card.write_card(partial, source.parent, name or directory.name, license)
        _check_unused(directory)  # once more: merging takes long
    return directory


def _check_unused(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(f"'{directory}' is in use: choose another directory, or empty it first")


def merge_in_place(directory: Path) -> None:
    """Puts the merged model in the place of adapters; does nothing where there are none.

    Args:
        directory: with ``adapter_config.json``
    """
    if not (directory / _ADAPTERS).is_file():
        return
    merged = merge_adapters(directory)
    for path in directory.glob("adapter_*"):
        path.unlink()
    merged.save_pretrained(directory)


def merge_adapters(source: str | Path) -> Any:
    """Loads the model that adapters were trained for, with the adapters merged into its weights.

    Args:
        source: a directory with ``adapter_config.json``, which says which model that is

    Returns:
        a model of transformers, on the CPU, in the precision it has on disk

    Raises:
        ValueError: if that model cannot be loaded, or is not complete
    """
    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForImageTextToText

    from fiftyone_revseg.reasoning.complete_weights import check_loaded

    base = PeftConfig.from_pretrained(str(source)).base_model_name_or_path
    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            base,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The model '{base}', which the adapters in '{source}' belong to, cannot be loaded: "
            "put it back where it was"
        ) from error
    model, info = loaded
    check_loaded(base, model, info)
    return PeftModel.from_pretrained(model, str(source)).merge_and_unload()
