"""Trackers of transformers from names: directories and hub repositories, or what sam2 wrote.

Weights are read as safetensors only, and no code that comes with a checkpoint is run.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiftyone_revseg.files import from_json
from fiftyone_revseg.files.digests import digest_files
from fiftyone_revseg.models.limits import check_directory, nested
from fiftyone_revseg.tracking.checkpoints import (
    OFFICIAL_PRESETS,
    CheckpointError,
    downloading,
    find_checkpoint,
    is_hub_id,
    read_files,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREFIX = "transformers:"

# model_type in config.json -> transformers' class; SAM3's whole checkpoint holds its tracker
CLASSES = {
    "sam2_video": "Sam2VideoModel",
    "edgetam_video": "EdgeTamVideoModel",
    "sam3_tracker_video": "Sam3TrackerVideoModel",
    "sam3_video": "Sam3TrackerVideoModel",
}
_PATTERNS = ["config.json", "*.safetensors", "*.safetensors.index.json"]


def is_transformers(name_or_path: str | Path) -> bool:
    """Returns whether a tracker's name means that transformers runs it.

    That is so if the name says it ("transformers:..."), or if a directory or hub repository has
    the ``config.json`` of a tracker of transformers, and nothing that sam2 could read. The
    official repositories of SAM2 have both, and sam2 runs them.

    Args:
        name_or_path: see :func:`fiftyone_revseg.tracking.load_tracker`
    """
    name = str(name_or_path)
    if name.startswith(PREFIX):
        return True
    path = Path(name).expanduser()
    if path.is_dir():
        kind = _model_type(path / "config.json")
        return _decide(kind, lambda: [file.name for file in path.iterdir()])
    if not is_hub_id(name) or name.removeprefix("facebook/") in OFFICIAL_PRESETS:
        return False
    return _decide(_hub_type(name), lambda: _files_on_hub(name))


def find_files(name_or_path: str | Path) -> list[Path]:
    """Finds the files that a name stands for, downloading from the hub if need be.

    Args:
        name_or_path: see :meth:`fiftyone_revseg.tracking.TransformersTracker.load`

    Returns:
        ``config.json`` and the safetensors files; or of a checkpoint of sam2 the config, if there
        is one, and the weights

    Raises:
        CheckpointError: if there are none
    """
    name = str(name_or_path).removeprefix(PREFIX)
    path = Path(name).expanduser()
    if path.is_dir() and (path / "config.json").is_file():
        return _in_directory(path, name)
    if name in OFFICIAL_PRESETS:
        name = f"facebook/{name}"
    on_hub = is_hub_id(name) and not path.exists()
    if on_hub and (name.removeprefix("facebook/") in OFFICIAL_PRESETS or _hub_type(name)):
        return _in_directory(_download(name), name)
    return find_checkpoint(name)


def load_files(files: list[Path]) -> tuple[PreTrainedModel, str]:
    """Loads the model from the files that :func:`find_files` found, on the CPU.

    Returns:
        the model in eval mode, and a digest that names config and weights by their content

    Raises:
        CheckpointError: if the files are no good or do not fit together
    """
    if files[0].name == "config.json":
        return _from_pretrained(files[0].parent), digest_files(files)
    from fiftyone_revseg.tracking.convert import to_transformers

    # As sam2's own loading has it: the same checkpoint, the same digest
    settings, state, digest = read_files(files)
    return to_transformers(settings, state), digest


def _from_pretrained(directory: Path) -> PreTrainedModel:
    import torch
    import transformers

    try:
        check_directory(directory)
    except ValueError as e:
        raise CheckpointError(str(e)) from None
    kind = getattr(transformers, CLASSES[str(_model_type(directory / "config.json"))])
    _check_encoder(from_json((directory / "config.json").read_bytes()), directory)
    try:
        model, report = kind.from_pretrained(
            directory,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # or which they are is only in the log
        )
    except ImportError as e:  # EdgeTAM's encoder is timm's
        why = textwrap.shorten(str(e), 200, placeholder=" ...")
        raise CheckpointError(f"'{directory}' needs a package that is not installed: {why}") from e
    except Exception as e:  # damaged files raise from json, safetensors, torch, dataclasses, ...
        why = textwrap.shorten(str(e), 200, placeholder=" ...")
        raise CheckpointError(
            f"'{directory}' cannot be loaded by transformers ({why}): download it again, or give "
            "another checkpoint"
        ) from e
    mismatched = [key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]]
    missing = sorted([*report["missing_keys"], *mismatched])
    if missing:
        raise CheckpointError(
            f"the weights in '{directory}' do not fit the config beside them ({missing[0]} is "
            "missing or of another shape): use the two of one model"
        )
    return model.eval()


def _check_encoder(config: Any, directory: Path) -> None:
    """Refuses a config that sends timm, which builds EdgeTAM's encoder, to further files."""
    for part in nested(config):
        if not isinstance(part, dict):
            continue
        reads = [
            name
            for name in part.get("model_args") or {}
            if name.startswith("pretrained") or name.endswith(("path", "dir"))
        ]
        if ":" in str(part.get("architecture", "")):
            reads.append("architecture")
        if reads:
            raise CheckpointError(
                f"the config.json in '{directory}' asks to read other files ({reads[0]}): remove "
                "that"
            )


def _in_directory(directory: Path, name: str) -> list[Path]:
    """The config and weights in a directory, or an error that calls it by its name."""
    kind = _model_type(directory / "config.json")
    if kind not in CLASSES:
        what = "has a config.json that cannot be read" if kind is None else f"is a '{kind}' model"
        raise CheckpointError(f"'{name}' {what}: a tracker is one of {', '.join(CLASSES)}")
    weights = sorted(directory.glob("*.safetensors"))
    if not weights:
        raise CheckpointError(
            f"'{name}' holds no *.safetensors beside its config.json: other files may run code "
            "and are not read"
        )
    return [directory / "config.json", *weights]


def _model_type(config: Path) -> str | None:
    """The model_type in a config.json; None if there is no such file, or none in it."""
    try:
        contents: Any = from_json(config.read_bytes())
        kind = contents["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kind if isinstance(kind, str) else None


def _hub_type(repo_id: str) -> str | None:
    """The model_type of a hub repository; None if it has none, or cannot be asked."""
    from huggingface_hub import hf_hub_download

    try:
        return _model_type(Path(hf_hub_download(repo_id, "config.json")))
    except Exception:  # no such repository, no such file, no connection: the caller will see
        return None


def _files_on_hub(repo_id: str) -> list[str]:
    from huggingface_hub import list_repo_files

    try:
        return list_repo_files(repo_id)
    except Exception:  # no connection, but its config is on this machine
        return []


def _decide(kind: str | None, list_files: Callable[[], list[str]]) -> bool:
    """Whether transformers is the one to run, or to complain of, what has this model_type."""
    if kind is None:
        return False
    if kind in CLASSES and kind != "sam2_video":
        return True
    return not any(file == "config.yaml" or file.endswith(".pt") for file in list_files())


def _download(repo_id: str) -> Path:
    from huggingface_hub import snapshot_download

    with downloading(repo_id):
        return Path(snapshot_download(repo_id, allow_patterns=_PATTERNS))
