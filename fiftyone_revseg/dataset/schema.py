"""The fields that a dataset gets, declared before anything is written into them.

FiftyOne stores undeclared attributes of labels but cannot filter on them, so all are declared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fiftyone as fo

_STRING, _INT = fo.StringField, fo.IntField

# Field suffix -> (label type, its list of labels, attributes that FiftyOne does not know)
_SAMPLE_LABELS = {
    "answers": (
        fo.Classifications,
        "classifications",
        {
            "query": _STRING,
            "reasoning": _STRING,
            "index": _INT,
            "keyframe": _INT,
            "support": fo.FrameSupportField,
            "status": _STRING,
            "reason": _STRING,
            "model": _STRING,
            "corrected": fo.BooleanField,
        },
    ),
    "keyframes": (fo.TemporalDetections, "detections", {"query": _STRING, "index": _INT}),
}
_SAMPLE_VALUES = {"reasoning": _STRING, "status": _STRING, "trajectory": fo.DictField}


def field_names(label_field: str = "revseg") -> list[str]:
    """Lists the fields that are written for a label field.

    Args:
        label_field ("revseg"): the label field

    Returns:
        a list of field names; the first one is the frame-level field
    """
    suffixes = [*_SAMPLE_LABELS, *_SAMPLE_VALUES]
    return [f"frames.{label_field}", *(f"{label_field}_{suffix}" for suffix in suffixes)]


def valid_label_field(name: str) -> str:
    """Checks the name of a label field, with or without "frames." before it.

    Args:
        name: the name

    Returns:
        the name without "frames."

    Raises:
        ValueError: if a field cannot have that name
    """
    name = name.removeprefix("frames.")
    if not name.isidentifier():
        raise ValueError(
            f"label_field must be a name of letters, digits and underscores, such as 'revseg', "
            f"not {name!r}"
        )
    return name


def declare_fields(dataset: fo.Dataset, label_field: str = "revseg") -> None:
    """Declares all fields of a label field, and their attributes, on a dataset.

    Fields that are declared already are left as they are. On images, which are frames of videos
    in ordered groups, the detections are a field of samples, and key frames are classifications:
    an image cannot point at a frame.

    Args:
        dataset: a :class:`fiftyone.core.dataset.Dataset` of videos, or of images
        label_field ("revseg"): the label field

    Raises:
        ValueError: if a field of that name exists and has another type
    """
    images = dataset.media_type == "image"
    for path, field_type, kwargs in _fields(label_field, images):
        existing = dataset.get_field(path)
        if existing is None:
            if path.startswith("frames."):
                dataset.add_frame_field(path[len("frames.") :], field_type, **kwargs)
            else:
                dataset.add_sample_field(path, field_type, **kwargs)
        elif not _same_type(existing, field_type, kwargs):
            raise ValueError(
                f"Field '{path}' of dataset '{dataset.name}' holds something else already "
                f"({existing}); choose another label_field than '{label_field}'"
            )


def _fields(label_field: str, images: bool) -> Iterator[tuple[str, type, dict[str, Any]]]:
    embedded = fo.EmbeddedDocumentField
    masks = label_field if images else f"frames.{label_field}"
    yield masks, embedded, {"embedded_doc_type": fo.Detections}
    yield f"{masks}.detections.query", _STRING, {}
    yield f"{masks}.detections.instance", embedded, {"embedded_doc_type": fo.Instance}
    for suffix, (label_type, labels, attributes) in _SAMPLE_LABELS.items():
        if images and label_type is fo.TemporalDetections:
            label_type, labels = fo.Classifications, "classifications"
        name = f"{label_field}_{suffix}"
        yield name, embedded, {"embedded_doc_type": label_type}
        for attribute, field_type in attributes.items():
            yield f"{name}.{labels}.{attribute}", field_type, {}
    for suffix, field_type in _SAMPLE_VALUES.items():
        yield f"{label_field}_{suffix}", field_type, {}


def _same_type(existing: fo.Field, field_type: type, kwargs: dict[str, Any]) -> bool:
    document = kwargs.get("embedded_doc_type")
    if document is not None:
        return getattr(existing, "document_type", None) is document
    return isinstance(existing, field_type)
