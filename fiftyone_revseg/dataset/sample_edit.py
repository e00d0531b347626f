"""Changes of the sample-level fields of one video that a person asked for, wherever they are.

Clips and images of groups have copies of the answers: all get the same change, and the document
that says that all is done comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Any

from fiftyone_revseg.dataset.heartbeat import user_name
from fiftyone_revseg.dataset.place import Place
from fiftyone_revseg.dataset.record import Record, Results
from fiftyone_revseg.dataset.store import Document
from fiftyone_revseg.types import Status

Edit = Callable[[Results, str], None]


def edit_samples(place: Place, edit: Edit) -> None:
    """Edits the fields of all documents that have some.

    Args:
        place: where they are
        edit: changes the fields of one document, whose id it gets, in place. Its records are those
            of the video, also where it has none of its own
    """
    for owner in place.owners:
        place.change(partial(_edited, place, edit, str(owner[1])), owner)


def edit_main(place: Place, edit: Edit) -> None:
    """Edits the document alone that says whether all is done."""
    place.change(partial(_edited, place, edit, place.sample_id))


def note(kind: str, by: str | None, **about: Any) -> Document:
    """What a record is to say of a change: what, when and by whom."""
    by = user_name() if by is None else by
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"kind": kind, **about, "when": now, "by": by}


def set_status(record: Record, answers: Sequence[Document]) -> None:
    """Lets the status of a record follow from the answers to its query."""
    own = [a for a in answers if is_about(a, record.query, record.frames)]
    statuses = [str(a.get("status")) for a in own]
    ok = str(Status.OK)
    record.document["status"] = ok if ok in statuses else (statuses or [str(Status.NO_TARGET)])[0]
    reasons = [a.get("reason") for a in own if a.get("status") != ok]
    record.document["reason"] = "; ".join(filter(None, reasons))


def is_about(answer: Document, query: str, support: Sequence[int] | None) -> bool:
    """Returns whether an answer is one to a query, on the frames from the first to the last."""
    same = list(answer.get("support") or ()) == list(support or ())
    return same and (answer.get("query") or "") == query


def _edited(place: Place, edit: Edit, sample_id: str, values: Results) -> Document | None:
    if not values.answers and not values.records:
        return None  # a view of clips that was made anew has none
    shared = bool(place.images) and not values.records  # the first image alone has them
    if shared:
        values.records = place.read().records
    edit(values, sample_id)
    fields = values.to_fields(place.label_field, bool(place.images))
    for name in ("trajectory", "reasoning") if shared else ():
        del fields[f"{place.label_field}_{name}"]
    return fields
