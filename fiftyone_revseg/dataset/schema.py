"""The fields that a dataset gets, declared before anything is written into them.

FiftyOne stores undeclared attributes of labels but cannot filter on them, so all are declared.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import fiftyone as fo
from fiftyone.core.odm import create_field, get_db_conn
from pymongo import UpdateOne

from fiftyone_revseg.dataset import store

_STRING, _INT, _FLOAT = fo.StringField, fo.IntField, fo.FloatField

_ATTEMPTS, _PAUSE = 20, 0.05  # seconds

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
            # Not a FrameSupportField: the App cannot make a form for labels that have one
            "support": fo.ListField,
            "status": _STRING,
            "reason": _STRING,
            "model": _STRING,
            "corrected": fo.BooleanField,
            "certainty": _FLOAT,
            "certainty_raw": _FLOAT,
            "agreement": _FLOAT,
            "reviewer": _STRING,
            "reviewed_at": fo.DateTimeField,
        },
    ),
    "keyframes": (fo.TemporalDetections, "detections", {"query": _STRING, "index": _INT}),
}
_DETECTIONS = {
    "query": _STRING,
    "certainty": _FLOAT,
    "agreement": _FLOAT,
    "keyframe": fo.BooleanField,  # the App's name, for the marks on the timeline of a track
    "repaired": fo.BooleanField,
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


def points_field(label_field: str) -> str:
    """The field with the polylines whose corners are points to track from."""
    return f"{label_field}_points"


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
    if name == "frames":
        raise ValueError("label_field cannot be 'frames', as FiftyOne calls the frames themselves")
    if not name.isidentifier() or name.startswith("_"):
        raise ValueError(
            f"label_field must be a name of letters, digits and underscores that starts with a "
            f"letter, such as 'revseg', not {name!r}"
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
    check_fields(dataset, label_field)
    fields = {
        path: create_field(path.split(".")[-1], field_type, **kwargs)
        for path, field_type, kwargs in _fields(label_field, dataset.media_type == "image")
    }
    _declare_known(dataset, fields)


def declare_points(dataset: fo.Dataset, label_field: str) -> None:
    """Declares the field of :func:`points_field`, on frames, or on images."""
    path = points_field(label_field)
    path = path if dataset.media_type == "image" else f"frames.{path}"
    field = create_field(
        path.split(".")[-1], fo.EmbeddedDocumentField, embedded_doc_type=fo.Polylines
    )
    _declare_known(dataset, {path: field})


def _declare_known(dataset: fo.Dataset, fields: dict[str, fo.Field]) -> None:
    """As :func:`_declare`, and tells this process of it."""
    _declare(dataset, fields)
    unknown = [path for path in fields if dataset.get_field(path) is None]
    for path in unknown:
        kind, names = _split(path)
        store.make_known(dataset, kind == "frame_fields", ".".join(names), fields[path])
    if unknown:
        store.reload_fields(dataset)


def check_fields(dataset: fo.Dataset, label_field: str) -> None:
    """Checks that the fields of a label field can be declared on a dataset.

    Args:
        dataset: a :class:`fiftyone.core.dataset.Dataset` of videos, or of images
        label_field: the label field

    Raises:
        ValueError: if a field of that name exists and has another type
    """
    for path, field_type, kwargs in _fields(label_field, dataset.media_type == "image"):
        existing = dataset.get_field(path)
        if existing is not None and not _same_type(existing, field_type, kwargs):
            raise ValueError(
                f"Field '{path}' of dataset '{dataset.name}' holds something else already "
                f"({describe_field(existing)}{count_values(dataset, path)}): choose another "
                f"label_field than '{label_field}', or rename that field first"
            )


def fields_with_text(samples: Any) -> list[str]:
    """Lists the sample fields that can hold a query, or a list of queries."""
    contents = {
        name: kind.field if isinstance(kind, fo.ListField) else kind
        for name, kind in samples.get_field_schema().items()
    }
    texts = [name for name, content in contents.items() if isinstance(content, _STRING)]
    return [name for name in texts if name not in ("filepath", "tags")]


def describe_field(field: fo.Field) -> str:
    """Says in a word or two what a field holds, such as "Detections" or "StringField"."""
    document = getattr(field, "document_type", None)
    return (document or type(field)).__name__


def count_values(dataset: fo.Dataset, path: str) -> str:
    """Says on how many samples or frames a field has a value, such as " in 3 frames"."""
    on_frames, name = path.startswith("frames."), path.removeprefix("frames.")
    documents = store.frame_documents if on_frames else store.sample_documents
    n = documents(dataset).count_documents({name: {"$ne": None}})
    return f" in {n} {'frame' if on_frames else 'sample'}{'s'[: n != 1]}"


def _declare(dataset: fo.Dataset, fields: dict[str, fo.Field]) -> None:
    """Declares fields in the database, whatever other processes declare at the same time.

    FiftyOne's ``add_sample_field`` saves all fields that it read just before, and so takes away
    what another process has added meanwhile. This only adds, and adds again what others took away.

    Args:
        dataset: the :class:`fiftyone.core.dataset.Dataset`
        fields: path -> field, parents before their children
    """
    datasets = get_db_conn().datasets
    this = {"_id": store.dataset_id(dataset)}
    for attempt in range(_ATTEMPTS):
        time.sleep(_PAUSE if attempt else 0)
        stored = datasets.find_one(this, {"sample_fields": True, "frame_fields": True})
        missing = [path for path in fields if not _is_stored(path, stored)]
        if not missing:
            return
        datasets.bulk_write([_addition(this, path, fields[path]) for path in missing])
    raise RuntimeError(
        f"The fields {missing} of dataset '{dataset.name}' could not be declared: another process "
        "keeps changing the fields. Try again when it has ended"
    )


def _is_stored(path: str, stored: dict[str, Any]) -> bool:
    kind, chunks = _split(path)
    declared = stored.get(kind)
    for chunk in chunks:
        found = [field for field in declared or () if field["name"] == chunk]
        if not found:
            return False
        declared = found[0].get("fields")
    return True


def _addition(this: dict[str, Any], path: str, field: fo.Field) -> UpdateOne:
    """What adds a field to its siblings, ``sample_fields.$[f0].fields``, unless it is there."""
    siblings, (*parents, name) = _split(path)
    match = dict(this)
    filters: list[Any] = []  # mappings
    for depth, parent in enumerate(parents):
        siblings += f".$[f{depth}].fields"
        filters.append({f"f{depth}.name": parent})
    if parents:
        filters[-1][f"f{len(parents) - 1}.fields.name"] = {"$ne": name}
    else:
        match[f"{siblings}.name"] = {"$ne": name}
    now = datetime.now(timezone.utc)
    update = {"$push": {siblings: store.declaration(field, now)}, "$set": {"last_modified_at": now}}
    return UpdateOne(match, update, array_filters=filters)


def _split(path: str) -> tuple[str, list[str]]:
    """Returns where FiftyOne keeps the declaration of a field, and the names that lead to it."""
    kind = "frame_fields" if path.startswith("frames.") else "sample_fields"
    return kind, path.removeprefix("frames.").split(".")


def _fields(label_field: str, images: bool) -> Iterator[tuple[str, type, dict[str, Any]]]:
    embedded = fo.EmbeddedDocumentField
    masks = label_field if images else f"frames.{label_field}"
    yield masks, embedded, {"embedded_doc_type": fo.Detections}
    for attribute, field_type in _DETECTIONS.items():
        yield f"{masks}.detections.{attribute}", field_type, {}
    yield f"{masks}.detections.instance", embedded, {"embedded_doc_type": fo.Instance}
    for suffix, (label_type, labels, attributes) in _SAMPLE_LABELS.items():
        if images and label_type is fo.TemporalDetections:
            label_type, labels = fo.Classifications, "classifications"
        name = f"{label_field}_{suffix}"
        yield name, embedded, {"embedded_doc_type": label_type}
        for attribute, field_type in attributes.items():
            kwargs = {"subfield": _INT} if field_type is fo.ListField else {}
            yield f"{name}.{labels}.{attribute}", field_type, kwargs
    for suffix, field_type in _SAMPLE_VALUES.items():
        yield f"{label_field}_{suffix}", field_type, {}


def _same_type(existing: fo.Field, field_type: type, kwargs: dict[str, Any]) -> bool:
    document = kwargs.get("embedded_doc_type")
    if document is not None:
        return getattr(existing, "document_type", None) is document
    return isinstance(existing, field_type)
