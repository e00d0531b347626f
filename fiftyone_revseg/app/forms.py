"""Pieces of forms that several operators have.

What is wrong with a form is said where it was typed, and keeps it from being submitted. FiftyOne
says the same to scripts, as it resolves the form before it executes an operator. It gives them no
defaults, though, as the App does: so nothing that has a default is required.
"""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import fiftyone.operators.types as types

from fiftyone_revseg.dataset.collection import list_videos
from fiftyone_revseg.dataset.ownership import ForeignLabelsError, check_label_field, check_videos
from fiftyone_revseg.dataset.schema import valid_label_field
from fiftyone_revseg.models.presets import preset_names, resolve
from fiftyone_revseg.reasoning.serving.served import KEY_NAME, check_url
from fiftyone_revseg.reasoning.spec import BOX_CONVENTIONS
from fiftyone_revseg.text.escape import markdown, markdown_line

#: How FiftyOne's own label field is called where nothing else was said
DEFAULT_LABEL_FIELD = "revseg"


def tell(
    inputs: types.Object,
    name: str,
    title: str,
    text: str = "",
    view: type[types.AlertView] = types.Notice,
) -> types.Property:
    """Says something in a form.

    Args:
        inputs: the form
        name: a name for the message, unlike that of any other part of the form
        title: what to say. The App reads it as Markdown, which is why both are escaped here
        text (""): more of it
        view (Notice): ``types.Notice``, ``types.Warning`` or ``types.Error``

    Returns:
        the part of the form
    """
    return inputs.view(name, view(label=markdown(title), description=markdown(text)))


def refuse(inputs: types.Object, name: str, message: str) -> None:
    """Says what is wrong with the whole form, and keeps it from being submitted.

    Args:
        inputs: the form
        name: a name for the message, unlike that of any other part of the form
        message: what is wrong and what to do, in one sentence
    """
    error = tell(inputs, name, message, view=types.Error)
    error.invalid = True
    error.error_message = message


def check(prop: types.Property, message: str | None) -> bool:
    """Marks a part of a form as wrong if there is a message.

    Args:
        prop: the part of the form
        message: what is wrong and what to do, in one sentence; None if all is well

    Returns:
        whether all is well
    """
    if message:
        prop.invalid = True
        prop.error_message = message
    return not message


def problem(function: Any, *args: Any) -> str | None:
    """Returns the message of the ``ValueError`` that a call raises; None if it raises none."""
    try:
        function(*args)
    except ValueError as error:
        return str(error)
    return None


def label_fields(dataset: fo.Dataset) -> list[str]:
    """Lists the label fields that hold results.

    Args:
        dataset: a :class:`fiftyone.core.dataset.Dataset`

    Returns:
        a list of names, the most recent one first
    """
    suffix = "_trajectory"
    schema = dataset.get_field_schema(ftype=fo.DictField)
    names = [name.removesuffix(suffix) for name in schema if name.endswith(suffix)]
    masks = {*dataset.get_field_schema(), *(dataset.get_frame_field_schema() or {})}
    return [name for name in reversed(names) if name in masks]


def text_fields(dataset: fo.Dataset) -> list[str]:
    """Lists the fields that can hold a query or a list of queries of each sample.

    Args:
        dataset: a :class:`fiftyone.core.dataset.Dataset`

    Returns:
        a list of names; those that results are written to are left out
    """
    results = {f"{name}_{suffix}" for name in label_fields(dataset) for suffix in _OWN_TEXTS}
    names = []
    for name, field in dataset.get_field_schema().items():
        content = field.field if isinstance(field, fo.ListField) else field
        if isinstance(content, fo.StringField) and name not in {"filepath", "tags", *results}:
            names.append(name)
    return names


def suggest(values: list[str], **kwargs: Any) -> types.AutocompleteView:
    """Makes a text field that offers values and takes others too.

    Args:
        values: the values
        **kwargs: of the :class:`fiftyone.operators.types.AutocompleteView`
    """
    view = types.AutocompleteView(**kwargs)
    for value in values:
        view.add_choice(value, label=value)
    return view


def label_field_input(inputs: types.Object, ctx: Any, description: str, videos: Any) -> str | None:
    """Asks for a label field to write to, and whether labels of others in it may be replaced.

    Args:
        inputs: the form; its fields are called "label_field" and "replace_foreign_labels"
        ctx: the :class:`fiftyone.operators.ExecutionContext`
        description: what the field is for
        videos: the collection that is written

    Returns:
        the name; None if it is not valid
    """
    name = text(ctx, "label_field") or DEFAULT_LABEL_FIELD
    prop = inputs.str(
        "label_field",
        default=DEFAULT_LABEL_FIELD,
        label="Label field",
        description=description,
        view=suggest(label_fields(ctx.dataset)),
    )
    if not check(prop, problem(valid_label_field, name)):
        return None
    name = valid_label_field(name)
    try:
        check_label_field(ctx.dataset, name)
        # What is on samples with results is looked at by the run: that takes too long for a form
        check_videos(ctx.dataset, name, list_videos(videos), with_results=False)
    except ForeignLabelsError as error:
        inputs.bool(
            "replace_foreign_labels",
            default=False,
            label="Replace these labels",
            description="They are lost then",
            view=types.CheckboxView(),
        )
        if not check(prop, None if ctx.params.get("replace_foreign_labels") else str(error)):
            return None
    except ValueError as error:
        check(prop, str(error))
        return None
    return name


def existing_label_field_input(
    inputs: types.Object, ctx: Any, name: str = "label_field", label: str = "Label field"
) -> str | None:
    """Asks for a label field that holds results.

    Args:
        inputs: the form
        ctx: the :class:`fiftyone.operators.ExecutionContext`
        name ("label_field"): the name of the parameter
        label ("Label field"): what to call it

    Returns:
        the name of the label field; None if there is no such field
    """
    names = label_fields(ctx.dataset)
    chosen = text(ctx, name) or (names[0] if names else None)
    view = types.Dropdown()
    for other in names:
        view.add_choice(other, label=other)
    prop = inputs.enum(name, view.values(), default=chosen, label=label, view=view)
    if not names:
        check(prop, "There are no results in this dataset yet: run ReVSeg's segment first")
        return None
    if chosen not in names:
        check(prop, f"There are no results in '{chosen}': there are in {', '.join(names)}")
        return None
    return chosen


def model_inputs(inputs: types.Object, ctx: Any) -> bool:
    """Asks for a model: "model", "server", "tracker" and "frames".

    Args:
        inputs: the form
        ctx: the :class:`fiftyone.operators.ExecutionContext`

    Returns:
        whether what was typed can be loaded, as far as that can be told without loading it
    """
    name, tracker = text(ctx, "model") or "revseg-nano", text(ctx, "tracker")
    server = text(ctx, "server")
    model = inputs.str(
        "model",
        default="revseg-nano",
        label="Model",
        description="A preset, a Hugging Face hub id, or the path of a checkpoint"
        + ("; here, the name on the server" if server else ""),
        view=suggest(preset_names()),
    )
    # Which models a server has is not asked with every letter that is typed
    valid = bool(server) or check(model, problem(resolve, name))
    preset = resolve(name) if valid and not server else None
    prop = inputs.str(
        "server",
        label="Server URL",
        description="Where a server has the model, such as http://localhost:8000/v1; its key is "
        f"the secret {KEY_NAME}. By default, the model runs here",
    )
    valid &= check(prop, problem(check_url, server) if server else None)
    if server:
        inputs.enum(
            "box_convention",
            list(BOX_CONVENTIONS),
            label="Boxes",
            description="Pixels of the picture that is shown, or 0 to 1000 along each side. By "
            "default, what the checkpoint is known for",
            view=types.Dropdown(),
        )
    prop = inputs.str(
        "tracker",
        label="Tracker",
        description="A SAM 2 checkpoint: a name, a hub id or a path. By default "
        + (markdown_line(preset.tracker) if preset else "the model's"),
        view=suggest(known_trackers()),
    )
    valid &= check(prop, problem(check_tracker, tracker) if tracker else None)
    inputs.int(
        "frames",
        min=1,
        max=256,
        label="Frames",
        description="How many frames of a video the model is shown. By default, what it expects",
    )
    if preset is not None:
        tell_of(inputs, preset)
    return valid


def model_arguments(ctx: Any) -> dict[str, Any]:
    """Returns the keyword arguments of :func:`fiftyone_revseg.app.held_models.get_model`.

    Args:
        ctx: the :class:`fiftyone.operators.ExecutionContext`, whose form has
            :func:`model_inputs`
    """
    frames, server = ctx.params.get("frames"), text(ctx, "server") or None
    spec: dict[str, Any] = {"frames": int(frames)} if frames else {}
    if server and text(ctx, "box_convention"):
        spec["box_convention"] = text(ctx, "box_convention")
    return {
        "name_or_path": text(ctx, "model") or "revseg-nano",
        "tracker": text(ctx, "tracker") or None,
        "device": text(ctx, "device") or None,
        "dtype": text(ctx, "dtype") or None,
        "spec": spec or None,
        "server": server,
        "server_key": (ctx.secrets.get(KEY_NAME) or None) if server else None,
    }


def text(ctx: Any, name: str) -> str:
    """Returns what was typed into a text field, without spaces around it; "" if nothing was."""
    value = ctx.params.get(name)
    return value.strip() if isinstance(value, str) else ""


_OWN_TEXTS = ("status", "reasoning")


def known_trackers() -> list[str]:
    """Lists the names of trackers that a form suggests."""
    from fiftyone_revseg.tracking.checkpoints import OFFICIAL_PRESETS

    return ["sam2-nano", *OFFICIAL_PRESETS]


def check_tracker(name: str) -> None:
    """Raises a ``ValueError`` if a tracker is neither here nor can be on the hub."""
    from pathlib import Path

    from fiftyone_revseg.tracking.checkpoints import OFFICIAL_PRESETS, find_checkpoint
    from fiftyone_revseg.tracking.transformers_checkpoints import (
        PREFIX,
        find_files,
        is_transformers,
    )

    bare = name.removeprefix(PREFIX)
    path = Path(bare).expanduser()
    on_hub = bare in OFFICIAL_PRESETS or (
        bare.count("/") == 1 and path.suffix not in (".pt", ".safetensors")
    )
    if path.exists() or not on_hub:
        find = find_files if is_transformers(name) else find_checkpoint
        find(name)


def tell_of(inputs: types.Object, preset: Any) -> None:
    """Says what should be known of a model before the button is pressed."""
    from fiftyone_revseg.models.hub import is_on_disk

    missing = sum(weights.size for weights in preset.weights if not is_on_disk(weights))
    if missing:
        label = f"{missing / 1e9:.1f} GB will be downloaded first"
        tell(inputs, "download_notice", label)
    if preset.license and preset.license != "Apache-2.0":
        label = f"Licence: {preset.license}"
        tell(inputs, "license_warning", label, preset.description, types.Warning)
