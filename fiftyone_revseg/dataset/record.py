"""What a sample keeps about how each of its segmentations was made.

A record is a plain dict, stored in the sample's trajectory field. Its fingerprint tells a later
run whether there is anything left to do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fiftyone_revseg.pipeline import RevSeg, Segmentation


def settings_of(
    pipeline: RevSeg,
    confidence_thresh: float | None = None,
    classes: Iterable[str] | None = None,
    masks_dir: str | Path | None = None,
) -> dict[str, Any]:
    """Collects all that decides what the answer to a query on a video is.

    Args:
        pipeline: a :class:`fiftyone_revseg.pipeline.RevSeg`
        confidence_thresh (None): the confidence under which detections are left out
        classes (None): the labels to which detections are restricted
        masks_dir (None): the directory for masks as files

    Returns:
        a JSON-serializable dict
    """
    settings = dict(pipeline.settings())
    # Left out where they are not used, so that they do not tell apart what is the same
    if confidence_thresh is not None:
        settings["confidence_thresh"] = confidence_thresh
    if classes is not None:
        settings["classes"] = sorted(classes)
    if masks_dir is not None:
        settings["masks_dir"] = str(masks_dir)
    return settings


def fingerprint(settings: dict[str, Any], query: str, support: Sequence[int] | None) -> str:
    """Names a question and all that decides its answer, but the video itself.

    Args:
        settings: see :func:`settings_of`
        query: the query
        support: the first and last frame number of a clip; None for a whole video

    Returns:
        16 hexadecimal digits
    """
    question = [_deciding(settings), query, list(support) if support else None]
    text = json.dumps(question, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_record(
    segmentation: Segmentation, settings: dict[str, Any], support: Sequence[int] | None
) -> dict[str, Any]:
    """Makes the record of one segmentation: everything about it but its masks.

    Args:
        segmentation: a :class:`fiftyone_revseg.pipeline.Segmentation`
        settings: see :func:`settings_of`
        support: the first and last frame number of a clip; None for a whole video

    Returns:
        a JSON-serializable dict: that of the segmentation without "tracks", and with
        "fingerprint", "settings" and "support"
    """
    record = segmentation.to_dict()
    # The masks are in the frames already, and a sample's document is limited to 16 MB
    del record["tracks"]
    record["fingerprint"] = fingerprint(settings, segmentation.query, support)
    record["settings"] = settings
    record["support"] = list(support) if support else None
    return record


def shortened(text: str, longest: int = 500) -> str:
    """Shortens a text that is longer than so many characters, and says by how much."""
    if len(text) <= longest + 40:
        return text
    return f"{text[:longest]} ... [{len(text) - longest:,} characters left out]"


def frames_of(record: dict[str, Any]) -> list[int] | None:
    """Returns the first and last frame number that a record is about; None for no frames."""
    if record.get("support"):
        return list(record["support"])
    count = record["trajectory"]["frame_table"]["frame_count"]
    return [record["first_frame"] + 1, record["first_frame"] + count] if count else None


def find_object(
    records: Sequence[dict[str, Any]], index: int, support: Sequence[int]
) -> tuple[dict[str, Any], int] | None:
    """Finds the record that an object comes from.

    Args:
        records: all records of a sample
        index: the ``index`` of the object's answer
        support: the first and last frame number of its answer

    Returns:
        the record, and which of its objects it is, 0-based; None if there is none
    """
    for record in records:
        if frames_of(record) == list(support):
            count = len(record["trajectory"]["choices"])
            if index <= count:
                return record, index - 1
            index -= count  # objects are numbered through all queries on the same frames
    return None


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Says in words what differs between two settings.

    Args:
        old: settings, see :func:`settings_of`
        new: other settings

    Returns:
        a list such as ``["spec.frames: 16 -> 12"]``
    """
    flat_old, flat_new = _flatten(_deciding(old)), _flatten(_deciding(new))
    return [
        f"{name}: {_short(flat_old.get(name))} -> {_short(flat_new.get(name))}"
        for name in sorted({*flat_old, *flat_new})
        if flat_old.get(name) != flat_new.get(name)
    ]


def _deciding(settings: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what is only recorded: a model answers the same wherever it is served."""
    return {name: value for name, value in settings.items() if name != "server"}


def _flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            # A database gives tuples back as lists
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def _short(value: Any) -> str:
    text = "none" if value is None else " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."
