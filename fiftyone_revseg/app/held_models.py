"""Models that stay in memory from one operator call to the next.

FiftyOne runs a plugin's entry file anew when it looks for operators, so what is to last must live
in the installed package: here.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from fiftyone_revseg.dataset import RevSegModel, load_model
from fiftyone_revseg.models.presets import default_tracker, resolve
from fiftyone_revseg.models.weights import stamp
from fiftyone_revseg.pipeline import load_pipeline
from fiftyone_revseg.tracking import Tracker, load_tracker

# Weights are shared by all models that use the same ones (see models/weights.py), so a second
# model costs memory only if it is another checkpoint: to compare two is what people do
_KEPT = 2

_models: OrderedDict[Hashable, RevSegModel] = OrderedDict()
_trackers: OrderedDict[Hashable, Tracker] = OrderedDict()
_lock = threading.Lock()


def get_model(
    name_or_path: str = "revseg-nano",
    tracker: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    spec: dict[str, Any] | None = None,
    server: str | None = None,
    server_key: str | None = None,
) -> RevSegModel:
    """Loads a model, or returns the one that was loaded for an earlier call.

    The model is shared: whoever gets it changes nothing about it.

    Args:
        name_or_path ("revseg-nano"): a preset, a hub id or a path
        tracker (None): a tracker's short name, hub id or path. By default, the preset's
        device (None): for example "cuda:1". By default, a GPU if there is one
        dtype (None): for example "bfloat16". By default, what suits the device
        spec (None): a dict of settings of the chain to change, for example ``{"frames": 12}``
        server (None): the address of a server that has the vision-language model
        server_key (None): its key; "" for none. By default, that in the environment

    Returns:
        a :class:`fiftyone_revseg.dataset.RevSegModel`

    Raises:
        ValueError: if a name stands for nothing, or an argument is not valid
        RuntimeError: if weights are neither on this machine nor to be had
    """
    settings = json.dumps(spec or {}, sort_keys=True)
    where = (server, hash(server_key))  # another key is another connection
    own = None if server else _files(_folder(name_or_path))
    key = (name_or_path, tracker, device, dtype, settings, where, own, _files(tracker))
    return _kept(
        _models,
        key,
        lambda: load_model(
            load_pipeline(name_or_path, tracker, device, dtype, spec, server, server_key)
            if server
            else name_or_path,
            tracker=tracker,
            device=device,
            dtype=dtype,
            spec=spec,
        ),
    )


def get_tracker(
    name_or_path: str = "revseg-nano",
    tracker: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    server: str | None = None,
    **_: Any,
) -> Tracker:
    """Loads the tracker of a model without its language model, or returns the one of before.

    Args:
        name_or_path ("revseg-nano"): as in :func:`get_model`
        tracker (None): as in :func:`get_model`
        device (None): as in :func:`get_model`
        dtype (None): as in :func:`get_model`
        server (None): as in :func:`get_model`; the tracker runs here all the same
        **_: what else :func:`get_model` takes, and a tracker does not need

    Returns:
        a :class:`fiftyone_revseg.tracking.Tracker`

    Raises:
        ValueError: if a name stands for nothing, or an argument is not valid
        RuntimeError: if weights are neither on this machine nor to be had
    """
    name = tracker or default_tracker(name_or_path, server)
    key = (name, device, dtype, _files(name))
    return _kept(_trackers, key, lambda: load_tracker(name, device=device, dtype=dtype))


def _kept(store: OrderedDict[Hashable, Any], key: Hashable, load: Callable[[], Any]) -> Any:
    with _lock:  # two calls at once load one model, not two
        if key not in store:
            while len(store) >= _KEPT:  # first, as both may not fit beside the new one
                store.popitem(last=False)
            store[key] = load()
        store.move_to_end(key)
        return store[key]


def forget_models() -> None:
    """Lets go of all models that are kept; memory that nobody else uses is handed back."""
    from fiftyone_revseg.models.devices import empty_caches

    with _lock:
        _models.clear()
        _trackers.clear()
        empty_caches()


def _folder(name_or_path: str) -> str:
    """Where a model lies, if its name is a person's own: it may be trained anew under its name."""
    try:
        preset = resolve(name_or_path)
    except ValueError:  # loading says it
        return name_or_path
    return preset.reasoner if preset.own else name_or_path


def _files(name_or_path: str | None) -> Hashable:
    """What tells that a checkpoint on disk was replaced by another one."""
    path = Path((name_or_path or "").removeprefix("transformers:")).expanduser()
    if not name_or_path or not path.exists():
        return None
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    return stamp(files)
