"""The operator ``add``: a person shows an object that the model missed, and it is tracked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app import held_models as models
from fiftyone_revseg.app.ask_again import query_input
from fiftyone_revseg.app.chosen_object import Chosen
from fiftyone_revseg.app.forms import Form
from fiftyone_revseg.app.operator import Settings, from_script
from fiftyone_revseg.app.propagate import Propagate
from fiftyone_revseg.dataset.correct import Correction
from fiftyone_revseg.dataset.edit_objects import add_object
from fiftyone_revseg.dataset.objects import StoredObject, checked_label, drawn_labels, new_object
from fiftyone_revseg.pipeline import Loading


class Add(Propagate):
    """Adds an object to an answer, or puts it in the place of one without an object."""

    name = "add"
    label = "ReVSeg: add an object that is missing"
    description = (
        "Tracks an object that you show, and adds it to an answer: also where the model said that "
        "there is none, or failed"
    )
    icon = "add_circle"
    button = "Add"
    risk = types.RiskLevel.HIGH

    def subject(self, form: Form) -> Chosen | None:
        asked = query_input(form)
        if asked is None:
            return None
        place, support, query = asked.stored.place, asked.stored.support, asked.stored.query
        drawn = drawn_labels(place, support or ())
        label = form.text(
            "description",
            drawn[0] if drawn else query,
            drawn,
            checked_label,
            label="Description",
            description="What the object is, as its label",
        )
        return Chosen(asked.sample, new_object(place, query, label, support))

    def ask_how(self, form: Form, stored: StoredObject) -> Settings:
        how = super().ask_how(form, stored)
        del how["keep"]  # nothing was said of it before
        return {**how, "query": stored.query, "label": stored.label}

    def correct(self, sample: Any, index: int, model: Loading, **how: Any) -> Correction:
        return add_object(sample, model=models.get_tracker(model), **how)

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return "ReVSeg: add an object"

    def params(self, given: dict[str, Any]) -> dict[str, Any]:
        return super().params({"index": None, **given})

    @from_script
    def __call__(
        self,
        sample_collection: Any,
        query: str | None = None,
        boxes: Mapping[int, Sequence[float]] | None = None,
        description: str | None = None,
        sample_id: str | None = None,
        label_field: str = "revseg",
        support: Sequence[int] | None = None,
        model: str | None = None,
        tracker: str | None = None,
        device: str | None = None,
        delegate: bool = False,
        seen: Mapping[int, int] | None = None,
    ) -> Any:
        """Adds one object.

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection` with the video
            query (None): the query. By default, the first
            boxes (None): see :class:`fiftyone_revseg.app.propagate.Propagate`
            description (None): its label. By default, that of the boxes that were drawn, or the
                query
            sample_id (None): the sample; not needed if the collection has only one
            label_field ("revseg"): the label field
            support (None): the first and last frame number of the clip, where several clips of a
                video have an answer to this query
            model (None): a preset, a hub id or a path. By default, what was asked
            tracker (None): a tracker's short name, hub id or path
            device (None): for example "cuda:1"
            delegate (False): whether to schedule this rather than to do it now
            seen (None): see :class:`fiftyone_revseg.app.propagate.Propagate`

        Returns:
            a dict that says how it went, with a "summary" in words; if it was delegated, the
            :class:`fiftyone.operators.executor.ExecutionResult`
        """
