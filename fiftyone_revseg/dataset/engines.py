"""Which engine runs a model: the one that the words of a caller stand for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fiftyone_revseg.dataset.model import RevSegModel
from fiftyone_revseg.engine import Engine, LocalEngine
from fiftyone_revseg.pipeline import RevSeg, load_pipeline

_NAMES = ("local", "ray")


@contextmanager
def open_engine(
    name: str | None, workers: int | None, model: RevSegModel | RevSeg | str | Path
) -> Iterator[Engine]:
    """Makes an engine, and lets go of it in the end.

    Args:
        name: "local" or "ray"; None for Ray, if a number of workers is given
        workers: how many workers of Ray. By default, see
            :class:`fiftyone_revseg.engine.ray.RayEngine`
        model: what it is to run. Workers load it themselves

    Raises:
        ValueError: if there is no such engine, or workers cannot load the model
        ImportError: if Ray is not installed
    """
    name = name or ("local" if workers is None else "ray")
    if name not in _NAMES:
        raise ValueError(f"engine must be {' or '.join(map(repr, _NAMES))}, not {name!r}")
    if name == "local":
        if workers is not None:
            raise ValueError('workers are of Ray: say engine="ray", or leave out workers')
        if isinstance(model, RevSegModel):
            model = model.pipeline
        yield LocalEngine(model if isinstance(model, RevSeg) else load_pipeline(model))
        return
    from fiftyone_revseg.engine.ray import RayEngine

    source: Any = model
    if isinstance(model, RevSegModel):
        source = model.pipeline if model.has_own_pipeline else model.config.loading
    with RayEngine(source, workers) as engine:
        yield engine
