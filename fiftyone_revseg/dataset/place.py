"""Where the labels of one video are in the database, and how its sample-level fields change.

Other processes may be at work on other clips of the same video, and people on its labels. So what
is saved is made of what is stored, and saved on the condition that this has not changed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields
from functools import cached_property
from types import SimpleNamespace

import fiftyone as fo
from bson import ObjectId

from fiftyone_revseg.dataset import store
from fiftyone_revseg.dataset.collection import VideoRef
from fiftyone_revseg.dataset.playback import Playback, measure_playback
from fiftyone_revseg.dataset.record import Results
from fiftyone_revseg.dataset.store import Document
from fiftyone_revseg.video import VideoError

Owner = tuple[fo.Dataset, ObjectId]


@dataclass(frozen=True, kw_only=True)
class Place(VideoRef):
    """Where the labels of one video are.

    Attributes:
        label_field: the label field
    """

    label_field: str

    @classmethod
    def of(cls, video: VideoRef, label_field: str) -> Place:
        """Returns where the labels of a video are."""
        own = {f.name: getattr(video, f.name) for f in fields(VideoRef)}
        return cls(**own, label_field=label_field)

    @property
    def owners(self) -> list[Owner]:
        """The documents with sample-level fields, that of ``sample_id`` last."""
        owners = [(self.clips, ObjectId(self.clip_id))] if self.clip_id else []
        owners += [(self.dataset, ObjectId(i)) for i in self.sample_ids[1:]]
        return [*owners, (self.dataset, ObjectId(self.sample_id))]

    @cached_property
    def playback(self) -> Playback | None:
        """How the App plays the video; None for images, or if it cannot be read."""
        if self.images:
            return None
        metadata = self.stored("metadata").get("metadata") or {}
        try:
            return measure_playback(self.filepath, SimpleNamespace(**metadata))
        except VideoError:
            return None

    def stored(self, *names: str, owner: Owner | None = None) -> Document:
        """Reads the document with the sample-level fields.

        Args:
            *names: what to read of it; without any, all of it is read
            owner (None): one of :attr:`owners`. By default, that of ``sample_id``

        Raises:
            ValueError: if it is gone
        """
        dataset, sample_id = owner or self.owners[-1]
        found = store.sample_documents(dataset).find_one({"_id": sample_id}, list(names) or None)
        if found is None:
            raise ValueError(f"Sample {sample_id} is not in the dataset any more")
        return found

    def read(self, owner: Owner | None = None) -> Results:
        """Reads the sample-level fields; empty where there are none. See :meth:`stored`."""
        return self._read(owner)[0]

    def change(
        self, change: Callable[[Results], Document | None], owner: Owner | None = None
    ) -> None:
        """Changes sample-level fields in one write, made of what is stored at that moment.

        Args:
            change: gets what :meth:`read` returns, and returns the fields to set, by their names;
                None if there is nothing to change
            owner (None): as for :meth:`stored`
        """
        dataset, sample_id = owner or self.owners[-1]
        saved = False
        while not saved:
            results, unchanged = self._read(owner)
            values = change(results)
            if values is None:
                return
            samples = store.sample_documents(dataset)
            saved = bool(samples.update_one(unchanged, store.setting(values)).matched_count)
        store.reload_sample(dataset, sample_id)  # someone may hold it

    def _read(self, owner: Owner | None) -> tuple[Results, Document]:
        """The fields, and what is found only as long as nobody changes them."""
        name = self.label_field
        suffixes = ("answers", "keyframes", "trajectory")
        names = [f"{name}_{suffix}" for suffix in suffixes]
        found = self.stored(*names, "last_modified_at", owner=owner)
        # Dates are no finer than milliseconds, but every answer has an id of its own
        same = ("_id", "last_modified_at", f"{name}_answers")
        unchanged = {key: deepcopy(found.get(key)) for key in same}
        return Results.from_document(found, name), unchanged
