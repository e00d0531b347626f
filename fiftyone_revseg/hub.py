"""Weights from the Hugging Face hub: whether they are on this machine, and fetching them.

They lie in the hub's own cache, where transformers and other tools find them too.
"""

from __future__ import annotations

import json
from pathlib import Path

from fiftyone_revseg.presets import Weights


class DownloadError(RuntimeError):
    """Weights are neither on this machine nor to be had. The message says what to do."""


def is_on_disk(weights: Weights) -> bool:
    """Returns whether weights are complete on this machine, without asking the network.

    Args:
        weights: a preset's :class:`fiftyone_revseg.presets.Weights`
    """
    if weights.folder is not None:
        names = ("model.safetensors", "model.safetensors.index.json")
        return any((weights.folder / name).is_file() for name in names)
    return all(_cached(weights, name) for name in _needed_files(weights))


def download(weights: Weights) -> None:
    """Fetches weights from the hub, unless they are on this machine: then the network is not asked.

    An interrupted download is continued by the next one, and never taken for a complete one.

    Args:
        weights: a preset's :class:`fiftyone_revseg.presets.Weights`

    Raises:
        DownloadError: if the weights are not on this machine and cannot be fetched
    """
    if is_on_disk(weights):
        return
    if weights.hub_id is None:
        raise DownloadError(
            f"'{weights.folder}' has no weights: this installation is incomplete, so install the "
            "package, or clone its repository, once more"
        )
    import huggingface_hub

    try:
        huggingface_hub.snapshot_download(weights.hub_id, allow_patterns=list(weights.files))
    except Exception as error:  # the hub's client raises OSError, ValueError, httpx errors, ...
        raise _explain(weights, type(error).__name__) from error
    # Without a connection, the hub's client may take a part for the whole
    if not is_on_disk(weights):
        raise _explain(weights, "only a part of it is there")


def _explain(weights: Weights, cause: str) -> DownloadError:
    return DownloadError(
        f"'{weights.hub_id}' ({weights.size / 1e9:.1f} GB) is not on this machine and cannot be "
        f"downloaded ({cause}): check the connection, HF_HUB_OFFLINE and the free disk space"
    )


def _needed_files(weights: Weights) -> list[str]:
    """The files without which weights cannot be used, as far as that can be seen from here."""
    if "*.safetensors" not in weights.files:
        return list(weights.files)
    try:
        index = _cached(weights, "model.safetensors.index.json")
        parts = set(json.loads(index.read_bytes())["weight_map"].values()) if index else set()
    except (OSError, ValueError, KeyError):  # damaged: what it lists will not be found either
        parts = set()
    return ["config.json", "tokenizer.json", *sorted(parts or {"model.safetensors"})]


def _cached(weights: Weights, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(str(weights.hub_id), name)
    return Path(path) if isinstance(path, str) else None
