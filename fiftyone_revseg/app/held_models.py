"""Models that stay in memory from one operator call to the next.

FiftyOne runs a plugin's entry file anew when it looks for operators, so what is to last must live
in the installed package: here.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fiftyone_revseg.dataset import RevSegModel, load_model
from fiftyone_revseg.models.presets import resolve
from fiftyone_revseg.models.weights import stamp
from fiftyone_revseg.pipeline import Loading
from fiftyone_revseg.tracking import Tracker, load_tracker

# Weights are shared by all models that use the same ones (see models/weights.py), so a second
# model costs memory only if it is another checkpoint: to compare two is what people do
_KEPT = 2

_models: OrderedDict[Hashable, RevSegModel] = OrderedDict()
_trackers: OrderedDict[Hashable, Tracker] = OrderedDict()
_lock = threading.Lock()


def get_model(loading: Loading) -> RevSegModel:
    """Loads a model, or returns the one that was loaded for an earlier call.

    The model is shared: whoever gets it changes nothing about it.

    Args:
        loading: its names, not objects

    Returns:
        a :class:`fiftyone_revseg.dataset.RevSegModel`

    Raises:
        ValueError: if a name stands for nothing, or an argument is not valid
        RuntimeError: if weights are neither on this machine nor to be had
    """
    settings = json.dumps(loading.spec or {}, sort_keys=True)
    connection = hash(loading.server_key)  # another key is another one
    own = None if loading.server else _files(_folder(str(loading.name)))
    named = replace(loading, spec=None, server_key=None)
    key = (named, settings, connection, own, _files(loading.tracker))
    return _kept(_models, key, lambda: load_model(loading.load()))


def get_tracker(loading: Loading) -> Tracker:
    """Loads the tracker of a model without its language model, or returns the one of before.

    Args:
        loading: as in :func:`get_model`; the tracker runs here, wherever the model does

    Returns:
        a :class:`fiftyone_revseg.tracking.Tracker`

    Raises:
        ValueError: if a name stands for nothing, or an argument is not valid
        RuntimeError: if weights are neither on this machine nor to be had
    """
    name, device, dtype = loading.tracker_name(), loading.device, loading.dtype
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


def _folder(name_or_path: str) -> str:
    """Where a model lies, if its name is a person's own: it may be trained anew under its name."""
    try:
        preset = resolve(name_or_path)
    except ValueError:  # loading says it
        return name_or_path
    return preset.reasoner if preset.own else name_or_path


def _files(name_or_path: Any) -> Hashable:
    """What tells that a checkpoint on disk was replaced by another one."""
    path = Path(str(name_or_path or "").removeprefix("transformers:")).expanduser()
    if not name_or_path or not path.exists():
        return None
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    return stamp(files)
