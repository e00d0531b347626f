"""What a run goes on from: the newest saved state that is whole, else the one before."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import torch
from safetensors import safe_open

from fiftyone_revseg.files import from_json, replacing
from fiftyone_revseg.files.written import Written, free_path
from fiftyone_revseg.text.escape import first_line

_STATE = "trainer_state.json"
_WEIGHTS = ("*.safetensors", "pytorch_model*", "global_step*")
_OPTIMIZER = ("optimizer*", "global_step*")
_CHECKED = 2**30  # larger archives are not read to their end: that takes as long as loading them


@contextmanager
def replacing_checkpoint(directory: Path) -> Iterator[Path]:
    """Gives a folder to write a run's model to, which takes the place of the last one at the end.

    Where a person put files of their own into that, or changed it, it is kept under another name,
    ``checkpoint-kept``.

    Args:
        directory: the ``checkpoint/`` of a run

    Yields:
        the path of an empty folder
    """
    written = Written(directory.parent)
    with written.replacing_folder(directory, durable=True, keep=True) as partial:
        yield partial


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Replaces a saved state, and keeps the one before beside it.

    Args:
        path: a ``.pt`` file
        state: tensors, numbers and texts
    """
    with replacing(path) as partial:
        torch.save(dict(state), partial)
        if path.is_file():
            os.replace(path, _before(path))


def load_state(path: Path, device: Any = "cpu") -> dict[str, Any] | None:
    """Loads a saved state, or where that is damaged, the one before.

    Returns:
        the state; None if there is none that can be used, which is said in words if one is damaged
    """
    damaged = False
    for candidate in (path, _before(path)):
        if not candidate.is_file():
            continue
        try:
            state = torch.load(candidate, weights_only=True, map_location=device)
        except Exception as error:  # pickle, zip files and tensors have errors of their own
            _say(f"'{candidate}' is damaged ({first_line(error)})")
            _move_away(candidate)  # or it would be kept as the state before the next one
            damaged = True
            continue
        if damaged:
            _say("The run goes on from the state that was saved before it")
        return state
    if damaged:
        _say("No saved state is whole, so the run starts from its beginning")
    return None


def newest_checkpoint(out: Path) -> Path | None:
    """Finds the newest checkpoint of a trainer that was written to its end.

    Newer ones, which are damaged, are moved out of the way as ``damaged-checkpoint-N``: the trainer
    would write into them.

    Args:
        out: the run's folder, with ``checkpoint-N/``

    Returns:
        the folder of the checkpoint; None if none is whole. What is damaged is said in words
    """
    found = [(int(m[1]), p) for p in out.glob("checkpoint-*") if (m := _number(p)) and p.is_dir()]
    damaged = False
    for _, path in sorted(found, reverse=True):
        reason = damage(path)
        if reason is None:
            if damaged:
                _say(f"The run goes on from '{path}'")
            return path
        damaged = True
        _say(f"'{path}' is not whole ({reason})")
        _move_away(path)
    if damaged:
        _say("No checkpoint is whole, so the run starts from its beginning")
    return None


def damage(checkpoint: Path) -> str | None:
    """Says what is wrong with a checkpoint of a trainer; None if it is whole."""
    try:
        for path in checkpoint.glob("*.json"):
            content = from_json(path.read_text(encoding="utf-8"))
            if path.name == _STATE:
                step = int(content["global_step"])
                if step != int(checkpoint.name.rpartition("-")[2]):
                    return f"{_STATE} is that of step {step}"
            for name in set(content.get("weight_map", {}).values()):
                if not (checkpoint / name).is_file():
                    return f"{name} is missing"
        for path in checkpoint.glob("*.safetensors"):
            with safe_open(path, "pt") as file:
                if not file.keys():
                    return f"{path.name} is empty"
        for path in (*checkpoint.glob("*.pt"), *checkpoint.glob("*.pth")):
            if (why := _archive_damage(path)) is not None:
                return why
    except Exception as error:  # each kind of file has errors of its own
        return f"{path.name}: {first_line(error)}"
    for what, patterns in (
        (_STATE, (_STATE,)),
        ("the weights", (*_WEIGHTS, "adapter_model*")),
        ("the optimizer's state", _OPTIMIZER),
    ):
        if not any(any(checkpoint.glob(pattern)) for pattern in patterns):
            return f"{what} is missing"
    return None


def read_settings(path: Path) -> dict[str, Any]:
    """Reads the file in which a run keeps its settings.

    Raises:
        ValueError: if it is damaged
    """
    try:
        settings = from_json(path.read_text(encoding="utf-8"))
        if isinstance(settings, dict):
            return settings
    except ValueError:
        pass
    raise ValueError(
        f"'{path}', which keeps the settings of the run, is damaged: delete it to go on with the "
        "settings that you give, which must be the same"
    )


def _archive_damage(path: Path) -> str | None:
    with zipfile.ZipFile(path) as file:
        if path.stat().st_size < _CHECKED and (name := file.testzip()) is not None:
            return f"{path.name}: {name} is damaged"
    return None


def _before(path: Path) -> Path:
    return path.with_name(f"{path.stem}-before{path.suffix}")


def _number(path: Path) -> re.Match[str] | None:
    return re.fullmatch(r"checkpoint-(\d+)", path.name)


def _say(text: str) -> None:
    if _is_main():
        click.echo(text, err=True)


def _move_away(path: Path) -> None:
    if _is_main():
        path.rename(free_path(path.with_name(f"damaged-{path.name}")))


def _is_main() -> bool:
    """Of several processes that train together, one speaks and writes."""
    return os.environ.get("RANK", "0") == "0"
