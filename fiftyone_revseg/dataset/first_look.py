"""What the App shows of a segmented dataset: the masks, each object in a colour of its own.

FiftyOne shows every field there is, each in one colour. These are defaults of the dataset, which
anybody changes with the App's sidebar and colour settings; what a person chose is left alone.
"""

from __future__ import annotations

from typing import Any

import fiftyone as fo

from fiftyone_revseg.dataset.schema import points_field
from fiftyone_revseg.masks.pictures import object_color

#: For what has no confidence, so for true masks: grey, unlike any prediction. (The App writes names
#: in white, so white would hide them)
TRUTH_COLOR = "#808a94"

_NO_OBJECT = "#8c8c8c"
_OBJECTS = 28  # of a video that have a colour of their own here; more are coloured by FiftyOne
_NONE = "none"  # how FiftyOne calls labels that have no such attribute


def set_first_look(
    dataset: fo.Dataset, label_field: str, query_field: str | None = None, images: bool = False
) -> None:
    """Lets the App show the masks, answers and queries of a label field, objects in their colours.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        label_field: the label field
        query_field (None): the field with each video's own query
        images (False): whether the samples are images in groups, which have the masks themselves
    """
    config = dataset.app_config
    active = shown_fields(dataset, label_field, query_field, images)
    scheme = color_fields(dataset, label_field, images)
    changed = False
    if _is_own_choice(dataset, config.active_fields, query_field):
        config.active_fields = fo.ActiveFields(paths=active)
        changed = True
    if config.color_scheme is None:
        config.color_scheme = fo.ColorScheme(color_by="value", fields=scheme)
        changed = True
    elif config.color_scheme.color_by == "value":
        known = {field.get("path") for field in config.color_scheme.fields or ()}
        missing = [field for field in scheme if field["path"] not in known]
        config.color_scheme.fields = [*(config.color_scheme.fields or ()), *missing]
        changed = bool(missing) or changed
    if changed:
        dataset.save()


def shown_fields(
    dataset: fo.Dataset, label_field: str, query_field: str | None = None, images: bool = False
) -> list[str]:
    """Lists the fields that are shown after a run: query, answer and masks."""
    masks = label_field if images else f"frames.{label_field}"
    query = [query_field] if query_field and dataset.has_field(query_field) else []
    points = points_field(masks)  # where it is not shown, the App lets nobody draw in it
    drawn = [points] if dataset.has_field(points) else []
    return [*drawn, *query, f"{label_field}_answers", masks]


def color_fields(
    dataset: fo.Dataset, label_field: str, images: bool = False
) -> list[dict[str, Any]]:
    """Makes the colours of a label field, and of the dataset's true masks."""
    masks = label_field if images else f"frames.{label_field}"
    colors = [{"value": str(k + 1), "color": _hex(object_color(k))} for k in range(_OBJECTS)]
    own = {"colorByAttribute": "index", "valueColors": [*colors, _color(_NONE, _NO_OBJECT)]}
    others = [{"path": path, **own} for path in (f"{label_field}_answers", masks)]
    truth = {"colorByAttribute": "confidence", "valueColors": [_color(_NONE, TRUTH_COLOR)]}
    return [*others, *({"path": path, **truth} for path in _true_masks(dataset, images))]


def _true_masks(dataset: fo.Dataset, images: bool) -> list[str]:
    """Label fields with detections that no run has written."""
    schema = dataset.get_field_schema() if images else dataset.get_frame_field_schema() or {}
    prefix = "" if images else "frames."
    return [
        prefix + name
        for name, field in schema.items()
        if getattr(field, "document_type", None) is fo.Detections
        and not dataset.has_field(f"{name}_trajectory")
    ]


def _is_own_choice(dataset: fo.Dataset, active: Any, query_field: str | None) -> bool:
    """Whether nobody chose which fields are shown, but an earlier run may have."""
    if active is None or not active.paths:
        return active is None or not active.exclude
    if active.exclude:
        return False
    masks = active.paths[-1].removeprefix("frames.")
    return active.paths[-2:-1] == [f"{masks}_answers"] and len(active.paths) <= 4


def _color(value: str, color: str) -> dict[str, str]:
    return {"value": value, "color": color}


def _hex(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
