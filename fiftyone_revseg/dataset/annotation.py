"""Makes the App's annotation mode ready for a label field: drawing, painting, clicking points.

The App lets a person edit only fields that have an active label schema. A field that has one was
set up before, by a run or by a person, and is left as it is: what a person deactivated stays so.

FiftyOne 1.22 cannot delete or rename a field of frames as long as it has a label schema: it fails
half way. So only runs in the App make fields ready, where they are needed, and
:func:`deactivate_annotation` comes before deleting them.
"""

from __future__ import annotations

import logging

import fiftyone as fo

from fiftyone_revseg.dataset.prompt_boxes import BESIDE, ON
from fiftyone_revseg.dataset.schema import declare_points, points_field

logger = logging.getLogger(__name__)

_INDEX = {"name": "index", "type": "int", "component": "text"}
_REPAIRED = {"name": "repaired", "type": "bool", "component": "toggle", "dynamic": True}
_DETECTIONS = {"type": "detections", "component": "text", "attributes": [_INDEX, _REPAIRED]}
_POINTS = {
    "type": "polylines",
    "component": "radio",
    "classes": [ON, BESIDE],
    "default": ON,
    "attributes": [],
}


def activate_annotation(dataset: fo.Dataset, label_field: str = "revseg") -> list[str]:
    """Lets a person correct the labels of a label field in the App's annotation mode.

    Gives a label schema to the field with the masks, and to one with polylines, whose corners are
    points on an object or beside it for :func:`fiftyone_revseg.propagate`. To undo it, deactivate
    both in the App (the cog in its annotation mode): no run activates them again; or call
    :func:`deactivate_annotation`. Samples that are loaded are to be loaded again, as after
    ``dataset.reload()``.

    Args:
        dataset: a :class:`fiftyone.core.dataset.Dataset` that has the label field
        label_field ("revseg"): the label field, without "frames."

    Returns:
        the fields that were activated; none if both have a schema already
    """
    wanted = dict(zip(_fields(dataset, label_field), (_DETECTIONS, _POINTS), strict=True))
    declare_points(dataset, label_field)
    dataset.reload()  # of attributes, and of what other processes have made ready meanwhile
    new = [field for field in wanted if field not in dataset.label_schemas]
    for field in new:
        dataset.update_label_schema(field, wanted[field])
    if new:
        dataset.activate_label_schemas(new)
    masks, points = wanted
    shown = dataset.app_config.active_fields
    if shown and not shown.exclude and masks in shown.paths and points not in shown.paths:
        # Nothing can be drawn in a field that the App does not show
        shown.paths = [points, *shown.paths]
        dataset.save()
    return new


def deactivate_annotation(dataset: fo.Dataset, label_field: str = "revseg") -> list[str]:
    """Undoes :func:`activate_annotation`: takes the label schemas away, and points with them.

    Args:
        dataset: a :class:`fiftyone.core.dataset.Dataset`
        label_field ("revseg"): the label field, without "frames."

    Returns:
        the fields that had a label schema
    """
    dataset.reload()
    detections, points = _fields(dataset, label_field)
    known = [field for field in (detections, points) if field in dataset.label_schemas]
    dataset.delete_label_schemas(known)
    if dataset.has_field(points):
        delete = dataset.delete_frame_field if "." in points else dataset.delete_sample_field
        delete(points.removeprefix("frames."))
    return known


def _fields(dataset: fo.Dataset, label_field: str) -> tuple[str, str]:
    root = "" if dataset.media_type == "image" else "frames."
    return f"{root}{label_field}", f"{root}{points_field(label_field)}"


def try_to_activate(dataset: fo.Dataset, label_field: str) -> None:
    """As :func:`activate_annotation`, for the end of a run: nothing that is done depends on it."""
    try:
        if dataset.has_field(_fields(dataset, label_field)[0]):
            activate_annotation(dataset, label_field)
    except Exception:
        logger.warning(
            "The App's annotation mode could not be made ready for '%s': activate its label schema "
            "in the App (the cog in the annotation mode) to correct labels there",
            label_field,
            exc_info=True,
        )
