"""Weights from the Hugging Face hub: whether they are on this machine, and fetching them.

They lie in the hub's own cache, where transformers and other tools find them too.
"""

from __future__ import annotations

import contextlib
import threading
import urllib.error
import urllib.request
from pathlib import Path

from fiftyone_revseg.files import from_json
from fiftyone_revseg.models.builtin import Weights

_PATIENCE = 5.0  # seconds to wait for the hub's first answer


class DownloadError(ValueError):
    """Weights are neither on this machine nor to be had. The message says what to do."""


def is_on_disk(weights: Weights) -> bool:
    """Returns whether weights are complete on this machine, without asking the network.

    Args:
        weights: a preset's :class:`fiftyone_revseg.models.builtin.Weights`
    """
    if weights.folder is not None:
        names = ("model.safetensors", "model.safetensors.index.json")
        return any((weights.folder / name).is_file() for name in names)
    return all(_cached(weights, name) for name in _needed_files(weights))


def check_available(weights: Weights) -> None:
    """Finds out within seconds whether weights are on this machine, or could be fetched.

    The clients of the hub try for most of a minute before they say that there is no connection.

    Args:
        weights: a preset's :class:`fiftyone_revseg.models.builtin.Weights`

    Raises:
        DownloadError: if they are not, and there is no way to the hub
    """
    from huggingface_hub import constants

    if weights.hub_id is None or is_on_disk(weights):
        return
    if constants.HF_HUB_OFFLINE:
        raise _explain(weights, "HF_HUB_OFFLINE is set")
    _find_hub(weights)


def download(weights: Weights) -> None:
    """Fetches weights from the hub, unless they are on this machine: then the network is not asked.

    An interrupted download is continued by the next one, and never taken for a complete one.

    Args:
        weights: a preset's :class:`fiftyone_revseg.models.builtin.Weights`

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

    if not huggingface_hub.constants.HF_HUB_OFFLINE:
        _find_hub(weights)
    try:
        huggingface_hub.snapshot_download(weights.hub_id, allow_patterns=list(weights.files))
    except Exception as error:  # the hub's client raises OSError, ValueError, httpx errors, ...
        raise _explain(weights, type(error).__name__) from error
    # Without a connection, the hub's client may take a part for the whole
    if not is_on_disk(weights):
        raise _explain(weights, "only a part of it is there")


def _find_hub(weights: Weights) -> None:
    from huggingface_hub import constants

    if not _answers(constants.ENDPOINT):
        raise _explain(weights, f"{constants.ENDPOINT} does not answer")


def _answers(url: str) -> bool:
    """Whether there is an answer of any kind; a name that nobody resolves takes long to say so."""
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        with contextlib.suppress(OSError, ValueError):
            try:
                urllib.request.urlopen(request, timeout=_PATIENCE).close()
            except urllib.error.HTTPError as error:
                if error.code >= 500:  # of a proxy that does not find it
                    return
            answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return answered.is_set()


def _explain(weights: Weights, cause: str) -> DownloadError:
    size = f" ({weights.size / 1e9:.1f} GB)" if weights.size else ""
    return DownloadError(
        f"'{weights.hub_id}'{size} is not on this machine and cannot be "
        f"downloaded ({cause}): check the connection, HF_HUB_OFFLINE and the free disk space"
    )


def _needed_files(weights: Weights) -> list[str]:
    """The files without which weights cannot be used, as far as that can be seen from here."""
    if "*.safetensors" not in weights.files:
        return list(weights.files)
    try:
        index = _cached(weights, "model.safetensors.index.json")
        parts = set(from_json(index.read_bytes())["weight_map"].values()) if index else set()
    except (OSError, ValueError, KeyError):  # damaged: what it lists will not be found either
        parts = set()
    return ["config.json", "tokenizer.json", *sorted(parts or {"model.safetensors"})]


def _cached(weights: Weights, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(str(weights.hub_id), name)
    return Path(path) if isinstance(path, str) else None
