"""The front door: a name becomes a model for ``dataset.apply_model``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fiftyone_revseg.dataset.model import RevSegModel, RevSegModelConfig
from fiftyone_revseg.pipeline import RevSeg


def load_model(
    name_or_path: str | Path | RevSeg = "revseg-nano",
    query: str | Sequence[str] | None = None,
    prompt_field: str | None = None,
    label_field: str = "revseg",
    tracker: str | Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    spec: dict[str, Any] | None = None,
    confidence_thresh: float | None = None,
    server: str | None = None,
    replace_foreign_labels: bool = False,
    replace_corrections: bool = False,
    quantization: str | None = None,
    device_map: str | None = None,
    calibration: str | Path | None = None,
    anyway: bool = False,
) -> RevSegModel:
    """Loads a model that segments what queries describe in videos.

    Examples::

        import fiftyone_revseg as revseg

        # The same query for all samples
        model = revseg.load_model(query="the object that appears last")
        dataset.apply_model(model, label_field="revseg")

        # Each sample's own query, or list of queries
        model = revseg.load_model()
        dataset.apply_model(model, label_field="revseg", prompt_field="query")

    Args:
        name_or_path ("revseg-nano"): a preset, see :mod:`fiftyone_revseg.models.presets`, a hub id,
            a path, or a loaded :class:`fiftyone_revseg.pipeline.RevSeg`
        query (None): the query, or a list of queries, for every sample
        prompt_field (None): the field that holds each sample's query, or list of queries
        label_field ("revseg"): the label field that you will pass to ``apply_model``: the
            sample-level fields are named after it
        tracker (None): a tracker's short name, hub id or path. By default, the preset's
        device (None): for example "cuda:1". By default, a GPU if there is one
        dtype (None): for example "bfloat16". By default, what suits the device
        spec (None): a dict of settings of the chain to change, for example ``{"frames": 12}``
        confidence_thresh (None): a confidence under which detections are not written
        server (None): the address of a server that has the vision-language model, such as
            "http://localhost:8000/v1"; ``name_or_path`` is its name there. The server's key is in
            the environment variable ``REVSEG_SERVER_KEY``, if it has one
        replace_foreign_labels (False): whether ``apply_model`` may replace labels that this
            product did not write
        replace_corrections (False): whether ``apply_model`` may replace labels that a person
            corrected, accepted or changed
        quantization (None): "4bit" or "8bit" for weights in fewer bits; needs
            ``fiftyone-revseg[quantization]``
        device_map (None): "auto" to spread the vision-language model over all GPUs and the CPU
        calibration (None): the file of a map that ``revseg calibrate --fit`` made: what goes to
            ``certainty`` is then how often such an answer is right
        anyway (False): whether ``apply_model`` begins although a run is at work on some of the same
            samples and the same label field

    Returns:
        a :class:`RevSegModel`

    Raises:
        ValueError: if a name stands for nothing, or an argument is not valid
    """
    pipeline = name_or_path if isinstance(name_or_path, RevSeg) else None
    config = {
        "name_or_path": pipeline.name if pipeline else str(name_or_path),
        "tracker": None if tracker is None else str(tracker),
        "query": query,
        "prompt_field": prompt_field,
        "label_field": label_field,
        "device": device,
        "dtype": dtype,
        "quantization": quantization,
        "device_map": device_map,
        "spec": spec,
        "confidence_thresh": confidence_thresh,
        "server": pipeline.settings().get("server") if pipeline else server,
        "replace_foreign_labels": replace_foreign_labels,
        "anyway": anyway,
        "replace_corrections": replace_corrections,
        "calibration": None if calibration is None else str(calibration),
    }
    return RevSegModel(RevSegModelConfig(config), pipeline)
