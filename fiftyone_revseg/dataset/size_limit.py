"""Results that fit into a sample's document, which the database limits to 16 MB.

A thought stands in several places: in the reply, in the record, with the answers of its objects
and in the text for the sidebar. Where all of them do not fit, the reply alone keeps the whole of
it, and where that is too much, replies are shortened, too. Everything else is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import bson

from fiftyone_revseg.dataset.labels import SampleLabels
from fiftyone_revseg.dataset.record import reasoning_of, shortened
from fiftyone_revseg.reasoning.trajectory import leave_thought_in_reply

MOST = 16_000_000  # bytes of a document; a little is left for what others add

_PLACES = ("answers", "keyframes", "reasoning", "status", "trajectory")
_LOOKED_AGAIN = ("candidates", "verdicts", "repairs", "looks")
_LONGEST = (4_000, 1_000, 200, 20)  # characters of prompts and replies, tried in turn


class NoRoomError(ValueError):
    """A sample's document has no room for a result."""


def make_fit(
    labels: SampleLabels, stored: Mapping[str, Any], label_field: str, support: Sequence[int] | None
) -> SampleLabels:
    """Shortens the texts of labels such that they fit into a sample's document.

    Args:
        labels: the labels, whose records and answers are changed in place
        stored: the document as it is in the database
        label_field: the label field
        support: the first and last frame number of a clip, whose result goes beside others; None
            for a whole video, whose result replaces them

    Returns:
        the labels; unchanged if they fit as they are

    Raises:
        NoRoomError: if they do not fit however short their texts are
    """
    own = {f"{label_field}_{place}" for place in _PLACES} if support is None else set()
    others = {name: value for name, value in stored.items() if name not in own}
    room = MOST - len(bson.encode(others))
    records = labels.records
    if _size(labels) <= room:
        return labels
    for record in records:
        leave_thought_in_reply(record.trajectory)
        record.document["shortened"] = True
        looked_again = [record.trajectory.get(name, ()) for name in _LOOKED_AGAIN]
        for document in (record.document, record.trajectory, *chain(*looked_again)):
            for part in ("reason", "think", "why", "error"):
                if document.get(part) is not None:
                    document[part] = shortened(document[part])
    for answer in labels.answers.classifications:
        answer["reasoning"] = shortened(answer["reasoning"])
        answer["reason"] = shortened(answer["reason"])
    labels = replace(labels, reasoning=reasoning_of(records))
    for longest in _LONGEST:
        if _size(labels) <= room:
            return labels
        for record in records:
            for turn in record.trajectory["turns"]:
                for part in ("prompt", "reply", "error"):
                    turn[part] = turn[part] and shortened(turn[part], longest)
        labels = replace(labels, reasoning=reasoning_of(records))
    if _size(labels) <= room:
        return labels
    raise NoRoomError(
        f"The answers to {len(records)} queries do not fit into the sample's document in the "
        f"database: it may have 16 MB, and {(MOST - room) / 1e6:.1f} MB are taken by other fields. "
        "Ask fewer queries about the video at a time, or remove a field that is not needed"
    )


def _size(labels: SampleLabels) -> int:
    return len(
        bson.encode(
            {
                "answers": labels.answers.to_dict(),
                "keyframes": labels.keyframes.to_dict(),
                "reasoning": labels.reasoning,
                "trajectory": labels.trajectory,
            }
        )
    )
