"""The operator ``reground``: the model is asked again, about a frame that a person chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_revseg.app import forms, objects
from fiftyone_revseg.app import held_models as models
from fiftyone_revseg.dataset.correct import reground
from fiftyone_revseg.dataset.prompt_boxes import check_frame

_LABEL = "ReVSeg: ground again in another frame"


class Reground(foo.Operator):
    """Asks the model where an object is in a frame, and tracks it from there."""

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(
            name="reground",
            label=_LABEL,
            description="Asks the model where an object is in a frame of your choice, and tracks "
            "it from there; other objects stay as they are",
            icon="my_location",
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=types.RiskLevel.HIGH,
        )

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        inputs = types.Object()
        stored = objects.object_input(inputs, ctx)
        if stored is not None:
            first, last = stored.support
            number: Any = ctx.params.get("frame_number") or stored.answer.get("keyframe")
            objects.playback_warning(inputs, stored, number if isinstance(number, int) else None)
            prop = inputs.int(
                "frame_number",
                default=stored.answer.get("keyframe"),
                min=first,
                max=last,
                label="Frame",
                description=f"The frame to show to the model, from {first} to {last}",
            )
            forms.check(prop, forms.problem(check_frame, stored, number))
            objects.model_inputs(inputs, ctx, stored)
        view = types.PromptView(label=_LABEL, submit_button_label="Ask")
        return types.Property(inputs, view=view)

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        stored = objects.chosen_object(ctx)
        number: Any = ctx.params.get("frame_number") or stored.answer.get("keyframe")
        check_frame(stored, number)
        sample, by = objects.sample_of(ctx), ctx.user_id

        def work(progress: Any) -> Any:
            return reground(
                sample,
                stored.index,
                number,
                models.get_model(**objects.model_arguments(ctx, stored)),
                stored.place.label_field,
                stored.support,
                progress,
                by,
            )

        return objects.run(ctx, self.resolve_run_name(ctx), work)

    def resolve_output(self, ctx: foo.ExecutionContext) -> types.Property:
        return objects.output_of(ctx, _LABEL)

    def resolve_run_name(self, ctx: foo.ExecutionContext) -> str:
        return f"ReVSeg: ground object {ctx.params.get('index', '')} again"

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

        Returns:
            a dict that says how it went, with a "summary" in words; if it was delegated, the
            :class:`fiftyone.operators.executor.ExecutionResult`
        """
        params = {
            "index": index,
            "frame_number": frame_number,
            "sample_id": sample_id,
            "label_field": label_field,
            "support": None if support is None else list(support),
            "model": model,
            "server": server,
            "tracker": tracker,
            "device": device,
        }
        return objects.call(self.uri, sample_collection, delegate, params)
