"""The operator ``reground``: the model is asked again, about a frame that a person chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fiftyone.operators as foo

from fiftyone_revseg.app import held_models as models
from fiftyone_revseg.app.chosen_object import Correct, frame_input, playback_warning
from fiftyone_revseg.app.forms import Form, problem
from fiftyone_revseg.app.operator import Settings, from_script
from fiftyone_revseg.dataset.correct import Correction, reground
from fiftyone_revseg.dataset.objects import StoredObject, checked_label
from fiftyone_revseg.dataset.prompt_boxes import check_frame
from fiftyone_revseg.pipeline import Loading


class Reground(Correct):
    """Asks the model where an object is in a frame, and tracks it from there."""

    name = "reground"
    label = "ReVSeg: ground again in another frame"
    description = (
        "Asks the model where an object is in a frame of your choice, and tracks it from there; "
        "other objects stay as they are"
    )
    icon = "my_location"
    button = "Ask"

    def ask_how(self, form: Form, stored: StoredObject) -> Settings:
        number = form.ctx.params.get("frame_number") or stored.answer.get("keyframe")
        playback_warning(form, stored, number if isinstance(number, int) else None)
        prop = frame_input(form, stored, "The frame to show to the model, from")
        form.check(prop, problem(check_frame, stored, number))
        description = form.text(
            "description",
            stored.label,
            check=checked_label,
            label="Description",
            description="What to look for in that frame; the object is called so from then on",
        )
        return {"frame_number": number, "description": description}

    def correct(self, sample: Any, index: int, model: Loading, **how: Any) -> Correction:
        return reground(sample, index, model=models.get_model(model), **how)

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return f"ReVSeg: ground object {ctx.params.get('index', '')} again"

    @from_script
    def __call__(
        self,
        sample_collection: Any,
        index: int | str | None = None,
        frame_number: int | None = None,
        sample_id: str | None = None,
        label_field: str = "revseg",
        support: Sequence[int] | None = None,
        model: str | None = None,
        server: str | None = None,
        tracker: str | None = None,
        device: str | None = None,
        delegate: bool = False,
        description: str | None = None,
    ) -> Any:
        """Asks where one object is in a frame, and tracks it from there.

        Args:
            sample_collection: a :class:`fiftyone.core.collections.SampleCollection` with the video
            index (None): the object's ``index``, or the id of one of its labels. By default, the
                first object
            frame_number (None): the frame to show, from 1. By default, the key frame
            sample_id (None): the sample; not needed if the collection has only one
            label_field ("revseg"): the label field
            support (None): the first and last frame number of the object's clip, where several
                clips of a video have an object with this index
            model (None): a preset, a hub id or a path. By default, what the object was found with
            server (None): the address of a server that has the model. By default, the one that
                had it, unless a model is named
            tracker (None): a tracker's short name, hub id or path
            device (None): for example "cuda:1"
            delegate (False): whether to schedule this rather than to do it now
            description (None): what to look for, which is the object's label from then on. By
                default, its description

        Returns:
            a dict that says how it went, with a "summary" in words; if it was delegated, the
            :class:`fiftyone.operators.executor.ExecutionResult`
        """
