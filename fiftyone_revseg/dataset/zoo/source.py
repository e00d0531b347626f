"""What FiftyOne asks of a source of models: download, load, and a form for the App."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators.types as types

from fiftyone_revseg.dataset.schema import fields_with_text
from fiftyone_revseg.files import write_json
from fiftyone_revseg.models.builtin import PRESETS, Preset
from fiftyone_revseg.models.hub import download, is_on_disk
from fiftyone_revseg.models.presets import resolve
from fiftyone_revseg.models.quantization import SHARES

#: The field that is asked when neither a query nor a field is named, which the command line of
#: FiftyOne cannot do
DEFAULT_PROMPT_FIELD = "query"

# The name under which the App's zoo operator collects what is typed into a model's form
_FORM = "remote_params"


def download_model(model_name: str, model_path: str) -> None:
    """Makes sure that a model's weights are on this machine.

    They go where everything else looks for them, the cache of the Hugging Face hub; what comes
    with the package is not copied. What is written to ``model_path`` is a note that says so: it
    is how FiftyOne sees that the model is there, and it is written last.

    Args:
        model_name: the name of a preset
        model_path: the path where FiftyOne looks for the model

    Raises:
        ValueError: if there is no such preset
        fiftyone_revseg.models.hub.DownloadError: if the weights are missing and cannot be
            downloaded
    """
    preset = resolve(model_name)
    for weights in preset.weights:
        download(weights)

    note = Path(model_path)
    if note.resolve().parent == Path(__file__).resolve().parent:
        return  # the source is a link to the package, where nothing is to be written
    where = [weights.hub_id or str(weights.folder) for weights in preset.weights]
    write_json(note, {"model": model_name, "weights": where})


def load_model(model_name: str, model_path: str | None = None, **kwargs: Any) -> Any:
    """Loads a model.

    Args:
        model_name: the name of a preset
        model_path (None): where FiftyOne keeps its note of the model; not used
        **kwargs: keyword arguments of :func:`fiftyone_revseg.dataset.load_model`. If they have
            neither a ``query`` nor a ``prompt_field``, the field "query" of the samples is asked

    Returns:
        a :class:`fiftyone_revseg.dataset.RevSegModel`
    """
    from fiftyone_revseg.dataset.load import load_model

    if not kwargs.get("query") and not kwargs.get("prompt_field"):
        kwargs["prompt_field"] = DEFAULT_PROMPT_FIELD
    return load_model(model_name, **kwargs)


def resolve_input(model_name: str, ctx: Any) -> types.Property:
    """Builds the model's part of the form of the App's zoo operator.

    The label field is not in it, as the operator asks for that itself.

    Args:
        model_name: the name of a preset
        ctx: the :class:`fiftyone.operators.ExecutionContext`

    Returns:
        a :class:`fiftyone.operators.types.Property`
    """
    preset = PRESETS[model_name]
    inputs = types.Object()
    _warn(inputs, preset, ctx)

    fields = fields_with_text(ctx.dataset) if ctx.dataset is not None else []
    default = DEFAULT_PROMPT_FIELD if DEFAULT_PROMPT_FIELD in fields else None
    chosen = (ctx.params.get(_FORM) or {}).get("prompt_field", default)
    inputs.str(
        "query",
        required=not chosen,
        label="Query",
        description="What to segment in every video; several queries on a line each",
        view=types.TextFieldView(multiline=True, rows=2),
    )
    inputs.str(
        "prompt_field",
        default=default,
        label="Prompt field",
        description="The field with each sample's own query, or list of queries. The query above "
        "is asked where it is empty",
        view=suggest(fields, allow_user_input=False),
    )
    tracker = f"A SAM 2 checkpoint: a name, a hub id or a path. By default {preset.tracker}"
    view = suggest(known_trackers())
    inputs.str("tracker", label="Tracker", description=tracker, view=view)
    frames_input(inputs)
    device = "For example cuda:1. By default, a GPU if there is one"
    view = suggest(["cpu", "cuda:0", "cuda:1"])
    inputs.str("device", label="Device", description=device, view=view)
    dtype = "By default bfloat16 on a GPU and float32 elsewhere"
    view = suggest(["bfloat16", "float16", "float32"])
    inputs.str("dtype", label="Precision", description=dtype, view=view)
    fewer = "4bit or 8bit, for weights in fewer bits. By default, none"
    view = suggest(list(SHARES))
    inputs.str("quantization", label="Quantization", description=fewer, view=view)
    return types.Property(inputs, view=types.View(label="ReVSeg"))


def parse_parameters(model_name: str, ctx: Any, params: dict[str, Any]) -> None:
    """Turns what was typed into the form into keyword arguments of :func:`load_model`.

    Args:
        model_name: the name of a preset
        ctx: the :class:`fiftyone.operators.ExecutionContext`
        params: the form's content, changed in place
    """
    typed = {name: value for name, value in params.items() if value not in (None, "", [])}
    params.clear()
    for name in ("prompt_field", "tracker", "device", "dtype", "quantization"):
        if name in typed:
            params[name] = typed[name].strip()
    queries = [line.strip() for line in typed.get("query", "").splitlines() if line.strip()]
    if queries:
        params["query"] = queries if len(queries) > 1 else queries[0]
    if "frames" in typed:
        params["spec"] = {"frames": int(typed["frames"])}
    # The operator keeps the label field to itself, but the model names fields after it
    if ctx.params.get("label_field"):
        params["label_field"] = ctx.params["label_field"]


def _warn(inputs: types.Object, preset: Preset, ctx: Any) -> None:
    """Says what should be known before the button is pressed."""
    media_type = ctx.dataset.media_type if ctx.dataset is not None else None
    if media_type == fo.core.media.IMAGE:
        error = types.Error(label="This model segments videos, and the samples here are images")
        inputs.view("media_error", error).invalid = True
    missing = sum(weights.size for weights in preset.weights if not is_on_disk(weights))
    if missing:
        label = f"{missing / 1e9:.1f} GB will be downloaded first"
        inputs.view("download_notice", types.Notice(label=label))
    if preset.license != "Apache-2.0":
        label = f"Licence: {preset.license}"
        warning = types.Warning(label=label, description=preset.description)
        inputs.view("license_warning", warning)


def known_trackers() -> list[str]:
    """Lists the trackers that a form offers."""
    from fiftyone_revseg.tracking.checkpoints import OFFICIAL_PRESETS

    return ["sam2-nano", *OFFICIAL_PRESETS]


def frames_input(inputs: types.Object) -> None:
    """Asks how many frames the model is shown: "frames"."""
    inputs.int(
        "frames",
        min=1,
        max=256,
        label="Frames",
        description="How many frames of a video the model is shown. By default, what it expects",
    )


def suggest(values: Sequence[str], **options: Any) -> types.AutocompleteView:
    """Makes a text field that offers values and, unless the options differ, takes others too."""
    view = types.AutocompleteView(**options)
    for value in values:
        view.add_choice(value, label=value)
    return view
