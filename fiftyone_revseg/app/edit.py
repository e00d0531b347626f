"""The operators ``delete``, ``rename`` and ``undo``: objects change at once, without a model."""

from __future__ import annotations

from typing import Any, ClassVar

import fiftyone.operators.types as types

from fiftyone_revseg.app.chosen_object import Chosen, OneVideo, object_input, sample_of
from fiftyone_revseg.app.forms import Form, existing_label_field_input
from fiftyone_revseg.app.operator import Run, Settings, from_script
from fiftyone_revseg.app.running import REFRESH_LABELS
from fiftyone_revseg.dataset.edit_objects import delete_object, rename_object
from fiftyone_revseg.dataset.objects import checked_label, find_place
from fiftyone_revseg.dataset.place import Place
from fiftyone_revseg.dataset.undo import last_correction, undo


class _Edit(OneVideo[Any]):
    """What they have in common."""

    streams = False
    delegates: ClassVar[bool] = False

    def edit(self, subject: Any, by: str | None, **settings: Any) -> str:
        """Does it, and says what was done."""
        raise NotImplementedError

    def work(self, run: Run[Any], **settings: Any) -> dict[str, Any]:
        summary = self.edit(run.subject, run.ctx.user_id, **settings)
        run.ctx.ops.reload_dataset()
        run.ctx.trigger(REFRESH_LABELS)
        return {"summary": summary}


class Delete(_Edit):
    """Deletes an object."""

    name = "delete"
    label = "ReVSeg: delete an object"
    description = (
        "Deletes an object's masks on all frames and its answer; with the last one, the answer "
        "becomes that there is no such object"
    )
    icon = "delete"
    risk = types.RiskLevel.HIGH
    button = "Delete"

    def subject(self, form: Form) -> Chosen | None:
        return object_input(form)

    def tell(self, form: Form, subject: Chosen, settings: Settings) -> None:
        form.tell("undo_notice", "It can be undone", "With ReVSeg: undo, until it is accepted")

    def edit(self, subject: Chosen, by: str | None, **settings: Any) -> str:
        stored = subject.stored
        about = (stored.place.label_field, stored.support)
        return delete_object(subject.sample, stored.index, *about, by=by)

    @from_script
    def __call__(
        self,
        sample_collection: Any,
        index: int | None = None,
        sample_id: str | None = None,
        label_field: str = "revseg",
    ) -> Any:
        """Deletes one object.

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection` with the video
            index (None): the object's ``index``. By default, the first object
            sample_id (None): the sample; not needed if the collection has only one
            label_field ("revseg"): the label field

        Returns:
            a dict with a "summary" in words
        """


class Rename(_Edit):
    """Gives an object another description."""

    name = "rename"
    label = "ReVSeg: rename an object"
    description = "Gives an object another description, on all frames and in its answer"
    icon = "label"
    risk = types.RiskLevel.LOW
    button = "Rename"

    def subject(self, form: Form) -> Chosen | None:
        return object_input(form)

    def ask(self, form: Form, subject: Chosen) -> Settings:
        description = form.text(
            "description",
            subject.stored.label,
            check=checked_label,
            missing="Say in a few words what it is",
            label="Description",
            description="To have the model look for what is so described, use ReVSeg: ground again",
        )
        return {"description": description}

    def edit(self, subject: Chosen, by: str | None, **settings: Any) -> str:
        stored = subject.stored
        about = (stored.place.label_field, stored.support)
        return rename_object(subject.sample, stored.index, settings["description"], *about, by=by)

    @from_script
    def __call__(
        self,
        sample_collection: Any,
        description: str,
        index: int | None = None,
        sample_id: str | None = None,
        label_field: str = "revseg",
    ) -> Any:
        """Renames one object.

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection` with the video
            description: what it is called from now on
            index (None): the object's ``index``. By default, the first object
            sample_id (None): the sample; not needed if the collection has only one
            label_field ("revseg"): the label field

        Returns:
            a dict with a "summary" in words
        """


class Undo(_Edit):
    """Undoes the last correction."""

    name = "undo"
    label = "ReVSeg: undo the last correction"
    description = (
        "Brings back what was before the last correction of a video, masks included; that is kept "
        "until an answer is accepted"
    )
    icon = "undo"
    risk = types.RiskLevel.HIGH
    button = "Undo"

    def subject(self, form: Form) -> tuple[Any, Place] | None:
        label_field = existing_label_field_input(form)
        if label_field is None:
            return None
        sample = sample_of(form.ctx)
        return sample, find_place(sample, label_field)

    def ask(self, form: Form, subject: tuple[Any, Place]) -> Settings:
        index = form.ctx.params.get("index")
        record, entry = last_correction(subject[1], index)
        about = f" of object {entry['index']}" if "index" in entry else ""
        by = f" by {entry['by']}" if entry.get("by") else ""
        what = f'"{entry["kind"]}"{about}{by}, {entry["when"]}'
        form.tell("what", f"Undo {what}", f"The answer to: {record.query}")
        return {"index": index}

    def edit(self, subject: tuple[Any, Place], by: str | None, **settings: Any) -> str:
        sample, place = subject
        return str(undo(sample, settings["index"], place.label_field))

    @from_script
    def __call__(
        self,
        sample_collection: Any,
        index: int | None = None,
        sample_id: str | None = None,
        label_field: str = "revseg",
    ) -> Any:
        """Undoes the last correction of one video.

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection` with the video
            index (None): the object's ``index``. By default, whichever was corrected last
            sample_id (None): the sample; not needed if the collection has only one
            label_field ("revseg"): the label field

        Returns:
            a dict with a "summary" in words
        """
